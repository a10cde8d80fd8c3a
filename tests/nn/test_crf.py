"""The CRF against the enumeration of every path, in float64, with sentences of different lengths.

All padding is filled with NaN (see `enumeration.random_case`), so each test also shows that
padding does not matter.
"""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given
from torch import Tensor

from seqtool.nn.crf import (
    LinearChainCRF,
    k_best,
    log_partition,
    marginals,
    negative_log_likelihood,
    partial_negative_log_likelihood,
    path_score,
    uniform_cross_entropy,
    viterbi,
    weighted_negative_log_likelihood,
)
from seqtool.nn.forward_backward import Chain
from tests.nn.enumeration import (
    MINUS_INFINITY,
    MIXED,
    SEEDS,
    Case,
    assert_close,
    cases,
    edges_of,
    forbidding_crf,
    index_of,
    is_allowed,
    patient,
    random_case,
    random_tags,
    unary_of,
)

# Partition, score and probability


@patient
@given(cases())
def test_log_partition_equals_enumeration(case: Case):
    expected = torch.stack([paths.log_partition for paths in case.all_paths()])
    assert_close(log_partition(*case), expected)


@patient
@given(cases(), SEEDS)
def test_path_score_equals_enumeration(case: Case, seed: int):
    tags = random_tags(case, seed)
    expected = [paths.scores[index_of(paths, row)] for paths, row in zip(case.all_paths(), tags, strict=True)]
    assert_close(path_score(case.scores, case.chain, tags, case.mask), torch.stack(expected))


@patient
@given(cases())
def test_the_probabilities_of_all_paths_sum_to_one(case: Case):
    for row, paths in enumerate(case.all_paths()):
        count = len(paths.tags)
        tags = torch.full((count, case.mask.shape[1]), -100)
        tags[:, : case.lengths[row]] = paths.tags
        scores, mask = case.scores[row].expand(count, -1, -1), case.mask[row].expand(count, -1)
        losses = negative_log_likelihood(scores, case.chain, tags, mask)
        assert_close((-losses).exp(), paths.probabilities)
        assert_close((-losses).exp().sum(), torch.tensor(1.0, dtype=torch.float64))


def test_a_constant_added_to_a_step_shifts_the_log_partition_by_it():
    case = random_case(0, MIXED, 3)
    shifts = torch.tensor([[5.0, -7.0, 0.0, 11.0]]).double().expand(4, -1)
    expected = log_partition(*case) + (shifts * case.mask).sum(1)
    assert_close(log_partition(case.scores + shifts[:, :, None], case.chain, case.mask), expected)


def test_a_sentence_of_one_token_is_a_softmax_of_start_score_and_end():
    case = random_case(1, [1], 4)
    single = case.chain.start + case.scores[0, 0] + case.chain.end
    assert_close(log_partition(*case), torch.logsumexp(single, 0, keepdim=True))
    assert_close(marginals(*case).unary[0, 0], torch.softmax(single, 0))
    assert viterbi(*case)[0].tolist() == [[int(single.argmax())]]
    assert k_best(*case, 4)[0][0, :, 0].tolist() == single.argsort(descending=True).tolist()


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_huge_scores_stay_finite_and_right(size: float, precision: torch.dtype):
    case = random_case(2, MIXED, 3).to(precision)
    scores = case.scores.clone()
    scores[:, :, 0] += size
    scores[:, 0, 1] -= size
    transitions = case.chain.transitions.clone()
    transitions[2, 1] += size
    case = Case(scores, Chain(transitions, *case.chain[1:]), case.mask).requiring_gradients()
    found = log_partition(*case)
    assert_close(found, torch.stack([paths.log_partition for paths in case.all_paths()]))
    found.sum().backward()
    for row, paths in enumerate(case.all_paths()):
        assert_close(case.scores.grad[row, : case.lengths[row]], unary_of(paths, 3).to(precision), 1e-5)
    assert_close(viterbi(*case)[1], torch.stack([paths.scores.max() for paths in case.all_paths()]), 1e-6)


# Marginals and gradients


@patient
@given(cases())
def test_unary_marginals_equal_enumeration_and_sum_to_one(case: Case):
    unary = marginals(*case).unary
    for row, (paths, length) in enumerate(zip(case.all_paths(), case.lengths, strict=True)):
        assert_close(unary[row, :length], unary_of(paths, unary.shape[2]))
        assert not unary[row, length:].any()
    assert_close(unary.sum(2), case.mask.double())


@patient
@given(cases())
def test_marginals_equal_the_gradient_of_the_log_partition(case: Case):
    case = case.requiring_gradients()
    log_partition(*case).sum().backward()
    assert_close(case.scores.grad, marginals(*case).unary)


@patient
@given(cases())
def test_gradients_of_the_chain_equal_enumerated_expectations(case: Case):
    """With one weight per sentence, as in an upstream gradient; start and end agree with the edges."""
    case = case.requiring_gradients()
    weights = torch.arange(1.0, len(case.mask) + 1, dtype=torch.float64)
    (weights * log_partition(*case)).sum().backward()
    tags, every = case.scores.shape[2], list(zip(weights, case.all_paths(), strict=True))
    assert_close(case.chain.transitions.grad, sum(w * edges_of(paths, tags) for w, paths in every))
    assert_close(case.chain.start.grad, sum(w * unary_of(paths, tags)[0] for w, paths in every))
    assert_close(case.chain.end.grad, sum(w * unary_of(paths, tags)[-1] for w, paths in every))


@pytest.mark.parametrize("forbidden", [0.0, 0.3])
def test_gradients_agree_with_finite_differences(forbidden: float):
    """For every loss, by scores and by chain; forbidden entries are constants, and padding is NaN."""
    case = random_case(5, MIXED, 3, forbidden=forbidden)
    tags = random_tags(case, 0)
    possible = torch.rand(case.scores.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    possible |= torch.nn.functional.one_hot(tags.clamp(min=0), 3).bool()
    free = [part.isfinite() for part in case.chain]
    real = case.mask[:, :, None].expand_as(case.scores)

    def losses(scores: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        chain = Chain(
            *(part.masked_scatter(f, v) for part, f, v in zip(case.chain, free, values, strict=True))
        )
        scores = case.scores.masked_scatter(real, scores)
        weights = torch.tensor([0.5, 2.0, 1.0])
        return (
            negative_log_likelihood(scores, chain, tags, case.mask),
            partial_negative_log_likelihood(scores, chain, possible, case.mask),
            weighted_negative_log_likelihood(scores, chain, tags, case.mask, weights),
        )

    values = [part[f].requires_grad_() for part, f in zip(case.chain, free, strict=True)]
    assert torch.autograd.gradcheck(losses, (case.scores[real].requires_grad_(), *values))


def test_the_loss_of_a_sentence_does_not_depend_on_its_neighbours():
    case = random_case(6, MIXED, 3)
    tags = random_tags(case, 0)
    together = negative_log_likelihood(case.scores, case.chain, tags, case.mask)
    for row, length in enumerate(case.lengths):
        part = slice(row, row + 1), slice(length)
        alone = negative_log_likelihood(case.scores[part], case.chain, tags[part], case.mask[part])
        assert_close(together[row : row + 1], alone, 1e-13)


@pytest.mark.parametrize("with_tags", [False, True])
def test_what_a_loss_keeps_for_its_gradient_is_freed_with_it(with_tags: bool):
    """A reference cycle would wait for the garbage collector, which does not know the size of tensors."""
    case = random_case(14, MIXED, 3).requiring_gradients()
    gc.disable()
    try:
        if with_tags:
            loss = negative_log_likelihood(case.scores, case.chain, random_tags(case, 0), case.mask)
        else:
            loss = log_partition(*case)
        kept = weakref.ref(loss.grad_fn)
        assert kept() is not None
        del loss
        assert kept() is None
    finally:
        gc.enable()


# What is forbidden


def test_a_forbidden_move_has_no_probability_and_no_gradient():
    crf, case = forbidding_crf(), random_case(7, MIXED, 3)
    log_partition(case.scores, crf.chain(), case.mask).sum().backward()
    assert not crf.transitions.grad[~crf.allowed].any() and (crf.transitions.grad[crf.allowed] > 0).all()
    assert crf.start.grad[2] == 0 and crf.end.grad[0] == 0
    every = Case(case.scores, crf.chain(), case.mask).paths(0)
    forbidden = [tags.tolist() for tags in every.tags if not is_allowed(crf, tuple(tags.tolist()))]
    assert len(forbidden) > 10
    tags, mask = torch.tensor(forbidden), torch.ones(len(forbidden), 3).bool()
    scores = case.scores[:1, :3].expand(len(forbidden), -1, -1)
    assert (negative_log_likelihood(scores, crf.chain(), tags, mask) == float("inf")).all()


def test_a_sentence_without_a_possible_path_has_no_probability_and_does_not_hurt_the_others():
    case = random_case(9, [2, 3], 2)
    transitions = torch.full((2, 2), MINUS_INFINITY).double()
    start = torch.tensor([0.0, MINUS_INFINITY]).double()
    scores = case.scores.clone()
    scores[0, 0, 0] = MINUS_INFINITY  # the only tag that may begin
    transitions[0, 0] = transitions[0, 1] = transitions[1, 0] = 0.0
    case = Case(scores, Chain(transitions, start, case.chain.end), case.mask).requiring_gradients()
    found = log_partition(*case)
    assert found[0] == MINUS_INFINITY
    assert_close(found[1], case.paths(1).log_partition)
    found[1].backward()
    assert not case.scores.grad[0].any()
    assert_close(case.scores.grad[1], unary_of(case.paths(1), 2))
    assert_close(case.chain.transitions.grad, edges_of(case.paths(1), 2))


def test_a_chain_that_is_not_learned_is_its_constraints_alone():
    allowed = torch.tensor([[True, False], [True, True]])
    crf = LinearChainCRF(allowed, torch.ones(2).bool(), torch.ones(2).bool(), learned=False)
    assert not any(parameter.requires_grad for parameter in crf.parameters())
    assert crf.chain().transitions.tolist() == [[0.0, MINUS_INFINITY], [0.0, 0.0]]
    assert not crf.chain().start.any() and not crf.chain().end.any()


# Partial annotation and class weights


@patient
@given(cases(), SEEDS)
def test_partial_loss_equals_enumeration_over_consistent_paths(case: Case, seed: int):
    source = torch.Generator().manual_seed(seed)
    possible = torch.rand(case.scores.shape, generator=source) < 0.5
    tags = random_tags(case, seed).clamp(min=0)
    possible |= torch.nn.functional.one_hot(tags, case.scores.shape[2]).bool()  # one path at least
    expected = []
    for row, (paths, length) in enumerate(zip(case.all_paths(), case.lengths, strict=True)):
        consistent = possible[row, torch.arange(length), paths.tags].all(1)
        expected.append(-paths.mass(consistent).log())
    found = partial_negative_log_likelihood(case.scores, case.chain, possible, case.mask)
    assert_close(found, torch.stack(expected), 1e-8)


@patient
@given(cases(), SEEDS)
def test_partial_loss_of_a_full_annotation_is_the_plain_loss(case: Case, seed: int):
    tags = random_tags(case, seed)
    possible = torch.nn.functional.one_hot(tags.clamp(min=0), case.scores.shape[2]).bool()
    found = partial_negative_log_likelihood(case.scores, case.chain, possible, case.mask)
    assert_close(found, negative_log_likelihood(case.scores, case.chain, tags, case.mask))


def test_partial_loss_of_no_annotation_is_zero_with_zero_gradient():
    case = random_case(11, MIXED, 3).requiring_gradients()
    loss = partial_negative_log_likelihood(
        case.scores, case.chain, torch.ones_like(case.scores).bool(), case.mask
    )
    assert_close(loss, torch.zeros(4).double())
    loss.sum().backward()
    assert_close(case.scores.grad, torch.zeros_like(case.scores))


@patient
@given(cases(), SEEDS)
def test_weights_of_one_give_the_plain_loss(case: Case, seed: int):
    tags = random_tags(case, seed)
    found = weighted_negative_log_likelihood(
        case.scores, case.chain, tags, case.mask, torch.ones(case.scores.shape[2])
    )
    assert_close(found, negative_log_likelihood(case.scores, case.chain, tags, case.mask), 1e-8)


@patient
@given(cases(), SEEDS)
def test_weighted_loss_equals_the_enumerated_chain_rule(case: Case, seed: int):
    """-sum_t weight(y_t) log p(y_t | y_<t), each factor a ratio of two sums over paths."""
    tags = random_tags(case, seed)
    weights = torch.rand(case.scores.shape[2], generator=torch.Generator().manual_seed(seed)) * 3
    expected = []
    for row, (paths, length) in enumerate(zip(case.all_paths(), case.lengths, strict=True)):
        loss = torch.zeros(()).double()
        so_far = torch.ones(len(paths.tags)).bool()
        for t in range(length):
            before = torch.logsumexp(paths.scores[so_far], 0)
            so_far = so_far & (paths.tags[:, t] == tags[row, t])
            loss -= weights[tags[row, t]] * (torch.logsumexp(paths.scores[so_far], 0) - before)
        expected.append(loss)
    found = weighted_negative_log_likelihood(case.scores, case.chain, tags, case.mask, weights)
    assert_close(found, torch.stack(expected), 1e-8)


def test_a_tag_without_a_way_on_leaves_the_gradient_of_the_weighted_loss_finite():
    """Tag 1 may only stand last."""
    case = random_case(13, MIXED, 3)
    transitions = case.chain.transitions.clone()
    transitions[1] = MINUS_INFINITY
    case = Case(case.scores, case.chain._replace(transitions=transitions), case.mask).requiring_gradients()
    weighted_negative_log_likelihood(
        *case[:2], random_tags(case, 0), case.mask, torch.tensor([1.0, 2.0, 3.0])
    ).sum().backward()
    assert all(part.grad.isfinite().all() for part in (case.scores, *case.chain))


# What does not fit together


def test_shapes_that_do_not_fit_are_named():
    case = random_case(12, MIXED, 3)
    scores, chain, mask = case
    tags = random_tags(case, 0)
    short = Chain(chain.transitions[:2, :2], *chain[1:])
    holes = mask.clone()
    holes[0, 1] = False
    wrong: list[tuple[Tensor, Chain, Tensor, str]] = [
        (scores[0], chain, mask, r"scores \[B, T, K\].* got \(4, 3\), \(4, 4\)"),
        (scores, chain, mask[:, :3], r"got \(4, 4, 3\), \(4, 3\)"),
        (scores, chain, mask.double(), r"bool mask"),
        (scores[:, :0], chain, mask[:, :0], r"got \(4, 0, 3\), \(4, 0\)"),
        (scores[:0], chain, mask[:0], r"got \(0, 4, 3\), \(0, 4\)"),
        (scores, short, mask, r"3 tags.* \(2, 2\)"),
        (scores, Chain(chain.transitions, chain.start[:2], chain.end), mask, r"3 tags.* \(2,\)"),
        (scores, Chain(chain.transitions, chain.start, chain.end[:1]), mask, r"3 tags.* \(1,\)"),
        (scores, chain, holes, r"\(4, 4\) must be right-padded"),
        (scores, chain, mask & (torch.arange(4) != 1)[:, None], r"at least one token per row"),
    ]
    weights = torch.ones(3)
    for given_scores, given_chain, given_mask, message in wrong:
        arguments = given_scores, given_chain, given_mask
        with pytest.raises(ValueError, match=message):
            log_partition(*arguments)
        with pytest.raises(ValueError, match=message):
            marginals(*arguments)
        with pytest.raises(ValueError, match=message):
            viterbi(*arguments)
        with pytest.raises(ValueError, match=message):
            k_best(*arguments, 2)
        with pytest.raises(ValueError, match=message):
            weighted_negative_log_likelihood(given_scores, given_chain, tags, given_mask, weights)
    with pytest.raises(ValueError, match=r"mask \(4, 4\), got \(4, 1\)"):
        negative_log_likelihood(scores, chain, tags[:, :1], mask)
    with pytest.raises(ValueError, match=r"mask \(4, 4\), got \(4, 1\)"):
        weighted_negative_log_likelihood(scores, chain, tags[:, :1], mask, weights)
    with pytest.raises(ValueError, match=r"class weights are \(1,\)"):
        weighted_negative_log_likelihood(scores, chain, tags, mask, weights[:1])
    with pytest.raises(ValueError, match=r"possible tags are \(4, 4, 1\)"):
        partial_negative_log_likelihood(scores, chain, torch.ones(4, 4, 1).bool(), mask)
    with pytest.raises(ValueError, match="k is 0"):
        k_best(scores, chain, mask, 0)


# Label smoothing


@patient
@given(cases())
def test_the_mean_loss_over_all_paths_equals_enumeration(case: Case):
    expected = 0.0
    for paths in case.all_paths():
        possible = paths.scores > MINUS_INFINITY
        expected += (paths.log_partition - paths.scores[possible]).mean().item()
    found = uniform_cross_entropy(*case)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_gradients_of_the_mean_loss_agree_with_finite_differences():
    case = random_case(4, MIXED, 3)
    scores = case.scores.nan_to_num(0.0).requires_grad_()
    parts = [part.clone().requires_grad_() for part in case.chain]

    def outcome(scores: Tensor, *parts: Tensor) -> Tensor:
        return uniform_cross_entropy(scores, Chain(*parts), case.mask)

    assert torch.autograd.gradcheck(outcome, (scores, *parts))


def test_gradients_of_the_mean_loss_are_finite_with_forbidden_transitions_and_nan_at_padding():
    case = random_case(5, MIXED, 3, forbidden=0.3).requiring_gradients()
    uniform_cross_entropy(*case).backward()
    assert case.scores.grad[case.mask].isfinite().all()
    assert case.scores.grad[~case.mask].eq(0).all()
    for part in case.chain:
        assert part.grad.isfinite().all()
        assert part.grad[part == MINUS_INFINITY].eq(0).all()
