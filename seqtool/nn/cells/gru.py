"""The gated recurrent unit (GRU)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import Fused, KeepGate, State, Stepper
from seqtool.nn.cells.kernel import KernelCell, weights_of
from seqtool.nn.cells.transitions import reset_blend, reset_blend_backward, reset_blended
from seqtool.nn.deferred import Linears


class GRUCell(KernelCell):
    """GRU in cuDNN's form, with the reset gate after the recurrent product.

    r, z, n = W x_t + b (reset gate, update gate, candidate); r', z', n' = U h_{t-1} + b'
    h_t = (1 - z) * tanh(n + r * n') + z * h_{t-1}, with r = sigmoid(r + r'), z = sigmoid(z + z')

    Reference: Cho et al. 2014, section 2.3, with the reset gate placed as by Keras' `reset_after`.
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
        """W x + b, the input half of the gates, [..., I] -> [..., 3H]."""
        weights = weights_of(self.kernel)
        return functional.linear(inputs, weights.inputs, weights.input_bias)

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, 3H], (h,) -> (h,)."""
        weights = weights_of(self.kernel)
        recurrent = linear(weights.recurrent)

        def step(projected: Tensor, state: State) -> State:
            (hidden,) = state
            recalled = recurrent(hidden) + weights.recurrent_bias  # r', z', n', [B, 3H]
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
    """The step of a GRU after its products.

    Args:
        projected: r, z, n, the input half of the gates, [B, 3H].
        recurrent: r', z', n', the recurrent half, [B, 3H].
        hidden: h_{t-1}, [B, H].
        noise: Factor of the candidate after tanh, [B, H]; None = 1.

    Returns:
        h_t, [B, H].
    """
    if torch.compiler.is_compiling():
        # gates [B, 2H] and candidates [B, H] of both halves
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
    """`gru_step` in as few passes over memory as possible, forward and backward.

    The formula is that of `reset_blended`, but both halves are single tensors [B, 3H], as the products give
    them. Splitting them before `reset_blended` would make steps 1 to 5 % slower in training and 4 to 10 % in
    decoding (64 to 256 units, one thread).
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, recurrent: Tensor, hidden: Tensor, noise: Tensor | None
    ) -> Tensor:
        both = 2 * hidden.shape[1]
        opened = (projected[:, :both] + recurrent[:, :both]).sigmoid_()  # r and z, [B, 2H]
        return reset_blend(ctx, opened, projected[:, both:], recurrent[:, both:], hidden, noise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        opened, width = ctx.saved_tensors[0], gradient.shape[1]
        # The gradients of both halves, [B, 3H], are alike but for the candidate's part, where the recurrent
        # half is behind the reset gate.
        d_recurrent = opened.new_empty(len(opened), 3 * width)
        d_gates, d_recalled = torch.split(d_recurrent, [2 * width, width], 1)
        d_candidate, d_hidden = reset_blend_backward(ctx, gradient, d_gates)
        torch.mul(d_candidate, opened[:, :width], out=d_recalled)
        return torch.cat([d_gates, d_candidate], 1), d_recurrent, d_hidden, None
