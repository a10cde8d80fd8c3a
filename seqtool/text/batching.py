"""Batches of sentences of similar length, limited by their number of tokens, in a reproducible order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy

Batch = TypeVar("Batch")


class LazyBatches(Sequence[Batch]):
    """The batches of an epoch, each built only when it is asked for, so that they never fill the memory.

    Args:
        sizes: Number of symbols in each batch, padding included.
        build: Builds the batch of a given number, from 0; it must return the same batch every time.
    """

    def __init__(self, sizes: Sequence[int], build: Callable[[int], Batch]) -> None:
        self._sizes, self._build = sizes, build

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        return self._build(range(len(self))[number])

    @property
    def largest(self) -> int:
        """Number of the batch with the most symbols, which takes the most memory."""
        return max(range(len(self)), key=lambda number: self._sizes[number])


def training_batches(
    lengths: Sequence[int],
    *,
    budget: int,
    seed: int,
    epoch: int,
    ties: Sequence[int] | None = None,
    counts: Sequence[int] | None = None,
) -> list[list[int]]:
    """The batches of one epoch: a pure function of its arguments, so that a resumed run just skips ahead.

    The sentences are shuffled and sorted by length, then by `ties`, equal ones staying in shuffled order.
    The sorted list is cut where a batch is full, and the batches are shuffled.

    Args:
        lengths: Number of tokens in each sentence.
        budget: Most tokens per batch, padding included; a longer sentence is a batch by itself.
        seed: The run's random seed.
        epoch: Number of the epoch, from 0.
        ties: A second length of each sentence, such as that of the other side of a pair.
        counts: Number of sentences in each item, if items are passages, whose length is then that of their
            longest sentence; None = one sentence per item.

    Returns:
        For each batch, the list of the indices of its sentences.
    """
    generator = numpy.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    keys = [numpy.asarray(each)[shuffled] for each in (ties, lengths) if each is not None]
    order = shuffled[numpy.lexsort(keys)]  # stable; the last key counts first
    batches = cut([lengths[i] for i in order], budget, counts and [counts[i] for i in order])
    return [order[batches[i]].tolist() for i in generator.permutation(len(batches))]


def prediction_batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Batches for prediction, longest sentences first, so that too little memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [
        [order[i] for i in range(part.start, part.stop)] for part in cut([lengths[i] for i in order], budget)
    ]


def cut(lengths: Sequence[int], budget: int, counts: Sequence[int] | None = None) -> list[slice]:
    """Slices of consecutive sentences, each of at most `budget` padded tokens, or of one sentence.

    With `counts` each item is a passage of that many sentences, the longest of which has the given length.

    >>> cut([2, 2, 3, 9, 1], 6)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    >>> cut([2, 2, 3], 6, counts=[2, 1, 1])
    [slice(0, 2, None), slice(2, 3, None)]
    """
    parts = []
    start, longest, rows = 0, 0, 0
    for position, length in enumerate(lengths):
        count = 1 if counts is None else counts[position]
        longest, rows = max(longest, length), rows + count
        if position > start and longest * rows > budget:
            parts.append(slice(start, position))
            start, longest, rows = position, length, count
    if lengths:
        parts.append(slice(start, len(lengths)))
    return parts
