"""What a neural language model has to beat: a Kneser-Ney n-gram and xz; and mixtures of two models.

The n-gram is the interpolated, modified one, with three discounts an order (Chen and Goodman 1999,
An empirical study of smoothing techniques for language modeling, section 3).
"""

from __future__ import annotations

import itertools
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer[Any]]
Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

ABSENT = -1  # in the place of an n-gram's number: it was not seen, or would reach over a document's beginning
ABSOLUTE = 0.5  # the one discount of an order whose counts of counts say nothing
HALVINGS = 50  # of the interval in which the best weight lies


class Grams(NamedTuple):
    """The distinct k-grams of a stream, numbered from 0 in the order of their keys.

    The key of a k-gram is `number of its first k-1 symbols * size + last symbol`, so that it fits
    int64 whatever k is, and the k-grams of one context are neighbours.
    """

    keys: Numbers  # [K_k], ascending
    number: Numbers  # [n], of the k-gram that ends at each position of the stream, or ABSENT


@dataclass(frozen=True, eq=False, slots=True)
class Level:
    """One order k of a model, whose contexts are the (k-1)-grams (one for k = 1: the empty one).

    Args:
        keys: The k-grams seen, [K_k]; see `Grams`.
        share: What the order itself gives to the k-gram's last symbol, (count - D) / total, [K_k].
        weight: What is left for the order below, 1 after a context that nothing followed, [K_(k-1)].
        discounts: D1, D2 and D3+.
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

    - The highest order counts occurrences; an order below counts the distinct symbols to the left of
      an n-gram; that it begins a document, or many, counts as one symbol more. So whatever was seen
      has a count of at least 1 in every order, even if it only ever begins documents.
    - A document begins with its own first symbol: after j < order - 1 symbols the distribution is that
      of order j + 1, from the counts of distinct symbols to the left.
    - A context that was never followed by anything passes on to the next shorter one with weight 1.

    Every distribution sums to 1 and every symbol has a probability above 0. Memory: 24 bytes for each
    distinct n-gram of each order (16 in the highest); while it trains, about 100 bytes a symbol besides,
    and 60 while it scores.

    Args:
        size: How many symbols there are, V.
        levels: Order 1 first.
    """

    size: int
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """The longest n-gram, its last symbol included."""
        return len(self.levels)

    @classmethod
    def train(cls, ids: Integers, *, size: int, order: int, starts: Flags | None = None) -> KneserNey:
        """Count a stream of symbols.

        Args:
            ids: Symbols in 0..size-1, [n]; none at all gives the uniform distribution.
            size: How many symbols there are, at least 1.
            order: Symbols of the longest n-gram, at least 1.
            starts: True where a document begins, [n]; no context reaches over it. None: one document.

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
        """Of every symbol of a stream, after the (at most order - 1) symbols of its document before it.

        Args:
            ids: Symbols in 0..size-1, [n]; some of them may have been absent from training.
            starts: True where a document begins, [n]; None: one document.

        Returns:
            Natural logarithms, nats, finite, [n].

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

    def distribution(self, context: Sequence[int]) -> Floats:
        """Of the symbol that follows.

        Args:
            context: The document so far; only its last order - 1 symbols count.

        Returns:
            Probabilities, [V], positive, of sum 1.

        Raises:
            ValueError: A symbol is out of range.
        """
        symbols = _checked(np.asarray(context, np.int64), self.size).tolist()
        probability = np.full(self.size, 1.0 / self.size)
        for level, length in zip(self.levels, range(len(symbols) + 1), strict=False):
            number = self._number(symbols[len(symbols) - length :])
            if number == ABSENT:
                break  # nor was anything longer that ends in it
            first, end = np.searchsorted(level.keys, [number * self.size, (number + 1) * self.size])
            probability *= level.weight[number]
            probability[level.keys[first:end] - number * self.size] += level.share[first:end]
        return probability

    def _number(self, symbols: list[int]) -> int:
        """Of an n-gram, or ABSENT."""
        number = 0
        for level, symbol in zip(self.levels, symbols, strict=False):
            number = int(_find(level.keys, np.array([number * self.size + symbol]))[0])
            if number == ABSENT:
                break
        return number


def xz_bits(train: bytes, test: bytes) -> float:
    """Bits that xz at its strongest preset needs for `test` when it has just seen `train`.

    The size of both together less that of `train` alone. xz rounds sizes up to 4 bytes, and its
    preset 9 looks back 64 MiB, no further.
    """
    return 8.0 * (_xz_bytes(train + test) - _xz_bytes(train))


def interpolate(first: Floats, second: Floats, weight: float) -> Floats:
    """Log-probabilities of a mixture, log(w e^first + (1 - w) e^second), without leaving the logarithm.

    Args:
        first: Log-probabilities by one model, nats, any shape; -inf is a probability of 0.
        second: By another one, of the same symbols, same shape.
        weight: Of the first, in [0, 1]; both ends give back one of the two unchanged.

    Returns:
        Nats, of the same shape.

    Raises:
        ValueError: The weight is out of range, or shapes disagree.
    """
    _same_shape(first, second)
    if not 0 <= weight <= 1:
        raise ValueError(f"weight {weight}: expected 0 to 1")
    with np.errstate(divide="ignore"):  # log 0 is -inf
        return np.asarray(np.logaddexp(np.log(weight) + first, np.log1p(-weight) + second))


def best_weight(first: Floats, second: Floats) -> float:
    """The weight of the first model under which a mixture finds held-out symbols most probable.

    The log-probability is concave in the weight, so a step of EM (Dempster, Laird and Rubin 1977) is
    always towards its maximum. EM itself creeps where two models are much alike; only the direction of
    its step is used here, to halve the interval.

    Args:
        first: Log-probabilities of held-out symbols by one model, nats, [n], at least one.
        second: By another one, of the same symbols, [n]; no symbol may have -inf from both.

    Returns:
        Strictly between 0 and 1; 0.5 where the models agree on every symbol.

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
    one, other = np.exp(np.minimum(difference, 0)), np.exp(np.minimum(-difference, 0))  # the larger is 1
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
    """The symbols as int64, [n]."""
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"symbols of shape {list(ids.shape)} and type {ids.dtype}: expected [n], integers")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise ValueError(f"symbols from {ids.min()} to {ids.max()}: expected 0 to {size - 1}")
    return ids.astype(np.int64, copy=False)


def _symbols_before(length: int, starts: Flags | None) -> Numbers:
    """How many symbols of its document precede each one, [n]."""
    positions = np.arange(length)
    if starts is None:
        return positions
    if starts.shape != (length,) or starts.dtype != np.bool_:
        raise ValueError(
            f"starts of shape {list(starts.shape)} and type {starts.dtype}: expected [{length}], bool"
        )
    # The first symbol begins a document whether it says so or not.
    return positions - np.maximum.accumulate(np.where(starts, positions, 0))


def _context(number: Numbers, reaches: Flags) -> Numbers:
    """Of each position, the number of the (k-1)-gram before it from those that end everywhere, [n].

    Args:
        number: Of the (k-1)-gram that ends at each position; 0 throughout for k = 1.
        reaches: True where the document has k-1 symbols before the position.
    """
    context = np.full_like(number, ABSENT)
    context[1:] = number[:-1]
    context[:1] = 0  # kept for k = 1 only
    context[~reaches] = ABSENT
    return context


def _grams(stream: Numbers, before: Numbers, size: int, order: int) -> Iterator[Grams]:
    """The k-grams of a stream for k = 1..order."""
    number = np.zeros_like(stream)
    for k in range(1, order + 1):
        complete = before >= k - 1
        context = _context(number, complete)[complete]
        keys, numbers = np.unique(context * size + stream[complete], return_inverse=True)
        number = np.full_like(stream, ABSENT)
        number[complete] = numbers
        yield Grams(keys, number)


def _occurrences(grams: Grams) -> Numbers:
    """How often each was seen, [K]."""
    return np.bincount(grams.number[grams.number != ABSENT], minlength=len(grams.keys))


def _continuations(grams: Grams, longer: Grams, opening: Flags) -> Numbers:
    """How many distinct symbols were seen to the left of each, the beginning of documents being one, [K].

    Args:
        grams: The k-grams.
        longer: The (k+1)-grams of the same stream.
        opening: True where the k-gram that ends there begins a document, [n].
    """
    inside = longer.number != ABSENT
    ending = np.empty_like(longer.keys)  # the k-gram that each of the longer ones ends in
    ending[longer.number[inside]] = grams.number[inside]
    counts = np.bincount(ending, minlength=len(grams.keys))
    counts[np.unique(grams.number[opening])] += 1
    return counts


def _level(keys: Numbers, counts: Numbers, context: Numbers, contexts: int) -> Level:
    """An order's shares and weights from its counts.

    Args:
        keys: The k-grams, [K].
        counts: At least 1 each, [K].
        context: The number of each one's first k-1 symbols, [K].
        contexts: How many (k-1)-grams there are.
    """
    discounts = _discounts(counts)
    taken = discounts[np.minimum(counts, 3) - 1]
    total = np.bincount(context, counts, contexts)
    weight = np.ones(contexts)
    np.divide(np.bincount(context, taken, contexts), total, out=weight, where=total > 0)
    return Level(keys, (counts - taken) / total[context], weight, discounts)


def _discounts(counts: Numbers) -> Floats:
    """D1, D2 and D3+ from how many n-grams have the counts 1 to 4 (Chen and Goodman 1999, section 3).

    Where one of these is zero, or a discount comes out below or at zero (then nothing would be left
    for the order below), the order has one discount, 0.5: absolute discounting (Ney et al. 1994).
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == count)) for count in (1, 2, 3, 4))
    if n1 and n2 and n3 and n4:
        y = n1 / (n1 + 2 * n2)
        discounts = np.array([1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if discounts.min() > 0:
            return discounts
    return np.full(3, ABSOLUTE)


def _find(keys: Numbers, wanted: Numbers) -> Numbers:
    """The place of each wanted key among the ascending keys, or ABSENT, [n]."""
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
