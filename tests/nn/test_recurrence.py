"""Layers over padded batches: padding and other sentences have no effect, directions start at true ends."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS, State
from seqtool.nn.cells.running import run_cell_plainly
from seqtool.nn.recurrence import Bidirectional, BidirectionalStack, Stack
from tests.nn.cells.making import some_state

INPUTS, HIDDEN = 3, 4
LENGTHS = [5, 2, 1, 4]
VARIANTS = list(itertools.product(CELLS, [False, True]))


def make_stack(cell: str, *, layers: int = 3, residual: bool, dropout: float = 0.0) -> BidirectionalStack:
    torch.manual_seed(0)
    stack = BidirectionalStack(
        LayerOptions(cell, residual=residual), inputs=INPUTS, hidden=HIDDEN, layers=layers, dropout=dropout
    )
    return stack.double().train(cell not in BATCH_NORMALISED)  # rows know of each other in their training


def ragged(padding: float = 0.0, steps: int = 5) -> tuple[Tensor, Tensor]:
    """Four sentences, right-padded to `steps` with the value given."""
    source = torch.Generator().manual_seed(1)
    mask = torch.arange(steps) < torch.tensor(LENGTHS)[:, None]
    real = torch.randn(4, 5, INPUTS, generator=source).double()
    inputs = torch.full((4, steps, INPUTS), padding).double()
    inputs[:, :5] = real
    return inputs.masked_fill(~mask[:, :, None], padding), mask


@pytest.mark.parametrize(("cell", "residual"), VARIANTS)
def test_what_stands_at_padding_changes_neither_outputs_nor_gradients(cell: str, residual: bool):
    results = []
    for padding in (0.0, float("nan"), 1e30):
        stack = make_stack(cell, residual=residual)
        inputs, mask = ragged(padding)
        inputs.requires_grad_()
        outputs = stack(inputs, mask)
        if outputs.requires_grad:
            outputs.sin().sum().backward()
        results.append([outputs, inputs.grad, *(parameter.grad for parameter in stack.parameters())])
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("cell", "residual"), VARIANTS)
def test_the_length_of_the_padding_and_the_neighbours_do_not_matter(cell: str, residual: bool):
    stack = make_stack(cell, residual=residual)
    inputs, mask = ragged()
    together, longer = stack(inputs, mask), stack(*ragged(steps=9))
    shuffled = torch.tensor([2, 0, 3, 1])
    reordered = stack(inputs[shuffled], mask[shuffled])
    for row, length in enumerate(LENGTHS):
        alone = stack(inputs[row : row + 1, :length], torch.ones(1, length).bool())[0]
        position = int((shuffled == row).nonzero())
        for other in (together[row], longer[row], reordered[position]):
            torch.testing.assert_close(other[:length], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "residual"), VARIANTS)
def test_outputs_are_zero_at_padding(cell: str, residual: bool):
    inputs, mask = ragged(7.0)
    outputs = make_stack(cell, residual=residual)(inputs, mask)
    assert not outputs[~mask].any()
    assert outputs[mask].any(1).all()  # a rectified unit may be 0


@pytest.mark.parametrize("cell", CELLS)
def test_the_backward_direction_starts_at_the_true_end(cell: str):
    """There its output has read one token only, as for a sentence of one token."""
    torch.manual_seed(2)
    layer = Bidirectional(LayerOptions(cell), INPUTS, HIDDEN).double().eval()
    inputs, mask = ragged(3.0)
    outputs = layer(inputs, mask.sum(1))
    for row, length in enumerate(LENGTHS):
        last = inputs[row : row + 1, length - 1 : length]
        expected = layer(last, torch.ones(1).long())[0, 0, HIDDEN:]
        torch.testing.assert_close(outputs[row, length - 1, HIDDEN:], expected)


@pytest.mark.parametrize("cell", CELLS)
def test_final_outputs_are_those_at_the_two_true_ends(cell: str):
    torch.manual_seed(3)
    layer = Bidirectional(LayerOptions(cell), INPUTS, HIDDEN).double().eval()
    inputs, mask = ragged(3.0)
    outputs, final = layer(inputs, mask.sum(1)), layer.final(inputs, mask.sum(1))
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(final[row, :HIDDEN], outputs[row, length - 1, :HIDDEN])
        torch.testing.assert_close(final[row, HIDDEN:], outputs[row, 0, HIDDEN:])


def test_a_residual_layer_adds_its_input_to_its_output():
    plain, residual = (make_stack("lstm", layers=2, residual=flag) for flag in (False, True))
    inputs, mask = ragged()
    first = make_stack("lstm", layers=1, residual=True)
    first.layers[0].load_state_dict(plain.layers[0].state_dict())
    below = first(inputs, mask)  # the first layer has nothing to add: its input is of another width
    torch.testing.assert_close(residual(inputs, mask), plain(inputs, mask) + below)
    assert residual.outputs == plain.outputs == 2 * HIDDEN == below.shape[2]


def test_dropout_stands_between_the_layers_and_only_in_training():
    inputs, mask = ragged()
    one, two = (make_stack("lstm", layers=layers, residual=False, dropout=0.9) for layers in (1, 2))
    assert one(inputs, mask).equal(one(inputs, mask))
    assert not two(inputs, mask).equal(two(inputs, mask))
    two.eval()
    assert two(inputs, mask).equal(make_stack("lstm", layers=2, residual=False)(inputs, mask))


# A stack whose state is carried from call to call


def make_forward(
    cell: str, *, layers: int = 3, training: bool = True, dropout: float = 0.0, **options: Any
) -> Stack:
    torch.manual_seed(0)
    stack = Stack(
        LayerOptions(cell, **options), inputs=INPUTS, hidden=HIDDEN, layers=layers, dropout=dropout
    ).double()
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.normal_()
    return stack.train(training and cell not in BATCH_NORMALISED)


def some_steps(batch: int = 2, steps: int = 6) -> Tensor:
    return torch.randn(batch, steps, INPUTS, generator=torch.Generator().manual_seed(4)).double()


def some_states(stack: Stack, batch: int = 2) -> list[State]:
    return [some_state(cell, batch) for cell in stack.cells]


@pytest.mark.parametrize(("cell", "residual"), VARIANTS)
def test_a_stack_equals_its_cells_one_after_the_other(cell: str, residual: bool):
    """Outputs, states of all layers and gradients."""
    results = []
    for plainly in (False, True):
        stack = make_forward(cell, residual=residual)
        inputs = some_steps().requires_grad_()
        before = some_states(stack)
        if plainly:
            values, after = inputs, []
            for number, (layer, state) in enumerate(zip(stack.cells, before, strict=True)):
                outputs, last = run_cell_plainly(layer, values, state)
                values = outputs + values if residual and number else outputs
                after.append(last)
        else:
            values, after = stack(inputs, before)
        parts = [part for layer in after for part in layer]
        total = sum((each.sin().sum() for each in (values, *parts)), torch.zeros(()))
        if total.requires_grad:
            total.backward()
        gradients = [each.grad for each in (inputs, *stack.parameters())]
        results.append([values, *parts, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("cell", "residual"), VARIANTS)
def test_a_state_that_is_carried_makes_one_long_run_of_two(cell: str, residual: bool):
    stack, inputs = make_forward(cell, residual=residual), some_steps()
    states = stack.initial(2, inputs)
    outputs, last = stack(inputs, states)
    first, states = stack(inputs[:, :1], states)
    second, states = stack(inputs[:, 1:], states)
    torch.testing.assert_close(torch.cat([first, second], 1), outputs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(states, last, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_starts_from_zeros_of_the_type_that_is_asked_for(cell: str):
    stack = make_forward(cell)
    states = stack.initial(5, torch.zeros(1, dtype=torch.bfloat16))
    assert len(states) == 3
    for part in (part for layer in states for part in layer):
        assert (part.shape, part.dtype, int(part.count_nonzero())) == ((5, part.shape[1]), torch.bfloat16, 0)


@pytest.mark.parametrize("cell", CELLS)
def test_rows_of_a_stack_do_not_see_each_other(cell: str):
    stack, inputs = make_forward(cell), some_steps()
    outputs, _ = stack(inputs, stack.initial(2, inputs))
    alone, _ = stack(inputs[1:], stack.initial(1, inputs))
    torch.testing.assert_close(outputs[1:], alone, rtol=1e-12, atol=1e-12)


def test_dropout_of_a_stack_stands_between_its_layers_and_is_locked():
    """The upper layer reads the same units of the lower one at every step."""
    stack = make_forward("gru", layers=2, dropout=0.5)
    inputs = some_steps(batch=1, steps=4)
    seen: list[Tensor] = []
    stack.dropout.register_forward_hook(lambda _, given, result: seen.append(result / given[0]))
    stack(inputs, stack.initial(1, inputs))
    (ratio,) = seen
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert set(ratio.round().unique().tolist()) <= {0.0, 2.0}
    stack.eval()
    first, second = (stack(inputs, stack.initial(1, inputs))[0] for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize("cell", ["rnn", "irnn", "lstm", "gru"])
@pytest.mark.parametrize("options", [{"learned_start": True}, {"dilation": 2}], ids=str)
def test_kernels_are_given_states_in_one_piece(
    cell: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """cuDNN's kernels require contiguous states."""
    seen: list[Tensor] = []
    kind, plain = CELLS[cell], CELLS[cell].fused

    def watched(self: Any) -> Any:
        run = plain(self)

        def noting(inputs: Tensor, state: State) -> Any:
            seen.extend(state)
            return run(inputs, state)

        return noting

    monkeypatch.setattr(kind, "fused", watched)
    make = LayerOptions(cell, **options)
    stack = BidirectionalStack(make, inputs=INPUTS, hidden=HIDDEN, layers=2, dropout=0.0)
    stack(torch.randn(3, 5, INPUTS), torch.ones(3, 5, dtype=torch.bool))
    assert seen
    assert all(part.is_contiguous() for part in seen)
