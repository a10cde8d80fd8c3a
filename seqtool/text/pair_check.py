"""Checking files of sentence pairs: counts, empty sides, uneven lengths, copies, leakage between files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from seqtool.errors import DataError, UsageError
from seqtool.text.pair_files import KINDS, headings_remark, kind_of, read_pairs
from seqtool.text.parallel import SentencePair

UNEVEN = 3.0  # a pair is uneven if its ratio of lengths differs from the median by more than this factor
PLACES_SHOWN = 3  # number of uneven pairs whose places are listed
Text = tuple[str, str, tuple[str, ...]]  # source, target, features


@dataclass(frozen=True)
class SideReport:
    """The source side or the target side of a part."""

    words: int  # separated by spaces
    characters: int
    distinct_characters: int
    empty: int  # number of empty lines
    longest: int  # characters in the longest line
    longest_at: str  # file:line


@dataclass(frozen=True)
class PartReport:
    """The contents of one part."""

    path: str  # the path, or two paths joined by "and"
    pairs: int
    source: SideReport
    target: SideReport
    empty: int  # pairs with an empty side
    ratio: float | None  # median of target characters per source character; None: no pair has both sides
    uneven: int  # pairs whose ratio differs from the median by more than the factor `UNEVEN`
    uneven_at: tuple[str, ...]  # the first few, file:line
    repeated: int  # pairs that occur earlier in the same part
    identical: int  # pairs whose target equals their source
    shared: dict[str, int]  # for each part before this one, the pairs that occur there too
    remark: str | None = None  # how the file was read, if that was decided by its look


@dataclass(frozen=True)
class PairsReport:
    """The contents of several parts."""

    files: tuple[PartReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"task": "translate", **asdict(self)}


def check_pairs(
    paths: Sequence[str | Path],
    columns: Sequence[str] = ("source", "target"),
    languages: tuple[str, str] | None = None,
) -> PairsReport:
    """Read pairs as a training run would, and report what is in them.

    Args:
        paths: Files of the parts, the training part first. A part is a source and a target file, aligned by
            line, or one file whose name ends in `.tsv`, `.csv`, `.jsonl` or `.tmx` (also with `.gz`). If
            there is only one file and its name ends otherwise, it is read as tab-separated columns.
        columns: What each column is, as in `pair_files.read_pairs`.
        languages: Names of source and target, as in `pair_files.read_pairs`.

    Raises:
        UsageError: a file does not exist, or a source file has no target file.
        DataError: a file does not consist of pairs (with file and line), or two files differ in length.
    """
    reports: list[PartReport] = []
    contents: list[Counter[Text]] = []
    for part in parts_of(paths):
        name = " and ".join(map(str, part))
        pairs = _complete(read_pairs(part, columns, languages), name)
        contents.append(Counter(map(_text, pairs)))
        report = _report(name, str(part[-1]), pairs, contents, [report.path for report in reports])
        reports.append(replace(report, remark=headings_remark(part, columns, languages)))
    return PairsReport(tuple(reports))


def parts_of(paths: Sequence[str | Path]) -> list[tuple[str | Path, ...]]:
    """Group files into parts of one or two files.

    Args:
        paths: The files, as in `check_pairs`.

    Raises:
        UsageError: a source file has no target file.

    >>> parts_of(["a.en", "a.de", "b.tsv"])
    [('a.en', 'a.de'), ('b.tsv',)]
    """
    if len(paths) == 1:
        return [(paths[0],)]
    result: list[tuple[str | Path, ...]] = []
    left = list(paths)
    while left:
        first = left.pop(0)
        if kind_of(first) is not None:
            result.append((first,))
        elif left and kind_of(left[0]) is None:
            result.append((first, left.pop(0)))
        else:
            known = ", ".join(f".{kind}" for kind in KINDS)
            raise UsageError(f"{first}: no target file after it; expected SRC TGT, or one file in {known}")
    return result


def _complete(pairs: Iterator[SentencePair], name: str) -> list[SentencePair]:
    found = []
    for pair in pairs:
        if pair.target is None:
            raise DataError(f"{pair.place}: no target; expected a source and a target")
        found.append(pair)
    if not found:
        raise DataError(f"{name}: no sentence pairs; expected at least one")
    return found


def _text(pair: SentencePair) -> Text:
    return pair.source, pair.target or "", pair.features


def _report(
    name: str,
    target_file: str,
    pairs: Sequence[SentencePair],
    contents: Sequence[Counter[Text]],
    earlier: Sequence[str],
) -> PartReport:
    """The report on the part of the last `contents`, compared with the parts before it."""
    own = contents[-1]
    lines = [pair.line for pair in pairs]
    usual, uneven = _uneven(pairs)
    return PartReport(
        path=name,
        pairs=len(pairs),
        source=_side([pair.source for pair in pairs], pairs[0].file, lines),
        target=_side([pair.target or "" for pair in pairs], target_file, lines),
        empty=sum(pair.has_empty_side for pair in pairs),
        ratio=usual,
        uneven=len(uneven),
        uneven_at=tuple(pair.place for pair in islice(uneven, PLACES_SHOWN)),
        repeated=own.total() - len(own),
        identical=sum(pair.source == pair.target for pair in pairs if not pair.has_empty_side),
        shared={
            path: sum(count for text, count in own.items() if text in other)
            for path, other in zip(earlier, contents, strict=False)
        },
    )


def _side(texts: Sequence[str], file: str, lines: Sequence[int]) -> SideReport:
    longest = max(range(len(texts)), key=lambda position: len(texts[position]))
    return SideReport(
        words=sum(len(text.split()) for text in texts),
        characters=sum(map(len, texts)),
        distinct_characters=len({character for text in texts for character in text}),
        empty=sum(not text.strip(" \t") for text in texts),
        longest=len(texts[longest]),
        longest_at=f"{file}:{lines[longest]}",
    )


def _uneven(pairs: Sequence[SentencePair]) -> tuple[float | None, list[SentencePair]]:
    """The median ratio of the lengths in characters, and the pairs whose ratio is far from it.

    The median is the standard because ratios differ between languages: Chinese takes a third of the
    characters of English.
    """
    full = [pair for pair in pairs if not pair.has_empty_side]
    ratios = [len(pair.target or "") / len(pair.source) for pair in full]
    if not ratios:
        return None, []
    usual = median(ratios)
    limit = math.log(UNEVEN)
    far = [pair for pair, ratio in zip(full, ratios, strict=True) if abs(math.log(ratio / usual)) > limit]
    return usual, far
