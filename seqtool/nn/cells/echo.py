"""The echo state network: a fixed random recurrence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.cell_options import PLAIN, CellOptions
from seqtool.nn.cells.cell import Fused, State, Stepper, TableCell, noised
from seqtool.nn.deferred import Linears
from seqtool.nn.meta_device import only_shapes


class EchoStateCell(TableCell):
    """Simple recurrent network with fixed random weights; only the layers that read h are learned.

    h_t = tanh(W x_t + U h_{t-1})

    W is uniform in [-1, 1]; U is normal, scaled to the spectral radius (largest absolute eigenvalue) in the
    options; below 1, the influence of past inputs fades. Both are buffers, stored with a model. No gradient
    passes through the cell, so the layers below it are not learned either.

    Reference: Jaeger 2001, "The echo state approach to analysing and training recurrent neural
    networks", without feedback from the outputs.
    """

    compiles = False  # nothing is learned
    input_weight: Tensor
    recurrent_weight: Tensor

    def __init__(self, inputs: int, hidden: int, *, options: CellOptions = PLAIN) -> None:
        super().__init__(inputs, hidden, options=options)
        self.register_buffer("input_weight", nn.init.uniform_(torch.empty(hidden, inputs), -1.0, 1.0))
        self.register_buffer("recurrent_weight", _reservoir(hidden, options.spectral_radius))

    @staticmethod
    def parameter_count(inputs: int, hidden: int) -> int:
        """No parameter is learned."""
        return 0

    def project(self, inputs: Tensor) -> Tensor:
        """W x, [..., I] -> [..., H]."""
        return functional.linear(inputs.detach(), self.input_weight)

    def input_map(self) -> Tensor:
        """W, [H, I]."""
        return self.input_weight

    def input_blocks(self) -> Sequence[Tensor]:
        """No blocks: no input weight is learned."""
        return ()

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """No blocks: no recurrent weight is learned."""
        return ()

    def transition(self, linear: Linears) -> Stepper:
        """Projected input [B, H], (h,) -> (h,)."""
        recurrent = linear(self.recurrent_weight)

        def step(projected: Tensor, state: State) -> State:
            before = state[0].detach()
            return (torch.tanh(projected.detach() + recurrent(noised(before, self.noise(before)))),)

        return step

    def fused(self) -> Fused | None:
        """torch's kernel of a simple recurrent network with tanh."""
        weights = [self.input_weight, self.recurrent_weight]

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            with torch.no_grad():
                before = state[0].detach()[None]
                outputs, hidden = torch.rnn_tanh(
                    inputs.detach(), before, weights, False, 1, 0.0, self.training, False, True
                )
            return outputs, (hidden[0],)

        return run


def _reservoir(hidden: int, radius: float) -> Tensor:
    """Normal weights [H, H], scaled so that their largest eigenvalue has the absolute value `radius`."""
    if only_shapes():
        return torch.empty(hidden, hidden)
    weight = torch.randn(hidden, hidden)
    weight *= radius / torch.linalg.eigvals(weight).abs().max()
    return weight
