"""Sentence pairs from files of every layout: which one it is, CSV and TMX, and one door to all of them.

source,target                        CSV, with a header or without
"Ada lives, too.",Ada lebt auch.

<tu><tuv xml:lang="en"><seg>Ada lives.</seg></tuv>                     TMX 1.4
    <tuv xml:lang="de"><seg>Ada lebt.</seg></tuv></tu>
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Literal, cast
from xml.etree import ElementTree

from seqtool.errors import DataError, StorageError, UsageError
from seqtool.text.lines import LINE_LIMIT, lines_of, open_input
from seqtool.text.parallel import (
    FEATURES,
    IGNORED,
    SentencePair,
    check_text,
    pair_of_cells,
    read_aligned,
    read_pair_columns,
    read_pair_objects,
)

Kind = Literal["tsv", "csv", "jsonl", "tmx"]
KINDS: tuple[Kind, ...] = ("tsv", "csv", "jsonl", "tmx")
NAMED_SIDES: tuple[Kind, ...] = ("csv", "jsonl", "tmx")  # layouts in which `languages` may name the sides
SIDES = ("source", "target")
DELIMITERS = (",", ";", "\t")  # of CSV: spreadsheets write what their country uses

# What people call the columns, case aside; several targets are several references.
_HEADINGS = {
    "source": re.compile(r"source|src|source[ _]text|input"),
    "target": re.compile(r"(target|tgt|trg|target[ _]text|reference|translation|output)[ _-]?\d*"),
    FEATURES: re.compile(r"features"),
}
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z]{2,4})?")
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# Elements of a TMX segment that hold formatting codes and no text (TMX 1.4b, section 2.2).
_CODES = ("bpt", "ept", "ph", "it", "ut")


def kind_of(path: str | Path) -> Kind | None:
    """The layout of a single file of pairs by its name, also in `.gz`; None = not said.

    >>> kind_of("pairs.csv.gz"), kind_of("train.en")
    ('csv', None)
    """
    name = str(path).lower().removesuffix(".gz")
    return next((kind for kind in KINDS if name.endswith(f".{kind}")), None)


def read_pairs(
    paths: Sequence[str | Path],
    columns: Sequence[str] = SIDES,
    languages: tuple[str, str] | None = None,
    feature_separator: str = ";",
) -> Iterator[SentencePair]:
    """The pairs of some files.

    Args:
        paths: A source file and one or more target files, line by line; or one file, whose layout its name
            tells: `.csv`, `.jsonl`, `.tmx`, all others columns between tabs.
        columns: What each column is, as in `read_pair_columns`.
        languages: Names of source and target: keys of JSON, headings of CSV, languages of TMX.
        feature_separator: What stands between two features.

    Raises:
        UsageError, StorageError, DataError: as the reader of that layout.
    """
    if len(paths) > 1:
        return read_aligned(paths[0], *paths[1:])
    kind = kind_of(paths[0])
    if kind == "csv":
        return read_pair_csv(paths[0], columns, languages, feature_separator)
    if kind == "tmx":
        return read_translation_memory(paths[0], languages)
    if kind == "jsonl":
        return read_pair_objects(paths[0], languages)
    return read_pair_columns(paths[0], columns, feature_separator)


def read_pair_csv(
    path: str | Path,
    columns: Sequence[str] = SIDES,
    languages: tuple[str, str] | None = None,
    feature_separator: str = ";",
) -> Iterator[SentencePair]:
    """The pairs of a CSV file (RFC 4180); blank lines are skipped.

    A first row of headings (source, target, or the languages) says what the columns are; without one,
    they are what `columns` says. Between fields stands a comma, a semicolon or a tab.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: with file and line: another number of columns, a field that is not one line of text.
    """
    with closing(lines_of(path)) as lines:
        first = next(lines, None)
        if first is None:
            return
        delimiter = _delimiter(first, columns, languages)
        rows = csv.reader((f"{line}\n" for line in chain([first], lines)), delimiter=delimiter, strict=True)
        names: Sequence[str] | None = None
        while (row := _next_row(rows, str(path))) is not None:
            if names is None:
                names, is_heading = _names(row, columns, languages, f"{path}:1")
                if is_heading:
                    continue
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path}:{rows.line_num}"
            if len(row) != len(names):
                raise DataError(f"{place}: {_another_width(row, names)}")
            cells = [check_text(cell, name, place) for cell, name in zip(row, names, strict=True)]
            yield pair_of_cells(cells, names, feature_separator, str(path), rows.line_num)


def read_translation_memory(
    path: str | Path, languages: tuple[str, str] | None = None
) -> Iterator[SentencePair]:
    """The pairs of a TMX file; units that lack one of the languages are left out.

    Formatting codes are left out of the text, and line breaks in it become spaces.

    Args:
        path: Also compressed, with a name in `.gz`.
        languages: Source and target, as in `("en", "de-AT")`; `en` also means `en-GB`. None: the source
            is what the header says, or the first language; the target is the only other one.

    Raises:
        UsageError, StorageError: as `open_input`.
        DataError: with file and line: not XML, or more than two languages and none named.
    """
    chosen = languages
    for line, header, unit in _units(path):
        spoken = [(_language_of(each), _segment(each)) for each in unit.iter("tuv")]
        if chosen is None and len(spoken) > 1:
            chosen = _two_languages([language for language, _ in spoken], header, f"{path}:{line}")
        if chosen is None:
            continue
        sources, targets = ([text for language, text in spoken if _is(language, side)] for side in chosen)
        if sources and targets:
            yield SentencePair(sources[0], targets[0], file=str(path), line=line, others=tuple(targets[1:]))


def _next_row(rows: Iterator[list[str]], name: str) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        line = getattr(rows, "line_num", 0)
        raise DataError(f"{name}:{line}: not CSV: {error}; check the quotation marks") from error


def _delimiter(line: str, columns: Sequence[str], languages: tuple[str, str] | None) -> str:
    """What splits the first line into headings, or into as many columns as expected."""
    for delimiter in DELIMITERS:
        cells = line.split(delimiter)
        if len(cells) > 1 and (len(cells) == len(columns) or _headings(cells, columns, languages)):
            return delimiter
    return next((delimiter for delimiter in DELIMITERS if delimiter in line), ",")


def _names(
    row: Sequence[str], columns: Sequence[str], languages: tuple[str, str] | None, place: str
) -> tuple[Sequence[str], bool]:
    """What each column is, and whether the first row only says so."""
    names = _headings(row, columns, languages)
    if names is not None:
        # Columns that were named by a setting are what it says, whatever stands above them.
        given = tuple(columns) != SIDES and len(columns) == len(row)
        return (columns if given else names), True
    if languages is not None:
        raise DataError(
            f"{place}: no columns {languages[0]!r} and {languages[1]!r} among {', '.join(map(repr, row))}; "
            'name those of the first row, as in --set \'data.languages=["en","de"]\''
        )
    if len(row) != len(columns):
        raise DataError(f"{place}: {_another_width(row, columns)}")
    return columns, False


def _headings(
    row: Sequence[str], columns: Sequence[str], languages: tuple[str, str] | None
) -> list[str] | None:
    """What each column is where a row is one of headings; None where it is not."""
    cells = [cell.strip().strip('"').strip().lower() for cell in row]
    if languages is not None:
        sides = {name.lower(): side for name, side in zip(languages, SIDES, strict=True)}
        names = [sides.get(cell, FEATURES if cell == FEATURES else IGNORED) for cell in cells]
    else:
        names = [
            next((name for name, known in _HEADINGS.items() if known.fullmatch(cell)), IGNORED)
            for cell in cells
        ]
    if names.count("source") == 1 and "target" in names:
        return names
    are_languages = len(set(cells)) == len(cells) == len(columns) and all(map(_LANGUAGE.fullmatch, cells))
    return list(columns) if are_languages and languages is None else None


def _another_width(row: Sequence[str], names: Sequence[str]) -> str:
    example = ",".join(
        f'"{name}"' for name in [*names, *[IGNORED] * max(len(row) - len(names), 0)][: len(row)]
    )
    return (
        f"{len(row)} column{'s' * (len(row) != 1)}, expected {len(names)} ({', '.join(names)}); say in the "
        f"first row what they are (source, target), or with --set 'data.columns=[{example}]' (- is not read)"
    )


def _units(path: str | Path) -> Iterator[tuple[int, str, ElementTree.Element]]:
    """Each unit with the line that it ends at and the header's source language."""
    parser: ElementTree.XMLPullParser[ElementTree.Element] = ElementTree.XMLPullParser(("start", "end"))
    header, number = "", 0
    body: ElementTree.Element | None = None
    stream = open_input(path)
    try:
        while raw := stream.readline(LINE_LIMIT):
            number += raw.endswith(b"\n")
            parser.feed(raw)
            for event, element in cast("Iterator[tuple[str, ElementTree.Element]]", parser.read_events()):
                if element.tag == "header":
                    header = element.get("srclang", "")
                elif element.tag == "body":
                    body = element
                elif element.tag == "tu" and event == "end":
                    yield max(number, 1), header, element
                    if body is not None:
                        body.clear()  # or all units would stay in memory
        parser.close()
    except ElementTree.ParseError as error:
        raise DataError(f"{path}:{error.position[0]}: not TMX: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}:{number + 1}: damaged gzip data: {error}") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    finally:
        stream.close()


def _language_of(variant: ElementTree.Element) -> str:
    return variant.get(_XML_LANGUAGE) or variant.get("lang") or ""


def _segment(variant: ElementTree.Element) -> str:
    segment = variant.find("seg")
    return "" if segment is None else re.sub(r"\s*[\r\n]\s*", " ", "".join(_texts(segment))).strip()


def _texts(element: ElementTree.Element) -> Iterator[str]:
    """The text in an element, that of formatting codes left out."""
    if element.tag not in _CODES:
        yield element.text or ""
        for child in element:
            yield from _texts(child)
            yield child.tail or ""


def _is(language: str, wanted: str) -> bool:
    """`en-GB` is `en`, but not the other way round."""
    language, wanted = (each.lower().replace("_", "-") for each in (language, wanted))
    return language == wanted or language.startswith(f"{wanted}-")


def _two_languages(found: Sequence[str], header: str, place: str) -> tuple[str, str]:
    distinct = list(dict.fromkeys(found))
    source = next((each for each in distinct if header and _is(each, header)), distinct[0])
    others = [each for each in distinct if each != source]
    if len(others) != 1:
        example = ",".join(f'"{each}"' for each in [source, *others, source][:2])
        raise DataError(
            f"{place}: the languages {', '.join(distinct)}, expected a source and a target; name them, as in "
            f"--set 'data.languages=[{example}]'"
        )
    return source, others[0]


def require_files(paths: Sequence[str | Path]) -> None:
    """Refuse a single file of pairs beside others.

    Raises:
        UsageError: naming it.
    """
    for path in paths if len(paths) > 1 else ():
        if kind_of(path) in NAMED_SIDES:
            raise UsageError(
                f"{path}: such a file holds both sides, and stands alone; expected SRC TGT, line by line"
            )
