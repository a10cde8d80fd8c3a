"""Batch normalisation over the rows of a batch, and the LSTM that applies it at every step.

A position whose input is all 0 is padding, since encoders set padding to 0: it is excluded from the
statistics, and its output is meaningless. Where a batch has fewer than `FEWEST_ROWS` real rows the running
statistics are used, as in evaluation, because the statistics of so few rows are poor and gradients through
them explode. Over 100 steps with 512 units the gradient through statistics of two rows overflows float32;
that of three rows grows by a factor of 1e10, of four by 1e4, of eight or more by less than 100.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_names import FEWEST_ROWS
from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import AffineCell, KeepGate, State, Stepper, orthogonal
from seqtool.nn.cells.memories import open_gate
from seqtool.nn.cells.transitions import FORGET, exposed, remember
from seqtool.nn.deferred import Linear, Linears

EPSILON, MOMENTUM = 1e-5, 0.1
STEPS = 100  # number of steps with statistics of their own; half precision counts that far exactly
GAIN = 0.1  # initial gain (Cooijmans et al. 2017, section 4): larger ones saturate tanh and stop gradients


class BatchNorm(nn.Module):
    """gain * (x - mean) / sqrt(variance + epsilon), for each unit separately (Ioffe and Szegedy 2015).

    Args:
        width: Number D of units.
        gain: Initial value of the gains.
        steps: Number of sets of running statistics.
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, width: int, *, gain: float, steps: int = 1) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), gain))
        self.register_buffer("running_mean", torch.zeros(steps, width))
        self.register_buffer("running_variance", torch.ones(steps, width))

    def forward(self, values: Tensor, real: Tensor | None, step: int = 0) -> Tensor:
        """Normalise values, and update the running statistics in training.

        Args:
            values: Values, [..., D].
            real: True at the positions that count, [...]; None = all. In evaluation it has no effect.
            step: Number of the set of running statistics.

        Returns:
            Normalised values, [..., D]; 0 at the positions that do not count.
        """
        chosen = values.flatten(0, -2) if real is None else values[real]  # [real positions, D]
        if not self.training or len(chosen) < FEWEST_ROWS:
            scale, offset = self.line(step)
            return torch.addcmul(offset, values, scale)
        normal = functional.batch_norm(
            chosen,
            self.running_mean[step],
            self.running_variance[step],
            self.gain,
            training=True,
            momentum=MOMENTUM,
            eps=EPSILON,
        )
        if real is None:
            return normal.view_as(values)
        return values.new_zeros(values.shape).index_put((real,), normal.to(values.dtype))

    def line(self, step: int | None = None) -> tuple[Tensor, Tensor]:
        """Factor and offset applied in evaluation: of one step, [D] each; None = of all, [steps, D] each."""
        chosen = slice(None) if step is None else step
        scale = self.gain * (self.running_variance[chosen] + EPSILON).rsqrt()
        return scale, -self.running_mean[chosen] * scale


class BatchNormLSTMCell(AffineCell):
    """LSTM whose products and memory are normalised over the batch, separately at each step.

    i, f, g, o = BN(W x_t) + BN(U h_{t-1}) + b
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g); h_t = sigmoid(o) * tanh(BN(c_t) + d)

    Each BN has a gain, which starts at 0.1. Training uses the statistics of the real rows of a batch, if
    there are `FEWEST_ROWS` of them; evaluation uses running statistics, one set for each of the first `STEPS`
    steps, the last of which serves all later steps. The third part of a state therefore counts steps, [B, 1];
    in training it is the same in all rows.

    Reference: Cooijmans et al. 2017, section 3, equations 6 to 8.
    """

    memory = (1,)
    keep_gate = KeepGate(1, input=0)
    gates = (("input gate", "forget gate"), ("output gate",))
    compiles = False  # a step updates running statistics

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 4, options=options)
        self.recurrent_weight = orthogonal(4, hidden)
        self.memory_bias = nn.Parameter(torch.zeros(hidden))
        self.input_norm = BatchNorm(4 * hidden, gain=GAIN, steps=STEPS)
        self.recurrent_norm = BatchNorm(4 * hidden, gain=GAIN, steps=STEPS)
        self.memory_norm = BatchNorm(hidden, gain=GAIN, steps=STEPS)
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates with a bias and two gains each, and gain and bias of the memory."""
        return 4 * hidden * (inputs + hidden + 3) + 2 * hidden

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of hidden state, cell state and number of steps."""
        return self.hidden, self.hidden, 1

    @property
    def start_parts(self) -> tuple[int, ...]:
        """Hidden state and cell state; the number of steps is not learned."""
        return (0, 1)

    def project(self, inputs: Tensor) -> Tensor:
        """W x, [..., I] -> [..., 4H]."""
        return functional.linear(inputs, self.input_weight)

    def transition(self, linear: Linears) -> Stepper:
        """[B, 4H], (h, c, steps) -> (h, c, steps)."""
        recurrent = linear(self.recurrent_weight)
        return partial(self._trained, recurrent) if self.training else self._evaluating(recurrent)

    def _trained(self, recurrent: Linear, projected: Tensor, state: State) -> State:
        hidden, memory, steps = state
        real, step = real_rows(projected), self._step(steps)
        assert isinstance(step, int), "in training all rows are at one step"
        # [B, 4H], split into i, f, g [B, 3H] and o [B, H]
        gates = self.input_norm(projected, real, step) + self.recurrent_norm(recurrent(hidden), real, step)
        writing, output_gate = torch.split(gates + self.bias, [3 * self.hidden, self.hidden], 1)
        memory = remember(writing, memory, FORGET, self.noise(memory))
        shown = self.memory_norm(memory, real, step) + self.memory_bias  # [B, H]
        return exposed(output_gate, shown), memory, (steps + 1).clamp(max=STEPS)

    def _evaluating(self, recurrent: Linear) -> Stepper:
        """A step of evaluation; the factors and offsets of all steps are computed once, side by side."""
        norms = (self.input_norm, self.recurrent_norm, self.memory_norm)
        (first, offset), (again, more), (last, shift) = (norm.line() for norm in norms)
        # [STEPS, 4H + 4H + 4H + H + H]
        lines = torch.cat([first, again, offset + more + self.bias, last, shift + self.memory_bias], 1)
        widths = [4 * self.hidden] * 3 + [self.hidden] * 2

        def step(projected: Tensor, state: State) -> State:
            hidden, memory, steps = state
            # [4H] three times and [H] twice; [B, ...] where the rows are at different steps
            first, again, offset, last, shift = torch.split(lines[self._step(steps)], widths, -1)
            # [B, 4H], split into i, f, g [B, 3H] and o [B, H]
            gates = torch.addcmul(offset, projected, first).addcmul(recurrent(hidden), again)
            writing, output_gate = torch.split(gates, [3 * self.hidden, self.hidden], 1)
            memory = remember(writing, memory, FORGET, self.noise(memory))
            shown = torch.addcmul(shift, memory, last)
            return exposed(output_gate, shown), memory, (steps + 1).clamp(max=STEPS)

        return step

    def _step(self, steps: Tensor) -> int | Tensor:
        """Number of the set of statistics to use: one for all rows, or [B] where rows differ."""
        numbers = steps.detach()[:, 0].long().clamp(0, STEPS - 1)
        first = int(numbers[0])
        if bool((numbers == first).all()):
            return first
        if self.training:
            raise ValueError("in training, batch normalisation needs all rows of a batch at the same step")
        return numbers


def real_rows(values: Tensor) -> Tensor | None:
    """Whether each position of [..., D] has a value other than 0, [...]; None if all have."""
    real = values.detach().any(-1)
    return None if bool(real.all()) else real
