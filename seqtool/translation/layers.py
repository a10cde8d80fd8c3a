"""What the forms of the decoder are built from: sizes, the layers above the lowest, small helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import Cell
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, Linears
from seqtool.nn.recurrence import cells_of, joints
from seqtool.nn.regularization import SequenceDropout

DecoderState = tuple[Tensor, ...]  # each [N, ...]


class DecoderOptions(NamedTuple):
    """Widths and kinds that all forms share."""

    made_of: LayerOptions
    inputs: int  # E, of an embedding
    hidden: int  # H
    memory: int  # C, of an encoder state
    layers: int
    output: int  # R, of the readout
    readout: str  # name in READOUTS
    dropout: float  # between layers


class Layers(nn.Module):
    """The layers above the lowest, step by step or all steps at once."""

    def __init__(self, sizes: DecoderOptions) -> None:
        super().__init__()
        above = sizes.layers - 1
        self.cells = nn.ModuleList(cells_of(sizes.made_of, [sizes.hidden] * above, sizes.hidden, 1))
        self.joints = joints(sizes.made_of, sizes.hidden, above)
        self.dropout = SequenceDropout(sizes.dropout, sizes.made_of.locked)
        self.width = sizes.hidden

    @property
    def tensors(self) -> int:
        """In their state."""
        return len(self.initial(torch.empty(1, self.width, device="meta")))

    def initial(self, start: Tensor) -> DecoderState:
        """Every layer starts from [N, H]."""
        return tuple(tensor for cell in self._cells() for tensor in cell.started(start))

    def stepper(
        self, sentences: int, linear: Linears = DeferredLinear
    ) -> Callable[[Tensor, DecoderState], tuple[Tensor, DecoderState]]:
        """A step through all layers: output of the lowest [N, H] and state to the top's output and state."""
        cells = self._cells()
        steps = [cell.stepper(linear) for cell in cells]
        drops = [self.dropout.by_steps(cell.input_map(), sentences, self.width) for cell in cells]

        def advance(hidden: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            following: list[Tensor] = []
            each = len(state) // max(len(cells), 1)
            for number, (cell, step, drop) in enumerate(zip(cells, steps, drops, strict=True)):
                layer = step(cell.project(drop(hidden)), state[each * number : each * (number + 1)])
                hidden = self.joints[number](hidden, layer[0])
                following += layer
            return hidden, tuple(following)

        return advance

    def forward(self, hidden: Tensor, state: DecoderState) -> Tensor:
        """Outputs of the lowest layer [B, T, H] to those of the top."""
        each = len(state) // max(len(self.cells), 1)
        for number, cell in enumerate(self._cells()):
            inputs = self.dropout(hidden)
            start = cast_like(inputs, state[each * number : each * (number + 1)])
            outputs, _ = run_cell(cell, inputs, start)
            hidden = self.joints[number](hidden, outputs)
        return hidden

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]


def gate_width(cell: Cell) -> int:
    """P, of a cell's projected inputs."""
    return len(cell.input_map())


def glorot(outputs: int, inputs: int) -> nn.Parameter:
    """A weight without a bias."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))


def cast_like(inputs: Tensor, state: DecoderState) -> DecoderState:
    """A state in the type of the inputs, as the fused kernels want it."""
    return tuple(each.to(inputs.dtype) for each in state)
