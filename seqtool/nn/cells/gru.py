"""Gated recurrent unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import Fused, KeepGate, State, Stepper
from seqtool.nn.cells.kernel import KernelCell, weights_of
from seqtool.nn.cells.transitions import reset_blended, tanh
from seqtool.nn.deferred import Linears


class GRUCell(KernelCell):
    """GRU in the form of cuDNN, with the reset gate after the recurrent product.

    r, z, n = W x_t + b (reset gate, update gate, candidate); r', z', n' = U h_{t-1} + b'
    h_t = (1 - z) * tanh(n + r * n') + z * h_{t-1}, with r = sigmoid(r + r'), z = sigmoid(z + z')

    Reference: Cho et al. 2014, section 2.3; the reset gate's place as in Keras' `reset_after`.
    """

    keep_gate = KeepGate(1)
    gates = (("reset gate", "update gate"),)

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, nn.GRU(inputs, hidden, batch_first=True), options=options)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """Two weights and two biases of three gates."""
        return 3 * hidden * (inputs + hidden + 2)

    def project(self, inputs: Tensor) -> Tensor:
        """[B, T, I] -> the input half of the gates, [B, T, 3H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias)

    def transition(self, linear: Linears) -> Stepper:
        """[B, 3H], (h,) -> (h,)."""
        weights = weights_of(self.kernel)
        recurrent = linear(weights.recurrent)

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            recalled = recurrent(hidden) + weights.recurrent_bias
            return (gru_step(projected, recalled, hidden, self.noise(hidden)),)

        return step

    def fused(self) -> Fused | None:
        """torch's GRU kernel."""
        weights = weights_of(self.kernel)
        dropped = [*weights._replace(recurrent=self.dropped(weights.recurrent))]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, hidden = torch.gru(
                inputs, state[0][None], dropped, True, 1, 0.0, self.training, False, True
            )
            return outputs, (hidden[0],)

        return run


def gru_step(projected: Tensor, recurrent: Tensor, hidden: Tensor, noise: Tensor | None = None) -> Tensor:
    """Input half and recurrent half of the gates, [B, 3H] each, and a state [B, H] to the next state.

    The candidate, after tanh, is multiplied by `noise`, [B, H]; None = 1.
    """
    if torch.compiler.is_compiling():
        parts = [2 * hidden.shape[1], hidden.shape[1]]
        (gates, candidate), (again, recalled) = (
            torch.split(each, parts, 1) for each in (projected, recurrent)
        )
        return reset_blended(gates + again, candidate, recalled, hidden, noise)
    following: Tensor = _Transition.apply(  # type: ignore[no-untyped-call]
        projected, recurrent, hidden, noise
    )
    return following


class _Transition(Function):
    """What stands between two products of a step, in as few passes as can be in both directions."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, recurrent: Tensor, hidden: Tensor, noise: Tensor | None
    ) -> Tensor:
        both = 2 * hidden.shape[1]
        gates = (projected[:, :both] + recurrent[:, :both]).sigmoid_()
        reset, update = gates.chunk(2, 1)
        candidate = tanh(torch.addcmul(projected[:, both:], reset, recurrent[:, both:]))
        ctx.save_for_backward(gates, candidate, recurrent, hidden, noise)
        return torch.lerp(candidate if noise is None else candidate * noise, hidden, update)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        gates, candidate, recurrent, hidden, noise = ctx.saved_tensors
        both = gates.shape[1]
        reset, update = gates.chunk(2, 1)
        d_hidden = gradient * update
        d_written, written = gradient - d_hidden, candidate
        if noise is not None:
            d_written, written = d_written * noise, candidate * noise
        d_candidate = torch.ops.aten.tanh_backward(d_written, candidate)
        d_recurrent = torch.empty_like(recurrent)
        d_gates, d_reset, d_update = d_recurrent[:, :both], *d_recurrent[:, :both].chunk(2, 1)
        torch.mul(d_candidate, recurrent[:, both:], out=d_reset)
        torch.mul(gradient, hidden - written, out=d_update)
        torch.ops.aten.sigmoid_backward.grad_input(d_gates, gates, grad_input=d_gates)
        d_projected = torch.cat([d_gates, d_candidate], 1)
        torch.mul(d_candidate, reset, out=d_recurrent[:, both:])
        return d_projected, d_recurrent, d_hidden, None
