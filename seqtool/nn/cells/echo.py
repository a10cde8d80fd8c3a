"""The echo state network: a random recurrence that is never learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cells.cell import Cell, Fused, State, Stepper, refuse_weight_drop
from seqtool.nn.deferred import Linears

RADIUS = 0.9  # largest size of an eigenvalue of U: below 1, what was seen fades


class EchoStateCell(Cell):
    """h_t = tanh(W x_t + U h_{t-1}) with fixed random weights; only what reads the states is learned.

    W is uniform in [-1, 1], U normal, scaled to a spectral radius of 0.9. They are buffers, stored with
    a model. No gradient goes through: what lies below stays as it is too.

    Reference: Jaeger 2001, "The echo state approach to analysing and training recurrent neural
    networks", without feedback from the outputs.
    """

    input_weight: Tensor
    recurrent_weight: Tensor

    def __init__(self, inputs: int, hidden: int, *, weight_drop: float = 0.0) -> None:
        super().__init__(inputs, hidden, weight_drop=weight_drop)
        refuse_weight_drop(weight_drop, "they are fixed")
        self.register_buffer("input_weight", nn.init.uniform_(torch.empty(hidden, inputs), -1.0, 1.0))
        recurrent = torch.randn(hidden, hidden)
        recurrent *= RADIUS / torch.linalg.eigvals(recurrent).abs().max()
        self.register_buffer("recurrent_weight", recurrent)

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """None."""
        return 0

    def project(self, inputs: Tensor) -> Tensor:
        """W x, [..., H]."""
        return functional.linear(inputs.detach(), self.input_weight)

    def input_map(self) -> Tensor:
        """W."""
        return self.input_weight

    def transition(self, linear: Linears) -> Stepper:
        """[B, H], (h,) -> (h,)."""
        recurrent = linear(self.recurrent_weight)

        def step(projected: Tensor, state: State) -> State:
            return (torch.tanh(projected.detach() + recurrent(state[0].detach())),)

        return step

    def fused(self) -> Fused | None:
        """torch's kernel of a plain recurrent network."""
        weights = [self.input_weight, self.recurrent_weight]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            with torch.no_grad():
                before = state[0].detach()[None]
                outputs, hidden = torch.rnn_tanh(
                    inputs.detach(), before, weights, False, 1, 0.0, self.training, False, True
                )
            return outputs, (hidden[0],)

        return run
