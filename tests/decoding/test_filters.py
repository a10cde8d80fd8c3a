"""Filters against their definitions, by trying all subsets in order of size."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqtool.decoding.filters import filtered

patient = settings(deadline=None, max_examples=60)
SEEDS = st.integers(0, 2**31)


def random_scores(seed: int, levels: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 9, generator=generator, dtype=torch.float64) * 2
    scores = (scores * levels).round() / levels if levels else scores
    scores[scores < -3] = -torch.inf
    return scores


def support(scores: Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero()[:, 0].tolist()) for row in scores]


@patient
@given(SEEDS, st.integers(1, 12), st.sampled_from([0, 1]))
def test_top_k_leaves_the_k_best(seed: int, k: int, levels: int):
    scores = random_scores(seed, levels)
    expected = [
        {i for i in sorted(range(9), key=lambda i: (-row[i], i))[:k] if row[i] > -torch.inf}
        for row in scores.tolist()
    ]
    left = filtered(scores, top_k=k)
    assert support(left) == expected
    assert torch.equal(left[left.isfinite()], scores[left.isfinite()])


@patient
@given(SEEDS, st.floats(0.01, 0.999), st.sampled_from([0, 1]))
def test_top_p_leaves_the_smallest_set_with_that_mass(seed: int, p: float, levels: int):
    scores = random_scores(seed, levels)
    for row, left in zip(scores.softmax(1).tolist(), support(filtered(scores, top_p=p)), strict=True):
        assert sum(row[i] for i in left) >= p - 1e-12
        assert sum(row[i] for i in left) - min(row[i] for i in left) < p + 1e-12
        assert min(row[i] for i in left) >= max((row[i] for i in range(9) if i not in left), default=0.0)


@patient
@given(SEEDS, st.floats(0.01, 1.0))
def test_min_p_leaves_what_is_not_much_less_probable_than_the_best(seed: int, share: float):
    scores = random_scores(seed)
    for row, left in zip(scores.softmax(1).tolist(), support(filtered(scores, min_p=share)), strict=True):
        least = share * max(row)
        assert {i for i in range(9) if row[i] > least * (1 + 1e-12)} <= left
        assert left <= {i for i in range(9) if row[i] >= least * (1 - 1e-12)}


@patient
@given(SEEDS, st.floats(0.01, 0.999))
def test_typical_leaves_the_surprises_closest_to_the_entropy(seed: int, mass: float):
    scores = random_scores(seed)
    probabilities = scores.softmax(1)
    for row, left in zip(probabilities, support(filtered(scores, typical=mass)), strict=True):
        possible = row > 0
        entropy = -(row[possible] * row[possible].log()).sum()
        distance = (-row.log() - entropy).abs().tolist()
        farthest = max(left, key=lambda i: distance[i])
        assert float(row[list(left)].sum()) >= mass - 1e-12
        assert float(row[list(left)].sum() - row[farthest]) < mass + 1e-12
        assert distance[farthest] <= min((distance[i] for i in range(9) if i not in left), default=torch.inf)


def test_filters_are_taken_in_order_over_what_is_left():
    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64).log()
    assert support(filtered(scores, top_p=0.72)) == [{0, 1, 2}]
    assert support(filtered(scores, top_k=3, top_p=0.72)) == [{0, 1}]  # 0.7 of 0.9
    assert torch.equal(filtered(scores), scores)
