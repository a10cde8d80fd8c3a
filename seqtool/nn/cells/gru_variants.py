"""Variants of the GRU with other gates, or with gates in other places."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.batchnorm import BatchNorm, real_rows
from seqtool.nn.cells.cell import AffineCell, KeepGate, State, Stepper, orthogonal
from seqtool.nn.cells.transitions import blended, gated
from seqtool.nn.deferred import Linears


class OriginalGRUCell(AffineCell):
    """GRU as published, with the reset gate before the recurrent product.

    r = sigmoid(W_r x_t + U_r h_{t-1} + b_r), z likewise; n = W_n x_t + U_n (r * h_{t-1}) + b_n
    h_t = z * h_{t-1} + (1 - z) * tanh(n)

    A step makes two products, one after the other; `gru` makes one, and has library kernels.

    Reference: Cho et al. 2014, section 2.3, equations 5 to 8.
    """

    keep_gate = KeepGate(1)
    gates = (("reset gate",), ("update gate",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 3, options=options)
        self.recurrent_weight = orthogonal(2, hidden)
        self.candidate_weight = orthogonal(1, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two gates and the candidate."""
        return 3 * hidden * (inputs + hidden + 1)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 3H], (h,) -> (h,)."""
        recurrent, again, width = linear(self.recurrent_weight), linear(self.candidate_weight), self.hidden

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            gates, candidate = torch.split(projected, [2 * width, width], 1)  # [B, 2H], [B, H]
            reset, update = (gates + recurrent(hidden)).chunk(2, 1)  # [B, H] each
            candidate = candidate + again(gated(reset, hidden))  # [B, H]
            return (blended(update, candidate, hidden, self.noise(hidden)),)

        return step


class MGUCell(AffineCell):
    """Minimal gated unit: one gate serves as reset gate and update gate.

    f = sigmoid(W_f x_t + U_f h_{t-1} + b_f); n = W_n x_t + U_n (f * h_{t-1}) + b_n
    h_t = (1 - f) * h_{t-1} + f * tanh(n)

    Reference: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks".
    """

    keep_gate = KeepGate(0, writes=True)
    gates = (("forget gate",), ("share kept (1 - f)",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 2, options=options)
        self.recurrent_weight = orthogonal(1, hidden)
        self.candidate_weight = orthogonal(1, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """A gate and the candidate."""
        return 2 * hidden * (inputs + hidden + 1)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 2H], (h,) -> (h,)."""
        recurrent, again = linear(self.recurrent_weight), linear(self.candidate_weight)

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            gate, candidate = projected.chunk(2, 1)  # [B, H] each
            gate = gate + recurrent(hidden)
            candidate = candidate + again(gated(gate, hidden))
            # The share of h_{t-1} that is kept is 1 - sigmoid(f) = sigmoid(-f).
            return (blended(-gate, candidate, hidden, self.noise(hidden)),)

        return step


class LightGRUCell(AffineCell):
    """GRU without a reset gate, with a ReLU candidate and a batch-normalised input half.

    z = sigmoid(BN(W_z x_t) + b_z + U_z h_{t-1}); n = max(0, BN(W_n x_t) + b_n + U_n h_{t-1})
    h_t = z * h_{t-1} + (1 - z) * n

    BN has one mean and one variance per unit for all steps: those of the real positions of a batch in
    training, running ones in evaluation (`BatchNorm`). So in training `project` needs the whole batch, and
    running the cell step by step is for evaluation only.

    Reference: Ravanelli et al. 2018, "Light gated recurrent units for speech recognition".
    """

    keep_gate = KeepGate(0)
    gates = (("update gate",),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 2, options=options)
        self.recurrent_weight = orthogonal(2, hidden)
        self.norm = BatchNorm(2 * hidden, gain=1.0)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """A gate and the candidate, each with a bias and a gain."""
        return 2 * hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """BN(W x) + b, [..., I] -> [..., 2H]."""
        values = functional.linear(inputs, self.input_weight)
        normal: Tensor = self.norm(values, real_rows(inputs) if self.training else None)
        return normal + self.bias

    def input_map(self) -> Tensor:
        """W times the factors that BN has in evaluation, [2H, I]."""
        scale, _ = self.norm.line(0)
        return scale[:, None] * self.input_weight

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 2H], (h,) -> (h,)."""
        recurrent = linear(self.recurrent_weight)

        def step(projected: Tensor, state: State) -> State:
            update, candidate = (projected + recurrent(state[0])).chunk(2, 1)  # [B, H] each
            return (blended(update, candidate, state[0], self.noise(state[0]), rectified=True),)

        return step
