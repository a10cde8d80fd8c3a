"""The batches of a run's epochs, in the groups that make one update each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Generic

from seqtool.errors import DataError
from seqtool.training.update import Batch


class Epochs(Generic[Batch]):
    """The batches of one epoch at a time; the epoch used last is kept.

    Args:
        batches: The ordered batches of an epoch (numbered from 0), a pure function of its number.
        group_size: Batches per update, summed over all processes, at least 1.
    """

    def __init__(self, batches: Callable[[int], Sequence[Batch]], group_size: int) -> None:
        self._batches = batches
        self._group_size = group_size
        self._number = -1
        self._present: Sequence[Batch] = ()

    def of(self, number: int) -> Sequence[Batch]:
        """All batches of an epoch, in order.

        Raises:
            DataError: the epoch has no batch.
        """
        if number != self._number:
            self._present, self._number = self._batches(number), number
            if not self._present:
                raise DataError(f"epoch {number + 1} has no batch; the training data is empty")
        return self._present

    def updates(self, number: int) -> int:
        """Updates in an epoch; the last may have fewer batches than the others."""
        return math.ceil(len(self.of(number)) / self._group_size)

    def group(self, number: int, start: int) -> Sequence[Batch]:
        """The batches of the update that begins with batch `start` (from 0), those of all processes."""
        return self.of(number)[start : start + self._group_size]
