"""Attention against the formulas of the papers, position by position, in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from seqtool.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    NoAttention,
    context_values,
    mean_over_heads,
    mixed,
)

QUERIES, STATES, WIDTH = 4, 8, 6
patient = settings(deadline=None, max_examples=30)


class Case(NamedTuple):
    """A batch of sources with queries; states are 0 at padding, as an encoder leaves them."""

    query: Tensor  # [B, K, Q]
    states: Tensor  # [B, S, C]
    coverage: Tensor  # [B, K, S]
    mask: Tensor  # [B, S]


def random_case(seed: int, lengths: list[int], rows: int = 2) -> Case:
    source = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    query = torch.randn(len(lengths), rows, QUERIES, generator=source, dtype=torch.float64)
    states = torch.randn(len(lengths), longest, STATES, generator=source, dtype=torch.float64)
    coverage = 3 * torch.rand(len(lengths), rows, longest, generator=source, dtype=torch.float64)
    return Case(query, states * mask[..., None], coverage, mask)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    return random_case(draw(st.integers(0, 2**32 - 1)), lengths, draw(st.integers(1, 3)))


MIXED = random_case(0, [4, 1, 3])


def randomised(attention: Attention, seed: int = 7) -> Attention:
    """In float64 without zero weights, so that no weight can be left out unnoticed."""
    source = torch.Generator().manual_seed(seed)
    attention.double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source))
    return attention


def additive(heads: int = 1, coverage: bool = False) -> AdditiveAttention:
    attention = AdditiveAttention(QUERIES, STATES, width=WIDTH, heads=heads, coverage=coverage)
    randomised(attention)
    return attention


def weights_of(attention: Attention, case: Case, covered: bool = False) -> Tensor:
    weights = attention.scorer(attention.keys(case.states), case.mask)
    return weights(case.query, case.coverage if covered else None)


def by_head(attention: Attention, case: Case) -> Tensor:
    """[B, K, G, S]."""
    weights = weights_of(attention, case, covered=True)
    return weights.view(*case.query.shape[:2], attention.heads, case.mask.shape[1])


def textbook(attention: AdditiveAttention, case: Case) -> Tensor:
    """softmax_s v . tanh(W q + U h_s + b + c_s u), each head over its own part of the units."""
    result = torch.zeros(*case.query.shape[:2], attention.heads, case.mask.shape[1], dtype=torch.float64)
    part = WIDTH // attention.heads
    for sentence, mask in enumerate(case.mask):
        for row, query in enumerate(case.query[sentence]):
            energies = []
            for position in range(int(mask.sum())):
                units = attention.query.weight @ query
                units = units + attention.key.weight @ case.states[sentence, position] + attention.key.bias
                if attention.coverage is not None:
                    units = units + case.coverage[sentence, row, position] * attention.coverage
                products = attention.energy * torch.tanh(units)
                energies.append(
                    [products[head * part : (head + 1) * part].sum() for head in range(WIDTH // part)]
                )
            for head, scores in enumerate(zip(*energies, strict=True)):
                result[sentence, row, head, : len(scores)] = torch.stack(scores).softmax(0)
    return result.flatten(2)


@patient
@given(cases(), st.sampled_from([1, 2, 3]))
def test_additive_weights_are_those_of_the_formula(case: Case, heads: int) -> None:
    attention = additive(heads)
    torch.testing.assert_close(weights_of(attention, case), textbook(attention, case))


@patient
@given(cases())
def test_coverage_enters_the_additive_scores(case: Case) -> None:
    attention = additive(coverage=True)
    found = weights_of(attention, case, covered=True)
    torch.testing.assert_close(found, textbook(attention, case))
    if case.mask.shape[1] > 1 and case.mask[0, 1]:
        assert not torch.allclose(found, weights_of(attention, case))


@patient
@given(cases())
def test_general_weights_are_those_of_the_formula(case: Case) -> None:
    attention = GeneralAttention(QUERIES, STATES)
    randomised(attention)
    for sentence, mask in enumerate(case.mask):
        for row, query in enumerate(case.query[sentence]):
            scores = torch.stack([query @ (attention.key.weight @ h) for h in case.states[sentence][mask]])
            found = weights_of(attention, case)[sentence, row]
            torch.testing.assert_close(found[mask], scores.softmax(0))


@patient
@given(cases())
def test_dot_weights_compare_the_query_with_the_sum_of_both_directions(case: Case) -> None:
    for sentence, mask in enumerate(case.mask):
        for row, query in enumerate(case.query[sentence]):
            scores = [query @ (h[:QUERIES] + h[QUERIES:]) for h in case.states[sentence][mask]]
            found = weights_of(DotAttention(QUERIES, STATES), case)[sentence, row]
            torch.testing.assert_close(found[mask], torch.stack(scores).softmax(0))


KINDS: dict[str, Attention] = {
    "additive": additive(),
    "coverage": additive(coverage=True),
    "heads": additive(heads=3),
    "general": randomised(GeneralAttention(QUERIES, STATES)),
    "dot": DotAttention(QUERIES, STATES),
}


@pytest.mark.parametrize("kind", KINDS)
@patient
@given(case=cases())
def test_weights_sum_to_one_and_are_exactly_zero_at_padding(kind: str, case: Case) -> None:
    attention = KINDS[kind]
    heads = by_head(attention, case)
    torch.testing.assert_close(heads.sum(3), torch.ones(heads.shape[:3], dtype=torch.float64))
    assert (heads >= 0).all()
    assert heads.masked_select(~case.mask[:, None, None]).count_nonzero() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_sentences_do_not_see_each_other(kind: str) -> None:
    together = by_head(KINDS[kind], MIXED)
    for sentence, length in enumerate(MIXED.mask.sum(1).tolist()):
        for row in range(MIXED.query.shape[1]):
            query, states, coverage, mask = (each[sentence : sentence + 1] for each in MIXED)
            alone = Case(
                query[:, row : row + 1],
                states[:, :length],
                coverage[:, row : row + 1, :length],
                mask[:, :length],
            )
            expected = by_head(KINDS[kind], alone)
            torch.testing.assert_close(together[sentence, row, :, :length], expected[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_finite_differences(kind: str) -> None:
    attention, case = KINDS[kind], random_case(1, [3, 1])
    names, values = [], []
    for name, value in attention.named_parameters():
        names.append(name)
        values.append(value.detach().clone().requires_grad_())

    class Runner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, query: Tensor, states: Tensor, coverage: Tensor) -> Tensor:
            given = Case(query, states, coverage, case.mask)
            return weights_of(self.attention, given, covered=True)

    def run(query: Tensor, states: Tensor, coverage: Tensor, *values: Tensor) -> Tensor:
        replaced = {f"attention.{name}": value for name, value in zip(names, values, strict=True)}
        result: Tensor = torch.func.functional_call(Runner(), replaced, (query, states, coverage))
        return result

    inputs = (each.clone().requires_grad_() for each in (case.query, case.states, case.coverage))
    assert torch.autograd.gradcheck(run, (*inputs, *values))


@pytest.mark.parametrize("kind", ["additive", "coverage", "heads", "general", "dot"])
def test_huge_scores_give_finite_weights_and_gradients(kind: str) -> None:
    case = Case(*(each.float() if each.is_floating_point() else each for each in MIXED))
    query = (1e4 * case.query).requires_grad_()
    attention = randomised(KINDS[kind]).float()
    weights = weights_of(attention, case._replace(query=query, coverage=1e4 * case.coverage), covered=True)
    (weights**2).sum().backward()  # type: ignore[no-untyped-call]
    attention.double().zero_grad()
    assert weights.isfinite().all()
    assert query.grad is not None and query.grad.isfinite().all()


def test_several_heads_are_as_many_attentions_side_by_side() -> None:
    attention, part = additive(heads=3), WIDTH // 3
    found = by_head(attention, MIXED)
    for head in range(3):
        units = slice(head * part, (head + 1) * part)
        single = AdditiveAttention(QUERIES, STATES, width=part).double()
        with torch.no_grad():
            single.query.weight.copy_(attention.query.weight[units])
            single.key.weight.copy_(attention.key.weight[units])
            single.key.bias.copy_(attention.key.bias[units])
            single.energy.copy_(attention.energy[units])
        torch.testing.assert_close(found[:, :, head], weights_of(single, MIXED))
    torch.testing.assert_close(mean_over_heads(found.flatten(2), 3), found.mean(2))
    assert mean_over_heads(found[:, :, 0], 1).equal(found[:, :, 0])


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_map_of_the_context_is_the_weighted_sum_of_mapped_states(heads: int) -> None:
    """W c, where c is the concatenated contexts of all heads, each over its own part of the states."""
    weight = torch.randn(5, STATES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scores = torch.randn(3, 2, heads, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = scores.softmax(3)
    found = mixed(weights.flatten(2), context_values(MIXED.states, weight, heads))
    for sentence in range(3):
        for row in range(2):
            parts = MIXED.states[sentence].chunk(heads, 1)
            context = torch.cat([weights[sentence, row, head] @ parts[head] for head in range(heads)])
            torch.testing.assert_close(found[sentence, row], weight @ context)


def test_no_attention_attends_to_nothing() -> None:
    assert weights_of(NoAttention(QUERIES, STATES), MIXED).equal(torch.zeros(3, 2, 4).double())


@pytest.mark.parametrize("kind", ["additive", "general", "dot"])
def test_half_precision_weights_are_close(kind: str) -> None:
    case = Case(*(each.float() if each.is_floating_point() else each for each in MIXED))
    attention = KINDS[kind].float()
    exact = weights_of(attention, case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keys = attention.keys(case.states)
        weights = attention.scorer(keys, case.mask)
    with torch.autocast("cpu", enabled=False):  # as in a time loop
        found = weights(case.query, None)
    attention.double()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)


def test_the_start_leaves_coverage_out() -> None:
    """The weights of the coverage start at 0, so that it has no effect at first."""
    attention = AdditiveAttention(QUERIES, STATES, width=WIDTH, coverage=True)
    assert attention.coverage is not None and attention.coverage.count_nonzero() == 0
    assert attention.key.bias.count_nonzero() == 0
