"""Cells whose steps a kernel of the library (oneDNN, cuDNN) can run all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.celloptions import PLAIN, CellOptions
from seqtool.nn.cells.cell import TableCell


class Weights(NamedTuple):
    """Parameters of one layer of a library kernel, gate after gate."""

    inputs: Tensor  # [gates x H, I]
    recurrent: Tensor  # [gates x H, H]
    input_bias: Tensor  # [gates x H]
    recurrent_bias: Tensor  # [gates x H]


class KernelCell(TableCell):
    """A cell with the parameters of a library kernel.

    Glorot-uniform input weights and orthogonal recurrent weights, a gate at a time; biases 0.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        kernel: With one layer.
        options: See `Cell`.
    """

    def __init__(self, inputs: int, hidden: int, kernel: nn.RNNBase, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, options=options)
        self.kernel = kernel
        weights = weights_of(kernel)
        for block in self.input_blocks():
            nn.init.xavier_uniform_(block)
        for block in self.recurrent_blocks():
            nn.init.orthogonal_(block)
        for bias in (weights.input_bias, weights.recurrent_bias):
            nn.init.zeros_(bias)

    def input_map(self) -> Tensor:
        """W."""
        return weights_of(self.kernel).inputs

    def input_blocks(self) -> Sequence[Tensor]:
        """Of W."""
        return torch.split(weights_of(self.kernel).inputs, self.hidden)

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """Of U."""
        return torch.split(weights_of(self.kernel).recurrent, self.hidden)

    def gate_biases(self) -> Sequence[Tensor]:
        """Of the input's half."""
        return torch.split(weights_of(self.kernel).input_bias, self.hidden)


def weights_of(kernel: nn.RNNBase) -> Weights:
    """The parameters of a one-layer kernel, in the order in which torch keeps them."""
    return Weights(*kernel.parameters())
