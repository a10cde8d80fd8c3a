"""Statistical significance of scores: bootstrap intervals, and paired tests between two systems.

Sentences are resampled, and the score's own formula is applied to the *sums* of their statistics: the score
of a resample is a corpus score, not a mean of sentence scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqtool.errors import DataError
from seqtool.evaluation.score import Array, Score

CELLS_AT_ONCE = 4_000_000  # largest number of resamples times sentences in memory at a time
ROUNDING = 1e-12  # differences smaller than this count as zero


@dataclass(frozen=True, slots=True)
class Interval:
    """The interval that contains the central scores of the resamples."""

    low: float
    high: float
    level: float  # fraction of the resamples inside, in (0, 1)
    samples: int  # number of resamples


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The result of a paired test of the difference `first - second`.

    Attributes:
        method: Name of the test.
        difference: The first system's score minus the second's.
        p_value: Two-sided p-value: probability of a difference at least this large, in either direction, if
            the systems are equally good.
        samples: Number of resamples, or of random assignments.
        interval: Bootstrap interval of the difference; None for randomisation.
        first_better: Fraction of the resamples in which the first system's score is higher, ties counting
            half; None for randomisation.
    """

    method: Literal["paired bootstrap", "approximate randomisation"]
    difference: float
    p_value: float
    samples: int
    interval: Interval | None = None
    first_better: float | None = None


def bootstrap_interval(score: Score, *, seed: int, samples: int = 1000, level: float = 0.95) -> Interval:
    """Percentile bootstrap interval of a corpus score (Efron and Tibshirani 1993, section 13.3).

    Args:
        score: The score, of at least one sentence.
        seed: Random seed; the same seed gives the same interval.
        samples: Number of resamples, at least 1.
        level: Fraction of the resamples inside the interval, in (0, 1).

    Returns:
        The interval that contains the central fraction `level` of the resampled scores.

    Raises:
        DataError: there is no sentence to resample.
    """
    _require_sentences(score)
    sums = _bootstrap_sums(score.statistics, samples, seed)
    return _interval(score.formula(sums), level)


def paired_bootstrap(
    first: Score, second: Score, *, seed: int, samples: int = 1000, level: float = 0.95
) -> PairedTest:
    """Paired bootstrap test, which resamples the same sentences for both systems (Koehn 2004).

    For the p-value, the observed difference is subtracted from the resampled ones, so that they vary around
    zero as they would if the systems were equally good. The p-value is (count + 1) / (samples + 1), where
    `count` is the number of shifted differences that are at least as large as the observed one, in absolute
    value. Riezler and Maxwell (2005, figure 2) subtract the mean of the resampled differences instead. That
    mean changes slightly with the seed. If only a few sentences differ, many resamples have exactly the
    observed difference, and such a slight change decides whether all of these count or none.

    Args:
        first: The first system's score.
        second: The second system's score, on the same sentences in the same order.
        seed: Random seed; the same seed gives the same result.
        samples: Number of resamples, at least 1.
        level: Level of the interval of the difference, in (0, 1).

    Returns:
        The difference, its interval, the fraction of resamples that the first system wins, and the two-sided
        p-value.

    Raises:
        DataError: the numbers of sentences differ or are zero.
    """
    _require_paired(first, second)
    width = first.statistics.shape[1]
    sums = _bootstrap_sums(np.concatenate([first.statistics, second.statistics], axis=1), samples, seed)
    differences = first.formula(sums[:, :width]) - second.formula(sums[:, width:])
    observed = first.value - second.value
    wins = np.mean(differences > ROUNDING) + 0.5 * np.mean(np.abs(differences) <= ROUNDING)
    return PairedTest(
        "paired bootstrap",
        observed,
        _p_value(differences - observed, observed),
        samples,
        _interval(differences, level),
        float(wins),
    )


def paired_randomisation(first: Score, second: Score, *, seed: int, samples: int = 10_000) -> PairedTest:
    """Approximate randomisation test (Riezler and Maxwell 2005, figure 1).

    The outputs of the two systems are swapped at random for each sentence: if the systems are equally good,
    it does not matter which of them produced which output.

    Args:
        first: The first system's score.
        second: The second system's score, on the same sentences in the same order.
        seed: Random seed; the same seed gives the same result.
        samples: Number of random assignments, at least 1.

    Returns:
        The difference and the two-sided p-value, (count + 1) / (samples + 1).

    Raises:
        DataError: the numbers of sentences differ or are zero.
    """
    _require_paired(first, second)
    change = second.statistics - first.statistics
    total_first, total_second = first.statistics.sum(axis=0), second.statistics.sum(axis=0)
    generator = np.random.default_rng(seed)
    pieces = []
    for size in _pieces(samples, len(change)):
        swapped = generator.integers(0, 2, size=(size, len(change))).astype(np.float64) @ change
        pieces.append(first.formula(total_first + swapped) - second.formula(total_second - swapped))
    observed = first.value - second.value
    p_value = _p_value(np.concatenate(pieces), observed)
    return PairedTest("approximate randomisation", observed, p_value, samples)


def _bootstrap_sums(statistics: Array, samples: int, seed: int) -> Array:
    """Summed statistics of each of `samples` resamples with replacement, [samples, n]."""
    generator = np.random.default_rng(seed)
    sentences = len(statistics)
    pieces = []
    for size in _pieces(samples, sentences):
        chosen = generator.integers(0, sentences, size=(size, sentences))
        pieces.append(_times_chosen(chosen, sentences) @ statistics)
    return np.concatenate(pieces)


def _times_chosen(chosen: NDArray[np.int64], sentences: int) -> Array:
    """How often resample i (a row of `chosen`) contains sentence j, [samples, sentences]."""
    shifted = chosen + sentences * np.arange(len(chosen))[:, None]
    counts = np.bincount(shifted.ravel(), minlength=chosen.size)
    return counts.reshape(chosen.shape).astype(np.float64)


def _pieces(samples: int, sentences: int) -> Iterator[int]:
    """Numbers of resamples that add up to `samples`, each small enough for the memory."""
    assert samples >= 1, samples
    size = max(1, CELLS_AT_ONCE // sentences)
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _interval(values: Array, level: float) -> Interval:
    assert 0 < level < 1, level
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, len(values))


def _p_value(differences: Array, observed: float) -> float:
    extreme = int(np.count_nonzero(np.abs(differences) >= abs(observed) - ROUNDING))
    return (extreme + 1) / (len(differences) + 1)


def _require_sentences(score: Score) -> None:
    if score.sentences == 0:
        raise DataError(f"{score.name}: 0 sentences, so there is nothing to resample; expected at least 1")


def _require_paired(first: Score, second: Score) -> None:
    assert (first.name, first.unit) == (second.name, second.unit), (first.name, second.name)
    if first.sentences != second.sentences:
        raise DataError(
            f"{first.name}: {first.sentences} sentences against {second.sentences}, expected equally many; "
            "score both systems on the same data"
        )
    _require_sentences(first)
