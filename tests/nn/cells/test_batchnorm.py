"""Batch-normalised cells: statistics of the batch in training, running statistics in evaluation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.cell_names import BATCH_NORMALISED, FEWEST_ROWS
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import build_cell
from seqtool.nn.cells.batchnorm import STEPS, BatchNorm
from seqtool.nn.cells.running import run_cell
from seqtool.nn.recurrence import BidirectionalStack, Stack
from tests.nn.cells.making import HIDDEN, INPUTS, make_cell, some_inputs

each_cell = pytest.mark.parametrize("name", sorted(BATCH_NORMALISED))


def some_values(rows: int = 6, width: int = 3) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(3)).double()


def test_real_rows_are_normalised_as_the_library_does_it_and_padding_takes_no_part():
    norm, other = BatchNorm(3, gain=0.5).double(), nn.BatchNorm1d(3).double()
    with torch.no_grad():
        other.weight.fill_(0.5)
    values, real = some_values(), torch.tensor([True, True, False, True, False, True])
    for _ in range(3):
        found, expected = norm(values, real), other(values[real])
        torch.testing.assert_close(found[real], expected)
    torch.testing.assert_close(norm.running_mean[0], other.running_mean)
    torch.testing.assert_close(norm.running_variance[0], other.running_var)
    norm.eval()
    other.eval()
    torch.testing.assert_close(norm(values, real), other(values))


@pytest.mark.parametrize("rows", range(FEWEST_ROWS))
def test_few_real_rows_use_running_statistics_and_do_not_change_them(rows: int):
    norm, values = BatchNorm(3, gain=0.5).double(), some_values()
    norm(values, None)
    before = norm.running_mean.clone()
    few = torch.arange(6).flip(0) < rows
    assert norm(values, few).equal(norm.eval()(values, few))
    assert norm.running_mean.equal(before)
    enough = torch.arange(6).flip(0) < FEWEST_ROWS
    norm.train()(values, enough)
    assert not norm.running_mean.equal(before)


@pytest.mark.parametrize("rows", [2, 3, FEWEST_ROWS, 8])
def test_gradients_through_many_steps_of_few_rows_stay_small(rows: int):
    """With statistics of two rows they overflow, of three they grow by 1e10."""
    torch.manual_seed(0)
    cell = build_cell("batchnorm_lstm", 128, 512).train()
    symbols = torch.randn(20, 128) / 10
    inputs = symbols[torch.randint(20, (rows, 100))].requires_grad_()
    outputs, _ = run_cell(cell, inputs)
    (gradient,) = torch.autograd.grad((outputs * torch.randn_like(outputs)).sum(), inputs)
    norms = gradient.norm(dim=(0, 2))
    assert norms.isfinite().all() and norms.max() < 1e7 * norms[-1]


@each_cell
def test_padding_and_its_length_change_nothing_in_training(name: str):
    """Outputs, gradients and running statistics."""
    results = []
    for padding, steps in ((0.0, 5), (float("nan"), 5), (7.0, 8)):
        torch.manual_seed(0)
        stack = BidirectionalStack(
            LayerOptions(name), inputs=INPUTS, hidden=HIDDEN, layers=2, dropout=0.0
        ).double()
        mask = torch.arange(steps) < torch.tensor([5, 2, 4, 3, 5, 4])[:, None]
        inputs = torch.full((6, steps, INPUTS), padding).double()
        inputs[mask] = some_inputs(batch=6)[mask[:, :5]]
        outputs = stack(inputs, mask)
        outputs.sin().sum().backward()
        buffers = [buffer[: 5 if buffer.dim() else None] for buffer in stack.buffers()]
        results.append([outputs[:, :5], *(parameter.grad for parameter in stack.parameters()), *buffers])
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-10, atol=1e-10)


@each_cell
def test_padding_takes_no_part_in_the_statistics_of_training(name: str):
    """As if each step had only the rows that have not ended."""
    cell, inputs, lengths = make_cell(name).train(), some_inputs(batch=7), torch.tensor([5, 3, 1, 4, 4, 5, 3])
    real = torch.arange(5) < lengths[:, None]
    inputs[~real] = 0.0
    found, _ = run_cell(cell, inputs)
    projected = inputs.new_zeros(7, 5, len(cell.input_map()))
    projected[real] = cell.project(inputs[real])
    state = cell.initial(7, inputs)
    for step in range(5):
        rows = real[:, step]
        after = cell.step(projected[rows, step], tuple(part[rows] for part in state))
        torch.testing.assert_close(found[rows, step], after[0], rtol=1e-10, atol=1e-10)
        state = tuple(part.index_put((rows,), new) for part, new in zip(state, after, strict=True))


@each_cell
def test_training_moves_the_running_statistics_and_evaluation_uses_them(name: str):
    cell, inputs = make_cell(name).train(), 3 + some_inputs(batch=64)
    before = {key: buffer.clone() for key, buffer in cell.named_buffers()}
    for _ in range(200):
        trained, _ = run_cell(cell, inputs)
    assert all(not buffer.equal(before[key]) for key, buffer in cell.named_buffers())
    evaluated, _ = run_cell(cell.eval(), inputs)
    torch.testing.assert_close(evaluated, trained, rtol=0.2, atol=0.1)


@each_cell
def test_evaluation_changes_no_statistics(name: str):
    cell = make_cell(name).eval()
    before = {key: buffer.clone() for key, buffer in cell.named_buffers()}
    run_cell(cell, some_inputs())
    assert all(buffer.equal(before[key]) for key, buffer in cell.named_buffers())


@each_cell
def test_training_gradients_agree_with_finite_differences(name: str):
    cell = make_cell(name, inputs=2, hidden=2).train()
    inputs = some_inputs(batch=4, steps=3, width=2).requires_grad_()
    names, values = zip(*cell.named_parameters(), strict=True)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self, inputs: Tensor) -> Tensor:
            return run_cell(self.cell, inputs)[0]

    def outcome(inputs: Tensor, *given: Tensor) -> Tensor:
        weights = {f"cell.{name}": value for name, value in zip(names, given, strict=True)}
        result: Tensor = torch.func.functional_call(Whole(), weights, (inputs,))
        return result

    assert torch.autograd.gradcheck(outcome, (inputs, *values), atol=1e-4)


def test_every_step_has_statistics_of_its_own_up_to_a_maximum():
    cell = make_cell("batchnorm_lstm").train()
    before = cell.input_norm.running_mean.clone()
    inputs = some_inputs(batch=FEWEST_ROWS, steps=3)
    _, state = run_cell(cell, inputs)
    changed = (cell.input_norm.running_mean != before).any(1).nonzero().flatten().tolist()
    assert changed == [0, 1, 2]
    assert state[2].tolist() == [[3.0]] * FEWEST_ROWS
    before = cell.input_norm.running_mean.clone()
    run_cell(cell, inputs[:, :1], state)
    assert (cell.input_norm.running_mean != before).any(1).nonzero().flatten().tolist() == [3]
    before = cell.input_norm.running_mean.clone()
    _, late = run_cell(cell, inputs, (*state[:2], torch.full((FEWEST_ROWS, 1), STEPS - 1.0).double()))
    assert (cell.input_norm.running_mean != before).any(1).nonzero().flatten().tolist() == [STEPS - 1]
    assert late[2].tolist() == [[float(STEPS)]] * FEWEST_ROWS


def test_rows_at_different_steps_each_use_their_own_statistics_in_evaluation():
    cell, inputs = make_cell("batchnorm_lstm"), some_inputs(batch=2, steps=1)
    state = tuple(part.clone() for part in cell.initial(2, inputs))
    state[2][1] = 7.0
    together, _ = run_cell(cell, inputs, state)
    for row in range(2):
        alone, _ = run_cell(cell, inputs[row : row + 1], tuple(part[row : row + 1] for part in state))
        torch.testing.assert_close(together[row : row + 1], alone)


def test_rows_at_different_steps_are_refused_in_training():
    cell, inputs = make_cell("batchnorm_lstm").train(), some_inputs(batch=2, steps=1)
    state = tuple(part.clone() for part in cell.initial(2, inputs))
    state[2][1] = 7.0
    message = r"^in training, batch normalisation needs all rows of a batch at the same step$"
    with pytest.raises(ValueError, match=message):
        run_cell(cell, inputs, state)


def test_half_precision_counts_as_far_as_there_are_statistics():
    stack = Stack(LayerOptions("batchnorm_lstm"), inputs=INPUTS, hidden=HIDDEN, layers=1).eval()
    states = stack.initial(2, torch.zeros((), dtype=torch.bfloat16))
    inputs = some_inputs(batch=2, steps=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for number in range(1, STEPS + 3):
            _, states = stack(inputs, states)
            assert states[0][2].tolist() == [[min(number, STEPS)]] * 2
