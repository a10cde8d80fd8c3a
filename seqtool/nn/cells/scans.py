"""Cells with an elementwise recurrence: all products are computed at once, and a scan runs over the steps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import AffineCell, KeepGate, ScanCell, State, noised
from seqtool.nn.cells.memories import open_gate
from seqtool.nn.cells.scanning import gated_scan, linear_scan, pooled, shifted
from seqtool.nn.meta_device import only_shapes

HIGHWAY = math.sqrt(3.0)  # a of `sru`, which is sqrt(1 + 2 exp(b)), for a bias b of r that starts at 0


class MinGRUCell(ScanCell, AffineCell):
    """GRU whose gate and candidate depend on the input alone.

    z, n = W x_t + b; h_t = (1 - sigmoid(z)) * h_{t-1} + sigmoid(z) * n

    Reference: Feng et al. 2024, "Were RNNs all we needed?", section 3.1.
    """

    keep_gate = KeepGate(0, writes=True)
    gates = (("update gate",),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 2, options=options)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """A gate and the candidate."""
        return 2 * hidden * (inputs + 1)

    def advance(self, projected: Tensor, state: State) -> State:
        """Projected input [B, 2H], (h,) -> (h,)."""
        update, candidate = projected.chunk(2, 1)
        candidate = noised(candidate, self.noise(candidate))
        return (torch.lerp(state[0], candidate, torch.sigmoid(update)),)

    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """See `ScanCell.scan`."""
        update, candidate = gathered.chunk(2, 2)  # [B, T, H] each
        update = torch.sigmoid(update)
        outputs = linear_scan(1 - update, update * candidate, state[0])
        return outputs, (outputs[:, -1],)


class MinLSTMCell(ScanCell, AffineCell):
    """LSTM whose gates depend on the input alone and are normalised to sum to 1.

    f, i, n = W x_t + b; f' = sigmoid(f) / (sigmoid(f) + sigmoid(i)); h_t = f' * h_{t-1} + (1 - f') * n

    Reference: Feng et al. 2024, "Were RNNs all we needed?", section 3.2.
    """

    keep_gate = KeepGate(0, input=1)
    gates = (("forget gate",),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 3, options=options)
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two gates and the candidate."""
        return 3 * hidden * (inputs + 1)

    def advance(self, projected: Tensor, state: State) -> State:
        """Projected input [B, 3H], (h,) -> (h,)."""
        forget_gate, input_gate, candidate = projected.chunk(3, 1)
        candidate = noised(candidate, self.noise(candidate))
        return (torch.lerp(candidate, state[0], _share(forget_gate, input_gate)),)

    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """See `ScanCell.scan`."""
        forget_gate, input_gate, candidate = gathered.chunk(3, 2)  # [B, T, H] each
        kept = _share(forget_gate, input_gate)
        outputs = linear_scan(kept, candidate - kept * candidate, state[0])
        return outputs, (outputs[:, -1],)


def _share(gate: Tensor, other: Tensor) -> Tensor:
    """sigmoid(a) / (sigmoid(a) + sigmoid(b)), in a form that never becomes 0 / 0."""
    return torch.sigmoid(functional.logsigmoid(gate) - functional.logsigmoid(other))


class QRNNCell(ScanCell, AffineCell):
    """Quasi-recurrent network: gates are a convolution over the last two inputs.

    z, f, o = W x_t + V x_{t-1} + b, with x_0 = 0
    c_t = sigmoid(f) * c_{t-1} + (1 - sigmoid(f)) * tanh(z); h_t = sigmoid(o) * c_t

    V x_t, which the next step needs, is computed together with W x_t, and is the third part of the state.

    Reference: Bradbury et al. 2017, section 2 (f-o pooling, k = 2).
    """

    memory = (1,)
    keep_gate = KeepGate(1)
    gates = (("forget gate",), ("output gate",))
    window = 2

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        blocks = 3 * self.window
        super().__init__(inputs, hidden, rows=[hidden] * blocks, biased=3 * hidden, options=options)
        open_gate(self.bias, self.keep_gate, hidden)
        with torch.no_grad():  # Glorot's fan-in counts the inputs of the whole window
            self.input_weight.mul_(math.sqrt((inputs + hidden) / (self.window * inputs + hidden)))

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Three blocks per input of the window, and three biases."""
        return 3 * hidden * (2 * inputs + 1)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of output, memory and V x of the last input (`qrnn` only)."""
        return (self.hidden, self.hidden, 3 * self.hidden)[: 1 + self.window]

    @property
    def start_parts(self) -> tuple[int, ...]:
        """The memory; no step reads the last output, and no input precedes the first."""
        return (1,)

    def started(self, start: Tensor) -> State:
        """The state before the first step, with the memory `start`, [B, H]; no step reads its output."""
        return (start, start, *self.initial(len(start), start)[2:])

    def advance(self, projected: Tensor, state: State) -> State:
        """Projected input [B, P], (h, c, V x) -> (h, c, V x)."""
        gates, *share = torch.split(projected, 3 * self.hidden, 1)  # W x + b and V x, [B, 3H] each
        candidate, forget_gate, output_gate = sum(state[2:], gates).chunk(3, 1)  # [B, H] each
        candidate = noised(torch.tanh(candidate), self.noise(state[1]))
        memory = torch.lerp(candidate, state[1], torch.sigmoid(forget_gate))
        return torch.sigmoid(output_gate) * memory, memory, *share

    def gathered(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """The gates, [B, T, 3H], from one product with both inputs of a window, and V x of the last input."""
        if self.window == 1:
            return self.project(inputs), ()
        own, before = torch.split(self.input_weight, 3 * self.hidden)  # W and V, [3H, I] each
        both = torch.cat([inputs, shifted(inputs, torch.zeros_like(inputs[:, 0]))], 2)  # [B, T, 2I]
        gates = functional.linear(both, torch.cat([own, before], 1), self.bias)  # [B, T, 3H]
        gates[:, 0] += state[2].to(gates.dtype)
        return gates, (functional.linear(inputs[:, -1], before),)

    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """See `ScanCell.scan`."""
        outputs, memory = pooled(gathered, state[1])
        return outputs, (outputs[:, -1], memory[:, -1])


class QRNN1Cell(QRNNCell):
    """Quasi-recurrent network whose gates depend on the current input alone: `qrnn` without V.

    z, f, o = W x_t + b
    c_t = sigmoid(f) * c_{t-1} + (1 - sigmoid(f)) * tanh(z); h_t = sigmoid(o) * c_t

    Reference: Bradbury et al. 2017, section 2 (k = 1).
    """

    window = 1

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Three blocks with their biases."""
        return 3 * hidden * (inputs + 1)


class SRUCell(ScanCell, AffineCell):
    """Simple recurrent unit: gates read the memory elementwise, and a highway connection passes the input.

    f = sigmoid(W_f x_t + v * c_{t-1} + b); r = sigmoid(W_r x_t + v' * c_{t-1} + b')
    c_t = f * c_{t-1} + (1 - f) * (W x_t)
    h_t = r * c_t + (1 - r) * a x_t, with a = sqrt(3)

    Where the widths of input and output differ, x_t in the last equation is W' x_t, with a weight W' of its
    own. Weights start uniform with variance 1 / I, as in the paper, biases at 0; a keeps the variance of x_t.

    Reference: Lei et al. 2018, section 3.
    """

    memory = (1,)
    keep_gate = KeepGate(0)
    gates = (("forget gate",), ("highway gate",))
    linear = False

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        blocks = 3 if inputs == hidden else 4
        super().__init__(inputs, hidden, rows=[hidden] * blocks, biased=2 * hidden, options=options)
        self.peepholes = nn.Parameter(torch.zeros(2, hidden))  # v, v'
        bound = math.sqrt(3.0 / inputs)
        nn.init.uniform_(self.input_weight, -bound, bound)
        nn.init.uniform_(self.peepholes, -bound, bound)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two gates with a bias and a peephole each, the candidate, and W' if widths differ."""
        return hidden * ((3 if inputs == hidden else 4) * inputs + 4)

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of output and memory."""
        return self.hidden, self.hidden

    @property
    def start_parts(self) -> tuple[int, ...]:
        """The memory; no step reads the last output."""
        return (1,)

    def started(self, start: Tensor) -> State:
        """The state before the first step, with the memory `start`, [B, H]; no step reads its output."""
        return start, start

    def project(self, inputs: Tensor) -> Tensor:
        """The gates f and r, the candidate, and the input of the highway, [..., I] -> [..., 4H]."""
        projected = super().project(inputs)
        return torch.cat([projected, inputs], -1) if self.inputs == self.hidden else projected

    def input_map(self) -> Tensor:
        """All input weights, [4H, I]; the last block is the identity where there is no W'."""
        if self.inputs != self.hidden:
            return self.input_weight
        if only_shapes():
            return torch.empty(4 * self.hidden, self.inputs)
        identity = torch.eye(self.inputs, dtype=self.bias.dtype, device=self.bias.device)
        return torch.cat([self.input_weight, identity])

    def advance(self, projected: Tensor, state: State) -> State:
        """Projected input [B, 4H], (h, c) -> (h, c)."""
        forget_gate, reset_gate, candidate, passed = projected.chunk(4, 1)  # [B, H] each
        before = state[1]
        forget_gate = torch.sigmoid(forget_gate + self.peepholes[0] * before)
        reset_gate = torch.sigmoid(reset_gate + self.peepholes[1] * before)
        memory = torch.lerp(noised(candidate, self.noise(candidate)), before, forget_gate)
        return torch.lerp(HIGHWAY * passed, memory, reset_gate), memory

    def scan(self, gathered: Tensor, state: State) -> tuple[Tensor, State]:
        """See `ScanCell.scan`."""
        forget_gate, reset_gate, candidate, passed = gathered.chunk(4, 2)  # [B, T, H] each
        memory, before = gated_scan(forget_gate, self.peepholes[0], candidate, state[1])
        reset_gate = torch.sigmoid(torch.addcmul(reset_gate, self.peepholes[1], before))
        outputs = torch.lerp(HIGHWAY * passed, memory, reset_gate)
        return outputs, (outputs[:, -1], memory[:, -1])
