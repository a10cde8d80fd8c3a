"""Long short-term memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.cells.cell import Cell, Fused, State, Stepper
from seqtool.nn.cells.transitions import sigmoid_backward, tanh_backward
from seqtool.nn.deferred import Linears


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

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two weights and two biases of four gates."""
        return 4 * hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """[B, T, I] -> the input half of the four gates, [B, T, 4H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias + weights.recurrent_bias)

    def input_map(self) -> Tensor:
        """W."""
        return weights_of(self.kernel).inputs

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Hidden and cell state."""
        return self.hidden, self.hidden

    def transition(self, linear: Linears) -> Stepper:
        """[B, 4H], (h, c) -> (h, c)."""
        recurrent = linear(weights_of(self.kernel).recurrent)

        def step(projected: Tensor, state: State) -> State:
            return lstm_step(projected, recurrent(state[0]), state[1])

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


def lstm_step(projected: Tensor, recurrent: Tensor, memory: Tensor) -> State:
    """Both halves of i, f, g, o, [B, 4H] each, and cell state [B, H] to hidden and cell state."""
    following: State = _Transition.apply(projected, recurrent, memory)  # type: ignore[no-untyped-call]
    return following


class _Transition(Function):
    """What stands between two products of a step, in as few passes as can be in both directions."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, recurrent: Tensor, memory: Tensor) -> State:
        width = memory.shape[1]
        gates = projected + recurrent
        gates[:, : 2 * width].sigmoid_()
        gates[:, 2 * width : 3 * width].tanh_()
        gates[:, 3 * width :].sigmoid_()
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
        following = (forget_gate * memory).addcmul_(input_gate, candidate)
        squashed = following.tanh()
        ctx.save_for_backward(gates, memory, squashed)
        return output_gate * squashed, following

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor, d_memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gates, memory, squashed = ctx.saved_tensors
        width = memory.shape[1]
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)
        d_gates = torch.empty_like(gates)
        for_input, for_forget, for_candidate, for_output = d_gates.chunk(4, 1)
        d_following = tanh_backward(d_hidden * output_gate, squashed).add_(d_memory)
        torch.mul(d_following, candidate, out=for_input)
        torch.mul(d_following, memory, out=for_forget)
        torch.mul(d_following, input_gate, out=for_candidate)
        torch.mul(d_hidden, squashed, out=for_output)
        both = d_gates[:, : 2 * width]
        sigmoid_backward.grad_input(both, gates[:, : 2 * width], grad_input=both)
        tanh_backward.grad_input(for_candidate, candidate, grad_input=for_candidate)
        sigmoid_backward.grad_input(for_output, output_gate, grad_input=for_output)
        return d_gates, d_gates, d_following.mul_(forget_gate)


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
