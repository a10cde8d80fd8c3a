"""Weight drop: recurrent weights dropped for a whole pass over time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import WITHOUT
from seqtool.nn.cells import CELLS, Cell, ScanCell
from seqtool.nn.cells.running import run_cell, run_cell_plainly
from seqtool.nn.deferred import DeferredLinear
from tests.nn.cells.making import FIXED, make_cell, run_by_stepper, some_inputs, some_state

REFUSING = [name for name in CELLS if name in FIXED or issubclass(CELLS[name], ScanCell)]
recurrent = pytest.mark.parametrize("name", [name for name in CELLS if name not in REFUSING])


def weights_asked_for(cell: Cell) -> list[Tensor]:
    """The weights that a pass makes its products with."""
    asked: list[Tensor] = []

    def noting(weight: Tensor) -> DeferredLinear:
        asked.append(weight)
        return DeferredLinear(weight)

    cell.stepper(noting)
    return asked


@recurrent
def test_products_are_with_parameters_and_made_ready_before_the_first_step(name: str):
    """8-bit products are cached by parameter, and a pass has one mask for all its steps."""
    cell, asked = make_cell(name), []

    def noting(weight: Tensor) -> DeferredLinear:
        asked.append(weight)
        return DeferredLinear(weight)

    step, state = cell.stepper(noting), some_state(cell)
    before, own = len(asked), {id(parameter) for parameter in cell.parameters()}
    for projected in cell.project(some_inputs()).unbind(1):
        state = step(projected, state)
    assert len(asked) == before > 0
    assert {id(weight) for weight in asked} <= own


@recurrent
@pytest.mark.parametrize("run", [run_cell, run_by_stepper], ids=["all at once", "stepper"])
def test_a_pass_with_dropped_weights_equals_plain_steps_with_those_weights(name: str, run: Any):
    """The gradient reaches a weight through the kept values, with their scale."""
    cell, plain, inputs = make_cell(name, weight_drop=0.4).train(), make_cell(name).train(), some_inputs()
    torch.manual_seed(7)
    kept = weights_asked_for(cell)
    targets = weights_asked_for(plain)
    with torch.no_grad():
        for weight, target in zip(kept, targets, strict=True):
            target.copy_(weight)
    state = some_state(cell)
    torch.manual_seed(7)
    outputs, last = run(cell, inputs, state)
    expected, expected_last = run_cell_plainly(plain, inputs, state)
    torch.testing.assert_close([outputs, *last], [expected, *expected_last], rtol=1e-10, atol=1e-10)
    for result in (outputs, expected):
        result.sin().sum().backward()
    scales = {id(target): weight.detach() for weight, target in zip(kept, targets, strict=True)}
    for (key, value), (_, other) in zip(cell.named_parameters(), plain.named_parameters(), strict=True):
        left = scales.get(id(other))
        dropped = left is not None and not left.equal(value.detach())
        scale = (left != 0).double() / 0.6 if dropped else 1.0
        torch.testing.assert_close(value.grad, other.grad * scale, rtol=1e-8, atol=1e-10, msg=key)


@recurrent
def test_weights_are_dropped_with_their_probability_and_the_rest_makes_up_for_them(name: str):
    cell = make_cell(name, hidden=64, weight_drop=0.4).train()
    chosen = torch.cat([weight.detach().flatten() for weight in weights_asked_for(cell)])
    cell.eval()
    own = torch.cat([weight.detach().flatten() for weight in weights_asked_for(cell)])
    kept, whole = chosen != 0, chosen == own  # the input's weight of a mogrifier is not recurrent
    share = 1 - (kept & ~whole).double().sum().item() / (~whole).double().sum().item()
    assert share == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / kept.numel()))
    torch.testing.assert_close(chosen[kept & ~whole], own[kept & ~whole] / 0.6)


@recurrent
def test_nothing_is_dropped_in_evaluation_or_with_probability_0(name: str):
    inputs = some_inputs()
    plain, dropping = make_cell(name, weight_drop=0.0), make_cell(name, weight_drop=0.5)
    expected = run_cell(plain.eval(), inputs)[0]
    assert run_cell(dropping.eval(), inputs)[0].equal(expected)
    assert not run_cell(dropping.train(), inputs)[0].equal(run_cell(plain.train(), inputs)[0])
    assert plain.dropped(expected) is expected
    assert plain.state_dict().keys() == dropping.state_dict().keys()


@recurrent
def test_each_pass_draws_anew_and_a_seed_repeats(name: str):
    cell, inputs = make_cell(name, weight_drop=0.5).train(), some_inputs()
    outputs = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        outputs.append(run_cell(cell, inputs)[0])
    assert outputs[0].equal(outputs[1])
    assert not outputs[0].equal(outputs[2])


def test_settings_know_which_cells_have_no_recurrent_weights_to_leave_out():
    assert set(REFUSING) == WITHOUT["weight_drop"].keys()


def test_the_input_weight_of_a_mogrifier_is_not_recurrent():
    cell = make_cell("mogrifier_lstm", weight_drop=0.5)
    first, *others = weights_asked_for(cell)
    assert first is cell.input_weight
    assert isinstance(first, nn.Parameter)
    assert all((weight == 0).any() for weight in others)
