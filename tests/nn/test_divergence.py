"""Divergences of two predictions against their definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from seqtool.nn.divergence import symmetric_divergence, symmetric_path_divergence
from tests.nn.enumeration import MIXED, Case, assert_close, cases, patient, random_case


def some_logarithms(seed: int) -> torch.Tensor:
    scores = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)).double()
    scores[1, 2] = scores[3, 0] = -torch.inf
    return scores.log_softmax(1)


def test_it_is_the_sum_of_both_directions():
    first, second = some_logarithms(1), some_logarithms(2)
    expected = 0.0
    for p, q in ((first, second), (second, first)):
        for a, b in zip(p.flatten().tolist(), q.flatten().tolist(), strict=True):
            expected += 0.0 if a == -torch.inf else (a - b) * torch.tensor(a).exp().item()
    assert symmetric_divergence(first, second).item() == pytest.approx(expected)
    assert symmetric_divergence(first, second).equal(symmetric_divergence(second, first))
    assert symmetric_divergence(first, first).item() == 0.0


def test_its_gradients_agree_with_finite_differences_and_are_finite_where_something_is_impossible():
    scores = [each.clone().requires_grad_() for each in (torch.randn(2, 3, 4).double())]

    def outcome(*scores: torch.Tensor) -> torch.Tensor:
        return symmetric_divergence(*(each.log_softmax(1) for each in scores))

    assert torch.autograd.gradcheck(outcome, scores)
    first, second = (some_logarithms(seed).requires_grad_() for seed in (1, 2))
    symmetric_divergence(first, second).backward()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()


def other_scores(case: Case) -> Case:
    noise = torch.randn(case.scores.shape, generator=torch.Generator().manual_seed(9)).double()
    return case._replace(scores=case.scores + noise)


@patient
@given(cases())
def test_that_of_paths_equals_enumeration(case: Case):
    other = other_scores(case)
    expected = 0.0
    for mine, theirs in zip(case.all_paths(), other.all_paths(), strict=True):
        possible = mine.probabilities > 0
        log_p, log_q = (paths.scores - paths.log_partition for paths in (mine, theirs))
        difference = (mine.probabilities - theirs.probabilities) * (log_p - log_q)
        expected += difference[possible & (theirs.probabilities > 0)].sum().item()
    found = symmetric_path_divergence(case.scores, other.scores, case.chain, case.mask)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert_close(symmetric_path_divergence(case.scores, case.scores, case.chain, case.mask), 0 * found)


def test_gradients_of_that_of_paths_agree_with_finite_differences():
    case = random_case(3, MIXED, 3)
    first = case.scores.nan_to_num(0.0).requires_grad_()
    second = (other_scores(case).scores.nan_to_num(0.0)).requires_grad_()
    parts = [part.clone().requires_grad_() for part in case.chain]

    def outcome(first: torch.Tensor, second: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        return symmetric_path_divergence(first, second, type(case.chain)(*parts), case.mask)

    assert torch.autograd.gradcheck(outcome, (first, second, *parts))


def test_gradients_of_that_of_paths_are_finite_with_forbidden_transitions_and_nan_at_padding():
    case = random_case(5, MIXED, 3, forbidden=0.3).requiring_gradients()
    symmetric_path_divergence(case.scores, case.scores.detach() * 0.5, case.chain, case.mask).backward()
    assert case.scores.grad[case.mask].isfinite().all()
    assert case.scores.grad[~case.mask].eq(0).all()
    assert all(part.grad.isfinite().all() for part in case.chain)
