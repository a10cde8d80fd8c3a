"""Reading sentence pairs from line-aligned files, tab-separated columns and JSON lines, one at a time.

    Ada lives in Paris.      |  Ada lebt in Paris.                     two files, or two columns
    {"source": "gehen", "target": "ging", "features": ["V", "PST"]}
    {"source": "Hello.", "target": ["Hallo.", "Guten Tag."]}            several references
    {"translation": {"en": "Ada lives.", "de": "Ada lebt."}}            if languages are given

Text stays as it is, including outer spaces, and a side may be empty: the caller decides what to do with such
pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from seqtool.errors import DataError, counted
from seqtool.text.headings import (
    IGNORED,
    PREVIEW,
    REMARK,
    are_headings,
    columns_example,
    hold_features,
    name_columns,
)
from seqtool.text.lines import lines_of

SIDES = ("source", "target")
FEATURES = "features"  # key in JSON lines, and name of a column


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A sentence and its translation.

    Attributes:
        source: The source sentence.
        target: Its translation; None if only the source is known.
        features: Symbols that the model reads together with the source.
        file: File of the pair, for messages; that of the source if there are several.
        line: Line of the pair in it, from 1.
        others: Further correct translations of the source.
    """

    source: str
    target: str | None = None
    features: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    others: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """The target and the further translations; an unknown target counts as empty."""
        return (self.target or "", *self.others)

    @property
    def place(self) -> str:
        """`file:line`, for messages."""
        return f"{self.file}:{self.line}"

    @property
    def has_empty_side(self) -> bool:
        """True if the source or a known target is blank."""
        return not self.source.strip(" \t") or (self.target is not None and not self.target.strip(" \t"))


def read_aligned(source: str | Path, *targets: str | Path) -> Iterator[SentencePair]:
    """The pairs of line-aligned files: line n of each target file translates line n of the source file.

    Args:
        source: File of the source sentences.
        targets: File of their translations; several files give several references.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: the files have different numbers of lines (raised at the end).
    """
    with ExitStack() as stack:
        streams = [stack.enter_context(closing(lines_of(path))) for path in (source, *targets)]
        lengths = [0] * len(streams)
        for lines in zip_longest(*streams):
            lengths = [length + (line is not None) for length, line in zip(lengths, lines, strict=True)]
            if None not in lines:
                yield _with_targets(lines[0], lines[1:], file=str(source), line=lengths[0])
    for target, length in zip(targets, lengths[1:], strict=True):
        if length != lengths[0]:
            raise DataError(
                f"{source}: {lengths[0]:,} lines, but {target}: {length:,}; expected equally many, "
                "line n of one translating line n of the other"
            )


def read_pair_columns(
    path: str | Path, columns: Sequence[str] = SIDES, feature_separator: str = ";"
) -> Iterator[SentencePair]:
    """The pairs of a file of tab-separated columns; a blank line is a pair with two empty sides.

    A first line of headings is skipped: the same names as in `columns`, or `headings.are_headings`.

    Args:
        path: The file; a name in `.gz` is decompressed.
        columns: What each column is: source, target, features, or `-` for one that is not read. Several
            targets are several references.
        feature_separator: Text between two features.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: a wrong number of columns, or an empty feature (with file and line).
    """
    with closing(lines_of(path)) as lines:
        preview = list(islice(lines, PREVIEW))
        rows = [line.split("\t") for line in preview]
        _require_columns(rows, columns, f"{path}:1")
        start = int(_are_these_columns(rows, columns) or _guessed(rows, columns))
        for number, line in enumerate(chain(preview[start:], lines), start + 1):
            yield parse_columns(line, columns, feature_separator, str(path), number)


def columns_with_features(path: str | Path, feature_separator: str) -> tuple[str, ...] | None:
    """What the columns of a file are if there are three and one of them holds features; otherwise None.

    Args:
        path: The file of tab-separated columns.
        feature_separator: Text between two features.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
    """
    with closing(lines_of(path)) as lines:
        rows = [line.split("\t") for line in islice(lines, PREVIEW) if line.strip(" \t")]
    if not rows or any(len(row) != len(SIDES) + 1 for row in rows):
        return None
    found = [hold_features(cells, feature_separator) for cells in zip(*rows, strict=True)]
    if sum(found) != 1:
        return None
    sides = iter(SIDES)
    return tuple(FEATURES if holds else next(sides) for holds in found)


def column_headings_remark(path: str | Path, columns: Sequence[str]) -> str | None:
    """A remark if `read_pair_columns` takes the first line for headings by its look; otherwise None."""
    with closing(lines_of(path)) as lines:
        rows = [line.split("\t") for line in islice(lines, PREVIEW)]
    if _are_these_columns(rows, columns) or not _guessed(rows, columns):
        return None
    return f"{path}: {REMARK}: {', '.join(rows[0])}"


def read_pair_objects(path: str | Path, languages: tuple[str, str] | None = None) -> Iterator[SentencePair]:
    """The pairs of a file of JSON objects, one per line; blank lines are skipped.

    Args:
        path: The file; a name in `.gz` is decompressed.
        languages: Keys of source and target; None = `source` and `target`. The keys may also be inside an
            object under the key `translation`, as in data sets on the Hugging Face hub.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: not a JSON object, no source, or a side that is not text (with file and line).
    """
    keys = languages or ("source", "target")
    with closing(lines_of(path)) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip(" \t"):
                yield _from_object(line, keys, str(path), number)


def parse_source(
    line: str, columns: Sequence[str], feature_separator: str, *, file: str = "", number: int = 0
) -> SentencePair:
    """A line to translate: the source, with features if the columns include some.

    Without a column of features the whole line is the source, including tabs. With one, source and features
    are separated by a tab, in the order of the columns; the features may be left out.

    Args:
        line: The line, without its end.
        columns: What each column is, as in `read_pair_columns`.
        feature_separator: Text between two features.
        file: Name of the input for messages.
        number: Number of the line, from 1.

    Raises:
        DataError: there are too many columns, or a feature is empty.

    >>> parse_source("gehen\\tV;PST", ["source", "target", "features"], ";").features
    ('V', 'PST')
    """
    names = [name for name in columns if name in ("source", FEATURES)]
    if FEATURES not in names or "\t" not in line:
        return SentencePair(line, file=file, line=number)
    return parse_columns(line, names, feature_separator, file, number)


def pair_of_cells(
    cells: Sequence[str], columns: Sequence[str], feature_separator: str, file: str, line: int
) -> SentencePair:
    """The pair in a row of cells.

    Args:
        cells: One cell per column.
        columns: What each column is, as in `read_pair_columns`.
        feature_separator: Text between two features.
        file: File of the row.
        line: Line of the row, from 1.

    Raises:
        DataError: a feature is empty.
    """
    named: dict[str, list[str]] = {}
    for name, cell in zip(columns, cells, strict=True):
        named.setdefault(name, []).append(cell)
    features = "".join(named.get(FEATURES, [])).strip(" ")
    found = check_features(features.split(feature_separator) if features else [], FEATURES, f"{file}:{line}")
    return _with_targets(named["source"][0], named.get("target", []), features=found, file=file, line=line)


def check_text(value: Any, key: str, place: str) -> str:
    """The value, after checking that it is one line of text.

    Args:
        value: A value from JSON or from a table.
        key: Its key or column, for messages.
        place: `file:line` for messages.

    Raises:
        DataError: the value is not text, or contains a line end, a NUL or half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise DataError(f"{place}: {key!r} is {value!r}; expected text")
    if "\n" in value or "\0" in value:
        raise DataError(f"{place}: a line end or a NUL in {key!r}; expected one line of text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{place}: half of a surrogate pair in {key!r}; expected text")
    return value


def check_features(values: Any, key: str, place: str) -> tuple[str, ...]:
    """The features, without outer spaces.

    Args:
        values: A value from JSON or from a table.
        key: Its key or column, for messages.
        place: `file:line` for messages.

    Raises:
        DataError: the value is not a list of texts, or one of them is empty.
    """
    if not isinstance(values, list):
        raise DataError(f"{place}: {key!r} is {values!r}; expected a list of texts")
    features = tuple(check_text(value, key, place).strip(" ") for value in values)
    if not all(features):
        raise DataError(f"{place}: an empty feature in {values}; expected text between the separators")
    return features


def _with_targets(source: str, targets: Sequence[str], **more: Any) -> SentencePair:
    """A pair with its further references; those that are empty are left out."""
    others = tuple(text for text in targets[1:] if text.strip(" \t"))
    return SentencePair(source, targets[0] if targets else None, others=others, **more)


def _are_these_columns(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> bool:
    """Whether the first line consists of the names of the columns."""
    cells = [cell.strip().lower() for cell in rows[0]] if rows else []
    return len(cells) == len(columns) and all(
        name in (IGNORED, cell) for name, cell in zip(columns, cells, strict=True)
    )


def _guessed(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> bool:
    """Whether the first line is headings by its look."""
    return bool(rows) and len(rows[0]) == len(columns) and are_headings(rows)


def parse_columns(line: str, columns: Sequence[str], separator: str, file: str, number: int) -> SentencePair:
    """The pair in a line of tab-separated columns; that of a blank line has two empty sides.

    Args:
        line: The line, without its end.
        columns: What each column is, as in `read_pair_columns`.
        separator: Text between two features.
        file: Name of the file for messages.
        number: Number of the line, from 1.

    Raises:
        DataError: a wrong number of columns, or an empty feature.
    """
    if not line.strip(" \t"):
        return SentencePair("", "" if "target" in columns else None, file=file, line=number)
    cells = line.split("\t")
    if len(cells) != len(columns):
        raise DataError(
            f"{file}:{number}: {counted(len(cells), 'column')}, expected {len(columns)}; "
            + ("leave out all but" if len(cells) > len(columns) else "check that a tab stands between")
            + f" {', '.join(columns)}"
            + (", or give two files, SRC TGT" if number == 1 and len(cells) == 1 else "")
        )
    return pair_of_cells(cells, columns, separator, file, number)


def _require_columns(rows: Sequence[Sequence[str]], columns: Sequence[str], place: str) -> None:
    """Refuse a file whose first line has more columns than were named, and show how to name all."""
    if rows and len(rows[0]) > len(columns):
        raise DataError(
            f"{place}: {len(rows[0])} columns, expected {len(columns)} ({', '.join(columns)}); name them, "
            f"with - for one that is not read: {columns_example(name_columns(rows, columns))}"
        )


def _from_object(line: str, keys: tuple[str, str], file: str, number: int) -> SentencePair:
    place = f"{file}:{number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object per line") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object; expected one object per line")
    source, target = keys
    texts = value.get("translation", value)
    if not isinstance(texts, dict) or source not in texts:
        found = texts if isinstance(texts, dict) else value
        raise DataError(f"{place}: no {source!r} among {', '.join(map(repr, found))}; expected a pair")
    given = texts.get(target, [])
    return _with_targets(
        check_text(texts[source], source, place),
        [check_text(text, target, place) for text in (given if isinstance(given, list) else [given])],
        features=check_features(value.get(FEATURES, []), FEATURES, place),
        file=file,
        line=number,
    )
