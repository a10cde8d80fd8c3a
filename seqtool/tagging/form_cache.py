"""Vectors of the word forms that a tagger has read, so that each form is encoded only once."""

from __future__ import annotations

import numpy
from torch import Tensor

from seqtool.tagging.model import Tagger
from seqtool.text.forms import FormTable

CHUNK = 4096  # forms that are encoded at a time


class FormCache:
    """Form vectors of a network in evaluation mode; each row of the table has its vector in the same row.

    Args:
        network: The network, whose weights must not change while vectors are in the cache.
        table: The table of word forms, at first empty; encoding sentences adds forms to it.
    """

    def __init__(self, network: Tagger, table: FormTable) -> None:
        self._network = network
        self.table = table
        self.clear()

    def __len__(self) -> int:
        """Number of forms whose vectors have been computed."""
        return self._computed

    def clear(self) -> None:
        """Forget all forms and their vectors."""
        self.table.clear()
        # [room, D]; only the first `_computed` rows are in use.
        self.vectors = self._room(0)
        self._computed = 0

    def update(self) -> None:
        """Compute the vectors of the forms that are new in the table."""
        total = len(self.table)
        if total > len(self.vectors):  # room for twice as many, so that growing takes constant time per form
            # [room, D]
            grown = self._room(2 * total)
            grown[: self._computed] = self.vectors[: self._computed]
            self.vectors = grown
        for start in range(self._computed, total, CHUNK):
            rows = numpy.arange(start, min(start + CHUNK, total))
            forms = self.table.rows(rows).to(self.vectors.device)
            self.vectors[rows[0] : rows[-1] + 1] = self._network.of_forms(forms)
        self._computed = total

    def _room(self, forms: int) -> Tensor:
        """Uninitialised memory for the vectors of forms, [forms, D]."""
        return self._network.output.weight.detach().new_empty(forms, self._network.form_outputs)
