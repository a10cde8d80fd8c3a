"""Recurrent layers: cells over time in one or both directions, stacked.

A batch is right-padded. The backward direction reads each sentence reversed within its own length, so that
it starts at the true end, and both directions are forward runs of the library's fused kernel. On a CPU this
is up to twice as fast as packed sequences, whose kernel runs step by step; sentences of a batch have nearly
equal lengths, so little is computed for padding.
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
    """t * upper + (1 - t) * lower with t = sigmoid(W lower + b), between layers of equal width.

    b starts at -1, so that a new layer mostly passes on its input.

    Args:
        width: Width D of both layers.

    Reference: Srivastava et al. 2015, "Highway networks", equation 3 and section 2.2.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.gate.weight)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Input `lower` and output `upper` of a layer, [..., D] each, to their mixture [..., D]."""
        return lower + torch.sigmoid(self.gate(lower)) * (upper - lower)


class Sum(nn.Module):
    """A residual connection (He et al. 2016)."""

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Input `lower` and output `upper` of a layer, [..., D] each, to their sum [..., D]."""
        return lower + upper


class Upper(nn.Module):
    """No connection past a layer."""

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        """The output `upper` of a layer, [..., D], alone."""
        return upper


def joints(options: LayerOptions, width: int, count: int) -> nn.ModuleList:
    """The connections past `count` layers of a width D: `(lower, upper) -> values`, [..., D] each."""
    if options.highway:
        return nn.ModuleList(Highway(width) for _ in range(count))
    return nn.ModuleList(Sum() if options.residual else Upper() for _ in range(count))


def cells_of(options: LayerOptions, inputs: Sequence[int], hidden: int, first: int = 0) -> list[Cell]:
    """The cells of consecutive layers; the recurrence of layer n reaches back dilation ** n steps.

    Args:
        options: Options of all layers.
        inputs: Input width I of each layer.
        hidden: Output width H of every layer.
        first: Number n of the first of these layers, from 0.
    """
    return [
        build_cell(options.cell, width, hidden, options=options.of_cells, dilation=options.dilation**number)
        for number, width in enumerate(inputs, first)
    ]


class LearnedStart(nn.Module):
    """A learned state before the first step of a cell; it starts as zeros.

    Args:
        cell: Cell whose `start_parts` are learned.
    """

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        widths = [part.shape[1] for part in cell.initial(1, torch.empty(1))]
        self.parts = nn.ParameterDict(
            {str(part): nn.Parameter(torch.zeros(widths[part])) for part in cell.start_parts}
        )

    def forward(self, zeros: State) -> State:
        """Replace the learned parts of `Cell.initial`'s zeros, [B, width] each; all rows get the same."""
        state = list(zeros)
        for part, values in self.parts.items():
            like = state[int(part)]
            state[int(part)] = values.to(like.dtype).expand_as(like)
        return tuple(state)


def starts_of(options: LayerOptions, cells: Sequence[Cell]) -> nn.ModuleList:
    """For each cell a module that maps its initial zeros to its state before the first step."""
    return nn.ModuleList(LearnedStart(cell) if options.learned_start else nn.Identity() for cell in cells)


class Stack(nn.Module):
    """Cells stacked on top of each other, forward in time, with a state that is carried from call to call.

    Args:
        options: Cell and options of the layers.
        inputs: Width I of an input.
        hidden: Width H of every layer.
        layers: Number of layers, at least 1.
        dropout: Probability of dropout between layers, in [0, 1).
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
        """Run all layers over a batch.

        Batch-normalised cells take a position of zeros for padding, so padding is set to 0 after every layer.

        Args:
            inputs: Inputs, [B, T, I].
            states: State of each layer before the first step, the lowest layer first.

        Returns:
            Outputs of the top layer, [B, T, H], and the state of each layer after the last step.
        """
        values, after = inputs, []
        of_the_batch = self.options.cell in BATCH_NORMALISED and self.training
        padding = (inputs == 0).all(2, keepdim=True) if of_the_batch else None  # [B, T, 1]
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
    """A cell in each direction, with concatenated outputs (Schuster and Paliwal 1997).

    Args:
        options: Cell and options of the layer.
        inputs: Width I of an input.
        hidden: Width H of each direction.
        number: Number of the layer, from 0.
    """

    def __init__(self, options: LayerOptions, inputs: int, hidden: int, number: int = 0) -> None:
        super().__init__()
        self.ahead, self.back = (cells_of(options, [inputs], hidden, number)[0] for _ in range(2))
        self.starts = starts_of(options, (self.ahead, self.back))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Inputs [B, T, I] and lengths [B] to outputs [B, T, 2H], which are undefined at padding."""
        ahead, back = self._both(inputs, lengths)
        return torch.cat([ahead, reverse_within_lengths(back, lengths)], 2)

    def final(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """The final output of each direction, at the true ends of the sentences, [B, 2H]."""
        rows = torch.arange(len(inputs), device=inputs.device)
        ahead, back = self._both(inputs, lengths)
        return torch.cat([ahead[rows, lengths - 1], back[rows, lengths - 1]], 1)

    def _both(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of both directions, [B, T, H] each, those of the backward direction in reversed order."""
        values, found = (inputs, reverse_within_lengths(inputs, lengths)), []
        for number, (cell, each) in enumerate(zip((self.ahead, self.back), values, strict=True)):
            found.append(run_cell(cell, each, self.initial(number, each))[0])
        return found[0], found[1]

    def initial(self, direction: int, inputs: Tensor) -> State:
        """The state before the first step of the forward (0) or backward (1) cell, for inputs [B, T, I]."""
        cell = (self.ahead, self.back)[direction]
        state: State = self.starts[direction](cell.initial(len(inputs), inputs))
        return state


class BidirectionalStack(nn.Module):
    """Bidirectional layers stacked on top of each other, with dropout between them.

    Args:
        options: Cell and options of the layers.
        inputs: Width I of an input.
        hidden: Width H of each direction.
        layers: Number of layers, at least 1.
        dropout: Probability of dropout before each layer but the first, in [0, 1).
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

    def forward(self, inputs: Tensor, mask: Tensor, layers: int | None = None) -> Tensor:
        """Run all layers over a batch, or the lowest ones only.

        Values at padding, NaN included, change neither outputs nor gradients.

        Args:
            inputs: Inputs, [B, T, I].
            mask: True at real tokens, right-padded, [B, T].
            layers: Number of layers to run, at least 1; None = all.

        Returns:
            Outputs of the highest of them, [B, T, 2H], 0 at padding.
        """
        lengths = mask.sum(1)  # [B]
        padding = ~mask[:, :, None]  # [B, T, 1]
        values = inputs.masked_fill(padding, 0.0)
        for number, layer in enumerate(self.layers[:layers]):
            outputs = layer(self.dropout(values) if number else values, lengths)  # [B, T, 2H]
            joined = self.joints[number - 1](values, outputs) if number else outputs
            values = joined.masked_fill(padding, 0.0)
        return values
