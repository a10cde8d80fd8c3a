"""Relatives of the GRU: other places and numbers of gates."""

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
    """GRU with the reset gate before the recurrent product, as it was published.

    r = sigmoid(W_r x_t + U_r h_{t-1} + b_r), z likewise; n = W_n x_t + U_n (r * h_{t-1}) + b_n
    h_t = z * h_{t-1} + (1 - z) * tanh(n)

    Two products a step, one after the other; `gru` needs one, and has kernels.

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
        """[B, 3H], (h,) -> (h,)."""
        recurrent, again, width = linear(self.recurrent_weight), linear(self.candidate_weight), self.hidden

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            gates, candidate = torch.split(projected, [2 * width, width], 1)
            reset, update = (gates + recurrent(hidden)).chunk(2, 1)
            candidate = candidate + again(gated(reset, hidden))
            return (blended(update, candidate, hidden, self.noise(hidden)),)

        return step


class MGUCell(AffineCell):
    """Minimal gated unit: one gate resets and updates.

    f = sigmoid(W_f x_t + U_f h_{t-1} + b_f); n = W_n x_t + U_n (f * h_{t-1}) + b_n
    h_t = (1 - f) * h_{t-1} + f * tanh(n)

    Reference: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks".
    """

    keep_gate = KeepGate(0, writes=True)
    gates = (("forget gate",), ("what is kept",))

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 2, options=options)
        self.recurrent_weight = orthogonal(1, hidden)
        self.candidate_weight = orthogonal(1, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """A gate and the candidate."""
        return 2 * hidden * (inputs + hidden + 1)

    def transition(self, linear: Linears) -> Stepper:
        """[B, 2H], (h,) -> (h,)."""
        recurrent, again = linear(self.recurrent_weight), linear(self.candidate_weight)

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            gate, candidate = projected.chunk(2, 1)
            gate = gate + recurrent(hidden)
            candidate = candidate + again(gated(gate, hidden))
            return (blended(-gate, candidate, hidden, self.noise(hidden)),)  # sigmoid(-f) is what is kept

        return step


class LightGRUCell(AffineCell):
    """GRU without a reset gate, with a rectified candidate, its input half normalised over the batch.

    z = sigmoid(BN(W_z x_t) + b_z + U_z h_{t-1}); n = max(0, BN(W_n x_t) + b_n + U_n h_{t-1})
    h_t = z * h_{t-1} + (1 - z) * n

    BN has one mean and one variance a unit for all steps: those of the real positions of a batch in
    training, running ones in evaluation (`BatchNorm`). So `project` is made of the whole
    batch in training, and a cell that is run a step at a time is for evaluation.

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
        """A gate and the candidate, each with a gain beside its bias."""
        return 2 * hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """BN(W x) + b, [..., 2H]."""
        values = functional.linear(inputs, self.input_weight)
        normal: Tensor = self.norm(values, real_rows(inputs) if self.training else None)
        return normal + self.bias

    def input_map(self) -> Tensor:
        """W by what evaluation multiplies it with."""
        scale, _ = self.norm.line(0)
        return scale[:, None] * self.input_weight

    def transition(self, linear: Linears) -> Stepper:
        """[B, 2H], (h,) -> (h,)."""
        recurrent = linear(self.recurrent_weight)

        def step(projected: Tensor, state: State) -> State:
            update, candidate = (projected + recurrent(state[0])).chunk(2, 1)
            return (blended(update, candidate, state[0], self.noise(state[0]), rectified=True),)

        return step
