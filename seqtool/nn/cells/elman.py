"""Simple recurrent networks: one product with the state, one activation function."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import Fused, State, Stepper, noised
from seqtool.nn.cells.kernel import KernelCell, weights_of
from seqtool.nn.deferred import Linears
from seqtool.nn.meta_device import only_shapes


class RNNCell(KernelCell):
    """Simple recurrent network, with one product of the state and no gates.

    h_t = tanh(W x_t + U h_{t-1} + b)

    b is the sum of two biases, since the library's kernel has two.

    Reference: Elman 1990, "Finding structure in time".
    """

    rectified: ClassVar[bool] = False

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        function = "relu" if self.rectified else "tanh"
        kernel = nn.RNN(inputs, hidden, nonlinearity=function, batch_first=True)
        super().__init__(inputs, hidden, kernel, options=options)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two weights and two biases."""
        return hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """W x + b, [..., I] -> [..., H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias + weights.recurrent_bias)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, H], (h,) -> (h,)."""
        recurrent = linear(weights_of(self.kernel).recurrent)

        def step(projected: Tensor, state: State) -> State:
            total = projected + recurrent(noised(state[0], self.noise(state[0])))
            return (torch.relu(total) if self.rectified else torch.tanh(total),)

        return step

    def fused(self) -> Fused | None:
        """torch's kernel of a simple recurrent network, with tanh or ReLU."""
        kernel = torch.rnn_relu if self.rectified else torch.rnn_tanh
        weights = weights_of(self.kernel)
        dropped = [*weights._replace(recurrent=self.dropped(weights.recurrent))]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, hidden = kernel(
                inputs, state[0][None], dropped, True, 1, 0.0, self.training, False, True
            )
            return outputs, (hidden[0],)

        return run


class IRNNCell(RNNCell):
    """Simple recurrent network with a ReLU, whose recurrent weights U start as the identity.

    h_t = max(0, W x_t + U h_{t-1} + b)

    So at the start of training the state adds up the projected inputs. W starts normal with a standard
    deviation of 0.001, biases start at 0.

    Reference: Le et al. 2015, "A simple way to initialize recurrent networks of rectified linear units".
    """

    rectified = True

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, options=options)
        if not only_shapes():
            nn.init.eye_(weights_of(self.kernel).recurrent)
            nn.init.normal_(weights_of(self.kernel).inputs, std=0.001)
