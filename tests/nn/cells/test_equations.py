"""A step of every cell equals the equations of its paper, value by value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqtool.nn.cells import CELLS, Cell
from seqtool.nn.cells.multiplicative import ProjectedLSTMCell
from seqtool.nn.cells.running import run_cell
from seqtool.nn.cells.transitions import tanh
from tests.nn.cells.equations import EQUATIONS, Numbers
from tests.nn.cells.making import HIDDEN, INPUTS, make_cell, some_inputs, some_state


def numbers_of(cell: Cell) -> Numbers:
    return {name: tensor.numpy() for name, tensor in cell.state_dict().items()}


def test_every_cell_has_its_equations():
    assert EQUATIONS.keys() == CELLS.keys()


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("inputs", [INPUTS, HIDDEN], ids=["another width", "one width"])
def test_a_step_computes_the_equations(name: str, inputs: int):
    cell = make_cell(name, inputs=inputs)
    state = some_state(cell, batch=2)
    values = some_inputs(batch=2, steps=1, width=inputs)
    found = cell.step(cell.project(values)[:, 0], state)
    for row in range(2):
        parts = [part[row].numpy() for part in state]
        expected = EQUATIONS[name](numbers_of(cell), values[row, 0].numpy(), parts)
        for part, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(part[row].detach().numpy(), reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "slstm"])
def test_a_sequence_from_zeros_computes_the_equations(name: str):
    cell, values = make_cell(name), some_inputs(batch=1)
    outputs, _ = run_cell(cell, values)
    parts = [part[0].numpy() for part in cell.initial(1, values)]
    for step in range(values.shape[1]):
        parts = EQUATIONS[name](numbers_of(cell), values[0, step].numpy(), parts)
        np.testing.assert_allclose(outputs[0, step].detach().numpy(), parts[0], rtol=1e-10, atol=1e-12)


# The cell with exponential gates


def test_exponential_gates_are_weights_of_a_mean():
    """h / sigmoid(o) is the mean of all tanh(g), each by its input gate and the forget gates since."""
    cell, values = make_cell("slstm"), some_inputs(batch=1)
    p, hidden, weights, written = numbers_of(cell), np.zeros(HIDDEN), np.zeros((0, HIDDEN)), []
    outputs, _ = run_cell(cell, values)
    for step in range(values.shape[1]):
        gates = p["input_weight"] @ values[0, step].numpy() + p["recurrent_weight"] @ hidden + p["bias"]
        i, f, g, o = np.split(gates, 4)
        weights = np.concatenate([weights / (1 + np.exp(-f)), np.exp(i)[None]])
        written.append(np.tanh(g))
        hidden = (weights * np.array(written)).sum(0) / weights.sum(0) / (1 + np.exp(-o))
        np.testing.assert_allclose(outputs[0, step].detach().numpy(), hidden, rtol=1e-10)


@pytest.mark.parametrize("size", [-300.0, 300.0])
@pytest.mark.parametrize("gate", [0, 1], ids=["input gate", "forget gate"])
def test_exponential_gates_of_any_size_stay_finite(size: float, gate: int):
    """In float32, whose exponential ends at 88; a first input gate of next to nothing is still the first."""
    torch.manual_seed(0)
    cell = CELLS["slstm"](INPUTS, HIDDEN)
    with torch.no_grad():
        cell.bias[gate * HIDDEN : (gate + 1) * HIDDEN] = size
    values = some_inputs(batch=2, steps=20).float()
    outputs, state = run_cell(cell, values)
    outputs.sum().backward()
    assert all(part.isfinite().all() for part in state)
    assert all(parameter.grad.isfinite().all() for parameter in cell.parameters())
    assert (state[2] >= 1).all()
    assert outputs[:, 0].abs().min().item() > 0


def test_gates_made_to_add_up_to_1_stay_finite_where_both_are_0():
    cell = CELLS["minlstm"](INPUTS, HIDDEN)
    with torch.no_grad():
        cell.bias[: 2 * HIDDEN] = -200.0
        cell.bias[HIDDEN : 2 * HIDDEN] -= math.log(3.0)
        cell.input_weight[: 2 * HIDDEN] = 0.0
    state = (torch.ones(1, HIDDEN),)
    (found,) = cell.step(cell.project(torch.zeros(1, INPUTS)), state)
    torch.testing.assert_close(found, torch.full((1, HIDDEN), 0.75), rtol=1e-4, atol=0)  # 3 : 1


def test_a_capped_memory_never_leaves_its_range():
    cell, values = make_cell("capped_lstm"), 30 * some_inputs(batch=4, steps=40)
    _, (_, memory) = run_cell(cell, values)
    assert memory.abs().max().item() <= 1.0
    _, (_, free) = run_cell(make_cell("lstm_no_forget"), values)
    assert free.abs().max().item() > 1.0


def test_the_fast_tanh_of_float32_is_tanh_and_float64_has_the_librarys():
    values = torch.cat([torch.linspace(-30, 30, 10_001), torch.tensor([-torch.inf, torch.inf, 1e-8])])
    torch.testing.assert_close(tanh(values), values.tanh(), rtol=0, atol=2e-7)
    assert tanh(values.double()).equal(values.double().tanh())
    part = values.clone()
    tanh(part[:5], out=part[:5])
    assert part[5:].equal(values[5:])
    assert part[:5].equal(tanh(values[:5]))


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_the_kernel_that_a_gpu_has_for_projections_gives_what_steps_give(weight_drop: float):
    cell = make_cell("projected_lstm", weight_drop=weight_drop).train()
    results = []
    for run in (run_cell, ProjectedLSTMCell.by_kernel):
        torch.manual_seed(5)
        inputs = some_inputs().requires_grad_()
        state = tuple(part.requires_grad_() for part in some_state(cell))
        outputs, last = run(cell, inputs, state)
        (outputs.sin().sum() + last[1].cos().sum()).backward()
        results.append([outputs, *last, *(each.grad for each in (inputs, *state, *cell.parameters()))])
        cell.zero_grad()
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
