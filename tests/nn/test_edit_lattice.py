"""The lattice of edits against the enumeration of every path, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqtool.nn.edit_lattice import Arcs, Shape, log_marginal, reached

INFINITE = -torch.inf


def case(seed: int, batch: int = 4, steps: int = 4, positions: int = 5) -> tuple[Arcs, Shape]:
    """Random arcs; sizes differ by pair, some arcs are impossible, and padding holds large numbers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return -3.0 * torch.rand(size, generator=generator, dtype=torch.float64)

    last = torch.randint(0, positions, (batch,), generator=generator)
    first = (last * torch.rand(batch, generator=generator)).long()
    shape = Shape(first, last, torch.randint(0, steps, (batch,), generator=generator))
    skip, stay, move = (draw(batch, steps, positions) for _ in range(3))
    for arcs in (stay, move):
        arcs[torch.rand(arcs.shape, generator=generator) < 0.2] = INFINITE
    position = torch.arange(positions)
    outside = (position > last[:, None])[:, None].expand_as(skip)
    for arcs in (skip, stay, move):
        arcs[outside] = 50.0
    move[(position >= last[:, None])[:, None].expand_as(move)] = INFINITE
    return Arcs(skip, stay, move, draw(batch)), shape


def paths(arcs: Arcs, shape: Shape, row: int, step: int, position: int) -> list[Tensor]:
    """The log probability of each path from a point to the end, by plain recursion."""
    steps, last = int(shape.steps[row]), int(shape.last[row])
    found = []
    if step == steps and position == last:
        found.append(arcs.end[row])
    if position < last:
        rest = paths(arcs, shape, row, step, position + 1)
        found += [arcs.skip[row, step, position] + each for each in rest]
    if step < steps:
        rest = paths(arcs, shape, row, step + 1, position)
        found += [arcs.stay[row, step, position] + each for each in rest]
        if position < last:
            rest = paths(arcs, shape, row, step + 1, position + 1)
            found += [arcs.move[row, step, position] + each for each in rest]
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_and_its_gradient_equal_enumeration(seed: int) -> None:
    arcs, shape = case(seed)
    leaves = Arcs(*(each.clone().requires_grad_() for each in arcs))
    total = log_marginal(leaves, shape)
    expected = torch.stack(
        [
            torch.stack(paths(leaves, shape, row, 0, int(shape.first[row]))).logsumexp(0)
            for row in range(len(total))
        ]
    )
    torch.testing.assert_close(total, expected)
    possible = expected.isfinite()
    assert possible.any()
    weights = torch.linspace(0.5, 2.0, len(total), dtype=torch.float64)[possible]
    found = torch.autograd.grad((total[possible] * weights).sum(), leaves)
    wanted = torch.autograd.grad((expected[possible] * weights).sum(), leaves)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine[possible], theirs[possible])


def test_a_pair_that_cannot_be_has_no_probability() -> None:
    arcs, shape = case(0)
    arcs.stay[:], arcs.move[:] = INFINITE, INFINITE
    for total in (log_marginal(arcs, shape), ends_of(arcs, shape)):
        assert [math.isinf(each) for each in total] == [bool(steps) for steps in shape.steps]


def ends_of(arcs: Arcs, shape: Shape) -> Tensor:
    """The sum over all paths, from the probabilities of the points."""
    return reached(arcs, shape)[torch.arange(len(shape.last)), shape.steps, shape.last] + arcs.end


@pytest.mark.parametrize("seed", range(5))
def test_the_steps_of_the_recursion_agree_with_the_sum(seed: int) -> None:
    arcs, shape = case(seed)
    leaves = [Arcs(*(each.clone().requires_grad_() for each in arcs)) for _ in range(2)]
    ends = ends_of(leaves[0], shape)
    total = log_marginal(leaves[1], shape)
    torch.testing.assert_close(ends, total)
    possible = total.isfinite()
    found = torch.autograd.grad(ends[possible].sum(), leaves[0])
    wanted = torch.autograd.grad(total[possible].sum(), leaves[1])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine[possible], theirs[possible])


def test_a_pair_does_not_depend_on_its_batch() -> None:
    arcs, shape = case(3, batch=6)
    together = log_marginal(arcs, shape)
    for row in range(6):
        positions, steps = int(shape.last[row]) + 1, int(shape.steps[row]) + 1
        alone = Arcs(*(each[row : row + 1, :steps, :positions] for each in arcs[:3]), arcs.end[row : row + 1])
        one = log_marginal(alone, Shape(*(each[row : row + 1] for each in shape)))
        assert torch.equal(one[0], together[row])


def test_long_pairs_of_improbable_arcs_do_not_underflow() -> None:
    arcs = Arcs(*(torch.full((1, 300, 300), -9.0) for _ in range(3)), torch.full((1,), -9.0))
    total = log_marginal(arcs, Shape(torch.zeros(1).long(), torch.tensor([299]), torch.tensor([299])))
    assert total.dtype == torch.float64
    assert -9.0 * 600 < float(total) < -9.0 * 290
