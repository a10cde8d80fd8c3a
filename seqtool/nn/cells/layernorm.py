"""LSTM and GRU with layer normalisation (Ba et al. 2016).

LN(v) = gain * (v - mean) / sqrt(variance + epsilon) over the units of one row. Where two LN are added, their
biases would only occur as a sum, so there is one bias for both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import AffineCell, KeepGate, State, Stepper, orthogonal
from seqtool.nn.cells.memories import open_gate
from seqtool.nn.cells.transitions import FORGET, exposed, remember, reset_blended
from seqtool.nn.deferred import Linears


class LayerNormLSTMCell(AffineCell):
    """LSTM with layer-normalised products and memory.

    i, f, g, o = LN(W x_t) + LN(U h_{t-1}) + b, each LN over all four together
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g); h_t = sigmoid(o) * tanh(LN(c_t) + d)

    Reference: Ba et al. 2016, supplementary material, the equations of the LSTM.
    """

    memory = (1,)
    keep_gate = KeepGate(1, input=0)
    gates = (("input gate", "forget gate"), ("output gate",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 4, options=options)
        self.recurrent_weight = orthogonal(4, hidden)
        self.input_gain = nn.Parameter(torch.ones(4 * hidden))
        self.recurrent_gain = nn.Parameter(torch.ones(4 * hidden))
        self.memory_gain = nn.Parameter(torch.ones(hidden))
        self.memory_bias = nn.Parameter(torch.zeros(hidden))
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates with a bias and two gains each, and gain and bias of the memory."""
        return 4 * hidden * (inputs + hidden + 3) + 2 * hidden

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state and cell state."""
        return self.hidden, self.hidden

    def project(self, inputs: Tensor) -> Tensor:
        """W x, [..., I] -> [..., 4H]."""
        return functional.linear(inputs, self.input_weight)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 4H], (h, c) -> (h, c)."""
        recurrent, width = linear(self.recurrent_weight), self.hidden

        def step(projected: Tensor, state: State) -> State:
            hidden, memory = state
            gates = normalised(projected, self.input_gain, self.bias)  # [B, 4H]
            gates = gates + normalised(recurrent(hidden), self.recurrent_gain)
            writing, output_gate = torch.split(gates, [3 * width, width], 1)  # i, f, g [B, 3H] and o [B, H]
            memory = remember(writing, memory, FORGET, self.noise(memory))
            shown = normalised(memory, self.memory_gain, self.memory_bias)
            return exposed(output_gate, shown), memory

        return step


class LayerNormGRUCell(AffineCell):
    """GRU with layer-normalised products.

    r, z = LN(W x_t) + LN(U h_{t-1}) + b, each LN over both together
    n = LN(W_n x_t) + b_n + sigmoid(r) * (LN(U_n h_{t-1}) + d)
    h_t = sigmoid(z) * h_{t-1} + (1 - sigmoid(z)) * tanh(n); the paper's z is the negative of this one

    Reference: Ba et al. 2016, supplementary material, the equations of the GRU.
    """

    keep_gate = KeepGate(1)
    gates = (("reset gate", "update gate"),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 3, options=options)
        self.recurrent_weight = orthogonal(3, hidden)
        self.input_gain = nn.Parameter(torch.ones(3 * hidden))
        self.recurrent_gain = nn.Parameter(torch.ones(3 * hidden))
        self.candidate_bias = nn.Parameter(torch.zeros(hidden))

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two gates and the candidate with a bias and two gains each, and a second bias of the candidate."""
        return 3 * hidden * (inputs + hidden + 3) + hidden

    def project(self, inputs: Tensor) -> Tensor:
        """W x, [..., I] -> [..., 3H]."""
        return functional.linear(inputs, self.input_weight)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 3H], (h,) -> (h,)."""
        recurrent, width = linear(self.recurrent_weight), self.hidden
        parts = [2 * width, width]
        gains, candidate_gain = torch.split(self.input_gain, parts)
        recurrent_gains, recurrent_candidate_gain = torch.split(self.recurrent_gain, parts)
        bias, candidate_bias = torch.split(self.bias, parts)

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            # gates [B, 2H] and candidates [B, H] of the input half and the recurrent half
            gates, candidate = torch.split(projected, parts, 1)
            again, recalled = torch.split(recurrent(hidden), parts, 1)
            gates = normalised(gates, gains, bias) + normalised(again, recurrent_gains)
            recalled = normalised(recalled, recurrent_candidate_gain, self.candidate_bias)
            candidate = normalised(candidate, candidate_gain, candidate_bias)
            return (reset_blended(gates, candidate, recalled, hidden, self.noise(hidden)),)

        return step


def normalised(values: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    """LN(values) + bias over the last dimension; None = no bias."""
    return functional.layer_norm(values, gain.shape, gain, bias)
