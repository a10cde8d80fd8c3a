"""LSTM variants with other matrix products around the standard memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import (
    AffineCell,
    Fused,
    KeepGate,
    State,
    Stepper,
    TableCell,
    glorot,
    glorot_blocks,
    orthogonal,
)
from seqtool.nn.cells.lstm import lstm_step
from seqtool.nn.cells.memories import open_gate
from seqtool.nn.cells.transitions import gated
from seqtool.nn.deferred import Linears
from seqtool.nn.meta_device import only_shapes

KEEP_GATE = KeepGate(1, input=0)  # blocks of i, f, g, o
ROUNDS = 5  # rounds of the mogrifier, the number in its paper's best models


class ProjectedLSTMCell(AffineCell):
    """LSTM with a memory of width 1.5 H, projected to an output of width H (LSTMP).

    i, f, g, o = W x_t + U r_{t-1} + b, each of width M = 1.5 H
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g); m_t = sigmoid(o) * tanh(c_t)
    r_t = V m_t, the output, of width H

    Recurrent weights, to which weight drop and initialisers apply, are U and V.

    Reference: Sak et al. 2014, "Long short-term memory recurrent neural network architectures for large
    scale acoustic modeling", without the paper's peepholes.
    """

    memory = (1,)
    keep_gate = KEEP_GATE
    gates = (("input gate", "forget gate"), ("output gate",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        wide = memory_width(hidden)
        super().__init__(inputs, hidden, rows=[wide] * 4, options=options)
        self.recurrent_weight = orthogonal(4, wide, hidden)
        self.output_weight = orthogonal(1, hidden, wide)
        open_gate(self.bias, self.keep_gate, wide)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates of the memory, and the projection."""
        wide = memory_width(hidden)
        return 4 * wide * (inputs + hidden + 1) + wide * hidden

    @property
    def gate_width(self) -> int:
        """Width M of the memory."""
        return memory_width(self.hidden)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of output and cell state."""
        return self.hidden, memory_width(self.hidden)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 4M], (r, c) -> (r, c)."""
        recurrent, output = linear(self.recurrent_weight), linear(self.output_weight)

        def step(projected: Tensor, state: State) -> State:
            # [B, M] each; the output is [B, H]
            exposed, memory = lstm_step(projected, recurrent(state[0]), state[1], self.noise(state[1]))
            return output(exposed), memory

        return step

    def fused(self) -> Fused | None:
        """cuDNN's kernel on a GPU; on a CPU torch has none with projections."""
        return self.by_kernel if self.bias.is_cuda else None

    def by_kernel(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """All steps by torch's LSTM; its second bias is 0."""
        weights = [self.input_weight, self.dropped(self.recurrent_weight), self.bias]
        weights += [torch.zeros_like(self.bias), self.dropped(self.output_weight)]
        before = [each[None] for each in state]
        outputs, hidden, memory = torch.lstm(
            inputs, before, weights, True, 1, 0.0, self.training, False, True
        )
        return outputs, (hidden[0], memory[0])


def memory_width(hidden: int) -> int:
    """Width M = 1.5 H of the memory of `projected_lstm`, rounded up."""
    return (3 * hidden + 1) // 2


class MultiplicativeLSTMCell(AffineCell):
    """LSTM with an input-dependent transition: m_t replaces h_{t-1} in the gates.

    m_t = (W_m x_t) * (U_m h_{t-1})
    i, f, g, o = W x_t + U m_t + b; the remaining equations are those of the LSTM

    Reference: Krause et al. 2016, "Multiplicative LSTM for sequence modelling".
    """

    memory = (1,)
    keep_gate = KEEP_GATE
    gates = (("input gate", "forget gate"), ("output gate",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 5, biased=4 * hidden, options=options)
        self.middle_weight = orthogonal(1, hidden)  # U_m
        self.recurrent_weight = orthogonal(4, hidden)
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates, and m, which has no bias."""
        return 4 * hidden * (inputs + hidden + 1) + hidden * (inputs + hidden)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state and cell state."""
        return self.hidden, self.hidden

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 5H], (h, c) -> (h, c)."""
        middle, recurrent, width = linear(self.middle_weight), linear(self.recurrent_weight), self.hidden

        def step(projected: Tensor, state: State) -> State:
            hidden, memory = state
            gates, factor = torch.split(projected, [4 * width, width], 1)  # [B, 4H], W_m x [B, H]
            return lstm_step(gates, recurrent(factor * middle(hidden)), memory, self.noise(memory))

        return step


class MogrifierLSTMCell(TableCell):
    """LSTM whose input and state gate each other before it runs, in five rounds.

    x^1 = 2 sigmoid(Q_1 h) * x; h^2 = 2 sigmoid(R_2 x^1) * h; x^3 = 2 sigmoid(Q_3 h^2) * x^1; and so on
    i, f, g, o = W x^5 + U h^4 + b; the remaining equations are those of the LSTM

    Q and R are full matrices, as in the paper's first form. All products depend on the state, so `project`
    returns the input itself. Weight drop applies to U, Q and R.

    Reference: Melis et al. 2020, section 2, equations 1 and 2.
    """

    memory = (1,)
    keep_gate = KEEP_GATE
    gates = (
        ("round 1, input",),
        ("round 2, state",),
        ("round 3, input",),
        ("round 4, state",),
        ("round 5, input",),
        ("input gate", "forget gate"),
        ("output gate",),
    )

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, options=options)
        self.input_weight = glorot_blocks([hidden] * 4, inputs)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        self.recurrent_weight = orthogonal(4, hidden)
        shapes = [(hidden, inputs) if number % 2 else (inputs, hidden) for number in range(ROUNDS)]
        self.rounds = nn.ParameterList(glorot(*shape) for shape in shapes)
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates and the rounds."""
        return 4 * hidden * (inputs + hidden + 1) + ROUNDS * inputs * hidden

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state and cell state."""
        return self.hidden, self.hidden

    def project(self, inputs: Tensor) -> Tensor:
        """The inputs x themselves, [..., I]."""
        return inputs

    def input_map(self) -> Tensor:
        """The identity, [I, I]."""
        if only_shapes():
            return torch.empty(self.inputs, self.inputs)
        return torch.eye(self.inputs, dtype=self.bias.dtype, device=self.bias.device)

    def input_blocks(self) -> Sequence[Tensor]:
        """The blocks of W."""
        return torch.split(self.input_weight, self.hidden)

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The blocks of U."""
        return torch.split(self.recurrent_weight, self.hidden)

    def gate_biases(self) -> Sequence[Tensor]:
        """The blocks of b."""
        return torch.split(self.bias, self.hidden)

    def dropped(self, recurrent: Tensor) -> Tensor:
        """See `Cell.dropped`; W is applied at each step too, but is no recurrent weight."""
        return recurrent if recurrent is self.input_weight else super().dropped(recurrent)

    def transition(self, linear: Linears) -> Stepper:
        """Input [B, I], (h, c) -> (h, c)."""
        entering, returning = linear(self.input_weight), linear(self.recurrent_weight)
        rounds = [linear(weight) for weight in self.rounds]

        def step(projected: Tensor, state: State) -> State:
            values, (hidden, memory) = projected, state
            # `values` stays [B, I] and `hidden` [B, H]
            for number, product in enumerate(rounds):
                if number % 2:
                    hidden = 2 * gated(product(values), hidden)
                else:
                    values = 2 * gated(product(hidden), values)
            return lstm_step(entering(values) + self.bias, returning(hidden), memory, self.noise(memory))

        return step
