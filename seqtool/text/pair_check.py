"""What is in files of sentence pairs, and what is odd about them: empty or uneven ones, copies, leakage."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from seqtool.errors import DataError, UsageError
from seqtool.text.pair_files import KINDS, kind_of, read_pairs
from seqtool.text.parallel import SentencePair

UNEVEN = 3.0  # times the usual ratio of the lengths
PLACES_SHOWN = 3  # of uneven pairs
Text = tuple[str, str, tuple[str, ...]]  # source, target, features


@dataclass(frozen=True)
class SideReport:
    """The sources or the targets of a part."""

    words: int  # what stands between spaces
    characters: int
    distinct_characters: int
    empty: int  # lines
    longest: int  # characters of the longest line
    longest_at: str  # file:line


@dataclass(frozen=True)
class PartReport:
    """What one part holds."""

    path: str  # or two, with `and` between them
    pairs: int
    source: SideReport
    target: SideReport
    empty: int  # pairs with an empty side
    ratio: float | None  # target characters a source character, the median; None: all have an empty side
    uneven: int  # pairs whose ratio is more than `UNEVEN` times another than that
    uneven_at: tuple[str, ...]  # the first ones, file:line
    repeated: int  # pairs that stand earlier in the same part
    identical: int  # pairs whose target is their source
    shared: dict[str, int]  # pairs that also stand in each part before this one


@dataclass(frozen=True)
class PairsReport:
    """What some parts hold together."""

    files: tuple[PartReport, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"task": "translate", **asdict(self)}


def check_pairs(
    paths: Sequence[str | Path],
    columns: Sequence[str] = ("source", "target"),
    languages: tuple[str, str] | None = None,
) -> PairsReport:
    """Read pairs as a training run would and say what is in them.

    Args:
        paths: Parts, the training part first: each is two files, source and target line by line, or
            one whose name ends in `.tsv`, `.csv`, `.jsonl` or `.tmx` (also `.gz`). A single file with
            another name is of columns.
        columns: What each column is, as in `pair_files.read_pairs`.
        languages: Names of source and target, as in `pair_files.read_pairs`.

    Raises:
        UsageError: a file is missing, or has no partner.
        DataError: with file and line: not pairs, or files of different lengths.
    """
    reports: list[PartReport] = []
    contents: list[Counter[Text]] = []
    for part in parts_of(paths):
        name = " and ".join(map(str, part))
        pairs = _complete(read_pairs(part, columns, languages), name)
        contents.append(Counter(map(_text, pairs)))
        reports.append(_report(name, str(part[-1]), pairs, contents, [report.path for report in reports]))
    return PairsReport(tuple(reports))


def parts_of(paths: Sequence[str | Path]) -> list[tuple[str | Path, ...]]:
    """Files as parts of one or two.

    Raises:
        UsageError: one has no partner.

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
            raise UsageError(f"{first}: no target beside it; expected SRC TGT, or a file in {known}")
    return result


def _complete(pairs: Iterator[SentencePair], name: str) -> list[SentencePair]:
    found = []
    for pair in pairs:
        if pair.target is None:
            raise DataError(f"{pair.place}: no target; a pair needs one")
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
    """The report of the last of `contents`, compared with those before it."""
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
    """The usual ratio of the lengths in characters, and the pairs that are far from it.

    What is usual is the median, as it differs between languages: Chinese takes a third of the
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
