"""The LSTM with exponential gating (sLSTM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import AffineCell, KeepGate, State, Stepper, orthogonal
from seqtool.nn.cells.memories import open_gate
from seqtool.nn.cells.transitions import sigmoid_backward, tanh_backward
from seqtool.nn.deferred import Linears


class SLSTMCell(AffineCell):
    """LSTM with an exponential input gate, a normaliser, and a stabiliser against overflow.

    i, f, g, o = W x_t + U h_{t-1} + b; l = log sigmoid(f)
    m_t = max(l + m_{t-1}, i), but i where nothing has been written yet (n_{t-1} = 0)
    i' = exp(i - m_t); f' = exp(l + m_{t-1} - m_t)
    c_t = f' * c_{t-1} + i' * tanh(g); n_t = f' * n_{t-1} + i'; h_t = sigmoid(o) * c_t / n_t

    There is one head: U is a full matrix. From the first step on n_t is at least 1.

    Reference: Beck et al. 2024, "xLSTM", section 2.2, equations 8 to 17, with a sigmoid forget gate.
    """

    memory = (1, 2, 3)
    keep_gate = KeepGate(1, input=0)
    gates = (("output gate",),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, rows=[hidden] * 4, options=options)
        self.recurrent_weight = orthogonal(4, hidden)
        open_gate(self.bias, self.keep_gate, hidden)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Four gates."""
        return 4 * hidden * (inputs + hidden + 1)

    def expected(self, before: Sequence[Tensor], after: Sequence[Tensor], kept: float) -> Sequence[Tensor]:
        """See `Cell.expected`; the means are those of c exp(m) and n exp(m), which c and n represent."""
        if len(before) == 1:
            return super().expected(before, after, kept)
        # c, n, m, [B, H] each. The new stabiliser is the larger one, to which both states are rescaled.
        stabiliser = torch.where(before[1] == 0, after[2], torch.maximum(before[2], after[2]))
        stayed = kept * (before[2] - stabiliser).clamp(max=0.0).exp()
        moved = (1.0 - kept) * (after[2] - stabiliser).exp()
        means = [stayed * old + moved * new for old, new in zip(before[:2], after[:2], strict=True)]
        return [*means, stabiliser]

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of output h, memory c, normaliser n and stabiliser m."""
        return (self.hidden,) * 4

    @property
    def start_parts(self) -> tuple[int, ...]:
        """The output only: as long as nothing has been written (n = 0) there is no memory."""
        return (0,)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 4H], (h, c, n, m) -> (h, c, n, m)."""
        recurrent = linear(self.recurrent_weight)

        def step(projected: Tensor, state: State) -> State:
            hidden, *rest = state
            result: State = _Transition.apply(  # type: ignore[no-untyped-call]
                projected + recurrent(hidden), *rest, self.noise(hidden)
            )
            return result

        return step


class _Transition(Function):
    """The equations and their derivative; gates are [B, 4H], all parts of the state [B, H]."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        memory: Tensor,
        normaliser: Tensor,
        stabiliser: Tensor,
        noise: Tensor | None,
    ) -> State:
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, 1)  # [B, H] each
        kept = functional.logsigmoid(forget_gate).add_(stabiliser)  # l + m_{t-1}
        takes_input = (normaliser == 0) | (kept < input_gate)
        after = torch.where(takes_input, input_gate, kept)  # m_t
        # f' and i'. The clamp matters only where nothing has been written, so that there is nothing to keep.
        keep = (kept - after).clamp_(max=0.0).exp_()
        write = (input_gate - after).exp_()
        candidate, opened = candidate.tanh(), output_gate.sigmoid()
        written = candidate if noise is None else candidate * noise
        following = (keep * memory).addcmul_(write, written)  # c_t
        total = torch.addcmul(write, keep, normaliser)  # n_t
        ratio = following / total
        ctx.save_for_backward(
            forget_gate, memory, normaliser, takes_input, keep, write, candidate, opened, total, ratio, noise
        )
        return opened * ratio, following, total, after

    @staticmethod
    def backward(
        ctx: Any, d_output: Tensor, d_following: Tensor, d_total: Tensor, d_after: Tensor
    ) -> tuple[Tensor | None, ...]:
        forget_gate, memory, normaliser, takes_input, keep, write, candidate, opened, total, ratio, noise = (
            ctx.saved_tensors
        )
        # gradients of c_t and n_t, through h_t = sigmoid(o) c_t / n_t and through the next step
        through = d_output * opened / total
        d_following = d_following + through
        d_total = torch.addcmul(d_total, through, ratio, value=-1)
        # gradients of the exponents of f' and i', then of m_t, which is subtracted in both
        d_kept = torch.addcmul(d_following * memory, d_total, normaliser).mul_(keep)
        d_written = d_following if noise is None else d_following * noise
        d_input = torch.addcmul(d_total, d_written, candidate).mul_(write)
        d_after = d_after - d_kept - d_input
        # m_t is i or l + m_{t-1}, and passes its gradient on to that one
        d_input += d_after * takes_input
        d_kept += d_after.masked_fill_(takes_input, 0.0)
        gates = [
            d_input,
            d_kept * torch.sigmoid(-forget_gate),
            tanh_backward(d_written * write, candidate),
            sigmoid_backward(d_output * ratio, opened),
        ]
        return torch.cat(gates, 1), d_following * keep, d_total * keep, d_kept, None
