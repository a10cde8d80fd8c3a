"""A recurrence that reaches back d steps equals d separate sequences."""

from __future__ import annotations

import pytest
import torch

from seqtool.nn.cell_options import WITHOUT, CellOptions
from seqtool.nn.cells import CELLS, Cell, build_cell
from seqtool.nn.cells.dilated import DilatedCell
from seqtool.nn.cells.running import run_cell, run_cell_plainly
from tests.nn.cells.making import FIXED, HIDDEN, INPUTS, make_cell, run_by_stepper, some_inputs, some_state

dilatable = pytest.mark.parametrize("name", [name for name in CELLS if name not in WITHOUT["dilation"]])
STEPS = (1, 2, 3, 6, 7, 8)


def dilated(name: str, by: int = 3) -> DilatedCell:
    return DilatedCell(make_cell(name), by)


@dilatable
@pytest.mark.parametrize("steps", STEPS)
def test_outputs_are_those_of_every_so_many_th_input_by_itself(name: str, steps: int):
    cell, inputs = dilated(name), some_inputs(steps=steps)
    outputs, _ = run_cell(cell, inputs)
    for first in range(min(3, steps)):
        expected, _ = run_cell(cell.cell, inputs[:, first::3])
        torch.testing.assert_close(outputs[:, first::3], expected, rtol=1e-12, atol=1e-12)


@dilatable
@pytest.mark.parametrize("steps", STEPS)
def test_all_at_once_equals_plain_steps_and_the_stepper(name: str, steps: int):
    """Outputs, states and gradients."""
    results = []
    for run in (run_cell, run_cell_plainly, run_by_stepper):
        cell, inputs = dilated(name), some_inputs(steps=steps).requires_grad_()
        state = (torch.zeros(3, HIDDEN).double(), *some_queues(cell))
        outputs, last = run(cell, inputs, state)
        if outputs.requires_grad:
            outputs.sin().sum().backward()
        results.append([outputs, *last, inputs.grad, *(each.grad for each in cell.parameters())])
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def some_queues(cell: DilatedCell) -> list[torch.Tensor]:
    parts = some_state(cell.cell, batch=3 * cell.dilation)
    return [part.view(3, -1) for part in parts]


@dilatable
@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_running_in_parts_equals_running_at_once(name: str, cut: int):
    cell, inputs = dilated(name), some_inputs(steps=8)
    outputs, last = run_cell(cell, inputs)
    first, state = run_cell(cell, inputs[:, :cut])
    second, state = run_cell(cell, inputs[:, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), outputs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-12, atol=1e-12)


@dilatable
def test_all_sequences_start_from_what_a_decoder_gives(name: str):
    cell, start = dilated(name), torch.full((3, HIDDEN), 0.5).double()
    state = cell.started(start)
    assert [part.shape[1] for part in state] == list(cell.state_widths)
    assert state[0].equal(start)
    outputs, _ = run_cell(cell, some_inputs(steps=3), state)
    for step in range(3):
        alone, _ = run_cell(cell.cell, some_inputs(steps=3)[:, step : step + 1], cell.cell.started(start))
        torch.testing.assert_close(outputs[:, step], alone[:, 0])


@pytest.mark.parametrize("name", sorted(WITHOUT["dilation"]))
def test_cells_with_statistics_of_the_batch_refuse_it(name: str):
    message = f"^dilation does not go with cell = '{name}', which takes statistics of all rows at one step"
    with pytest.raises(ValueError, match=message):
        build_cell(name, INPUTS, HIDDEN, dilation=2)


@pytest.mark.parametrize("name", ["lstm", "mgu", "sru"])
def test_zoneout_is_of_each_sequence(name: str):
    cells: list[Cell] = []
    for seed in (1, 1):
        torch.manual_seed(seed)
        cells.append(build_cell(name, INPUTS, HIDDEN, options=CellOptions(zoneout=0.3), dilation=2).double())
    inputs = some_inputs(steps=4)
    outputs, _ = run_cell(cells[0].eval(), inputs)
    expected, _ = run_cell_plainly(cells[1].eval(), inputs, cells[1].initial(3, inputs))
    torch.testing.assert_close(outputs, expected)
    assert name not in FIXED
