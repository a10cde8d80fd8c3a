"""Running a cell over time, in the fastest way that it supports."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, ScanCell, State, Stepper
from seqtool.nn.cells.chunked import prepared, run_in_chunks, worth_compiling
from seqtool.nn.deferred import at_least_float32


def run_cell(cell: Cell, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Run all steps of a cell: by a library kernel or the cell's scan where possible, else step by step.

    Args:
        cell: Cell with input width I and output width H.
        inputs: Inputs, [B, T, I].
        state: State before the first step; None = zeros.

    Returns:
        Outputs, [B, T, H], and the state after the last step.
    """
    if state is None:
        state = cell.initial(len(inputs), inputs)
    if cell.runs_step_by_step:
        return _looped(cell, inputs, state)
    fused = cell.fused()
    if fused is not None:
        return fused(inputs, tuple(part.contiguous() for part in state))  # cuDNN requires contiguous states
    if isinstance(cell, ScanCell) and (cell.linear or not worth_compiling(cell, inputs)):
        return _scanned(cell, inputs, state)
    return _looped(cell, inputs, state)


def _scanned(cell: ScanCell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run all steps by the cell's scan."""
    gathered, known = cell.gathered(inputs, state)  # [B, T, ...]
    with torch.autocast(inputs.device.type, enabled=False):  # sums over many steps need full precision
        state = tuple(at_least_float32(part) for part in state)
        outputs, state = cell.scan(at_least_float32(gathered), state)
        return outputs.to(gathered.dtype), (*state, *map(at_least_float32, known))


def _looped(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """Run all steps one after the other, or in compiled chunks on a GPU."""
    projected = cell.project(inputs.transpose(0, 1))  # [T, B, P]: the values of a step are contiguous
    if worth_compiling(cell, projected):
        run = partial(run_in_chunks, prepared(cell))
    else:
        run = partial(_step_by_step, cell.stepper())
    with torch.autocast(inputs.device.type, enabled=False):
        state = tuple(at_least_float32(part) for part in state)
        outputs, state = run(at_least_float32(projected), state)
        return torch.stack(outputs, 1).to(projected.dtype), state  # [B, T, H]


def _step_by_step(step: Stepper, projected: Tensor, state: State) -> tuple[list[Tensor], State]:
    """Run the steps of projected inputs [T, B, P]: the output of each, [B, H], and the last state."""
    outputs = []
    for each in projected.unbind(0):
        state = step(each, state)
        outputs.append(state[0])
    return outputs, state


def run_cell_plainly(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """`run_cell` as in a textbook, one step after the other: the reference for the faster forms."""
    outputs = []
    for projected in cell.project(inputs).unbind(1):
        state = cell.step(projected, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state
