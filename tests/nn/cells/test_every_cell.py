"""Properties of every cell of the table, however it is run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.cell_names import CELL_NAMES
from seqtool.nn.cell_options import WITHOUT, LayerOptions
from seqtool.nn.cells import CELLS
from seqtool.nn.cells.running import run_cell, run_cell_plainly
from seqtool.nn.recurrence import Bidirectional, Stack
from tests.nn.cells.making import (
    FIXED,
    HIDDEN,
    INPUTS,
    LEARNED,
    Runner,
    make_cell,
    run_by_stepper,
    some_inputs,
    some_state,
)

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}
every_cell = pytest.mark.parametrize("name", CELLS)
every_learned_cell = pytest.mark.parametrize("name", LEARNED)


def test_settings_know_the_cells_of_the_table_by_name():
    assert tuple(CELLS) == CELL_NAMES


def test_settings_know_which_cells_let_no_gradient_through_to_where_they_start():
    for name in CELLS.keys() - WITHOUT["learned_start"].keys():
        cell = make_cell(name)
        start = tuple(part.requires_grad_() for part in cell.initial(2, torch.zeros(()).double()))
        outputs, _ = run_cell(cell, some_inputs(batch=2), start)
        gradients = torch.autograd.grad(outputs.sin().sum(), start, allow_unused=True)
        assert all(gradients[part].any() for part in cell.start_parts)


# One cell, run in several ways


def results_of(run: Any, name: str, inputs: Tensor) -> list[Tensor | None]:
    """Outputs, the last state and all gradients, from a state that is not zero."""
    cell, inputs = make_cell(name, inputs=inputs.shape[2]), inputs.clone().requires_grad_()
    state = tuple(part.requires_grad_() for part in some_state(cell, len(inputs)))
    outputs, last = run(cell, inputs, state)
    values = [outputs, *last]
    if outputs.requires_grad:
        sum((part.sin().sum() for part in values), torch.zeros(())).backward()
    return [*values, *(each.grad for each in (inputs, *state, *cell.parameters()))]


@every_cell
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("width", [INPUTS, HIDDEN], ids=["another width", "one width"])
@pytest.mark.parametrize("run", [run_cell, run_by_stepper], ids=["all at once", "stepper"])
def test_the_fast_ways_equal_the_plain_steps_in_values_and_gradients(
    name: str, run: Any, width: int, steps: int
):
    inputs = some_inputs(steps=steps, width=width)
    for fast, plain in zip(
        results_of(run, name, inputs), results_of(run_cell_plainly, name, inputs), strict=True
    ):
        torch.testing.assert_close(fast, plain, **CLOSE)


@every_learned_cell
def test_two_passes_over_one_cell_make_the_sum_of_both_gradients(name: str):
    gradients = []
    for run in (run_cell, run_cell_plainly):
        cell, inputs = make_cell(name), some_inputs()
        state = some_state(cell)
        sum(
            (run(cell, given, state)[0].sin().sum() for given in (inputs, 2 * inputs)), torch.zeros(())
        ).backward()
        gradients.append([parameter.grad for parameter in cell.parameters()])
    torch.testing.assert_close(*gradients, **CLOSE)


@every_cell
def test_gradients_may_be_had_twice(name: str):
    cell, inputs = make_cell(name), some_inputs().requires_grad_()
    outputs, _ = run_cell(cell, inputs)
    if name in FIXED:
        assert not outputs.requires_grad
        return
    first, second = (torch.autograd.grad(outputs.sum(), inputs, retain_graph=True)[0] for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize(("name", "width"), [*((name, 2) for name in LEARNED), ("sru", 3)])
@pytest.mark.parametrize("run", [run_cell, run_cell_plainly], ids=["fast", "plain"])
def test_gradients_agree_with_finite_differences(name: str, width: int, run: Any):
    """By inputs, state and every parameter; an sru has another form where its widths are one."""
    cell = make_cell(name, inputs=width, hidden=3)
    runner = Runner(cell, run)
    inputs = some_inputs(batch=2, steps=3, width=width).requires_grad_()
    # A count of steps is a number of the state that nothing is differentiated by.
    state = [part.requires_grad_(part.shape[1] > 1) for part in some_state(cell, batch=2)]
    names, values = zip(*runner.named_parameters(), strict=True)

    def outcome(inputs: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        given, weights = rest[: len(state)], dict(zip(names, rest[len(state) :], strict=True))
        outputs, last = torch.func.functional_call(runner, weights, (inputs, given))
        return outputs, *(part for part in last if part.shape[1] > 1)

    nothing = [torch.zeros_like(value) for value in values]
    assert not outcome(inputs, *state, *nothing)[0].equal(outcome(inputs, *state, *values)[0])
    assert torch.autograd.gradcheck(outcome, (inputs, *state, *values))


@every_cell
def test_stepping_needs_no_gradients(name: str):
    cell, inputs = make_cell(name), some_inputs()
    expected = run_cell_plainly(cell, inputs, some_state(cell))[0].detach()
    with torch.inference_mode():
        outputs, _ = run_by_stepper(cell, inputs, some_state(cell))
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs.clone(), expected)


@every_cell
def test_a_projected_input_is_an_affine_function_of_the_input(name: str):
    """So a decoder can add the contribution of what it feeds back."""
    for inputs in (INPUTS, HIDDEN):  # some cells add an input of their own width to the output
        cell = make_cell(name, inputs=inputs).eval()
        values = some_inputs(width=inputs)
        offset = cell.project(torch.zeros_like(values))
        torch.testing.assert_close(cell.project(values), values @ cell.input_map().T + offset, **CLOSE)


# States


@every_cell
def test_a_state_starts_from_zeros_of_the_type_asked_for_with_a_row_for_each_sequence(name: str):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        parts = make_cell(name).initial(5, torch.ones((), dtype=dtype))
        for part in parts:
            assert (part.dim(), len(part), part.dtype, part.count_nonzero().item()) == (2, 5, dtype, 0)
        assert parts[0].shape == (5, HIDDEN)


@every_cell
def test_the_first_part_of_the_state_is_the_output(name: str):
    cell = make_cell(name)
    outputs, state = run_cell(cell, some_inputs())
    assert outputs.shape == (3, 5, HIDDEN)
    assert [part.shape for part in state] == [part.shape for part in cell.initial(3, outputs)]
    torch.testing.assert_close(state[0], outputs[:, -1])


@every_cell
def test_what_a_decoder_starts_from_reaches_the_outputs(name: str):
    cell, inputs = make_cell(name), some_inputs()
    zeros, start = cell.initial(3, inputs), torch.full((3, HIDDEN), 0.5).double()
    started = cell.started(start)
    assert [part.shape for part in started] == [part.shape for part in zeros]
    assert started[0].equal(start)
    assert not run_cell(cell, inputs, started)[0][:, 0].equal(run_cell(cell, inputs, zeros)[0][:, 0])


@every_cell
def test_running_in_parts_equals_running_at_once(name: str):
    cell, inputs = make_cell(name), some_inputs()
    outputs, last = run_cell(cell, inputs)
    for cut in (1, 2, 4):
        first, state = run_cell(cell, inputs[:, :cut])
        second, state = run_cell(cell, inputs[:, cut:], state)
        torch.testing.assert_close(torch.cat([first, second], 1), outputs)
        torch.testing.assert_close(state, last)


@every_cell
def test_rows_do_not_see_each_other(name: str):
    cell, inputs = make_cell(name), some_inputs()
    together, alone = run_cell(cell, inputs)[0], run_cell(cell, inputs[1:2])[0]
    torch.testing.assert_close(together[1:2], alone)


@every_cell
def test_nothing_sees_the_future(name: str):
    cell, inputs = make_cell(name), some_inputs()
    changed = inputs.clone()
    changed[:, 3] += 1
    before, after = run_cell(cell, inputs)[0], run_cell(cell, changed)[0]
    assert before[:, :3].equal(after[:, :3])
    assert not before[:, 3].equal(after[:, 3])


@every_cell
def test_the_past_is_remembered(name: str):
    cell, inputs = make_cell(name), some_inputs()
    changed = inputs.clone()
    changed[:, 0] += 1
    before, after = run_cell(cell, inputs)[0], run_cell(cell, changed)[0]
    assert all(not before[:, step].equal(after[:, step]) for step in range(3))


@every_cell
def test_evaluation_is_deterministic(name: str):
    cell, inputs = make_cell(name).eval(), some_inputs()
    assert run_cell(cell, inputs)[0].equal(run_cell(cell, inputs)[0])


@every_cell
def test_a_cell_is_what_its_stored_tensors_say(name: str):
    """Running statistics and fixed weights among them."""
    cell, other, inputs = make_cell(name), make_cell(name, seed=5), some_inputs()
    assert not run_cell(cell, inputs)[0].equal(run_cell(other, inputs)[0])
    other.load_state_dict(cell.state_dict())
    assert run_cell(cell, inputs)[0].equal(run_cell(other, inputs)[0])


@every_cell
@pytest.mark.parametrize(("inputs", "hidden"), [(3, 4), (5, 5), (4, 2)])
def test_as_many_numbers_are_learned_as_the_formula_says(name: str, inputs: int, hidden: int):
    cell = CELLS[name](inputs, hidden)
    count = sum(parameter.numel() for parameter in cell.parameters())
    assert CELLS[name].parameter_count(inputs, hidden) == count


# Layers


@every_cell
def test_both_directions_on_ragged_lengths_equal_plain_steps_over_each_sentence(name: str):
    layer, lengths = Bidirectional(LayerOptions(name), INPUTS, HIDDEN).double().eval(), [5, 1, 3]
    layer.ahead, layer.back = make_cell(name, seed=3), make_cell(name, seed=4)
    inputs = some_inputs().requires_grad_()
    found = layer(inputs, torch.tensor(lengths))
    leaves = [inputs, *layer.parameters()]
    total, expected_total = torch.zeros(()).double(), torch.zeros(()).double()
    for row, length in enumerate(lengths):
        sentence = inputs[row : row + 1, :length]
        zeros = layer.ahead.initial(1, sentence)
        ahead, _ = run_cell_plainly(layer.ahead, sentence, zeros)
        back, _ = run_cell_plainly(layer.back, sentence.flip(1), zeros)
        expected = torch.cat([ahead, back.flip(1)], 2)[0]
        torch.testing.assert_close(found[row, :length], expected, **CLOSE)
        total = total + found[row, :length].sin().sum()
        expected_total = expected_total + expected.sin().sum()
    if name in FIXED:
        assert not total.requires_grad
        return
    gradients, expected_gradients = (
        torch.autograd.grad(each, leaves, allow_unused=True) for each in (total, expected_total)
    )
    torch.testing.assert_close(gradients, expected_gradients, **CLOSE)


@every_cell
def test_half_precision_comes_close_and_keeps_its_type(name: str):
    """Under autocast, as in training: what is summed over time stays in full precision."""
    torch.manual_seed(6)
    stack = Stack(LayerOptions(name), inputs=INPUTS, hidden=HIDDEN, layers=2).eval()
    inputs = some_inputs().float()
    expected, _ = stack(inputs, stack.initial(3, inputs))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, states = stack(inputs, stack.initial(3, inputs))
        again, _ = stack(inputs, states)
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    assert again.isfinite().all()


# Learning


@every_cell
def test_short_sequences_can_be_memorised(name: str):
    """Ten sequences of six symbols, the next of which depends on all before it."""
    torch.manual_seed(9)
    symbols = torch.randint(0, 8, (10, 7))
    embedding, output = nn.Embedding(8, 16), nn.Linear(160 if name in FIXED else 24, 8)
    stack = Stack(LayerOptions(name), inputs=16, hidden=output.in_features, layers=1)
    learned = [*embedding.parameters(), *stack.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(learned, lr=0.02)
    symbols[:, 0] = torch.arange(10) % 8
    symbols[8:, 1] = (symbols[:2, 1] + 1) % 8  # no two begin alike
    loss = torch.tensor(0.0)
    for _ in range(150):
        values, _ = stack(embedding(symbols[:, :-1]), stack.initial(10, embedding.weight))
        scores = output(values)[:, 1:]
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), symbols[:, 2:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    assert loss.item() < 0.1
    assert all((each.grad is None) == (name in FIXED) for each in embedding.parameters())
