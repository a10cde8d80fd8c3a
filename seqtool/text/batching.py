"""Batches by tokens: sentences of nearly equal length together, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy


def training_batches(
    lengths: Sequence[int], *, budget: int, seed: int, epoch: int, ties: Sequence[int] | None = None
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

    Returns:
        Indices of sentences, a list a batch.
    """
    generator = numpy.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    keys = [numpy.asarray(each)[shuffled] for each in (ties, lengths) if each is not None]
    order = shuffled[numpy.lexsort(keys)]  # stable; the last key counts first
    batches = cut([lengths[i] for i in order], budget)
    return [order[batches[i]].tolist() for i in generator.permutation(len(batches))]


def prediction_batches(lengths: Sequence[int], *, budget: int) -> list[list[int]]:
    """Batches for prediction, longest first (the largest batch shows at once whether memory suffices)."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    return [
        [order[i] for i in range(part.start, part.stop)] for part in cut([lengths[i] for i in order], budget)
    ]


def cut(lengths: Sequence[int], budget: int) -> list[slice]:
    """Slices of consecutive sentences, each of at most `budget` padded tokens or one sentence.

    >>> cut([2, 2, 3, 9, 1], 6)
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    parts = []
    start, longest = 0, 0
    for position, length in enumerate(lengths):
        longest = max(longest, length)
        if position > start and longest * (position - start + 1) > budget:
            parts.append(slice(start, position))
            start, longest = position, length
    if lengths:
        parts.append(slice(start, len(lengths)))
    return parts
