"""Sentence pairs from line-aligned files, tab-separated columns and JSON lines, one at a time.

    Ada lives in Paris.      |  Ada lebt in Paris.                     two files, or two columns
    {"source": "gehen", "target": "ging", "features": ["V", "PST"]}
    {"source": "Hello.", "target": ["Hallo.", "Guten Tag."]}            several references
    {"translation": {"en": "Ada lives.", "de": "Ada lebt."}}            where languages are given

Text stays as it is, spaces around it included, and a side may be empty: what to do with such
pairs is for those who read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from seqtool.errors import DataError
from seqtool.text.lines import lines_of

FEATURES = "features"  # key of JSON lines, and name of a column
IGNORED = "-"  # name of a column that is not read


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A sentence and its translation, with the symbols that are read with the source.

    `target` is None where only the source is known; `others` are further translations of it that are
    right, too. `file` and `line` (from 1) say where the pair stands; of several files that of the source.
    """

    source: str
    target: str | None = None
    features: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    others: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """The target and its alternatives; an unknown target counts as empty."""
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
    """The pairs of files of which line n of one translates line n of the other.

    Args:
        source: The sources.
        targets: Their translations; of several files each has a reference of its own.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: at the end, if the files have different numbers of lines.
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
                f"{source}: {lengths[0]} lines, but {target}: {length}; expected as many, "
                "line n of one for line n of the other"
            )


def read_pair_columns(
    path: str | Path, columns: Sequence[str] = ("source", "target"), feature_separator: str = ";"
) -> Iterator[SentencePair]:
    """The pairs of a file of columns between tabs; a blank line is a pair with two empty sides.

    A first line that names the columns as `columns` does is no pair.

    Args:
        path: Also compressed, with a name in `.gz`.
        columns: What each column is: source, target, features, or `-` for one that is not read. Several
            targets are several references.
        feature_separator: What stands between two features.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: with file and line: another number of columns, an empty feature.
    """
    with closing(lines_of(path)) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                _require_columns(line, columns, f"{path}:1")
                if _is_heading(line, columns):
                    continue
            yield _from_columns(line, columns, feature_separator, str(path), number)


def read_pair_objects(path: str | Path, languages: tuple[str, str] | None = None) -> Iterator[SentencePair]:
    """The pairs of a file of JSON objects; blank lines are skipped.

    Args:
        path: Also compressed, with a name in `.gz`.
        languages: Keys of source and target where they are not called so. They may stand in an
            object below the key `translation`, as data sets of the hub have them.

    Raises:
        UsageError, StorageError, DataError: as `lines_of`.
        DataError: with file and line: not a JSON object, no source, a side that is not text.
    """
    keys = languages or ("source", "target")
    with closing(lines_of(path)) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip(" \t"):
                yield _from_object(line, keys, str(path), number)


def parse_source(
    line: str, columns: Sequence[str], feature_separator: str, *, file: str = "", number: int = 0
) -> SentencePair:
    """A line to be translated: the source alone or, where the columns have features, with these.

    Without a column of features the whole line is the source, tabs included. With one, source and
    features stand between tabs in the order of the columns; the features may be left out.

    Args:
        line: Without its end.
        columns: As in `read_pair_columns`.
        feature_separator: What stands between two features.
        file: What the input is called in messages.
        number: Of the line.

    Raises:
        DataError: more columns than these, or an empty feature.

    >>> parse_source("gehen\\tV;PST", ["source", "target", "features"], ";").features
    ('V', 'PST')
    """
    names = [name for name in columns if name in ("source", FEATURES)]
    if FEATURES not in names or "\t" not in line:
        return SentencePair(line, file=file, line=number)
    return _from_columns(line, names, feature_separator, file, number)


def pair_of_cells(
    cells: Sequence[str], columns: Sequence[str], feature_separator: str, file: str, line: int
) -> SentencePair:
    """The pair of a row; as many cells as columns, which are those of `read_pair_columns`.

    Raises:
        DataError: an empty feature.
    """
    named: dict[str, list[str]] = {}
    for name, cell in zip(columns, cells, strict=True):
        named.setdefault(name, []).append(cell)
    features = "".join(named.get(FEATURES, [])).strip(" ")
    found = check_features(features.split(feature_separator) if features else [], FEATURES, f"{file}:{line}")
    return _with_targets(named["source"][0], named.get("target", []), features=found, file=file, line=line)


def check_text(value: Any, key: str, place: str) -> str:
    """A value of JSON or of a table, if it can be one line of text; `place` heads the message.

    Raises:
        DataError: not text, or with a line end, a NUL or half of a surrogate pair in it.
    """
    if not isinstance(value, str):
        raise DataError(f"{place}: {key!r} is {value!r}; expected text")
    if "\n" in value or "\0" in value:
        raise DataError(f"{place}: a line end or a NUL in {key!r}; expected one line of text")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{place}: half of a surrogate pair in {key!r}; expected text")
    return value


def check_features(values: Any, key: str, place: str) -> tuple[str, ...]:
    """Features without the spaces around them; `place` heads the message.

    Raises:
        DataError: not a list of texts, or an empty one among them.
    """
    if not isinstance(values, list):
        raise DataError(f"{place}: {key!r} is {values!r}; expected a list of texts")
    features = tuple(check_text(value, key, place).strip(" ") for value in values)
    if not all(features):
        raise DataError(f"{place}: an empty feature in {values}; expected text between the separators")
    return features


def _with_targets(source: str, targets: Sequence[str], **more: Any) -> SentencePair:
    """A pair with its further references, of which an empty one says nothing."""
    others = tuple(text for text in targets[1:] if text.strip(" \t"))
    return SentencePair(source, targets[0] if targets else None, others=others, **more)


def _is_heading(line: str, columns: Sequence[str]) -> bool:
    """Whether a line names the columns, rather than being one of them."""
    cells = [cell.strip().lower() for cell in line.split("\t")]
    return len(cells) == len(columns) and all(
        name in (IGNORED, cell) for name, cell in zip(columns, cells, strict=True)
    )


def _from_columns(line: str, columns: Sequence[str], separator: str, file: str, number: int) -> SentencePair:
    if not line.strip(" \t"):
        return SentencePair("", "" if "target" in columns else None, file=file, line=number)
    cells = line.split("\t")
    if len(cells) != len(columns):
        raise DataError(
            f"{file}:{number}: {len(cells)} column{'s' * (len(cells) != 1)}, expected {len(columns)}; "
            f"check that a tab stands between {', '.join(columns)}"
        )
    return pair_of_cells(cells, columns, separator, file, number)


def _require_columns(line: str, columns: Sequence[str], place: str) -> None:
    """Refuse a first line with more columns than were named: the others have them, too."""
    found = line.count("\t") + 1
    if found > len(columns):
        example = ",".join(f'"{name}"' for name in [*columns, *[IGNORED] * (found - len(columns))])
        raise DataError(
            f"{place}: {found} columns, expected {len(columns)} ({', '.join(columns)}); say what they are, "
            f"- for one that is not read: --set 'data.columns=[{example}]'"
        )


def _from_object(line: str, keys: tuple[str, str], file: str, number: int) -> SentencePair:
    place = f"{file}:{number}"
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object a line") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object; expected one object a line")
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
