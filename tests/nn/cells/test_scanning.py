"""Scans in rounds, as on a GPU, give the same results as step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqtool.nn.cells import CELLS, Cell, ScanCell, scanning
from seqtool.nn.cells.running import run_cell
from tests.nn.cells.making import make_cell, some_inputs, some_state

SCANS = [name for name, cell in CELLS.items() if issubclass(cell, ScanCell)]


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9, 100])
def test_joined_steps_are_the_recurrence(steps: int) -> None:
    torch.manual_seed(steps)
    factors, terms = torch.rand(2, steps, 3).double(), torch.randn(2, steps, 3).double()
    start = torch.randn(2, 3).double()
    found = scanning.joined(factors, terms, start, out=torch.empty_like(terms))
    before = start
    for step in range(steps):
        before = factors[:, step] * before + terms[:, step]
        torch.testing.assert_close(found[:, step], before, rtol=1e-12, atol=1e-12)


def everything(cell: Cell, steps: int) -> list[Tensor | None]:
    """Outputs, last state, gradients of the inputs, of the first state and of all parameters."""
    inputs = some_inputs(steps=steps).requires_grad_()
    state = tuple(part.requires_grad_() for part in some_state(cell))
    outputs, last = run_cell(cell, inputs, state)
    (outputs.sin().sum() + sum(part.cos().sum() for part in last)).backward()
    gradients = [each.grad for each in (inputs, *state, *cell.parameters())]
    cell.zero_grad()
    return [outputs.detach(), *(part.detach() for part in last), *gradients]


@pytest.mark.parametrize("steps", [1, 2, 13])
@pytest.mark.parametrize("name", SCANS)
def test_cells_do_not_depend_on_it(name: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell(name)
    expected = everything(cell, steps)
    asked: list[bool] = []
    monkeypatch.setattr(scanning, "in_parallel", lambda values: asked.append(True) or True)
    found = everything(cell, steps)
    assert asked
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
