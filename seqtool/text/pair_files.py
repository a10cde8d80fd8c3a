"""Reading sentence pairs from files of any layout: one function for all of them, and the CSV and TMX readers.

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

from seqtool.errors import DataError, StorageError, UsageError, counted
from seqtool.text.lines import LINE_LIMIT, lines_of, open_input
from seqtool.text.parallel import (
    FEATURES,
    IGNORED,
    SentencePair,
    check_text,
    columns_example,
    pair_of_cells,
    read_aligned,
    read_pair_columns,
    read_pair_objects,
)

Kind = Literal["tsv", "csv", "jsonl", "tmx"]
KINDS: tuple[Kind, ...] = ("tsv", "csv", "jsonl", "tmx")
NAMED_SIDES: tuple[Kind, ...] = ("csv", "jsonl", "tmx")  # layouts whose sides `languages` can name
SIDES = ("source", "target")
DELIMITERS = (",", ";", "\t")  # of CSV: which one a spreadsheet writes depends on its locale

# Usual names of the columns, in lower case; several targets are several references.
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
    """The layout of a single file of pairs by the ending of its name (also with `.gz`); None if unknown.

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
    """The pairs of one or several files.

    Args:
        paths: A source file and one or more target files, aligned by line; or one file, whose layout is
            known by its name: `.csv`, `.jsonl`, `.tmx`, and tab-separated columns for any other.
        columns: What each column is, as in `read_pair_columns`.
        languages: Names of source and target: keys in JSON, headings in CSV, languages in TMX.
        feature_separator: Text between two features.

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

    A first row of headings (source and target, or the languages) names the columns; without one, `columns`
    does. Fields are separated by commas, semicolons or tabs.

    Args:
        path: The file; a name in `.gz` is decompressed.
        columns: What each column is, as in `read_pair_columns`.
        languages: Headings of source and target.
        feature_separator: Text between two features.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: a wrong number of columns, or a field of several lines (with file and line).
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
    """The pairs of a TMX file; units that lack one of the two languages are left out.

    Formatting codes are removed from the text, and line breaks become spaces.

    Args:
        path: The file; a name in `.gz` is decompressed.
        languages: Source and target language, such as `("en", "de-AT")`; `en` also matches `en-GB`. None: the
            source is the language that the header names, or the first one; the target is the only other one.

    Raises:
        UsageError, StorageError: as `open_input`.
        DataError: not XML, or more than two languages without `languages` (with file and line).
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
    """The delimiter that splits the first line into headings, or into the expected number of columns."""
    for delimiter in DELIMITERS:
        cells = line.split(delimiter)
        if len(cells) > 1 and (len(cells) == len(columns) or _headings(cells, columns, languages)):
            return delimiter
    return next((delimiter for delimiter in DELIMITERS if delimiter in line), ",")


def _names(
    row: Sequence[str], columns: Sequence[str], languages: tuple[str, str] | None, place: str
) -> tuple[Sequence[str], bool]:
    """What each column is, and whether the first row is a row of headings."""
    names = _headings(row, columns, languages)
    if names is not None:
        # If a setting names the columns, it takes precedence over the headings.
        given = tuple(columns) != SIDES and len(columns) == len(row)
        return (columns if given else names), True
    if languages is not None:
        raise DataError(
            f"{place}: no columns {languages[0]!r} and {languages[1]!r} among {', '.join(map(repr, row))}; "
            'name two of them: --set \'data.languages=["en","de"]\' (in `data check`: --languages en,de)'
        )
    if len(row) != len(columns):
        raise DataError(f"{place}: {_another_width(row, columns)}")
    return columns, False


def _headings(
    row: Sequence[str], columns: Sequence[str], languages: tuple[str, str] | None
) -> list[str] | None:
    """What each column is according to a row of headings; None if the row is not one."""
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
    return (
        f"{counted(len(row), 'column')}, expected {len(names)} ({', '.join(names)}); name them in "
        f"the first row (source, target), or, with - for one that is not read, with "
        f"{columns_example(names, len(row))}"
    )


def _units(path: str | Path) -> Iterator[tuple[int, str, ElementTree.Element]]:
    """Each translation unit with the line where it ends and the source language of the header."""
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
                        body.clear()  # otherwise all units would stay in memory
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
    """The text of an element without that of formatting codes."""
    if element.tag not in _CODES:
        yield element.text or ""
        for child in element:
            yield from _texts(child)
            yield child.tail or ""


def _is(language: str, wanted: str) -> bool:
    """True if a language is the wanted one or a variety of it: `en-GB` is `en`, but `en` is not `en-GB`."""
    language, wanted = (each.lower().replace("_", "-") for each in (language, wanted))
    return language == wanted or language.startswith(f"{wanted}-")


def _two_languages(found: Sequence[str], header: str, place: str) -> tuple[str, str]:
    distinct = list(dict.fromkeys(found))
    source = next((each for each in distinct if header and _is(each, header)), distinct[0])
    others = [each for each in distinct if each != source]
    if len(others) != 1:
        first, second = [source, *others, source][:2]
        raise DataError(
            f"{place}: the languages {', '.join(distinct)}, expected a source and a target; name them: "
            f'--set \'data.languages=["{first}","{second}"]\' (in `data check`: --languages {first},{second})'
        )
    return source, others[0]


def require_files(paths: Sequence[str | Path]) -> None:
    """Refuse a file that holds both sides of pairs among several files.

    Raises:
        UsageError: there is such a file; the message names it.
    """
    for path in paths if len(paths) > 1 else ():
        if kind_of(path) in NAMED_SIDES:
            raise UsageError(
                f"{path}: such a file holds both sides and must be given alone; "
                "expected SRC TGT, line by line"
            )
