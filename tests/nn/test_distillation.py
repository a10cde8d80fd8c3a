"""The loss of distillation equals the enumeration of all paths."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from seqtool.nn.crf import log_partition, path_score
from seqtool.nn.distillation import path_cross_entropy
from seqtool.nn.forward_backward import Chain

K = 3


def chain(seed: int, *, forbidden: bool) -> Chain:
    random = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*size, generator=random, dtype=torch.float64) for size in ((K, K), (K,), (K,))]
    if forbidden:
        parts[0][0, 1] = parts[1][2] = parts[2][1] = -torch.inf
    return Chain(*parts)


def probabilities(scores: torch.Tensor, crf: Chain, length: int) -> dict[tuple[int, ...], float]:
    mask = torch.ones(1, length, dtype=torch.bool)
    total = log_partition(scores[None, :length], crf, mask)
    return {
        path: float((path_score(scores[None, :length], crf, torch.tensor([path]), mask) - total).exp())
        for path in product(range(K), repeat=length)
    }


@pytest.mark.parametrize("forbidden", [False, True])
@pytest.mark.parametrize("lengths", [[1], [4, 2], [3, 3, 1]])
def test_it_is_the_expected_negative_log_likelihood(forbidden: bool, lengths: list[int]) -> None:
    random = torch.Generator().manual_seed(7)
    shape = (len(lengths), max(lengths), K)
    student = torch.randn(*shape, generator=random, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(*shape, generator=random, dtype=torch.float64)
    own, theirs = chain(1, forbidden=forbidden), chain(2, forbidden=forbidden)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    expected = 0.0
    for row, length in enumerate(lengths):
        p = probabilities(teacher[row], theirs, length)
        q = probabilities(student[row].detach(), own, length)
        expected -= sum(p[path] * math.log(q[path]) for path in p if p[path] > 0)
    found = path_cross_entropy(student, own, teacher, theirs, mask)
    assert found.item() == pytest.approx(expected, abs=1e-6)
    found.backward()
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all()) and bool((student.grad[~mask] == 0).all())


def test_its_gradient_is_zero_where_the_student_is_the_teacher() -> None:
    scores = torch.randn(2, 4, K, dtype=torch.float64, requires_grad=True)
    transitions = torch.randn(K, K, dtype=torch.float64, requires_grad=True)
    start, end = torch.zeros(K, dtype=torch.float64), torch.zeros(K, dtype=torch.float64)
    mask = torch.ones(2, 4, dtype=torch.bool)
    crf = Chain(transitions, start, end)
    path_cross_entropy(scores, crf, scores.detach(), crf, mask).backward()
    assert scores.grad is not None and transitions.grad is not None
    assert scores.grad.abs().max() < 1e-12 and transitions.grad.abs().max() < 1e-12


def test_gradients_are_those_of_finite_differences() -> None:
    teacher, mask = torch.randn(2, 3, K, dtype=torch.float64), torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()
    theirs = chain(3, forbidden=False)

    def loss(scores: torch.Tensor, transitions: torch.Tensor) -> torch.Tensor:
        own = Chain(transitions, torch.zeros(K).double(), torch.ones(K).double())
        return path_cross_entropy(scores, own, teacher, theirs, mask)

    inputs = (torch.randn(2, 3, K, dtype=torch.float64), torch.randn(K, K, dtype=torch.float64))
    assert torch.autograd.gradcheck(loss, [each.requires_grad_() for each in inputs])
