"""A recurrence that reaches back several steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, Fused, State, Stepper
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, Linears


class DilatedCell(Cell):
    """A cell whose state before step t is the one after step t - d: d sequences, each every d-th step.

    So gradients cross a distance in a d-th of the steps. The state is the output and, side by side, the
    states of the last d steps, the oldest first.

    Args:
        cell: What runs along each of the d sequences.
        dilation: d, at least 2.

    Reference: Chang et al. 2017, "Dilated recurrent neural networks", section 2.
    """

    def __init__(self, cell: Cell, dilation: int) -> None:
        super().__init__(cell.inputs, cell.hidden, options=cell.options)
        self.cell = cell
        self.dilation = dilation

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Output, and the parts of d states each."""
        return self.hidden, *(self.dilation * width for width in self.cell.state_widths)

    @property
    def start_parts(self) -> tuple[int, ...]:
        """Those of the cell inside, each of the d sequences with its own."""
        return tuple(1 + part for part in self.cell.start_parts)

    @property
    def runs_step_by_step(self) -> bool:
        """`fused` sees to it itself."""
        return False

    def started(self, start: Tensor) -> State:
        """All d sequences start so."""
        return start, *(part.repeat(1, self.dilation) for part in self.cell.started(start))

    def project(self, inputs: Tensor) -> Tensor:
        """That of the cell inside."""
        return self.cell.project(inputs)

    def input_map(self) -> Tensor:
        """That of the cell inside."""
        return self.cell.input_map()

    def input_blocks(self) -> Sequence[Tensor]:
        """Those of the cell inside."""
        return self.cell.input_blocks()

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """Those of the cell inside."""
        return self.cell.recurrent_blocks()

    def transition(self, linear: Linears) -> Stepper:
        """See `Cell.transition`."""
        return self._queued(self.cell.transition(linear))

    def step(self, projected: Tensor, state: State) -> State:
        """See `Cell.step`."""
        return self._queued(self.cell.step)(projected, state)

    def stepper(self, linear: Linears = DeferredLinear) -> Stepper:
        """See `Cell.stepper`."""
        return self._queued(self.cell.stepper(linear))

    def _queued(self, advance: Stepper) -> Stepper:
        """The oldest state goes on, and becomes the newest."""
        widths = self.cell.state_widths

        def step(projected: Tensor, state: State) -> State:
            oldest = tuple(part[:, :width] for part, width in zip(state[1:], widths, strict=True))
            after = advance(projected, oldest)
            queues = (
                torch.cat([part[:, width:], new], 1)
                for part, width, new in zip(state[1:], widths, after, strict=True)
            )
            return after[0], *queues

        return step

    def fused(self) -> Fused:
        """All d sequences side by side, as rows of a batch, then the steps that are left over.

        Those, fewer than d at the end, have a draw of weight drop of their own.
        """

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            batch, steps, _ = inputs.shape
            queues = [part.reshape(batch, self.dilation, -1) for part in state[1:]]
            whole = steps - steps % self.dilation
            outputs = []
            for first, last in ((0, whole), (whole, steps)):
                if first == last:
                    continue
                sequences = min(last - first, self.dilation)
                rows = inputs[:, first:last].reshape(batch, -1, sequences, self.inputs).transpose(1, 2)
                before = tuple(part[:, :sequences].flatten(0, 1) for part in queues)
                values, after = run_cell(self.cell, rows.flatten(0, 1), before)
                values = values.view(batch, sequences, -1, self.hidden).transpose(1, 2)
                outputs.append(values.reshape(batch, last - first, self.hidden))
                queues = [
                    torch.cat([part[:, sequences:], new.to(part.dtype).view(batch, sequences, -1)], 1)
                    for part, new in zip(queues, after, strict=True)
                ]
            result = torch.cat(outputs, 1)
            return result, (result[:, -1], *(part.flatten(1) for part in queues))

        return run
