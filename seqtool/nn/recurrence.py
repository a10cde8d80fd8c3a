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

from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import Cell, State, build_cell
from seqtool.nn.cells.running import run_cell
from seqtool.nn.forward_backward import reverse_within_lengths
from seqtool.nn.regularization import SequenceDropout


class Highway(nn.Module):
    """t * upper + (1 - t) * lower with t = sigmoid(W lower + b), between layers of one width.

    b starts at -1: a new layer lets most of what comes from below pass.

    Args:
        width: D of both.

    Reference: Srivastava et al. 2015, "Highway networks", equation 3 and section 2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Both [..., D] to the same."""
        return lower + torch.sigmoid(self.gate(lower)) * (upper - lower)


class Sum(nn.Module):
    """A residual connection (He et al. 2016)."""

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Both [..., D] to the same."""
        return lower + upper


class Upper(nn.Module):
    """The upper of two layers alone."""

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The second."""
        return upper


def joints(options: LayerOptions, width: int, count: int) -> nn.ModuleList:
    """How each of so many layers takes in what lies below it: `(lower, upper) -> values`, [..., D] each."""
    if options.highway:
        return nn.ModuleList(Highway(width) for _ in range(count))
    return nn.ModuleList(Sum() if options.residual else Upper() for _ in range(count))


def cells_of(options: LayerOptions, inputs: Sequence[int], hidden: int, first: int = 0) -> list[Cell]:
    """Cells for layers with these widths of input; layer n, from 0, reaches back dilation ** n steps.

    Args:
        options: Of all layers.
        inputs: I of each.
        hidden: H.
        first: The number of the first of them.
    """
    return [
        build_cell(options.cell, width, hidden, options=options.of_cells, dilation=options.dilation**number)
        for number, width in enumerate(inputs, first)
    ]


class LearnedStart(nn.Module):
    """The state of a cell before its first step, learned; zeros to begin with.

    Args:
        cell: Whose `start_parts` are learned.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        widths = [part.shape[1] for part in cell.initial(1, torch.empty(1))]
        self.parts = nn.ParameterDict(
            {str(part): nn.Parameter(torch.zeros(widths[part])) for part in cell.start_parts}
        )

    def forward(self, zeros: State) -> State:
        """`Cell.initial` with what has been learned put in, for every row the same."""
        state = list(zeros)
        for part, values in self.parts.items():
            like = state[int(part)]
            state[int(part)] = values.to(like.dtype).expand_as(like)
        return tuple(state)


def starts_of(options: LayerOptions, cells: Sequence[Cell]) -> nn.ModuleList:
    """What goes over the zeros of each cell's first state; the zeros themselves where none is learned."""
    return nn.ModuleList(LearnedStart(cell) if options.learned_start else nn.Identity() for cell in cells)


class Stack(nn.Module):
    """A cell on top of the other, forward in time, with a state that can be carried from call to call.

    Args:
        options: What the layers are made of.
        inputs: Width I of an input.
        hidden: Width H of every layer.
        layers: How many, at least 1.
        dropout: Probability of dropout between layers.
    """

    def __init__(
        self, options: LayerOptions, *, inputs: int, hidden: int, layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells_of(options, [inputs] + [hidden] * (layers - 1), hidden))
        self.joints = joints(options, hidden, layers - 1)
        self.starts = starts_of(options, self.layers)
        self.dropout = SequenceDropout(dropout, options.locked)
        self.options = options

    def initial(self, batch: int, like: Tensor) -> list[State]:
        """The states of all layers before the first step."""
        cells = zip(self.layers, self.starts, strict=True)
        return [start(cell.initial(batch, like)) for cell, start in cells]

    def forward(self, inputs: Tensor, states: Sequence[State]) -> tuple[Tensor, list[State]]:
        """[B, T, I] and the states before to [B, T, H] and the states after, the lowest layer first.

        Cells with statistics of the batch take zeros for padding: it stays so from layer to layer.
        """
        values, after = inputs, []
        of_the_batch = self.options.cell in BATCH_NORMALISED and self.training
        padding = (inputs == 0).all(2, keepdim=True) if of_the_batch else None
        for number, (cell, state) in enumerate(zip(self.layers, states, strict=True)):
            below = self.dropout(values) if number else values
            outputs, state = run_cell(cell, below, tuple(each.to(below.dtype) for each in state))
            values = self.joints[number - 1](values, outputs) if number else outputs
            if padding is not None:
                values = values.masked_fill(padding, 0.0)
            after.append(state)
        return values, after

    @property
    def layers(self) -> list[Cell]:
        """The cells, the lowest first."""
        return [cell for cell in self.cells if isinstance(cell, Cell)]


class Bidirectional(nn.Module):
    """A cell in each direction, outputs side by side (Schuster and Paliwal 1997).

    Args:
        options: What the cells are made of.
        inputs: Width I of an input.
        hidden: Width H of each direction.
        number: Of the layer, from 0.
    """

    def __init__(self, options: LayerOptions, inputs: int, hidden: int, number: int = 0) -> None:
        super().__init__()
        self.ahead, self.back = (cells_of(options, [inputs], hidden, number)[0] for _ in range(2))
        self.starts = starts_of(options, (self.ahead, self.back))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, I] and lengths [B] to [B, T, 2H]; what stands at padding is undefined."""
        ahead, back = self._both(inputs, lengths)
        return torch.cat([ahead, reverse_within_lengths(back, lengths)], 2)

    def final(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The last output of each direction, at the true ends, [B, 2H]."""
        rows = torch.arange(len(inputs), device=inputs.device)
        ahead, back = self._both(inputs, lengths)
        return torch.cat([ahead[rows, lengths - 1], back[rows, lengths - 1]], 1)

    def _both(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of both directions, the second from the true ends on, [B, T, H] each."""
        values, found = (inputs, reverse_within_lengths(inputs, lengths)), []
        for number, (cell, each) in enumerate(zip((self.ahead, self.back), values, strict=True)):
            found.append(run_cell(cell, each, self.initial(number, each))[0])
        return found[0], found[1]

    def initial(self, direction: int, inputs: Tensor) -> State:
        """The state before the first step through [B, T, I] of the cell ahead (0) or back (1)."""
        cell = (self.ahead, self.back)[direction]
        state: State = self.starts[direction](cell.initial(len(inputs), inputs))
        return state


class BidirectionalStack(nn.Module):
    """Bidirectional layers on top of each other, with dropout between them.

    Args:
        options: What the layers are made of.
        inputs: Width I of an input.
        hidden: Width H of each direction.
        layers: How many, at least 1.
        dropout: Probability of dropout before each layer but the first.
    """

    def __init__(
        self, options: LayerOptions, *, inputs: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.layers = nn.ModuleList(
            Bidirectional(options, width, hidden, number) for number, width in enumerate(widths)
        )
        self.joints = joints(options, 2 * hidden, layers - 1)
        self.dropout = SequenceDropout(dropout, options.locked)
        self.outputs = 2 * hidden

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """[B, T, I] and a right-padded mask [B, T] to [B, T, 2H], 0 at padding.

        Whatever stands at padding, NaN included, changes neither outputs nor gradients.
        """
        lengths = mask.sum(1)
        padding = ~mask[:, :, None]
        values = inputs.masked_fill(padding, 0.0)
        for number, layer in enumerate(self.layers):
            outputs = layer(self.dropout(values) if number else values, lengths)
            joined = self.joints[number - 1](values, outputs) if number else outputs
            values = joined.masked_fill(padding, 0.0)
        return values
