"""Long short-term memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cells.cell import Cell, Fused, State, Stepper
from seqtool.nn.deferred import DeferredLinear, Linears


class LSTMCell(Cell):
    """LSTM with forget gates, without peepholes.

    i, f, g, o = W x_t + U h_{t-1} + b (input gate, forget gate, candidate, output gate)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

    Orthogonal recurrent blocks, Glorot input weights; the forget gate starts with a bias of 1
    (Jozefowicz et al. 2015, section 4).

    Reference: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gate).
    """

    def __init__(self, inputs: int, hidden: int, *, weight_drop: float = 0.0) -> None:
        super().__init__(inputs, hidden, weight_drop=weight_drop)
        self.kernel = nn.LSTM(inputs, hidden, batch_first=True)
        initialise(self.kernel, gates=4)
        with torch.no_grad():
            weights_of(self.kernel).input_bias[hidden : 2 * hidden] = 1.0

    def project(self, inputs: Tensor) -> Tensor:
        """[B, T, I] -> the input half of the four gates, [B, T, 4H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias + weights.recurrent_bias)

    def initial(self, batch: int, like: Tensor) -> State:
        """Hidden and cell state, zeros, each [B, H]."""
        zeros = like.new_zeros(batch, self.hidden)
        return zeros, zeros

    def step(self, projected: Tensor, state: State) -> State:
        """[B, 4H], (h, c) -> (h, c)."""
        recurrent = functional.linear(state[0], weights_of(self.kernel).recurrent)
        return _transition(projected + recurrent, state[1])

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """`step`, with the weight gradient of the recurrent product left to the end of the pass."""
        recurrent = linear(self.dropped(weights_of(self.kernel).recurrent))

        def step(projected: Tensor, state: State) -> State:
            return _transition(projected + recurrent(state[0]), state[1])

        return step

    def fused(self) -> Fused | None:
        """torch's LSTM kernel."""
        weights = weights_of(self.kernel)
        dropped = [*weights._replace(recurrent=self.dropped(weights.recurrent))]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            before = [each[None] for each in state]
            outputs, hidden, memory = torch.lstm(
                inputs, before, dropped, True, 1, 0.0, self.training, False, True
            )
            return outputs, (hidden[0], memory[0])

        return run


def _transition(gates: Tensor, memory: Tensor) -> State:
    """Gates before their functions [B, 4H] and cell state [B, H] to hidden and cell state."""
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
    memory = torch.sigmoid(forget_gate) * memory + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(memory), memory


class Weights(NamedTuple):
    """Parameters of one layer of a library kernel, gate after gate."""

    inputs: Tensor  # [gates x H, I]
    recurrent: Tensor  # [gates x H, H]
    input_bias: Tensor  # [gates x H]
    recurrent_bias: Tensor  # [gates x H]


def weights_of(kernel: nn.RNNBase) -> Weights:
    """The parameters of a one-layer kernel, in the order in which torch keeps them."""
    return Weights(*kernel.parameters())


def initialise(kernel: nn.RNNBase, gates: int) -> None:
    """Glorot-uniform input weights and orthogonal recurrent weights, a gate at a time; biases 0."""
    for name, parameter in kernel.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        fill = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
        for block in parameter.chunk(gates, 0):
            fill(block)
