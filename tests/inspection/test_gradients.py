"""How far gradients reach back, tested against finite differences and known properties."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from seqtool.inspection.gradients import gradient_norms, of_stack
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS, State
from seqtool.nn.recurrence import Stack


def make_stack(cell: str, *, layers: int = 1, inputs: int = 3, hidden: int = 4, **options: bool) -> Stack:
    torch.manual_seed(0)
    stack = Stack(LayerOptions(cell, **options), inputs=inputs, hidden=hidden, layers=layers)
    return stack.double().eval()


def some_inputs(steps: int = 6, rows: int = 2) -> Tensor:
    return torch.randn(rows, steps, 3, generator=torch.Generator().manual_seed(1)).double()


def norms_of(stack: Stack, inputs: Tensor) -> list[float]:
    found: list[float] = gradient_norms(of_stack(stack), stack.initial(len(inputs), inputs), inputs).tolist()
    return found


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "mingru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_norms_equal_finite_differences(cell: str, layers: int):
    """With a single row, whose norms are then the mean."""
    stack, inputs = make_stack(cell, layers=layers), some_inputs(rows=1)
    found, advance = norms_of(stack, inputs), of_stack(stack)
    direction = torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).double()
    direction /= direction.norm()

    def loss(moved: Sequence[State], step: int) -> float:
        """The loss as a function of the states after a step."""
        states = moved
        for each in inputs[:, step + 1 :].unbind(1):
            _, states = advance(each, states)
        return float((states[-1][0] * direction).sum().detach())

    states: Sequence[State] = stack.initial(1, inputs)
    for step in range(inputs.shape[1]):
        _, states = advance(inputs[:, step], states)
        total, size = 0.0, 1e-6
        for layer, parts in enumerate(states):
            for part, tensor in enumerate(parts):
                for unit in range(tensor.shape[1]):
                    sides = []
                    for sign in (size, -size):
                        other = [[each.detach().clone() for each in state] for state in states]
                        other[layer][part][0, unit] += sign
                        sides.append(loss([tuple(each) for each in other], step))
                    total += ((sides[0] - sides[1]) / (2 * size)) ** 2
        assert found[inputs.shape[1] - 1 - step] == pytest.approx(total**0.5, rel=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_has_a_norm_at_every_distance(cell: str):
    found = norms_of(make_stack(cell, layers=2), some_inputs())
    assert len(found) == 6
    assert found[0] >= 1.0 - 1e-9  # the loss is the output along a direction of length 1
    others = [value > 0 for value in found[1:]]
    assert not any(others) if cell == "echo_state" else all(others)


def test_what_stands_between_layers_takes_part():
    stacks = [make_stack("gru", layers=3, residual=each) for each in (False, True)]
    plain, residual = (norms_of(stack, some_inputs()) for stack in stacks)
    assert plain != residual
    assert len(norms_of(make_stack("gru", layers=2, highway=True), some_inputs())) == 6


def test_a_sum_keeps_its_gradient_and_a_plain_network_loses_it():
    """The IRNN starts as a sum; tanh with an orthogonal weight shrinks what passes."""
    inputs = 3 * torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(1)).double()
    kept, lost = (norms_of(make_stack(cell, hidden=30), inputs) for cell in ("irnn", "rnn"))
    assert kept[-1] > 0.1
    assert lost[-1] < 1e-3
