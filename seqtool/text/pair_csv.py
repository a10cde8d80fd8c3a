"""Reading sentence pairs from CSV: which delimiter, which columns, and whether the first row names them.

source,target                        with headings or without
"Ada lives, too.",Ada lebt auch.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from seqtool.errors import DataError, counted
from seqtool.text.headings import (
    IGNORED,
    PREVIEW,
    REMARK,
    are_headings,
    columns_example,
    languages_example,
    likely_sides,
    look_like_headings,
    name_columns,
)
from seqtool.text.lines import lines_of
from seqtool.text.parallel import FEATURES, SIDES, SentencePair, check_text, pair_of_cells

DELIMITERS = (",", ";", "\t")  # which one a spreadsheet writes depends on its locale
# Usual names of the columns, in lower case; several targets are several references.
_HEADINGS = {
    "source": re.compile(r"source|src|source[ _]text|input"),
    "target": re.compile(r"(target|tgt|trg|target[ _]text|reference|translation|output)[ _-]?\d*"),
    FEATURES: re.compile(r"features"),
}
Row = tuple[int, list[str]]  # line where the row ends, and its cells


class Layout(NamedTuple):
    """What the columns of a file are."""

    names: Sequence[str]
    has_headings: bool = False
    guessed: bool = False  # whether the first row is taken for headings by its look


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
    with closing(_rows(path, columns, languages)) as rows:
        preview = _first(rows)
        if not preview:
            return
        layout = _layout([row for _, row in preview], columns, languages, f"{path}:1")
        names, width = layout.names, len(layout.names)
        for number, row in chain(preview[layout.has_headings :], rows):
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path}:{number}"
            if len(row) != width:
                raise DataError(
                    f"{place}: {counted(len(row), 'cell')}, the first row has {width}; check the quotation "
                    "marks and separators"
                )
            cells = [check_text(cell, name, place) for cell, name in zip(row, names, strict=True)]
            yield pair_of_cells(cells, names, feature_separator, str(path), number)


def csv_headings_remark(
    path: str | Path, columns: Sequence[str], languages: tuple[str, str] | None
) -> str | None:
    """A remark if the first row is taken for headings by its look (arguments of `read_pair_csv`)."""
    with closing(_rows(path, columns, languages)) as rows:
        preview = [row for _, row in _first(rows)]
    if not preview or not _layout(preview, columns, languages, f"{path}:1").guessed:
        return None
    return f"{path}: {REMARK}: {', '.join(preview[0])}"


def _rows(
    path: str | Path, columns: Sequence[str], languages: tuple[str, str] | None
) -> Generator[Row, None, None]:
    """The rows with the lines where they end."""
    with closing(lines_of(path)) as lines:
        before = []  # blank lines, and the first one that is not
        for line in lines:
            before.append(line)
            if line.strip():
                break
        delimiter = _delimiter(before[-1] if before else "", columns, languages)
        rows = csv.reader((f"{line}\n" for line in chain(before, lines)), delimiter=delimiter, strict=True)
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise DataError(
                    f"{path}:{rows.line_num}: not CSV: {error}; check the quotation marks"
                ) from error
            if row is None:
                return
            yield rows.line_num, row


def _first(rows: Iterator[Row]) -> list[Row]:
    """The rows that decide what the columns are, from the first one that is not blank."""
    found: list[Row] = []
    for number, row in rows:
        if found or any(cell.strip() for cell in row):
            found.append((number, row))
        if len(found) == PREVIEW:
            break
    return found


def _delimiter(line: str, columns: Sequence[str], languages: tuple[str, str] | None) -> str:
    """The delimiter that splits the first line into headings, or into the expected number of columns."""
    for delimiter in DELIMITERS:
        cells = line.split(delimiter)
        if len(cells) > 1 and (len(cells) == len(columns) or _named(cells, languages)):
            return delimiter
    return next((delimiter for delimiter in DELIMITERS if delimiter in line), ",")


def _layout(
    rows: Sequence[Sequence[str]], columns: Sequence[str], languages: tuple[str, str] | None, place: str
) -> Layout:
    """What the columns are, from the first rows; DataError if neither headings nor `columns` say so."""
    first = rows[0]
    names = _named(first, languages)
    # If a setting names the columns, it takes precedence over the headings.
    given = tuple(columns) != SIDES and len(columns) == len(first)
    if names is not None:
        return Layout(columns if given else names, has_headings=True)
    if languages is not None:
        raise DataError(f"{place}: {_without_languages(rows, languages)}")
    if len(first) != len(columns):
        raise DataError(f"{place}: {_another_width(rows, columns)}")
    guessed = are_headings(rows)
    return Layout(columns, has_headings=guessed, guessed=guessed)


def _named(row: Sequence[str], languages: tuple[str, str] | None) -> list[str] | None:
    """What each column is according to a row with the known headings; None if they are not there."""
    cells = [cell.strip().strip('"').strip().lower() for cell in row]
    if languages is not None:
        sides = {name.lower(): side for name, side in zip(languages, SIDES, strict=True)}
        names = [sides.get(cell, FEATURES if cell == FEATURES else IGNORED) for cell in cells]
    else:
        names = [
            next((name for name, known in _HEADINGS.items() if known.fullmatch(cell)), IGNORED)
            for cell in cells
        ]
    return names if names.count("source") == 1 and "target" in names else None


def _without_languages(rows: Sequence[Sequence[str]], languages: tuple[str, str]) -> str:
    first = rows[0]
    found = f"no columns {languages[0]!r} and {languages[1]!r} among {', '.join(map(repr, first))}"
    if len(first) < len(SIDES):
        return f"{found}; expected commas, semicolons or tabs between the columns"
    if look_like_headings(rows):
        return f"{found}; name two of them: {_two_of(rows)}"
    return (
        f"{found}; if the first row does not name the columns, name them: "
        f"{columns_example(name_columns(rows, SIDES))}"
    )


def _another_width(rows: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    first = rows[0]
    width = counted(len(first), "column")
    if len(first) < len(columns):
        expected = f"{len(columns)} ({', '.join(columns)})"
        return f"{width}, expected {expected}, separated by commas, semicolons or tabs"
    if look_like_headings(rows) and tuple(columns) == SIDES:
        return f"{width} ({', '.join(first)}), expected source and target; name the two: {_two_of(rows)}"
    return (
        f"{width}, expected {len(columns)} ({', '.join(columns)}); name them, with - for one that is not "
        f"read: {columns_example(name_columns(rows, columns))}"
    )


def _two_of(rows: Sequence[Sequence[str]]) -> str:
    """The option that names the two headings that are most likely source and target."""
    source, target = likely_sides(rows, headings=True)
    return languages_example(rows[0][source].strip(), rows[0][target].strip())
