"""Every cell of the table: its equations, its fused kernel, its gradient, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.cells import CELLS, Cell
from seqtool.nn.recurrence import Bidirectional, run_cell, run_cell_plainly

INPUTS, HIDDEN = 3, 4
Parameters = dict[str, list[list[float]]]
ScalarStep = Callable[[Parameters, list[float], list[list[float]]], list[list[float]]]


def make_cell(name: str, seed: int = 0) -> Cell:
    torch.manual_seed(seed)
    cell = CELLS[name](INPUTS, HIDDEN).double()
    with torch.no_grad():
        for parameter in cell.parameters():  # biases too: those that start at 0 could be forgotten
            parameter.normal_()
    return cell


def some_inputs(batch: int = 3, steps: int = 5) -> Tensor:
    return torch.randn(batch, steps, INPUTS, generator=torch.Generator().manual_seed(1)).double()


def some_state(cell: Cell, batch: int = 3) -> tuple[Tensor, ...]:
    source = torch.Generator().manual_seed(2)
    parts = cell.initial(batch, torch.zeros(()).double())
    return tuple(torch.randn(part.shape, generator=source).double() for part in parts)


# The equations, number by number


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def affine(parameters: Parameters, kind: str, row: int, values: list[float]) -> float:
    """Row of `W x + b`, with kind "ih" (from the input) or "hh" (from the state)."""
    weights, bias = parameters[f"weight_{kind}_l0"][row], parameters[f"bias_{kind}_l0"][row][0]
    return sum(w * v for w, v in zip(weights, values, strict=True)) + bias


def scalar_lstm(p: Parameters, x: list[float], state: list[list[float]]) -> list[list[float]]:
    h, c = state
    hidden, memory = [], []
    for unit in range(HIDDEN):
        i, f, g, o = (
            affine(p, "ih", gate * HIDDEN + unit, x) + affine(p, "hh", gate * HIDDEN + unit, h)
            for gate in range(4)
        )
        memory.append(sigmoid(f) * c[unit] + sigmoid(i) * math.tanh(g))
        hidden.append(sigmoid(o) * math.tanh(memory[-1]))
    return [hidden, memory]


def scalar_gru(p: Parameters, x: list[float], state: list[list[float]]) -> list[list[float]]:
    (h,) = state
    hidden = []
    for unit in range(HIDDEN):
        from_input = [affine(p, "ih", gate * HIDDEN + unit, x) for gate in range(3)]
        from_state = [affine(p, "hh", gate * HIDDEN + unit, h) for gate in range(3)]
        reset = sigmoid(from_input[0] + from_state[0])
        update = sigmoid(from_input[1] + from_state[1])
        candidate = math.tanh(from_input[2] + reset * from_state[2])
        hidden.append((1 - update) * candidate + update * h[unit])
    return [hidden]


SCALAR_STEPS: dict[str, ScalarStep] = {"lstm": scalar_lstm, "gru": scalar_gru}


def test_every_cell_has_its_equations_here():
    assert SCALAR_STEPS.keys() == CELLS.keys()


@pytest.mark.parametrize("name", CELLS)
def test_a_step_computes_the_equations_of_the_docstring(name: str):
    cell, inputs = make_cell(name), some_inputs(batch=1, steps=1)
    kernel = next(module for module in cell.modules() if isinstance(module, torch.nn.RNNBase))
    parameters = {key: value.reshape(len(value), -1).tolist() for key, value in kernel.named_parameters()}
    state = some_state(cell, batch=1)
    found = cell.step(cell.project(inputs)[:, 0], state)
    expected = SCALAR_STEPS[name](parameters, inputs[0, 0].tolist(), [part[0].tolist() for part in state])
    assert [part[0].tolist() for part in found] == [pytest.approx(part, abs=1e-12) for part in expected]


# One cell, two ways to run it


@pytest.mark.parametrize("name", CELLS)
def test_the_fused_kernel_equals_the_plain_steps(name: str):
    """Outputs, states and every gradient, from a state that is not zero."""
    results = []
    for run in (run_cell, run_cell_plainly):
        cell = make_cell(name)
        assert cell.fused() is not None
        inputs = some_inputs().requires_grad_()
        state = tuple(part.requires_grad_() for part in some_state(cell))
        outputs, last = run(cell, inputs, state)
        sum((part.sin().sum() for part in (outputs, *last)), torch.zeros(())).backward()
        gradients = [value.grad for value in (inputs, *state, *cell.parameters())]
        results.append([outputs, *last, *gradients])
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)


def run_by_stepper(
    cell: Cell, inputs: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As the decoders do: one `stepper` a pass over time."""
    step, outputs = cell.stepper(), []
    for projected in cell.project(inputs).unbind(1):
        state = step(projected, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize("name", CELLS)
def test_a_stepper_takes_the_same_steps_and_has_the_same_gradients(name: str):
    """Its weight gradient waits for the end of the pass; two passes make the sum of both."""
    results = []
    for run in (run_by_stepper, run_cell_plainly):
        cell = make_cell(name)
        inputs = some_inputs().requires_grad_()
        state = tuple(part.requires_grad_() for part in some_state(cell))
        passes = [run(cell, given, state) for given in (inputs, 2 * inputs)]
        values = [value for outputs, last in passes for value in (outputs, *last)]
        sum((value.sin().sum() for value in values), torch.zeros(())).backward()
        results.append([*values, *(value.grad for value in (inputs, *state, *cell.parameters()))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_a_stepper_needs_no_gradients(name: str):
    cell, inputs = make_cell(name), some_inputs()
    with torch.no_grad():
        outputs, _ = run_by_stepper(cell, inputs, some_state(cell))
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, run_cell_plainly(cell, inputs, some_state(cell))[0].detach())


@pytest.mark.parametrize("name", CELLS)
def test_both_directions_on_ragged_lengths_equal_plain_steps_over_each_sentence(name: str):
    torch.manual_seed(3)
    layer, inputs, lengths = Bidirectional(name, INPUTS, HIDDEN).double(), some_inputs(), [5, 1, 3]
    found = layer(inputs, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        sentence = inputs[row : row + 1, :length]
        zeros = layer.ahead.initial(1, sentence)
        ahead, _ = run_cell_plainly(layer.ahead, sentence, zeros)
        back, _ = run_cell_plainly(layer.back, sentence.flip(1), zeros)
        expected = torch.cat([ahead, back.flip(1)], 2)[0]
        torch.testing.assert_close(found[row, :length], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_running_in_two_parts_equals_running_at_once(name: str):
    cell, inputs = make_cell(name), some_inputs()
    outputs, last = run_cell(cell, inputs)
    first, state = run_cell(cell, inputs[:, :2])
    second, state = run_cell(cell, inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), outputs)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_agree_with_finite_differences(name: str):
    cell, inputs = make_cell(name), some_inputs(batch=2, steps=3).requires_grad_()
    state = tuple(part.requires_grad_() for part in some_state(cell, batch=2))
    names, values = zip(*Runner(cell).named_parameters(), strict=True)

    def run(inputs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given, weights = rest[: len(state)], dict(zip(names, rest[len(state) :], strict=True))
        outputs, last = torch.func.functional_call(Runner(cell), weights, (inputs, given))
        return outputs, *last

    nothing = [torch.zeros_like(value) for value in values]
    assert not run(inputs, *state, *nothing)[0].equal(run(inputs, *state, *values)[0])  # the weights arrive
    assert torch.autograd.gradcheck(run, (inputs, *state, *values))


class Runner(torch.nn.Module):
    """Plain steps of a cell as a module, so that its parameters can be arguments."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, inputs: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return run_cell_plainly(self.cell, inputs, state)


# What every cell promises


@pytest.mark.parametrize("name", CELLS)
def test_the_first_part_of_the_state_is_the_output(name: str):
    cell, inputs = make_cell(name), some_inputs()
    outputs, state = run_cell(cell, inputs)
    assert outputs.shape == (3, 5, HIDDEN)
    assert all(part.shape == (3, HIDDEN) for part in state)
    torch.testing.assert_close(state[0], outputs[:, -1])


@pytest.mark.parametrize("name", CELLS)
def test_evaluation_is_deterministic(name: str):
    cell, inputs = make_cell(name).eval(), some_inputs()
    assert run_cell(cell, inputs)[0].equal(run_cell(cell, inputs)[0])


@pytest.mark.parametrize("name", CELLS)
def test_nothing_sees_the_future(name: str):
    cell, inputs = make_cell(name), some_inputs()
    changed = inputs.clone()
    changed[:, 3] += 1
    before, after = run_cell(cell, inputs)[0], run_cell(cell, changed)[0]
    assert before[:, :3].equal(after[:, :3])
    assert not before[:, 3].equal(after[:, 3])


@pytest.mark.parametrize("name", CELLS)
def test_recurrent_weights_start_orthogonal_gate_by_gate(name: str):
    kernel = next(module for module in CELLS[name](6, 5).modules() if isinstance(module, torch.nn.RNNBase))
    for block in kernel.weight_hh_l0.split(5):
        torch.testing.assert_close(block @ block.t(), torch.eye(5))


def test_the_forget_gate_of_an_lstm_starts_open():
    cell = CELLS["lstm"](INPUTS, HIDDEN)
    _, forget_gate, _, _ = cell.project(torch.zeros(1, 1, INPUTS))[0, 0].chunk(4)
    assert forget_gate.tolist() == [1.0] * HIDDEN


# Recurrent weights that are left out


def weight_dropping(name: str, probability: float = 0.4, hidden: int = HIDDEN) -> Cell:
    torch.manual_seed(6)
    cell = CELLS[name](INPUTS, hidden, weight_drop=probability).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
    return cell


def recurrent_weight(cell: Cell) -> torch.nn.Parameter:
    (weight,) = (value for name, value in cell.named_parameters() if "weight_hh" in name)
    return weight


def dropped_by(cell: Cell, seed: int) -> Tensor:
    """The weight that a pass after this seed has."""
    torch.manual_seed(seed)
    return cell.dropped(recurrent_weight(cell)).detach()


@pytest.mark.parametrize("run", [run_cell, run_by_stepper], ids=["fused", "stepper"])
@pytest.mark.parametrize("name", CELLS)
def test_a_pass_with_dropped_weights_equals_plain_steps_with_that_weight(name: str, run: Any):
    """One choice for all steps; the gradient reaches the weight through what was kept, scaled as it was."""
    cell, plain, inputs = weight_dropping(name), weight_dropping(name), some_inputs()
    kept = dropped_by(cell, 7)
    with torch.no_grad():
        recurrent_weight(plain).copy_(kept)
    state = some_state(cell)
    torch.manual_seed(7)
    outputs, last = run(cell, inputs, state)
    expected, expected_last = run_cell_plainly(plain, inputs, state)
    torch.testing.assert_close([outputs, *last], [expected, *expected_last], rtol=1e-12, atol=1e-12)
    for result in (outputs, expected):
        result.sin().sum().backward()
    gradients = {key: value.grad for key, value in plain.named_parameters()}
    for key, value in cell.named_parameters():
        scale = (kept != 0).double() / 0.6 if "weight_hh" in key else 1.0
        torch.testing.assert_close(value.grad, gradients[key] * scale, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_weights_are_dropped_with_their_probability_and_the_rest_makes_up_for_them(name: str):
    cell = weight_dropping(name, hidden=64)
    own, kept = recurrent_weight(cell).detach(), dropped_by(cell, 8)
    share = float((kept == 0).double().mean())
    assert share == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / kept.numel()))
    torch.testing.assert_close(kept[kept != 0], own[kept != 0] / 0.6)
    assert not kept.equal(dropped_by(cell, 9))


@pytest.mark.parametrize("name", CELLS)
def test_nothing_is_dropped_in_evaluation_or_with_probability_0(name: str):
    inputs = some_inputs()
    plain = weight_dropping(name, 0.0)
    expected = run_cell(plain, inputs)[0]
    assert run_cell(weight_dropping(name).eval(), inputs)[0].equal(expected)
    assert weight_dropping(name, 0.0).dropped(expected) is expected
    assert not run_cell(weight_dropping(name), inputs)[0].equal(expected)
    assert plain.state_dict().keys() == weight_dropping(name).state_dict().keys()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("probability", [-0.1, 1.0, math.nan])
def test_a_probability_outside_its_range_is_an_error_that_says_so(name: str, probability: float):
    with pytest.raises(ValueError, match=rf"^weight drop {probability} is not in \[0, 1\)$"):
        CELLS[name](INPUTS, HIDDEN, weight_drop=probability)
