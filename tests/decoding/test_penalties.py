"""Length and coverage penalties against their equations, value by value."""

from __future__ import annotations

import math

import pytest
import torch

from seqtool.decoding.penalties import Penalties, coverage_reward, length_divisor


def test_length_divisors_are_those_of_their_definitions():
    assert length_divisor("wu", 7, 0.6) == pytest.approx(2.0**0.6)
    assert length_divisor("average", 7, 0.5) == pytest.approx(math.sqrt(7))
    assert length_divisor("none", 7, 0.5) == 1.0
    lengths = torch.tensor([1, 7])
    assert torch.as_tensor(length_divisor("wu", lengths, 1.0)).tolist() == [1.0, 2.0]


def test_coverage_counts_at_most_one_a_position_and_no_padding():
    covered = torch.tensor([[0.5, 2.0, 0.25, 0.0], [1.0, 1.5, 3.0, 0.1]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False], [True, True, True, True]])
    expected = [0.2 * (math.log(0.5) + math.log(0.25)), 0.2 * math.log(0.1)]
    assert coverage_reward(covered, mask, 0.2).tolist() == pytest.approx(expected)
    assert coverage_reward(covered[1:], None, 0.2).tolist() == pytest.approx(expected[1:])


def test_a_source_word_never_looked_at_costs_much_but_not_everything():
    assert -90 < float(coverage_reward(torch.tensor([0.0, 1.0]), None, 1.0)) < -80


def test_coverage_is_the_same_to_the_last_bit_whatever_the_padding():
    covered = torch.rand(200, 29, dtype=torch.float64)
    for more in (1, 3, 8, 64):
        padded = torch.nn.functional.pad(covered, (0, more))
        mask = torch.arange(29 + more).expand(200, -1) < 29
        assert torch.equal(coverage_reward(padded, mask, 0.3), coverage_reward(covered, None, 0.3))


def test_no_hypothesis_can_score_more_than_is_hoped():
    for kind in ("wu", "average", "none"):
        penalties = Penalties(kind, 0.8, 0.5)
        now = torch.tensor([-3.0], dtype=torch.float64)
        hope = penalties.score_at_most(now, torch.tensor([9]))
        for length in range(1, 10):
            assert penalties.score(now, length, torch.rand(1, 4)) <= hope
        assert float(Penalties(kind, 0.8).score(now, 9)) == float(hope)
