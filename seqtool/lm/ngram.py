"""Baseline language models: a Kneser-Ney n-gram and the compressor xz; and mixtures of two models.

The n-gram is interpolated modified Kneser-Ney, with three discounts per order (Chen and Goodman 1999,
An empirical study of smoothing techniques for language modeling, section 3).
"""

from __future__ import annotations

import itertools
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ABSENT = -1  # number of an n-gram that was not seen, or that would cross the beginning of a document
ABSOLUTE = 0.5  # discount of an order for which the counts of counts determine none
HALVINGS = 50  # times that the interval with the best weight is halved


class Grams(NamedTuple):
    """The distinct k-grams of a stream, numbered from 0 in the order of their keys.

    The key of a k-gram is `number of its first k-1 symbols * size + last symbol`, so that it fits
    int64 whatever k is, and the k-grams of one context are neighbours.
    """

    keys: Numbers  # [K_k], ascending
    number: Numbers  # [n], of the k-gram that ends at each position of the stream, or ABSENT


@dataclass(frozen=True, eq=False, slots=True)
class Level:
    """Order k of a model, whose contexts are the (k-1)-grams (for k = 1, only the empty one).

    Args:
        keys: Keys of the k-grams seen, [K_k]; see `Grams`.
        share: Probability that this order gives to the last symbol of each, (count - D) / total, [K_k].
        weight: Weight of the order below after each context, 1 if nothing followed it, [K_(k-1)].
        discounts: Discounts D1, D2 and D3+, [3].
    """

    keys: Numbers
    share: Floats
    weight: Floats
    discounts: Floats


@dataclass(frozen=True, eq=False, slots=True)
class KneserNey:
    """An n-gram model of integer symbols; `train` makes one.

    With h' for the context h without its first symbol, and the uniform 1 / size below order 1,

        p_k(w | h) = (c(h w) - D(c(h w))) / c(h .)  +  weight(h) p_(k-1)(w | h').

    - The highest order counts occurrences. A lower order counts the distinct symbols to the left of an
      n-gram; the beginning of a document counts as one further symbol. So every n-gram seen has a count
      of at least 1, even if it occurs only at the beginning of documents.
    - There is no start symbol: after j < order - 1 symbols of a document the distribution is that of
      order j + 1, from the counts of distinct symbols to the left.
    - After a context that nothing followed, the next shorter context has the weight 1.

    Every distribution sums to 1, and every symbol has a probability above 0. Memory: 24 bytes per distinct
    n-gram of each order (16 in the highest), plus about 100 bytes per symbol in training and 60 in scoring.

    Args:
        size: V, number of symbols.
        levels: The orders, from 1 upwards.
    """

    size: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """Length of the longest n-gram, its last symbol included."""
        return len(self.levels)

    @classmethod
    def train(cls, ids: Integers, *, size: int, order: int, starts: Flags | None = None) -> KneserNey:
        """Train a model on a stream of symbols.

        Args:
            ids: Symbols in 0..size-1, [n]; with n = 0 the model is the uniform distribution.
            size: Number of symbols, at least 1.
            order: Length of the longest n-gram, at least 1.
            starts: True where a document begins, [n]; no context crosses it. None = one document.

        Raises:
            ValueError: A symbol, the size or the order is out of range, or shapes or types disagree.
        """
        if size < 1 or order < 1:
            raise ValueError(f"size {size} and order {order}: expected at least 1 each")
        stream, before = _checked(ids, size), _symbols_before(len(ids), starts)
        levels: list[Level] = []
        every_order = itertools.chain(_grams(stream, before, size, order), [None])
        for k, (grams, longer) in enumerate(itertools.pairwise(every_order), start=1):
            assert grams is not None
            counts = _occurrences(grams) if longer is None else _continuations(grams, longer, before == k - 1)
            contexts = len(levels[-1].keys) if levels else 1
            levels.append(_level(grams.keys, counts, grams.keys // size, contexts))
        return cls(size, tuple(levels))

    def log_probabilities(self, ids: Integers, *, starts: Flags | None = None) -> Floats:
        """Log probability of each symbol of a stream, given the order - 1 symbols before it in its document.

        Args:
            ids: Symbols in 0..size-1, [n]; they need not occur in training.
            starts: True where a document begins, [n]; None = one document.

        Returns:
            Log probabilities, nats, finite, [n].

        Raises:
            ValueError: A symbol is out of range, or shapes or types disagree.
        """
        stream, before = _checked(ids, self.size), _symbols_before(len(ids), starts)
        probability = np.full(len(stream), 1.0 / self.size)
        number = np.zeros_like(stream)  # of the empty n-gram
        for k, level in enumerate(self.levels, start=1):
            context = _context(number, before >= k - 1)
            followed = context != ABSENT
            number = np.full_like(stream, ABSENT)
            number[followed] = _find(level.keys, context[followed] * self.size + stream[followed])
            seen = number != ABSENT
            probability[followed] *= level.weight[context[followed]]
            probability[seen] += level.share[number[seen]]
        return np.asarray(np.log(probability))


def xz_bits(train: bytes, test: bytes) -> float:
    """Bits that xz at its strongest preset needs for `test` after having read `train`.

    This is the compressed size of both together minus that of `train` alone. xz rounds sizes up to
    4 bytes, and its preset 9 has a dictionary of 64 MiB.
    """
    return 8.0 * (_xz_bytes(train + test) - _xz_bytes(train))


def interpolate(first: Floats, second: Floats, weight: float) -> Floats:
    """Log-probabilities of a mixture of two models, log(w e^first + (1 - w) e^second).

    Args:
        first: Log-probabilities by the first model, nats, any shape; -inf is a probability of 0.
        second: Log-probabilities of the same symbols by the second model, nats, same shape.
        weight: Weight w of the first model, in [0, 1]; 1 returns `first` and 0 returns `second`.

    Returns:
        Log-probabilities by the mixture, nats, same shape.

    Raises:
        ValueError: The weight is out of range, or shapes disagree.
    """
    _same_shape(first, second)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight {weight}: expected 0 to 1")
    with np.errstate(divide="ignore"):  # log 0 is -inf
        return np.asarray(np.logaddexp(np.log(weight) + first, np.log1p(-weight) + second))


def best_weight(first: Floats, second: Floats) -> float:
    """The weight of the first model in the mixture that gives held-out symbols the highest probability.

    The log-probability is concave in the weight, so a step of EM (Dempster, Laird and Rubin 1977) always
    goes towards its maximum. EM itself converges slowly where two models are much alike, so only the
    direction of its step is used, for a bisection.

    Args:
        first: Log-probabilities of held-out symbols by the first model, nats, [n], n at least 1.
        second: Log-probabilities of the same symbols by the second model, nats, [n]; no symbol may have
            -inf from both.

    Returns:
        The weight, strictly between 0 and 1; 0.5 if the models agree on every symbol.

    Raises:
        ValueError: No symbols, shapes disagree, or a symbol has no finite log-probability.
    """
    _same_shape(first, second)
    possible = np.isfinite(np.maximum(first, second))
    if not possible.all() or not possible.size:
        raise ValueError(
            f"{possible.size} symbols, {possible.sum()} with a finite log-probability:"
            " expected at least one, and all"
        )
    difference = first - second
    # Both probabilities of each symbol, divided by the larger of the two, [n].
    one, other = np.exp(np.minimum(difference, 0)), np.exp(np.minimum(-difference, 0))
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        weight = (low + high) / 2
        # EM multiplies w by the mean of one / mixture, and 1 - w by that of other / mixture.
        direction = float(np.mean((one - other) / (weight * one + (1 - weight) * other)))
        if direction == 0:
            break
        low, high = (weight, high) if direction > 0 else (low, weight)
    return weight


def _checked(ids: Integers, size: int) -> Numbers:
    """The symbols as int64, [n]; ValueError if shape, type or range are wrong."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"symbols of shape {list(ids.shape)} and type {ids.dtype}: expected [n], integers")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ValueError(f"symbols from {ids.min()} to {ids.max()}: expected 0 to {size - 1}")
    return ids.astype(np.int64, copy=False)


def _symbols_before(length: int, starts: Flags | None) -> Numbers:
    """Number of symbols before each one in its document, [n]."""
    positions = np.arange(length)
    if starts is None:
        return positions
    if starts.shape != (length,) or starts.dtype != np.bool_:
        raise ValueError(
            f"starts of shape {list(starts.shape)} and type {starts.dtype}: expected [{length}], bool"
        )
    # The first symbol begins a document even where `starts` is False.
    return positions - np.maximum.accumulate(np.where(starts, positions, 0))


def _context(number: Numbers, reaches: Flags) -> Numbers:
    """Number of the (k-1)-gram that precedes each position, [n]; ABSENT if there is none.

    Args:
        number: Number of the (k-1)-gram that ends at each position, [n]; all 0 for k = 1.
        reaches: True where the document has k-1 symbols before the position, [n].
    """
    context = np.full_like(number, ABSENT)
    context[1:] = number[:-1]
    context[:1] = 0  # the empty context, for k = 1; the next line removes it for any other
    context[~reaches] = ABSENT
    return context


def _grams(stream: Numbers, before: Numbers, size: int, order: int) -> Iterator[Grams]:
    """The k-grams of a stream, for k from 1 to `order`."""
    number = np.zeros_like(stream)
    for k in range(1, order + 1):
        complete = before >= k - 1
        context = _context(number, complete)[complete]
        keys, numbers = np.unique(context * size + stream[complete], return_inverse=True)
        number = np.full_like(stream, ABSENT)
        number[complete] = numbers
        yield Grams(keys, number)


def _occurrences(grams: Grams) -> Numbers:
    """Number of occurrences of each k-gram, [K]."""
    return np.bincount(grams.number[grams.number != ABSENT], minlength=len(grams.keys))


def _continuations(grams: Grams, longer: Grams, opening: Flags) -> Numbers:
    """Number of distinct symbols to the left of each k-gram; beginning a document counts as one, [K].

    Args:
        grams: The k-grams.
        longer: The (k+1)-grams of the same stream.
        opening: True where a k-gram ends that begins a document, [n].
    """
    inside = longer.number != ABSENT
    ending = np.empty_like(longer.keys)  # number of the k-gram that each (k+1)-gram ends with, [K_(k+1)]
    ending[longer.number[inside]] = grams.number[inside]
    counts = np.bincount(ending, minlength=len(grams.keys))
    counts[np.unique(grams.number[opening])] += 1
    return counts


def _level(keys: Numbers, counts: Numbers, context: Numbers, contexts: int) -> Level:
    """Compute the shares and weights of an order from its counts.

    Args:
        keys: Keys of the k-grams, [K].
        counts: Count of each, at least 1, [K].
        context: Number of the (k-1)-gram that each begins with, [K].
        contexts: Number of (k-1)-grams.
    """
    discounts = _discounts(counts)
    # discount of each k-gram, by its count, [K]
    taken = discounts[np.minimum(counts, 3) - 1]
    # sum of the counts after each context, [contexts]
    total = np.bincount(context, counts, contexts)
    weight = np.ones(contexts)
    np.divide(np.bincount(context, taken, contexts), total, out=weight, where=total > 0)
    return Level(keys, (counts - taken) / total[context], weight, discounts)


def _discounts(counts: Numbers) -> Floats:
    """Discounts D1, D2 and D3+ from the counts of counts 1 to 4 (Chen and Goodman 1999, section 3).

    If one of these is 0, or a discount would not be above 0 (which would leave nothing to the order
    below), all three are 0.5: absolute discounting (Ney et al. 1994).
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4))
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if discounts.min() > 0:
            return discounts
    return np.full(3, ABSOLUTE)


def _find(keys: Numbers, wanted: Numbers) -> Numbers:
    """Index of each wanted key in the ascending `keys`, or ABSENT, [n]."""
    if not len(keys):
        return np.full_like(wanted, ABSENT)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, ABSENT)


def _xz_bytes(text: bytes) -> int:
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def _same_shape(first: Floats, second: Floats) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"log-probabilities of shape {list(first.shape)} and {list(second.shape)}: expected the same"
        )
