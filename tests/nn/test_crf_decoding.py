"""Decoding with the CRF: best paths, k best paths and confidence, against enumeration of every path."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from seqtool.nn.crf import k_best, marginals, segment_probability, viterbi
from seqtool.nn.forward_backward import Chain
from tests.nn.enumeration import (
    MINUS_INFINITY,
    MIXED,
    SEEDS,
    Case,
    assert_close,
    cases,
    forbidding_crf,
    index_of,
    is_allowed,
    patient,
    random_case,
    random_tags,
)


@patient
@given(cases())
def test_viterbi_finds_the_best_path(case: Case):
    tags, best = viterbi(*case)
    assert not tags[~case.mask].any()
    for row, paths in enumerate(case.all_paths()):
        assert_close(best[row], paths.scores.max())
        assert_close(paths.scores[index_of(paths, tags[row])], paths.scores.max())


@patient
@given(SEEDS, st.integers(1, 5), st.integers(1, 4))
def test_viterbi_prefers_the_lower_tag_at_every_step_back(seed: int, length: int, tags: int):
    case = random_case(seed, [length], tags, spread=0.5)
    case = Case(case.scores.round(), Chain(*(part.round() for part in case.chain)), case.mask)
    paths = case.paths(0)
    ties = paths.tags[paths.scores == paths.scores.max()].tolist()
    assert viterbi(*case)[0][0].tolist() == min(ties, key=lambda path: path[::-1])


@patient
@given(cases(), st.integers(1, 40))
def test_k_best_is_the_sorted_enumeration(case: Case, k: int):
    tags, scores = k_best(*case, k)
    assert not tags.masked_fill(case.mask[:, None, :], 0).any()
    for row, paths in enumerate(case.all_paths()):
        expected = torch.full((k,), MINUS_INFINITY).double()
        ranked = paths.scores.sort(descending=True).values[:k]
        expected[: len(ranked)] = ranked
        assert_close(scores[row], expected)
        found = [index_of(paths, path) for path in tags[row, scores[row] > MINUS_INFINITY]]
        assert len(set(found)) == len(found)
        assert_close(paths.scores[found], scores[row, : len(found)])


def test_the_best_of_k_is_viterbis_path():
    case = random_case(10, MIXED, 4)
    assert (k_best(*case, 5)[0][:, 0] == viterbi(*case)[0]).all()


# Confidence of a segment


@patient
@given(cases(), SEEDS)
def test_segment_probability_equals_enumeration(case: Case, seed: int):
    """Every segment of a path, with the event that it ends there: the next tag is one that stops it."""
    path = random_tags(case, seed).clamp(min=0)
    count = case.scores.shape[2]
    stop = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < 0.6
    segments, expected = [], []
    for row, (paths, length) in enumerate(zip(case.all_paths(), case.lengths, strict=True)):
        for first, after in itertools.combinations(range(length + 1), 2):
            event = (paths.tags[:, first:after] == path[row, first:after]).all(1)
            if after < length:
                event &= stop[path[row, after - 1], paths.tags[:, after]]
            segments.append((row, first, after))
            expected.append(paths.mass(event))
    found = segment_probability(*case, marginals(*case), path, torch.tensor(segments), stop)
    assert_close(found, torch.stack(expected))


def test_no_decoder_uses_a_forbidden_move():
    crf, case = forbidding_crf(), random_case(8, MIXED, 3, spread=10.0)
    best, _ = viterbi(case.scores, crf.chain(), case.mask)
    several, scores = k_best(case.scores, crf.chain(), case.mask, 30)
    unary = marginals(case.scores, crf.chain(), case.mask).unary
    for row, length in enumerate(case.lengths):
        assert is_allowed(crf, tuple(best[row, :length].tolist()))
        for path, score in zip(several[row, :, :length].tolist(), scores[row], strict=True):
            assert is_allowed(crf, tuple(path)) or score == MINUS_INFINITY
        assert unary[row, 0, 2] == 0 and unary[row, length - 1, 0] == 0
