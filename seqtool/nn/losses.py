"""Sums of losses with what they were summed over; only the training loop divides."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor


class LossSum(NamedTuple):
    """A summed loss: uneven batches, accumulation and ranks all agree because nobody averages early."""

    total: Tensor  # scalar, nats, summed
    count: int  # type: ignore[assignment]  # what it was summed over (tuple.count is not missed)
    unit: Literal["token", "sentence", "character"]
