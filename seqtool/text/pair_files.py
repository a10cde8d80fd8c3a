"""Reading sentence pairs from files of any layout: one function for all of them, and the reader of TMX.

<tu><tuv xml:lang="en"><seg>Ada lives.</seg></tuv>                     TMX 1.4
    <tuv xml:lang="de"><seg>Ada lebt.</seg></tuv></tu>
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, cast
from xml.etree import ElementTree

from seqtool.errors import DataError, StorageError, UsageError
from seqtool.text.headings import languages_example
from seqtool.text.lines import LINE_LIMIT, open_input
from seqtool.text.pair_csv import csv_headings_remark, read_pair_csv
from seqtool.text.parallel import (
    SIDES,
    SentencePair,
    column_headings_remark,
    columns_with_features,
    read_aligned,
    read_pair_columns,
    read_pair_objects,
)

Kind = Literal["tsv", "csv", "jsonl", "tmx"]
KINDS: tuple[Kind, ...] = ("tsv", "csv", "jsonl", "tmx")
NAMED_SIDES: tuple[Kind, ...] = ("csv", "jsonl", "tmx")  # layouts whose sides `languages` can name
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


def columns_of(path: str | Path, feature_separator: str = ";") -> tuple[str, ...] | None:
    """What the columns of a file of pairs are, if it shows that there is one of features; otherwise None.

    Only tab-separated columns, which have no names, are looked at.

    Args:
        path: The file.
        feature_separator: Text between two features.
    """
    if kind_of(path) not in (None, "tsv") or not Path(path).is_file():
        return None
    return columns_with_features(path, feature_separator)


def headings_remark(
    paths: Sequence[str | Path], columns: Sequence[str] = SIDES, languages: tuple[str, str] | None = None
) -> str | None:
    """A remark if `read_pairs` takes the first row of a file for headings by its look; otherwise None.

    Args:
        paths: The files, as in `read_pairs`.
        columns: What each column is.
        languages: Names of source and target.
    """
    kind = kind_of(paths[0])
    if len(paths) > 1 or kind in ("jsonl", "tmx") or not Path(paths[0]).is_file():
        return None
    if kind == "csv":
        return csv_headings_remark(paths[0], columns, languages)
    return column_headings_remark(paths[0], columns)


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
            f"{languages_example(first, second)}"
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
