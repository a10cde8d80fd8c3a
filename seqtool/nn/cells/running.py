"""A cell over time, by the fastest way that it has."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, ScanCell, State, Stepper
from seqtool.nn.cells.chunked import prepared, run_in_chunks, worth_compiling
from seqtool.nn.deferred import at_least_float32


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
    if cell.runs_step_by_step:
        return _looped(cell, inputs, state)
    fused = cell.fused()
    if fused is not None:
        return fused(inputs, tuple(part.contiguous() for part in state))  # cuDNN insists
    if isinstance(cell, ScanCell) and (cell.linear or not worth_compiling(cell, inputs)):
        return _scanned(cell, inputs, state)
    return _looped(cell, inputs, state)


def _scanned(cell: ScanCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    gathered, known = cell.gathered(inputs, state)
    with torch.autocast(inputs.device.type, enabled=False):  # sums over many steps keep their precision
        state = tuple(at_least_float32(part) for part in state)
        outputs, state = cell.scan(at_least_float32(gathered), state)
        return outputs.to(gathered.dtype), (*state, *map(at_least_float32, known))


def _looped(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Time first, so that a step is one block of memory; weight gradients wait for the end of the pass."""
    projected = cell.project(inputs.transpose(0, 1))
    if worth_compiling(cell, projected):
        run = partial(run_in_chunks, prepared(cell))
    else:
        run = partial(_step_by_step, cell.stepper())
    with torch.autocast(inputs.device.type, enabled=False):
        state = tuple(at_least_float32(part) for part in state)
        outputs, state = run(at_least_float32(projected), state)
        return torch.stack(outputs, 1).to(projected.dtype), state


def _step_by_step(step: Stepper, projected: Tensor, state: State) -> tuple[list[Tensor], State]:
    outputs = []
    for each in projected.unbind(0):
        state = step(each, state)
        outputs.append(state[0])
    return outputs, state


def run_cell_plainly(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """`run_cell` as the textbook has it, one step after the other: the reference for the fast ways."""
    outputs = []
    for projected in cell.project(inputs).unbind(1):
        state = cell.step(projected, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state
