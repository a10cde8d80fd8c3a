"""LSTM variants with other rules for keeping and writing the memory, and the peephole LSTM.

i, f, g, o are input gate, forget gate, candidate and output gate before their activation functions, each
W x_t + U h_{t-1} + b with its own weights. Biases of forget gates start at 1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import AffineCell, KeepGate, State, Stepper, orthogonal
from seqtool.nn.cells.transitions import (
    FORGET,
    CappedRule,
    CoupledRule,
    KeepAllRule,
    MemoryRule,
    exposed,
    remember,
)
from seqtool.nn.deferred import Linears


class MemoryCell(AffineCell):
    """c_t = keep * c_{t-1} + write * tanh(g); h_t = sigmoid(o) * tanh(c_t).

    The rule computes `keep` and `write` from its gates. W and U hold the gates of the rule, the candidate and
    the output gate, in this order.
    """

    memory = (1,)
    keep_gate: ClassVar[KeepGate | None] = KeepGate(1, input=0)
    gates: ClassVar[tuple[tuple[str, ...], ...]] = (("input gate", "forget gate"), ("output gate",))
    rule: ClassVar[MemoryRule]

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        blocks = self.rule.gates + 2
        super().__init__(inputs, hidden, rows=[hidden] * blocks, options=options)
        self.recurrent_weight = orthogonal(blocks, hidden)
        open_gate(self.bias, self.keep_gate, hidden)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state and cell state."""
        return self.hidden, self.hidden

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, P], (h, c) -> (h, c)."""
        recurrent, rule, width = linear(self.recurrent_weight), self.rule, self.hidden

        def step(projected: Tensor, state: State) -> State:
            hidden, memory = state
            gates = projected + recurrent(hidden)  # [B, P]
            # the rule's gates and the candidate, [B, P - H]; the output gate, [B, H]
            writing, output_gate = torch.split(gates, [gates.shape[1] - width, width], 1)
            memory = remember(writing, memory, rule, self.noise(memory))
            return exposed(output_gate, memory), memory

        return step


class NoForgetLSTMCell(MemoryCell):
    """LSTM without forget gate, which never lets go of what it has written.

    c_t = c_{t-1} + sigmoid(i) * tanh(g); h_t = sigmoid(o) * tanh(c_t)

    Reference: Hochreiter and Schmidhuber 1997, section 4, with tanh for the functions g and h there.
    """

    keep_gate = None
    gates = (("input gate",), ("output gate",))
    rule = KeepAllRule()

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Three gates."""
        return 3 * hidden * (inputs + hidden + 1)


class CoupledLSTMCell(MemoryCell):
    """LSTM whose input gate is 1 - f', so that it writes as much as it forgets.

    c_t = f' * c_{t-1} + (1 - f') * tanh(g), with f' = sigmoid(f); h_t = sigmoid(o) * tanh(c_t)

    Reference: Greff et al. 2017, "LSTM: a search space odyssey" (CIFG).
    """

    keep_gate = KeepGate(0)
    gates = (("forget gate",), ("output gate",))
    rule = CoupledRule()

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Three gates."""
        return 3 * hidden * (inputs + hidden + 1)


class CappedLSTMCell(MemoryCell):
    """LSTM whose input gate is at most 1 - f', so that its memory never leaves [-1, 1].

    c_t = f' * c_{t-1} + min(1 - f', i') * tanh(g), with i' = sigmoid(i), f' = sigmoid(f);
    h_t = sigmoid(o) * tanh(c_t)

    It lies between the standard LSTM, which may write without forgetting, and
    the coupled one, which has to write as much as it forgets.

    Reference: Melis et al. 2018, "On the state of the art of evaluation in neural language models", whose
    models use this variant.
    """

    rule = CappedRule()

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates."""
        return 4 * hidden * (inputs + hidden + 1)


class PeepholeLSTMCell(MemoryCell):
    """LSTM whose gates also read the memory, through peephole weights p, q and r.

    i, f, g, o = W x_t + U h_{t-1} + b
    c_t = sigmoid(f + q * c_{t-1}) * c_{t-1} + sigmoid(i + p * c_{t-1}) * tanh(g)
    h_t = sigmoid(o + r * c_t) * tanh(c_t)

    Reference: Gers and Schmidhuber 2000, "Recurrent nets that time and count"; Gers et al. 2002,
    "Learning precise timing with LSTM recurrent networks".
    """

    rule = FORGET

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, options=options)
        self.peepholes = nn.Parameter(torch.zeros(3, hidden))  # p, q, r

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates, and three peepholes per unit."""
        return 4 * hidden * (inputs + hidden + 1) + 3 * hidden

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 4H], (h, c) -> (h, c)."""
        recurrent, width = linear(self.recurrent_weight), self.hidden
        before, after = self.peepholes[:2].flatten(), self.peepholes[2]  # [2H], [H]

        def step(projected: Tensor, state: State) -> State:
            hidden, memory = state
            gates = projected + recurrent(hidden)  # [B, 4H]
            # i and f [B, 2H], g [B, H], o [B, H]
            watching, candidate, output_gate = torch.split(gates, [2 * width, width, width], 1)
            watching = torch.addcmul(watching, before, memory.repeat(1, 2))  # [B, 2H]
            noise = self.noise(memory)
            memory = remember(torch.cat([watching, candidate], 1), memory, self.rule, noise)
            return exposed(torch.addcmul(output_gate, after, memory), memory), memory

        return step


def open_gate(bias: nn.Parameter, gate: KeepGate | None, width: int) -> None:
    """Let the gate that keeps the state start open: set its bias to 1 (Jozefowicz et al. 2015, section 4).

    Args:
        bias: Bias of all gates, changed in place, [gates x width].
        gate: The gate that keeps the state; None = there is none.
        width: Width of a gate.
    """
    if gate is not None:
        with torch.no_grad():
            bias[gate.block * width : (gate.block + 1) * width] = 1.0
