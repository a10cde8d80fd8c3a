"""Sums over alignments against the enumeration of every alignment, in float64."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seqtool.nn.hard_alignment import ORDERS, Alignments, before_symbols, log_marginal, posteriors

BATCH, STEPS, POSITIONS = 4, 3, 4
orders = pytest.mark.parametrize("name", ORDERS)
seeds = pytest.mark.parametrize("seed", range(4))


def case(seed: int, spread: float = 2.0) -> Alignments:
    """Random pairs of several sizes; some symbols are impossible at some positions, padding holds numbers."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size: int) -> Tensor:
        return spread * torch.randn(size, generator=generator, dtype=torch.float64)

    emissions = -draw(BATCH, STEPS, POSITIONS).abs()
    emissions[torch.rand(emissions.shape, generator=generator) < 0.1] = -torch.inf
    first = torch.randint(0, 2, (BATCH,), generator=generator)
    last = torch.randint(2, POSITIONS, (BATCH,), generator=generator)
    position = torch.arange(POSITIONS)
    usable = (position >= first[:, None]) & (position <= last[:, None])
    lengths = torch.randint(1, STEPS + 1, (BATCH,), generator=generator)
    real = torch.arange(STEPS) < lengths[:, None]
    return Alignments(emissions, draw(*emissions.shape), usable, real)


class Paths(NamedTuple):
    """All alignments of a pair with their log probabilities, nats, and those without the last symbols."""

    places: list[tuple[int, ...]]
    logs: Tensor


def paths(pairs: Alignments, name: str, row: int, steps: int) -> Paths:
    """Every alignment of the first steps of a pair, by the definition of the probabilities."""
    allowed = pairs.usable[row].nonzero()[:, 0].tolist()
    places, logs = list(itertools.product(allowed, repeat=steps)), []
    for path in places:
        total, before = torch.zeros((), dtype=torch.float64), allowed[0]
        for step, place in enumerate(path):
            choices = [each for each in allowed if name == "hard" or each >= before]
            scores, here = pairs.scores[row, step], pairs.emissions[row, step]
            if place in choices:
                total = total + scores[place] - scores[choices].logsumexp(0) + here[place]
            else:
                total = total - torch.inf
            before = place
        logs.append(total)
    return Paths(places, torch.stack(logs))


def enumerated(pairs: Alignments, name: str) -> Tensor:
    lengths = pairs.real.sum(1).tolist()
    every = (paths(pairs, name, row, steps) for row, steps in enumerate(lengths))
    return torch.stack([each.logs.logsumexp(0) for each in every])


def leaves_of(pairs: Alignments) -> Alignments:
    return pairs._replace(
        emissions=pairs.emissions.clone().requires_grad_(), scores=pairs.scores.clone().requires_grad_()
    )


@orders
@seeds
def test_the_sum_and_its_gradient_equal_enumeration(seed: int, name: str) -> None:
    pairs = leaves_of(case(seed))
    total, expected = log_marginal(pairs, ORDERS[name]), enumerated(pairs, name)
    torch.testing.assert_close(total, expected)
    possible = expected.isfinite()
    assert possible.any()
    weights = torch.linspace(0.5, 2.0, BATCH, dtype=torch.float64)[possible]
    found = torch.autograd.grad((total[possible] * weights).sum(), pairs[:2])
    # Impossible alignments have no gradient: they are left out.
    lengths = pairs.real.sum(1).tolist()
    logs = [paths(pairs, name, row, lengths[row]).logs for row in possible.nonzero()[:, 0].tolist()]
    sums = [each[each.isfinite()] for each in logs]
    wanted = torch.autograd.grad(
        (torch.stack([each.logsumexp(0) for each in sums]) * weights).sum(), pairs[:2]
    )
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine[possible], theirs[possible])


@orders
def test_gradients_equal_differences(name: str) -> None:
    pairs = case(1)
    pairs = leaves_of(pairs._replace(emissions=pairs.emissions.clamp(min=-5.0)))

    def total(emissions: Tensor, scores: Tensor) -> Tensor:
        return log_marginal(Alignments(emissions, scores, *pairs[2:]), ORDERS[name])

    def stepwise(emissions: Tensor, scores: Tensor) -> Tensor:
        before = before_symbols(Alignments(emissions, scores, *pairs[2:]), ORDERS[name])
        return before.masked_fill(~pairs.usable[:, None], 0.0)

    assert torch.autograd.gradcheck(total, pairs[:2])
    assert torch.autograd.gradcheck(stepwise, pairs[:2])


@orders
@seeds
def test_the_posterior_equals_enumeration_and_sums_to_one(seed: int, name: str) -> None:
    pairs = case(seed)
    total, found, _ = posteriors(pairs, ORDERS[name])
    torch.testing.assert_close(total, enumerated(pairs, name))
    for row, steps in enumerate(pairs.real.sum(1).tolist()):
        if not total[row].isfinite():
            continue
        every = paths(pairs, name, row, steps)
        expected = torch.zeros(STEPS, POSITIONS, dtype=torch.float64)
        for path, share in zip(every.places, every.logs.softmax(0), strict=True):
            expected[range(steps), list(path)] += share
        torch.testing.assert_close(found[row], expected)
        torch.testing.assert_close(found[row].sum(1), pairs.real[row].double())


@orders
@seeds
def test_before_each_symbol_stands_the_sum_over_all_alignments_so_far(seed: int, name: str) -> None:
    pairs = case(seed)
    found = before_symbols(pairs, ORDERS[name])
    for row, steps in enumerate(pairs.real.sum(1).tolist()):
        for step in range(steps):
            without = pairs._replace(emissions=pairs.emissions.clone())
            without.emissions[:, step] = 0.0
            every = paths(without, name, row, step + 1)
            for place in pairs.usable[row].nonzero()[:, 0].tolist():
                here = [log for path, log in zip(every.places, every.logs, strict=True) if path[-1] == place]
                expected = torch.stack(here).logsumexp(0)
                value = found[row, step, place]
                assert (expected.isneginf() and value < -1e29) or torch.isclose(value, expected)


@orders
def test_a_pair_does_not_depend_on_its_batch_or_its_padding(name: str) -> None:
    pairs = case(3)
    together = log_marginal(pairs, ORDERS[name])
    for row in range(BATCH):
        steps, positions = int(pairs.real[row].sum()), int(pairs.usable[row].nonzero().max()) + 1
        first = int(pairs.usable[row].long().argmax())
        alone = Alignments(
            *(each[row : row + 1, :steps, first:positions] for each in pairs[:2]),
            pairs.usable[row : row + 1, first:positions],
            pairs.real[row : row + 1, :steps],
        )
        found = log_marginal(alone, ORDERS[name])[0]
        torch.testing.assert_close(found, together[row], rtol=1e-13, atol=1e-13)


@orders
def test_padding_has_no_effect_and_no_gradient(name: str) -> None:
    pairs = case(2)
    outside = ~(pairs.real[:, :, None] & pairs.usable[:, None])
    emissions = pairs.emissions.masked_fill(outside, torch.nan)
    other = leaves_of(pairs._replace(emissions=emissions, scores=pairs.scores.masked_fill(outside, 3e9)))
    total = log_marginal(other, ORDERS[name])
    torch.testing.assert_close(total, log_marginal(pairs, ORDERS[name]), rtol=0, atol=0)
    for gradient in torch.autograd.grad(total[total.isfinite()].sum(), other[:2]):
        assert not gradient[outside].any()


@orders
def test_extreme_scores_and_long_targets_stay_finite(name: str) -> None:
    pairs = case(4, spread=1e4)
    pairs = leaves_of(pairs._replace(emissions=pairs.emissions.clamp(min=-1e4)))
    total = log_marginal(pairs, ORDERS[name])
    torch.testing.assert_close(total, enumerated(pairs, name))
    assert all(each.isfinite().all() for each in torch.autograd.grad(total.sum(), pairs[:2]))
    long = torch.full((1, 300, 200), -9.0), torch.linspace(-50, 50, 200).expand(1, 300, 200)
    usable, real = torch.ones(1, 200, dtype=torch.bool), torch.ones(1, 300, dtype=torch.bool)
    assert float(log_marginal(Alignments(*long, usable, real), ORDERS[name])) == pytest.approx(-9.0 * 300)


@orders
def test_a_pair_that_cannot_be_has_no_probability_but_what_follows_has(name: str) -> None:
    pairs = case(0)
    pairs = pairs._replace(real=torch.ones_like(pairs.real), emissions=pairs.emissions.clamp(min=-5.0))
    pairs.emissions[:, 1] = -torch.inf
    assert log_marginal(pairs, ORDERS[name]).isneginf().all()
    onward = before_symbols(pairs, ORDERS[name], onward=True).logsumexp(2)
    assert (onward[:, 1:] > -100).all()
    # The symbol that cannot be is passed over, so nothing is lost by it.
    torch.testing.assert_close(onward[:, 2], onward[:, 1])


def test_an_alignment_goes_from_left_to_right_only_where_it_must() -> None:
    emissions = torch.full((1, 2, 3), -torch.inf, dtype=torch.float64)
    emissions[0, 0, 2] = emissions[0, 1, 0] = 0.0
    pairs = Alignments(
        emissions, torch.zeros_like(emissions), torch.ones(1, 3) > 0, torch.ones(1, 2, dtype=torch.bool)
    )
    assert log_marginal(pairs, ORDERS["monotonic"]).isneginf().all()
    expected = torch.tensor([1 / 9], dtype=torch.float64).log()
    torch.testing.assert_close(log_marginal(pairs, ORDERS["hard"]), expected)
