"""Cells for which the library (oneDNN, cuDNN) has a kernel that runs all steps."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import TableCell

ALIKE = (
    0.9  # cosine of two gradients above which they agree: right ones exceed 0.99, wrong ones are below 0.2
)


class Weights(NamedTuple):
    """Parameters of one layer of a library kernel; gates follow each other along the first dimension."""

    inputs: Tensor  # [gates x H, I]
    recurrent: Tensor  # [gates x H, H]
    input_bias: Tensor  # [gates x H]
    recurrent_bias: Tensor  # [gates x H]


class KernelCell(TableCell):
    """A cell with the parameters of a library kernel.

    Each gate's input weights start Glorot-uniform and its recurrent weights orthogonal; biases start at 0.

    Args:
        inputs: Width I of an input.
        hidden: Width H of the output.
        kernel: One-layer module of torch.nn that holds the parameters.
        options: Regularisation, see `Cell`.
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
        """W, [gates x H, I]."""
        return weights_of(self.kernel).inputs

    def input_blocks(self) -> Sequence[Tensor]:
        """The blocks of W."""
        return torch.split(weights_of(self.kernel).inputs, self.hidden)

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The blocks of U."""
        return torch.split(weights_of(self.kernel).recurrent, self.hidden)

    def gate_biases(self) -> Sequence[Tensor]:
        """The blocks of the input bias."""
        return torch.split(weights_of(self.kernel).input_bias, self.hidden)


@functools.cache
def half_gradient_is_right(hidden: int) -> bool:
    """Whether this processor's bfloat16 LSTM has the gradient of its float32 LSTM, tested on one step.

    With oneDNN it does not where AMX is used and H is a multiple of 32 from 1,024 on (torch 2.13): outputs
    are right, but gradients have almost nothing in common with the true ones.
    """
    source = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=source)

    inputs, start = random(1, 1, hidden).requires_grad_(), torch.zeros(1, 1, hidden)
    weights = [random(4 * hidden, hidden) / hidden**0.5 for _ in range(2)]
    weights += [torch.zeros(4 * hidden) for _ in range(2)]
    found = []
    for half in (False, True):
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            outputs = torch.lstm(inputs, [start, start], weights, True, 1, 0.0, True, False, True)[0]
        found.append(torch.autograd.grad(outputs.float().sum(), inputs)[0].flatten())
    return float(functional.cosine_similarity(found[0], found[1], dim=0)) > ALIKE


def weights_of(kernel: nn.RNNBase) -> Weights:
    """The parameters of a one-layer kernel, in torch's order."""
    return Weights(*kernel.parameters())
