"""A corpus score for each range of sentence lengths, with ranges that follow the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqtool.errors import DataError
from seqtool.evaluation.score import Score

MOST_RANGES = 6
LEAST_SENTENCES = 10  # per range on average, since a corpus score of fewer sentences says little


class LengthRow(NamedTuple):
    """The score of the sentences in one range of lengths."""

    label: str  # "7-9", or "7" where the range is a single length
    sentences: int
    value: float  # in the unit of the score


def score_by_length(score: Score, lengths: Sequence[int]) -> list[LengthRow]:
    """A corpus score for each range of lengths, for instance BLEU by the number of source words.

    Args:
        score: The score, of B sentences.
        lengths: Length of each sentence, at least 0, [B].

    Returns:
        One row per range of `length_ranges`, from the shortest sentences to the longest.

    Raises:
        DataError: the number of lengths is not the number of sentences.
    """
    if len(lengths) != score.sentences:
        raise DataError(
            f"{score.name}: {len(lengths)} lengths for {score.sentences} sentences; expected one per sentence"
        )
    values, rows = np.asarray(lengths), []
    for first, last in length_ranges(lengths):
        chosen = score.statistics[(first <= values) & (values <= last)]
        label = str(first) if first == last else f"{first}-{last}"
        rows.append(LengthRow(label, len(chosen), float(score.formula(chosen.sum(axis=0)))))
    return rows


def length_ranges(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of lengths, both ends included, with about equally many sentences each.

    There are at most six, and fewer if a range would have fewer than ten sentences on average. Sentences of
    equal length always fall into the same range.

    Args:
        lengths: Length of each sentence, at least 0, [B].

    >>> length_ranges([3] * 10 + [4] * 5 + [5] * 5 + [9] * 10)
    [(3, 3), (4, 5), (9, 9)]
    """
    left, ranges = len(lengths), min(MOST_RANGES, max(1, len(lengths) // LEAST_SENTENCES))
    found: list[tuple[int, int]] = []
    first, held = None, 0
    for length, count in sorted(Counter(lengths).items()):
        first, held = length if first is None else first, held + count
        # The remaining sentences are divided evenly among the remaining ranges.
        if len(found) < ranges - 1 and held >= left / (ranges - len(found)):
            found.append((first, length))
            first, held, left = None, 0, left - held
    if first is not None:
        found.append((first, max(lengths)))
    return found
