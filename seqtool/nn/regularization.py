"""Dropout that suits sequences, and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.deferred import at_least_float32


class SequenceDropout(nn.Module):
    """Dropout of sequences: locked, with one mask a sequence, or with a mask for each step.

    Args:
        probability: Of dropping a unit, in [0, 1).
        locked: Whether a unit is out at every step or at none.

    References: Gal and Ghahramani 2016, "A theoretically grounded application of dropout in
    recurrent neural networks" (locked: called variational there, locked in AWD-LSTM); Zaremba et al.
    2014, "Recurrent neural network regularization" (a mask for each step).
    """

    def __init__(self, probability: float, locked: bool = True) -> None:
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"dropout {probability} is not in [0, 1)")
        self.probability = probability
        self.locked = locked

    def forward(self, values: Tensor) -> Tensor:
        """[B, T, D] to the same; kept units are scaled by 1 / (1 - p)."""
        if not self._drops:
            return values
        rows, steps, width = values.shape
        return values * self._mask(values, (rows, 1 if self.locked else steps, width))

    def by_steps(self, like: Tensor, sequences: int, width: int) -> Callable[[Tensor], Tensor]:
        """The same for a loop over time: what the values of each step, [B, D], go through.

        Args:
            like: Of the type and on the device that the masks shall have.
            sequences: B.
            width: D.
        """
        if not self._drops:
            return lambda values: values
        shape = (sequences, width)
        if not self.locked:
            return lambda values: values * self._mask(like, shape)
        mask = self._mask(like, shape)
        return lambda values: values * mask

    @property
    def _drops(self) -> bool:
        return self.training and self.probability > 0.0

    def _mask(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        keep = 1.0 - self.probability
        return like.new_empty(shape).bernoulli_(keep).div_(keep)


def drop_words(words: Tensor, probability: Tensor, unknown: int) -> Tensor:
    """Word ids with some replaced by the unknown word, so that its embedding is trained.

    Args:
        words: Ids, any shape.
        probability: Of replacing each word, of the same shape, in [0, 1].
        unknown: The id to put in.
    """
    return torch.where(torch.rand_like(probability) < probability, unknown, words)


def drop_types(vectors: Tensor, symbols: Tensor, count: int, probability: float) -> Tensor:
    """Embeddings of a batch in which some symbols are left out wherever they stand.

    Args:
        vectors: [..., E].
        symbols: Whose embeddings they are, ids in [0, count), [...].
        count: How many symbols there are.
        probability: Of leaving out a symbol, in [0, 1); the others are scaled by 1 / (1 - p).

    Reference: Gal and Ghahramani 2016, section 4.2; Merity et al. 2018, section 4.3 (embedding dropout).
    """
    return vectors * kept_types(vectors, count, probability)[symbols][..., None]


def kept_types(like: Tensor, count: int, probability: float) -> Tensor:
    """What the embeddings of each symbol are multiplied by, [count]; arguments as of `drop_types`."""
    return like.new_empty(count).bernoulli_(1.0 - probability).div_(1.0 - probability)


class InputNoise(nn.Module):
    """Gaussian noise in training.

    Args:
        deviation: Its standard deviation; 0 = none.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, values: Tensor) -> Tensor:
        """Any shape to the same."""
        if not self.training or not self.deviation:
            return values
        return values + self.deviation * torch.randn_like(values)


class StatePenalties(NamedTuple):
    """What is added to a loss for the states of recurrent layers; each a weight, 0 = nothing.

    References: Merity et al. 2017, "Revisiting activation regularization for language RNNs", section 3
    (AR, TAR); Krueger and Memisevic 2016, "Regularizing RNNs by stabilizing activations", equation 1.
    """

    activation: float  # AR: of the mean square of the states, dropout included
    slowness: float  # TAR: of the mean square of how far a state moves in a step
    norm: float  # of the square of how much the norm of a state changes in a step

    def __call__(self, states: Tensor, dropped: Tensor, mask: Tensor) -> Tensor:
        """Summed over steps, as losses are; the first step has none before it.

        Args:
            states: [B, T, H].
            dropped: The same after dropout.
            mask: True at real steps, right-padded, [B, T].

        Returns:
            Scalar.
        """
        width, moves = states.shape[2], mask[:, 1:]
        total = torch.zeros((), device=mask.device)
        if self.activation:
            total = total + self.activation * at_least_float32(dropped)[mask].square().sum() / width
        if self.slowness:
            moved = at_least_float32(states).diff(dim=1)[moves]
            total = total + self.slowness * moved.square().sum() / width
        if self.norm:
            changed = at_least_float32(states).norm(dim=2).diff(dim=1)[moves]
            total = total + self.norm * changed.square().sum()
        return total


NO_PENALTIES = StatePenalties(0.0, 0.0, 0.0)
