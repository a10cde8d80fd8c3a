"""Batches by tokens: sentences of nearly equal length together, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy

Batch = TypeVar("Batch")


class LazyBatches(Sequence[Batch]):
    """The batches of an epoch, each built when it is asked for: they never fill the memory.

    Args:
        sizes: Symbols of each batch, padding included.
        build: Makes the batch of a number, from 0; it gives the same each time.
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
    """The batches of one epoch, a pure function of its arguments: to resume is to skip.

    Sentences are shuffled, sorted by length (then by `ties`; the shuffle decides between equals),
    cut where a batch is full, and the batches shuffled.

    Args:
        lengths: Tokens of each sentence.
        budget: Padded tokens a batch at most; a longer sentence is a batch of its own.
        seed: Of the run.
        epoch: From 0.
        ties: A second length of each sentence, such as that of the other side of a pair.
        counts: Where each is a passage: its sentences, whose longest has that length; None = one.

    Returns:
        Indices of sentences, a list a batch.
    """
    generator = numpy.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    keys = [numpy.asarray(each)[shuffled] for each in (ties, lengths) if each is not None]
    order = shuffled[numpy.lexsort(keys)]  # stable; the last key counts first
    batches = cut([lengths[i] for i in order], budget, counts and [counts[i] for i in order])
    return [order[batches[i]].tolist() for i in generator.permutation(len(batches))]


def prediction_batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Batches for prediction, longest first (the largest batch shows at once whether memory suffices)."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [
        [order[i] for i in range(part.start, part.stop)] for part in cut([lengths[i] for i in order], budget)
    ]


def cut(lengths: Sequence[int], budget: int, counts: Sequence[int] | None = None) -> list[slice]:
    """Slices of consecutive sentences, each of at most `budget` padded tokens or one sentence.

    With `counts` each is a passage of so many sentences, the longest of that length.

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
