"""A corpus score with its unit, its signature, and statistics per sentence for cheap resampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Unit = Literal["fraction", "points", "nats", "bits", "plain"]  # points: 0-100; plain: perplexity and the like
Array = NDArray[np.float64]
# Metrics that measure errors or loss; of all others a higher value is better.
LOWER_IS_BETTER = frozenset(
    {
        "ter",
        "edit_distance",
        "word_error_rate",
        "phoneme_error_rate",
        "loss",
        "nats_per_character",
        "bits_per_character",
        "bits_per_byte",
        "perplexity",
        "perplexity_per_word",
    }
)


def higher_is_better(name: str) -> bool:
    """Whether a higher value of a metric is better, for callers that have only its name (learning curves).

    Args:
        name: Name of the metric.

    >>> higher_is_better("f1"), higher_is_better("perplexity")
    (True, False)
    """
    return name not in LOWER_IS_BETTER


@dataclass(frozen=True, eq=False, slots=True)
class Score:
    """A corpus score: a formula of statistics that are summed over sentences, not a mean of sentence scores.

    Args:
        name: Name that is printed and that `--min NAME=X` refers to.
        unit: Unit of the score.
        signature: Information that is needed to reproduce the score (library, version, mode).
        statistics: Statistics of each sentence, which are summed, [sentences, n].
        formula: Maps summed statistics [..., n] to scores [...], vectorised over leading dimensions.
    """

    name: str
    unit: Unit
    signature: str
    statistics: Array
    formula: Callable[[Array], Array]

    def __post_init__(self) -> None:
        assert self.statistics.ndim == 2, self.statistics.shape
        assert self.statistics.dtype == np.float64, self.statistics.dtype

    @property
    def value(self) -> float:
        """The score of the whole corpus."""
        return float(self.formula(self.statistics.sum(axis=0)))

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is better."""
        return higher_is_better(self.name)

    def of_each(self) -> Array:
        """The score of every sentence by itself, [sentences]."""
        return self.formula(self.statistics)

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return len(self.statistics)


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """Elementwise quotient where x / 0 is 0.0, as in seqeval and conlleval.

    >>> divide([1.0, 0.0], [2.0, 0.0])
    array([0.5, 0. ])
    """
    above, below = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotient = np.zeros(below.shape)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def ratio_score(
    name: str,
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    signature: str,
    unit: Unit = "fraction",
    scale: float = 1.0,
) -> Score:
    """A ratio of sums, times `scale`: accuracy, exact match, nats or bits per character.

    Args:
        name: Name of the score.
        numerators: One number per sentence, [sentences].
        denominators: Number of units in each sentence, for instance tokens, [sentences].
        signature: Information that is needed to reproduce the score.
        unit: Unit of the scaled ratio.
        scale: Factor, for instance 100 for points, or 1 / ln 2 to turn nats into bits.

    Returns:
        The score; 0.0 where the denominators sum to zero.
    """

    def formula(sums: Array) -> Array:
        return scale * divide(sums[..., 0], sums[..., 1])

    return Score(name, unit, signature, _columns(numerators, denominators), formula)


def precision_score(correct: ArrayLike, predicted: ArrayLike, gold: ArrayLike, *, signature: str) -> Score:
    """Micro precision, correct / predicted, from counts per sentence; 0.0 when nothing is predicted."""
    return Score("precision", "fraction", signature, _columns(correct, predicted, gold), _precision)


def recall_score(correct: ArrayLike, predicted: ArrayLike, gold: ArrayLike, *, signature: str) -> Score:
    """Micro recall, correct / gold, from counts per sentence; 0.0 when there are no gold items."""
    return Score("recall", "fraction", signature, _columns(correct, predicted, gold), _recall)


def f1_score(correct: ArrayLike, predicted: ArrayLike, gold: ArrayLike, *, signature: str) -> Score:
    """Micro F1 from counts per sentence: the harmonic mean of precision and recall of the *summed* counts.

    Args:
        correct: Number of predictions that equal a gold item, [sentences].
        predicted: Number of predictions, [sentences].
        gold: Number of gold items, [sentences].
        signature: Information that is needed to reproduce the score.

    Returns:
        2 correct / (predicted + gold), a fraction; 0.0 when there are neither predictions nor gold items.
    """
    return Score("f1", "fraction", signature, _columns(correct, predicted, gold), _f1)


def _precision(sums: Array) -> Array:
    return divide(sums[..., 0], sums[..., 1])


def _recall(sums: Array) -> Array:
    return divide(sums[..., 0], sums[..., 2])


def _f1(sums: Array) -> Array:
    return divide(2 * sums[..., 0], sums[..., 1] + sums[..., 2])


def _columns(*columns: ArrayLike) -> Array:
    """Columns of equal length as one matrix, [sentences, n]."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    assert all(array.ndim == 1 and len(array) == len(arrays[0]) for array in arrays)
    return np.stack(arrays, axis=1)
