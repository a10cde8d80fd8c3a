"""A recurrence that reaches back several steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, Fused, State, Stepper
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, Linears


class DilatedCell(Cell):
    """A cell whose state before step t is the state after step t - d.

    It runs d interleaved sequences of every d-th step, so that gradients cross a distance in 1/d of the
    steps. The state consists of the output and the concatenated states of the last d steps, the oldest first.

    Args:
        cell: Cell that runs along each of the d sequences.
        dilation: Number d of steps that the recurrence reaches back, at least 2.

    Reference: Chang et al. 2017, "Dilated recurrent neural networks", section 2.
    """

    def __init__(self, cell: Cell, dilation: int) -> None:
        super().__init__(cell.inputs, cell.hidden, options=cell.options)
        self.cell = cell
        self.dilation = dilation

    @property
    def state_widths(self) -> tuple[int, ...]:
        """Widths of the output and of the parts of a state, d times each."""
        return self.hidden, *(self.dilation * width for width in self.cell.state_widths)

    @property
    def start_parts(self) -> tuple[int, ...]:
        """Those of the inner cell; each of the d sequences learns its own start."""
        return tuple(1 + part for part in self.cell.start_parts)

    @property
    def runs_step_by_step(self) -> bool:
        """False, since `fused` runs the inner cell in whichever way that needs."""
        return False

    def started(self, start: Tensor) -> State:
        """The state before the first step, with the memory `start`, [B, H], in all d sequences."""
        return start, *(part.repeat(1, self.dilation) for part in self.cell.started(start))

    def project(self, inputs: Tensor) -> Tensor:
        """The projection of the inner cell."""
        return self.cell.project(inputs)

    def input_map(self) -> Tensor:
        """The input map of the inner cell."""
        return self.cell.input_map()

    def input_blocks(self) -> Sequence[Tensor]:
        """The input blocks of the inner cell."""
        return self.cell.input_blocks()

    def recurrent_blocks(self) -> Sequence[Tensor]:
        """The recurrent blocks of the inner cell."""
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
        """A step that advances the oldest of the d states, which becomes the newest."""
        widths = self.cell.state_widths

        def step(projected: Tensor, state: State) -> State:
            # state[1:] are [B, d x width] each, `oldest` [B, width] each
            oldest = tuple(part[:, :width] for part, width in zip(state[1:], widths, strict=True))
            after = advance(projected, oldest)
            queues = (
                torch.cat([part[:, width:], new], 1)
                for part, width, new in zip(state[1:], widths, after, strict=True)
            )
            return after[0], *queues

        return step

    def fused(self) -> Fused:
        """All d sequences side by side, as rows of a batch, then the fewer than d steps that remain.

        The remaining steps have a weight drop mask of their own.
        """

        def run(inputs: Tensor, state: State) -> tuple[Tensor, State]:
            batch, steps, _ = inputs.shape
            queues = [part.reshape(batch, self.dilation, -1) for part in state[1:]]  # [B, d, width] each
            whole = steps - steps % self.dilation
            outputs = []
            for first, last in ((0, whole), (whole, steps)):
                if first == last:
                    continue
                sequences = min(last - first, self.dilation)
                # L steps of each sequence: [B, L x sequences, I] to [B, sequences, L, I]
                rows = inputs[:, first:last].reshape(batch, -1, sequences, self.inputs).transpose(1, 2)
                # [B x sequences, width] each
                before = tuple(part[:, :sequences].flatten(0, 1) for part in queues)
                values, after = run_cell(self.cell, rows.flatten(0, 1), before)  # [B x sequences, L, H]
                # back to [B, L, sequences, H], then [B, L x sequences, H]
                values = values.view(batch, sequences, -1, self.hidden).transpose(1, 2)
                outputs.append(values.reshape(batch, last - first, self.hidden))
                # the states that were advanced move from the front of the queues to the back
                queues = [
                    torch.cat([part[:, sequences:], new.to(part.dtype).view(batch, sequences, -1)], 1)
                    for part, new in zip(queues, after, strict=True)
                ]
            result = torch.cat(outputs, 1)  # [B, T, H]
            return result, (result[:, -1], *(part.flatten(1) for part in queues))

        return run
