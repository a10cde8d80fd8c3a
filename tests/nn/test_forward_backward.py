"""Float32, float64, log space: each is right, and is given up for the next where it could be wrong."""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from seqtool.nn.crf import log_partition
from seqtool.nn.forward_backward import (
    SAFE_RANGE,
    Chain,
    ForwardBackward,
    forward_backward,
    reverse_within_lengths,
)
from tests.nn.enumeration import MINUS_INFINITY, Case, cases, edges_of, patient, random_case, unary_of

LADDER = ["float32", "float64", "log space"]


def climbing_to(rung: str) -> AbstractContextManager[object]:
    """Make every range too wide for the precisions before this one."""
    refused = {torch.float32: ["float64", "log space"], torch.float64: ["log space"]}
    return mock.patch.dict(SAFE_RANGE, {p: -1.0 for p, rungs in refused.items() if rung in rungs})


def rung_of(result: ForwardBackward) -> str:
    name = str(result.unary().dtype).removeprefix("torch.")
    return name if type(result).__name__ == "_Scaled" else "log space"


def single(scores: Tensor, chain: Chain) -> Case:
    return Case(scores[None], chain, torch.ones(1, len(scores)).bool())


def free_chain(tags: int) -> Chain:
    return Chain(torch.zeros(tags, tags), torch.zeros(tags), torch.zeros(tags))


# Every precision is right


@patient
@given(cases(), st.sampled_from(LADDER))
def test_every_rung_equals_enumeration(case: Case, rung: str):
    tolerance = 2e-4 if rung == "float32" else 1e-9
    case = case.to(torch.float32)  # so that the oracle sees the same numbers
    with climbing_to(rung):
        result = forward_backward(*case)
    weights = torch.arange(1.0, len(case.mask) + 1).to(result.unary())
    tags, expected_edges = case.scores.shape[2], torch.zeros(()).double()
    for row, (paths, length) in enumerate(zip(case.all_paths(), case.lengths, strict=True)):
        torch.testing.assert_close(
            result.log_partition[row], paths.log_partition, rtol=tolerance, atol=tolerance
        )
        expected = torch.zeros(case.mask.shape[1], tags).double()
        expected[:length] = unary_of(paths, tags)
        torch.testing.assert_close(result.unary()[row].double(), expected, rtol=0, atol=tolerance)
        expected_edges = expected_edges + weights[row] * edges_of(paths, tags)
    torch.testing.assert_close(
        result.edges(weights).double(), expected_edges.expand(tags, tags), rtol=0, atol=3 * tolerance
    )


@pytest.mark.parametrize("rung", LADDER[:2])
def test_long_sentences_do_not_underflow(rung: str):
    """Six hundred tokens of several nats each: beyond the range of any number type without scaling."""
    source = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 600, 5, generator=source) * 3 - 20
    mask = torch.arange(600) < torch.tensor([600, 411])[:, None]
    chain = Chain(*(torch.randn(shape, generator=source) for shape in [(5, 5), (5,), (5,)]))
    results = []
    for forced in (rung, "log space"):
        with climbing_to(forced):
            results.append(forward_backward(scores, chain, mask))
        assert rung_of(results[-1]) == forced
    found, expected = results
    torch.testing.assert_close(found.log_partition, expected.log_partition, rtol=1e-7, atol=0)
    torch.testing.assert_close(found.unary().double(), expected.unary(), rtol=0, atol=1e-5)
    weights = torch.ones(2).to(found.unary())
    torch.testing.assert_close(
        found.edges(weights).double(), expected.edges(weights.double()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_scores_of_half_precision_are_added_up_in_float32(precision: torch.dtype):
    case = random_case(0, [4, 2], 3).to(precision)
    assert rung_of(forward_backward(*case)) == "float32"
    case = case.requiring_gradients()
    found = log_partition(*case)
    expected = torch.stack([paths.log_partition for paths in case.all_paths()])
    torch.testing.assert_close(found.detach(), expected, rtol=1e-6, atol=1e-6)
    found.sum().backward()
    assert {part.grad.dtype for part in (case.scores, *case.chain)} == {precision}


# Each precision is given up where it could be wrong


@pytest.mark.parametrize(
    ("spread", "precision", "rung"),
    [
        (5.0, torch.float32, "float32"),
        (60.0, torch.float32, "float64"),
        (5.0, torch.float64, "float64"),
        (60.0, torch.float64, "float64"),
        (1e3, torch.float32, "log space"),
        (1e3, torch.float64, "log space"),
    ],
)
def test_the_rung_follows_from_how_far_scores_of_a_step_differ(spread, precision, rung):
    scores = torch.tensor([[0.0, spread, spread / 2], [spread, 0.0, 0.0]], dtype=precision)
    assert rung_of(forward_backward(*single(scores, free_chain(3).to(precision)))) == rung


@pytest.mark.parametrize("part", [0, 1, 2])
def test_scores_of_the_chain_count_as_those_of_a_step(part: int):
    chain = free_chain(3)
    chain[part][..., 1] = 120.0  # the other factors would be 0 in float32, which looks like forbidden
    case = single(torch.zeros(4, 3), chain)
    result = forward_backward(*case)
    assert rung_of(result) == "float64"
    torch.testing.assert_close(result.log_partition[0], case.paths(0).log_partition)


def test_a_constant_of_a_step_and_what_is_forbidden_do_not_count_as_a_difference():
    scores = torch.tensor([[1e4, 1e4 + 1, MINUS_INFINITY], [-1e4, MINUS_INFINITY, -1e4]])
    chain = free_chain(3)
    chain.transitions[0, 0] = chain.start[2] = chain.end[1] = MINUS_INFINITY
    case = single(scores, chain)
    result = forward_backward(*case)
    assert rung_of(result) == "float32"
    torch.testing.assert_close(result.log_partition[0], case.paths(0).log_partition, rtol=1e-6, atol=1e-4)


def outrun(steps: int, near: float, between: int, far: float) -> tuple[Case, float]:
    """A best path that falls behind in both directions, so far that scaled vectors lose it both times.

    Tag 1 is a chain of its own and gets -near at each of the first and last `steps` tokens. Tags
    0, 3, 2 in turn get nothing there, but -far at each of the tokens between, and more in all. So
    tag 1 is the best path; but after `steps` tokens from either side it is far behind. Where both
    vectors have lost it, they agree with each other on a wrong partition at every token.
    """
    assert 2 * steps * near < between * far
    early, late = [0.0, -near, -near, -near], [-near, -near, 0.0, -near]
    scores = torch.tensor([early] * steps + [[-far, 0.0, -far, -far]] * between + [late] * steps)
    chain = Chain(torch.full((4, 4), MINUS_INFINITY), torch.zeros(4), torch.zeros(4))
    for i, j in [(0, 0), (0, 3), (3, 3), (3, 2), (2, 2), (1, 1)]:
        chain.transitions[i, j] = 0.0
    chain.start[[2, 3]] = chain.end[[0, 3]] = MINUS_INFINITY
    return single(scores, chain), -2 * steps * near


@pytest.mark.parametrize(
    ("numbers", "rung"),
    [
        ((7, 14.0, 8, 28.0), "float64"),
        ((7, 20.0, 8, 40.0), "float64"),
        ((8, 20.0, 40, 12.0), "log space"),
        ((7, 120.0, 8, 240.0), "log space"),
        ((7, 174.0, 8, 348.0), "log space"),
        ((8, 160.0, 40, 96.0), "log space"),
    ],
)
def test_a_path_that_both_vectors_would_lose_is_not_lost(numbers: tuple[int, float, int, float], rung: str):
    case, best = outrun(*numbers)
    result = forward_backward(*case)
    assert rung_of(result) == rung
    assert float(result.log_partition) == pytest.approx(best, abs=1e-5)
    assert float(result.unary()[0, :, 1].min()) == pytest.approx(1.0)


def test_a_path_that_is_left_alone_at_the_end_is_not_lost():
    """Tag 1 falls behind by 20 nats a token for ten tokens, but only tag 1 may end."""
    chain = Chain(
        torch.tensor([[0.0, MINUS_INFINITY], [MINUS_INFINITY, 0.0]]), torch.zeros(2), torch.zeros(2)
    )
    chain.end[0] = MINUS_INFINITY
    result = forward_backward(*single(torch.tensor([[0.0, -20.0]] * 10), chain))
    assert float(result.log_partition) == pytest.approx(-200.0)
    assert result.unary()[0].tolist() == [[0.0, 1.0]] * 10


def test_scores_as_far_apart_as_those_of_a_trained_tagger_do_not_leave_float32():
    scores = torch.tensor([[0.0, -30.0, -35.0], [-35.0, 0.0, -30.0]]).repeat(20, 1)
    assert rung_of(forward_backward(*single(scores, free_chain(3)))) == "float32"


def test_a_single_outstanding_transition_does_not_leave_float32():
    """Everything else is 9 nats lower at every step, which adds up until vectors are divided again."""
    chain = free_chain(4)
    chain.transitions[0, 1] = 9.0
    chain.transitions[:, 0] = MINUS_INFINITY  # it can be used once
    assert rung_of(forward_backward(*single(torch.zeros(40, 4), chain))) == "float32"


def test_a_score_that_is_not_a_number_is_not_hidden():
    case = random_case(1, [3, 2], 2)
    case.scores[0, 1, 0] = float("nan")
    found = forward_backward(*case).log_partition
    assert found[0].isnan() and found[1].isfinite()


def test_a_tag_that_leads_nowhere_does_not_spoil_longer_neighbours():
    """Tag 1 may only stand last: after the short sentence there is no way on, and none is needed."""
    chain = free_chain(2)
    chain.transitions[1] = MINUS_INFINITY
    case = Case(torch.zeros(2, 4, 2), chain, torch.tensor([[1, 0, 0, 0], [1, 1, 1, 1]]).bool())
    result = forward_backward(*case)
    assert rung_of(result) == "float32"
    edges = result.edges(torch.ones(2)).double()
    torch.testing.assert_close(edges, sum(edges_of(paths, 2) for paths in case.all_paths()))
    assert result.unary()[0].tolist() == [[0.5, 0.5], [0, 0], [0, 0], [0, 0]]


# Reversal within lengths


def test_each_sentence_turns_within_its_own_length():
    values = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7], [8, 9, 0, 0]])
    lengths = torch.tensor([3, 4, 1])
    turned = reverse_within_lengths(values, lengths)
    assert turned.tolist() == [[3, 2, 1, 0], [7, 6, 5, 4], [8, 9, 0, 0]]
    assert reverse_within_lengths(turned, lengths).equal(values)
    assert reverse_within_lengths(values[:, :, None], lengths)[:, :, 0].equal(turned)
