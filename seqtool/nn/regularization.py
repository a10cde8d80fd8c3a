"""Dropout that suits sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Dropout with one mask a sequence: a unit is out at every step or at none.

    Args:
        probability: Of dropping a unit, in [0, 1).

    Reference: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in
    recurrent neural networks" (called variational there, locked in AWD-LSTM).
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"dropout {probability} is not in [0, 1)")
        self.probability = probability

    def forward(self, values: Tensor) -> Tensor:
        """[B, T, D] to the same; kept units are scaled by 1 / (1 - p)."""
        mask = self.mask(values, len(values), values.shape[2])
        return values if mask is None else values * mask[:, None]

    def mask(self, like: Tensor, sequences: int, width: int) -> Tensor | None:
        """What the units of each sequence are multiplied by at every step, [B, D]; None where nothing drops.

        Args:
            like: Of the type and on the device that the mask shall have.
            sequences: B.
            width: D.
        """
        if not self.training or self.probability == 0.0:
            return None
        keep = 1.0 - self.probability
        return like.new_empty(sequences, width).bernoulli_(keep).div_(keep)


def drop_words(words: Tensor, probability: Tensor, unknown: int) -> Tensor:
    """Word ids with some replaced by the unknown word, so that its embedding is trained.

    Args:
        words: Ids, any shape.
        probability: Of replacing each word, of the same shape, in [0, 1].
        unknown: The id to put in.
    """
    return torch.where(torch.rand_like(probability) < probability, unknown, words)
