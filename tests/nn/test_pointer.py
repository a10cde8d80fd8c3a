"""Copying against sums over positions, one by one, in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqtool.nn.pointer import NOT_COPYABLE, CopySlots, copy_slots, log_copy_of, merge_copies

VOCABULARY, EXTRA = 5, 3
SIZE = VOCABULARY + EXTRA
patient = settings(deadline=None, max_examples=50)


class Case(NamedTuple):
    """Attention on sources of extended ids, some of which repeat or cannot be copied."""

    weights: Tensor  # [B, T, S]
    symbols: Tensor  # [B, S]
    written: Tensor  # [B, T, SIZE], log distribution of the vocabulary, -inf beyond
    log_use: Tensor  # [B, T], log probability of writing
    log_leave: Tensor  # [B, T], log probability of copying


def case_of(symbols: list[list[int]], seed: int, steps: int = 2) -> Case:
    source = torch.Generator().manual_seed(seed)
    ids = torch.tensor(symbols)
    scores = torch.randn(len(ids), steps, ids.shape[1], generator=source, dtype=torch.float64)
    written = torch.full((len(ids), steps, SIZE), -torch.inf, dtype=torch.float64)
    shape = (len(ids), steps, VOCABULARY)
    written[..., :VOCABULARY] = torch.randn(shape, generator=source, dtype=torch.float64).log_softmax(2)
    gate = torch.randn(len(ids), steps, generator=source, dtype=torch.float64)
    gate[(ids == NOT_COPYABLE).all(1)] = torch.inf  # as the network has it
    sigmoid = torch.nn.functional.logsigmoid
    return Case((2 * scores).softmax(2), ids, written, sigmoid(gate), sigmoid(-gate))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    width = draw(st.integers(1, 5))
    symbol = st.integers(0, SIZE - 1) | st.just(NOT_COPYABLE)
    rows = draw(st.lists(st.lists(symbol, min_size=width, max_size=width), min_size=1, max_size=3))
    return case_of(rows, draw(st.integers(0, 2**32 - 1)))


def copied(case: Case) -> Tensor:
    """Probability of copying each symbol [B, T, SIZE], position by position; zeros for nothing to copy."""
    result = torch.zeros(*case.weights.shape[:2], SIZE, dtype=torch.float64)
    for sentence, symbols in enumerate(case.symbols.tolist()):
        for step, weights in enumerate(case.weights[sentence]):
            for weight, symbol in zip(weights, symbols, strict=True):
                if symbol != NOT_COPYABLE:
                    result[sentence, step, symbol] += weight
    return result / result.sum(2, keepdim=True).clamp(min=1e-300)


def merged(case: Case, summand: Tensor | float = 0.0) -> Tensor:
    """By `merge_copies`, with an additive constant per row that is subtracted again."""
    summand = torch.as_tensor(summand).expand(case.log_use.shape)[..., None]
    scores = case.written + case.log_use[..., None] + summand
    found = merge_copies(scores, case.weights, copy_slots(case.symbols), case.log_leave + summand[..., 0])
    return found - summand


@patient
@given(cases())
def test_the_probability_of_a_copy_is_the_attention_on_all_places_with_the_symbol(case: Case) -> None:
    expected = copied(case)
    for symbol in range(SIZE):
        targets = torch.full(case.weights.shape[:2], symbol)
        found = log_copy_of(case.weights, case.symbols, targets)
        torch.testing.assert_close(found.exp(), expected[..., symbol])


@patient
@given(cases())
def test_the_merged_distribution_is_the_mixture_and_sums_to_one(case: Case) -> None:
    found = merged(case)
    mixture = case.log_use.exp()[..., None] * case.written.exp() + case.log_leave.exp()[..., None] * copied(
        case
    )
    torch.testing.assert_close(found.exp(), mixture)
    assert (found.exp() >= 0).all() and not found.isnan().any()
    torch.testing.assert_close(found.exp().sum(2), torch.ones(found.shape[:2], dtype=torch.float64))


@patient
@given(cases(), st.floats(-50, 50))
def test_a_summand_on_a_row_stays_a_summand(case: Case, summand: float) -> None:
    torch.testing.assert_close(merged(case, summand), merged(case), rtol=1e-9, atol=1e-9)


@patient
@given(cases())
def test_both_ways_to_the_probability_of_a_copy_agree(case: Case) -> None:
    """What training sees, and what the search sees where nothing is written."""
    assume(bool((case.symbols != NOT_COPYABLE).any(1).all()))
    nothing = torch.full_like(case.written, -torch.inf)
    slots = copy_slots(case.symbols)
    found = merge_copies(nothing, case.weights, slots, torch.zeros_like(case.log_leave))
    for symbol in range(SIZE):
        targets = torch.full(case.weights.shape[:2], symbol)
        torch.testing.assert_close(found[..., symbol], log_copy_of(case.weights, case.symbols, targets))


def test_scores_are_changed_in_place() -> None:
    case = case_of([[1, 6, 1]], 0)
    scores = case.written + case.log_use[..., None]
    assert merge_copies(scores, case.weights, copy_slots(case.symbols), case.log_leave) is scores


def test_symbols_that_repeat_add_up() -> None:
    weights = torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]).double()
    symbols = torch.tensor([[6, 2, 6, NOT_COPYABLE]])
    targets = torch.tensor([[6]])
    assert float(log_copy_of(weights, symbols, targets).exp()) == pytest.approx(0.4 / 0.6)
    scores = merge_copies(
        torch.full((1, 1, SIZE), -torch.inf).double(), weights, copy_slots(symbols), torch.zeros(1, 1)
    )
    assert scores.exp()[0, 0].tolist() == pytest.approx([0, 0, 0.2 / 0.6, 0, 0, 0, 0.4 / 0.6, 0])


def test_where_nothing_can_be_copied_the_scores_stay() -> None:
    case = case_of([[NOT_COPYABLE] * 3, [2, NOT_COPYABLE, 7]], 1)
    before = case.written.clone()
    found = merge_copies(case.written, case.weights, copy_slots(case.symbols), torch.zeros(2, 2))
    assert found[0].equal(before[0])
    assert not found[1].equal(before[1])
    targets = torch.tensor([[0, 2], [2, 7]])
    assert log_copy_of(case.weights, case.symbols, targets).isfinite().tolist() == [[False] * 2, [True] * 2]


def test_a_target_is_never_matched_with_what_cannot_be_copied() -> None:
    """Not even if it has the same id."""
    weights, symbols = torch.full((1, 1, 2), 0.5).double(), torch.tensor([[NOT_COPYABLE, 3]])
    assert log_copy_of(weights, symbols, torch.tensor([[NOT_COPYABLE]])).tolist() == [[-torch.inf]]


def test_gradients_agree_with_finite_differences() -> None:
    case = case_of([[1, 6, 1, NOT_COPYABLE], [2, 2, 2, 0]], 2)
    targets = torch.tensor([[1, 6], [2, 0]])
    weights = case.weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda each: log_copy_of(each, case.symbols, targets), (weights,))


def test_gradients_are_finite_where_attention_underflows_and_where_nothing_matches() -> None:
    weights = torch.tensor([[[0.0, 1.0, 0.0]] * 3] * 2, requires_grad=True)
    symbols = torch.tensor([[4, 5, NOT_COPYABLE], [NOT_COPYABLE] * 3])
    found = log_copy_of(weights, symbols, torch.tensor([[4, 5, 6]] * 2))
    assert found.isinf().tolist() == [[False, False, True], [True] * 3]
    found.masked_fill(found.isinf(), 0.0).sum().backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None and weights.grad.isfinite().all()


def test_all_attention_on_what_cannot_be_copied_gives_training_and_search_the_same() -> None:
    weights, symbols = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[4, 5, NOT_COPYABLE]])
    nothing = torch.full((1, 1, SIZE), -torch.inf)
    found = merge_copies(nothing, weights, copy_slots(symbols), torch.zeros(1, 1))
    expected = log_copy_of(weights.expand(1, SIZE, 3), symbols, torch.arange(SIZE)[None])
    torch.testing.assert_close(found[0, 0], expected[0])
    assert float(expected.exp().sum()) <= 1


def test_copied_masses_of_0_have_gradients_that_are_numbers():
    scores = torch.randn(1, 2, 6).double().log_softmax(2).requires_grad_()
    weights = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).double().requires_grad_()
    slots = copy_slots(torch.tensor([[2, 4, 5]]))
    merged = merge_copies(scores * 1.0, weights, slots, torch.zeros(1, 2).double())
    merged.exp().sum().backward()
    assert weights.grad.isfinite().all()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("symbols", [[1, 4, 1, NOT_COPYABLE], [2, 2, NOT_COPYABLE, 2], [1, 4, 2, 5]])
def test_merging_has_the_gradient_of_its_values_where_symbols_are_repeated(symbols: list[int]) -> None:
    source = torch.Generator().manual_seed(1)
    slots = CopySlots(
        *(each.double() if each.is_floating_point() else each for each in copy_slots(torch.tensor([symbols])))
    )
    scores, weights, leave = (
        torch.rand(*shape, generator=source, dtype=torch.float64).requires_grad_()
        for shape in ((1, 2, 6), (1, 2, 4), (1, 2))
    )
    assert torch.autograd.gradcheck(
        lambda scores, weights, leave: merge_copies(scores, weights, slots, leave), (scores, weights, leave)
    )
