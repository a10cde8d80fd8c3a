"""Cells over time: one direction, both directions, stacked.

A batch is right-padded. The backward direction reads each sentence turned round within its
own length, so it starts at the true end, and both directions are plain forward runs of the
library's fused kernel. On a CPU that is up to twice as fast as packed sequences, whose
kernel goes step by step; batches hold sentences of nearly equal length, so there is little
padding to compute.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqtool.nn.cellnames import OF_THE_BATCH
from seqtool.nn.cells import CELLS, Cell, ScanCell, State
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.forward_backward import turn_round
from seqtool.nn.regularization import LockedDropout


def run_cell(cell: Cell, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """All steps of a cell: by the library's kernel or its own scan where it has one, else step by step.

    Args:
        cell: With inputs of width I and outputs of width H.
        inputs: [B, T, I].
        state: Before the first step; zeros when None.

    Returns:
        Outputs [B, T, H] and the state after the last step.
    """
    if state is None:
        state = cell.initial(len(inputs), inputs)
    fused = cell.fused()
    if fused is not None:
        return fused(inputs, state)
    return _scanned(cell, inputs, state) if isinstance(cell, ScanCell) else _looped(cell, inputs, state)


def _scanned(cell: ScanCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    projected = cell.project(inputs)
    with torch.autocast(inputs.device.type, enabled=False):  # sums over many steps keep their precision
        state = tuple(at_least_float32(part) for part in state)
        outputs, state = cell.scan(at_least_float32(projected), state)
        return outputs.to(projected.dtype), state


def _looped(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Time first, so that a step is one block of memory; weight gradients wait for the end of the pass."""
    step = cell.stepper()
    projected = cell.project(inputs.transpose(0, 1))
    outputs = []
    with torch.autocast(inputs.device.type, enabled=False):
        state = tuple(at_least_float32(part) for part in state)
        for each in at_least_float32(projected).unbind(0):
            state = step(each, state)
            outputs.append(state[0])
        return torch.stack(outputs, 1).to(projected.dtype), state


def run_cell_plainly(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """`run_cell` as the textbook has it, one step after the other: the reference for the fused kernels."""
    outputs = []
    for projected in cell.project(inputs).unbind(1):
        state = cell.step(projected, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state


class Stack(nn.Module):
    """A cell on top of the other, forward in time, with a state that can be carried from call to call.

    Args:
        cell: Name in `CELLS`.
        inputs: Width I of an input.
        hidden: Width H of every layer.
        layers: How many, at least 1.
        dropout: Probability of the locked dropout between layers.
        weight_drop: Of the cells.
        residual: Whether every layer but the first adds its input to its output.
    """

    def __init__(
        self,
        *,
        cell: str,
        inputs: int,
        hidden: int,
        layers: int,
        dropout: float = 0.0,
        weight_drop: float = 0.0,
        residual: bool = False,
    ) -> None:
        super().__init__()
        widths = [inputs] + [hidden] * (layers - 1)
        self.cells = nn.ModuleList(CELLS[cell](width, hidden, weight_drop=weight_drop) for width in widths)
        self.dropout = LockedDropout(dropout)
        self.residual = residual
        self.of_the_batch = cell in OF_THE_BATCH

    def initial(self, batch: int, like: Tensor) -> list[State]:
        """The states of all layers before the first step, zeros."""
        return [cell.initial(batch, like) for cell in self._cells()]

    def forward(self, inputs: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """[B, T, I] and the states before to [B, T, H] and the states after, the lowest layer first.

        Cells with statistics of the batch take zeros for padding: it stays so from layer to layer.
        """
        values, after = inputs, []
        padding = (inputs == 0).all(2, keepdim=True) if self.of_the_batch and self.training else None
        for number, (cell, state) in enumerate(zip(self._cells(), states, strict=True)):
            below = self.dropout(values) if number else values
            outputs, state = run_cell(cell, below, tuple(each.to(below.dtype) for each in state))
            values = values + outputs if self.residual and number else outputs
            if padding is not None:
                values = values.masked_fill(padding, 0.0)
            after.append(state)
        return values, after

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]


class Bidirectional(nn.Module):
    """A cell in each direction, outputs side by side (Schuster and Paliwal 1997).

    Args:
        cell: Name in `CELLS`.
        inputs: Width I of an input.
        hidden: Width H of each direction.
    """

    def __init__(self, cell: str, inputs: int, hidden: int) -> None:
        super().__init__()
        self.ahead = CELLS[cell](inputs, hidden)
        self.back = CELLS[cell](inputs, hidden)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, I] and lengths [B] to [B, T, 2H]; what stands at padding is undefined."""
        ahead, _ = run_cell(self.ahead, inputs)
        back, _ = run_cell(self.back, turn_round(inputs, lengths))
        return torch.cat([ahead, turn_round(back, lengths)], 2)

    def final(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The last output of each direction, at the true ends, [B, 2H]."""
        rows = torch.arange(len(inputs), device=inputs.device)
        ahead, _ = run_cell(self.ahead, inputs)
        back, _ = run_cell(self.back, turn_round(inputs, lengths))
        return torch.cat([ahead[rows, lengths - 1], back[rows, lengths - 1]], 1)


class BidirectionalStack(nn.Module):
    """Bidirectional layers on top of each other, with locked dropout between them.

    Args:
        cell: Name in `CELLS`.
        inputs: Width I of an input.
        hidden: Width H of each direction.
        layers: How many, at least 1.
        dropout: Probability of the locked dropout before each layer but the first.
        residual: Whether every layer but the first adds its input to its output.
    """

    def __init__(
        self, *, cell: str, inputs: int, hidden: int, layers: int, dropout: float, residual: bool
    ) -> None:
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.layers = nn.ModuleList(Bidirectional(cell, width, hidden) for width in widths)
        self.dropout = LockedDropout(dropout)
        self.residual = residual
        self.outputs = 2 * hidden

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """[B, T, I] and a right-padded mask [B, T] to [B, T, 2H], 0 at padding.

        Whatever stands at padding, NaN included, changes neither outputs nor gradients.
        """
        lengths = mask.sum(1)
        padding = ~mask[:, :, None]
        values = inputs.masked_fill(padding, 0.0)
        for number, layer in enumerate(self.layers):
            outputs = layer(self.dropout(values) if number else values, lengths).masked_fill(padding, 0.0)
            values = values + outputs if self.residual and number else outputs
        return values
