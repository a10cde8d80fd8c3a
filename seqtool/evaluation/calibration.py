"""Calibration of confidences: reliability bins, expected calibration error, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqtool.errors import UsageError
from seqtool.evaluation.score import Array, divide

TOLERANCE = 1e-4  # how far rounding in float32 may move a probability outside [0, 1]


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions with a confidence in [low, high), or [low, 1] in the last bin; 0.0 if there are none."""

    low: float
    high: float
    count: int  # number of predictions
    confidence: float  # mean confidence, 0-1
    accuracy: float  # share of correct predictions, 0-1


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability bins and the expected calibration error (Guo et al. 2017, equation 3)."""

    bins: tuple[ReliabilityBin, ...]
    expected_error: float
    count: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """Precision and recall if only predictions with at least this confidence are kept."""

    threshold: float
    precision: float
    recall: float
    kept: int  # number of predictions that are kept


def calibration(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> Calibration:
    """Compare confidence with accuracy, in bins of equal width.

    Args:
        confidences: Probability that the model gives each prediction, in [0, 1], [N].
        correct: Whether each prediction is correct, [N].
        bins: Number of bins.

    Returns:
        The bins, and the sum over bins of count / total * |accuracy - confidence|; 0.0 without predictions.

    >>> calibration([0.95, 0.85], [True, False]).expected_error
    0.45
    """
    values, right = _arrays(confidences, correct)
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    counts = np.bincount(place, minlength=bins).astype(np.float64)
    means = divide(np.bincount(place, weights=values, minlength=bins), counts)
    accuracies = divide(np.bincount(place, weights=right, minlength=bins), counts)
    error = divide(np.sum(counts * np.abs(accuracies - means)), counts.sum())
    rows = [
        ReliabilityBin(i / bins, (i + 1) / bins, int(counts[i]), float(means[i]), float(accuracies[i]))
        for i in range(bins)
    ]
    return Calibration(tuple(rows), float(error), len(values))


def threshold_curve(
    confidences: Sequence[float], correct: Sequence[bool], gold_count: int
) -> list[Threshold]:
    """Precision and recall at every distinct confidence, from the highest threshold to the lowest.

    Predictions of equal confidence are kept or dropped together.

    Args:
        confidences: Confidence of each prediction, in [0, 1], [N].
        correct: Whether each prediction is correct, [N].
        gold_count: Number of gold items, the denominator of recall.
    """
    values, right = _arrays(confidences, correct)
    order = np.argsort(-values, kind="stable")
    values, right = values[order], right[order]
    kept = np.arange(1, len(values) + 1)
    last_of_tie = values != np.append(values[1:], -1.0)  # -1: below every confidence
    found = np.cumsum(right)
    recalls = divide(found, np.full(len(values), float(gold_count)))
    return [
        Threshold(float(values[i]), float(found[i] / kept[i]), float(recalls[i]), int(kept[i]))
        for i in np.flatnonzero(last_of_tie)
    ]


def best_threshold(
    confidences: Sequence[float], correct: Sequence[bool], gold_count: int, precision: float
) -> Threshold | None:
    """The lowest confidence threshold, and so the highest recall, that still reaches `precision`.

    Args:
        confidences: Confidence of each prediction, in [0, 1], [N].
        correct: Whether each prediction is correct, [N].
        gold_count: Number of gold items.
        precision: Precision to reach, in (0, 1].

    Returns:
        The threshold with its precision and recall on these predictions, or None if none reaches it.

    Raises:
        UsageError: `precision` is not in (0, 1].
    """
    if not 0 < precision <= 1:
        raise UsageError(f"--target-precision {precision}: expected a fraction in (0, 1], such as 0.95")
    reached = [row for row in threshold_curve(confidences, correct, gold_count) if row.precision >= precision]
    return reached[-1] if reached else None


def _arrays(confidences: Sequence[float], correct: Sequence[bool]) -> tuple[Array, Array]:
    values: NDArray[np.float64] = np.asarray(confidences, dtype=np.float64)
    right: NDArray[np.float64] = np.asarray(correct, dtype=np.float64)
    assert values.shape == right.shape and values.ndim == 1, (values.shape, right.shape)
    assert np.all((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)), "a confidence outside [0, 1]"
    return np.clip(values, 0.0, 1.0), right
