"""Regularisers for sequences: dropout, word and type dropout, input noise, penalties on states."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.deferred import at_least_float32


class SequenceDropout(nn.Module):
    """Dropout of sequences: locked, with one mask per sequence, or with a new mask at each step.

    Args:
        probability: Probability of dropping a unit, in [0, 1).
        locked: Whether a unit is dropped at every step of a sequence or at none.

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
        """Values [B, T, D] after dropout; kept units are scaled by 1 / (1 - p)."""
        if not self._drops:
            return values
        rows, steps, width = values.shape
        return values * self._mask(values, (rows, 1 if self.locked else steps, width))

    def by_steps(self, like: Tensor, sequences: int, width: int) -> Callable[[Tensor], Tensor]:
        """Dropout in a loop over time: a function that is applied to the values [B, D] of each step.

        Args:
            like: A tensor with the number type and the device of the values.
            sequences: Number B of sequences.
            width: Width D of the values.
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
    """Replace some words by the unknown word, so that its embedding is trained.

    Args:
        words: Word ids, any shape.
        probability: Probability of replacing each word, in [0, 1], of the shape of `words`.
        unknown: Id of the unknown word.
    """
    return torch.where(torch.rand_like(probability) < probability, unknown, words)


def drop_types(vectors: Tensor, symbols: Tensor, count: int, probability: float) -> Tensor:
    """Drop the embeddings of some symbols wherever they occur in a batch.

    Args:
        vectors: Embeddings of the symbols, [..., E].
        symbols: Symbol ids in [0, count), [...].
        count: Number of symbols in the vocabulary.
        probability: Probability p of dropping a symbol, in [0, 1); the others are scaled by 1 / (1 - p).

    Reference: Gal and Ghahramani 2016, section 4.2; Merity et al. 2018, section 4.3 (embedding dropout).
    """
    return vectors * kept_types(vectors, count, probability)[symbols][..., None]


def kept_types(like: Tensor, count: int, probability: float) -> Tensor:
    """Factor of each symbol's embedding, 0 or 1 / (1 - p), [count]; arguments as in `drop_types`."""
    return like.new_empty(count).bernoulli_(1.0 - probability).div_(1.0 - probability)


class InputNoise(nn.Module):
    """Gaussian noise, added in training only.

    Args:
        deviation: Standard deviation of the noise; 0 = no noise.
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, with noise added in training."""
        if not self.training or not self.deviation:
            return values
        return values + self.deviation * torch.randn_like(values)


class StatePenalties(NamedTuple):
    """Weights of the penalties on the states of recurrent layers that are added to a loss; 0 = no penalty.

    References: Merity et al. 2017, "Revisiting activation regularization for language RNNs", section 3
    (AR, TAR); Krueger and Memisevic 2016, "Regularizing RNNs by stabilizing activations", equation 1.
    """

    activation: float  # AR: weight of the mean square of the states after dropout
    slowness: float  # TAR: weight of the mean square of the change of a state in one step
    norm: float  # weight of the square of the change of a state's norm in one step

    def __call__(self, states: Tensor, dropped: Tensor, mask: Tensor) -> Tensor:
        """The penalties, summed over steps as losses are; changes are counted from the second step on.

        Args:
            states: States, [B, T, H].
            dropped: The states after dropout, [B, T, H].
            mask: True at real steps, right-padded, [B, T].

        Returns:
            Weighted sum of the penalties, scalar.
        """
        width, moves = states.shape[2], mask[:, 1:]  # moves: [B, T - 1]
        total = torch.zeros((), device=mask.device)
        if self.activation:
            total = total + self.activation * at_least_float32(dropped)[mask].square().sum() / width
        if self.slowness:
            moved = at_least_float32(states).diff(dim=1)[moves]  # [number of moves, H]
            total = total + self.slowness * moved.square().sum() / width
        if self.norm:
            changed = at_least_float32(states).norm(dim=2).diff(dim=1)[moves]  # [number of moves]
            total = total + self.norm * changed.square().sum()
        return total


NO_PENALTIES = StatePenalties(0.0, 0.0, 0.0)
