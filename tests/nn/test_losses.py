"""The fused cross-entropy against torch's own and against the explicit mixture, in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from seqtool.nn import losses
from seqtool.nn.losses import Copying, projected_cross_entropy, projected_log_probabilities

ROWS, WIDTH, VOCABULARY = 7, 3, 5
patient = settings(deadline=None, max_examples=40)


class Case(NamedTuple):
    """Inputs of a projection, and the copying part of the mixture."""

    features: Tensor  # [M, D]
    weight: Tensor  # [V, D]
    bias: Tensor  # [V]
    gate: Tensor  # [M]
    log_copy: Tensor  # [M]

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(each.detach().clone().requires_grad_() for each in self)


def random_case(seed: int, rows: int = ROWS) -> Case:
    source = torch.Generator().manual_seed(seed)
    shapes = ((rows, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,), (rows,), (rows,))
    case = Case(*(torch.randn(shape, generator=source, dtype=torch.float64) for shape in shapes))
    return case._replace(log_copy=functional.logsigmoid(case.log_copy))


def random_targets(seed: int, rows: int = ROWS) -> Tensor:
    return torch.randint(0, VOCABULARY, (rows,), generator=torch.Generator().manual_seed(seed))


def writable_but(*rows: int, count: int = ROWS) -> Tensor:
    return torch.tensor([row not in rows for row in range(count)])


def mixture(case: Case, targets: Tensor, writable: Tensor, smoothing: float) -> Tensor:
    """-(1 - e) log (g p + (1 - g) q) - e mean log p, computed directly."""
    table = (case.features @ case.weight.t() + case.bias).log_softmax(1)
    written = table.exp().gather(1, targets[:, None])[:, 0] * writable
    gate = torch.sigmoid(case.gate)
    hard = (gate * written + (1 - gate) * case.log_copy.exp()).log()
    return -((1 - smoothing) * hard + smoothing * table.mean(1)).sum()


def found(case: Case, targets: Tensor, writable: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The loss under test; without `writable`, without copying."""
    copying = None if writable is None else Copying(case.gate, case.log_copy, writable)
    parts = case[:3]
    return projected_cross_entropy(*parts, targets, smoothing=smoothing, copying=copying)


def gradients(loss: Tensor, leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, leaves, materialize_grads=True)


@patient
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.7]), st.integers(1, 9))
def test_value_and_gradients_are_those_of_torch(seed: int, smoothing: float, rows: int) -> None:
    case, targets = Case(*random_case(seed, rows).leaves), random_targets(seed, rows)
    scores = functional.linear(case.features, case.weight, case.bias)
    expected = functional.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum")
    loss = found(case, targets, smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, case), gradients(expected, case))


@patient
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.7]), st.sets(st.integers(0, ROWS - 1)))
def test_copying_gives_the_mixture_of_both_ways(seed: int, smoothing: float, unknown: set[int]) -> None:
    case, targets = Case(*random_case(seed).leaves), random_targets(seed)
    writable = writable_but(*unknown)
    expected = mixture(case, targets, writable, smoothing)
    loss = found(case, targets, writable, smoothing)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, case), gradients(expected, case))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_gradients_agree_with_finite_differences(smoothing: float) -> None:
    targets, writable = random_targets(1), writable_but(2, 5)

    def run(*leaves: Tensor) -> Tensor:
        return found(Case(*leaves), targets, writable, smoothing)

    def without_copying(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return projected_cross_entropy(features, weight, bias, targets, smoothing=smoothing)

    leaves = random_case(2).leaves
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradcheck(without_copying, leaves[:3])


@pytest.mark.parametrize("chunk", [1, 2, 3, ROWS, ROWS + 1])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    case, targets, writable = Case(*random_case(3).leaves), random_targets(3), writable_but(0, 6)
    expected = mixture(case, targets, writable, 0.2)
    monkeypatch.setattr(losses, "CHUNK", chunk)
    for loss, reference in (
        (found(case, targets, writable, 0.2), expected),
        (found(case, targets), functional.nll_loss(log_table(case), targets, reduction="sum")),
    ):
        torch.testing.assert_close(loss, reference)
        torch.testing.assert_close(gradients(loss, case), gradients(reference, case))


def log_table(case: Case) -> Tensor:
    return functional.linear(case.features, case.weight, case.bias).log_softmax(1)


def test_more_rows_than_a_chunk_of_the_usual_size() -> None:
    rows = 2 * losses.CHUNK + 1
    case, targets = Case(*random_case(4, rows).leaves), random_targets(4, rows)
    expected = functional.nll_loss(log_table(case), targets, reduction="sum")
    loss = found(case, targets)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss, case), gradients(expected, case))


def test_no_rows_cost_nothing() -> None:
    case = Case(*random_case(5, 0).leaves)
    loss = found(case, random_targets(5, 0), writable_but(count=0), 0.1)
    assert float(loss.detach()) == 0
    assert all(gradient.count_nonzero() == 0 for gradient in gradients(loss, case))


def test_what_comes_from_above_scales_the_gradients() -> None:
    case, targets, writable = Case(*random_case(6).leaves), random_targets(6), writable_but(1)
    single = gradients(found(case, targets, writable, 0.1), case)
    scaled = gradients(-2.5 * found(case, targets, writable, 0.1), case)
    for one, other in zip(single, scaled, strict=True):
        torch.testing.assert_close(other, -2.5 * one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gate", [1e4, -1e4, 0.0])
@pytest.mark.parametrize("log_copy", [0.0, -1e4, -torch.inf])
def test_extreme_ways_have_finite_losses_and_gradients(
    dtype: torch.dtype, gate: float, log_copy: float
) -> None:
    """The limits of the gate: each target has its probability under the projection or copying alone."""
    case, targets = random_case(7), random_targets(7)
    case = case._replace(gate=torch.full_like(case.gate, gate), log_copy=torch.full_like(case.gate, log_copy))
    leaves = Case(*(each.detach().to(dtype).requires_grad_() for each in case))
    loss = found(leaves, targets, writable_but())
    written = log_table(case).gather(1, targets[:, None])[:, 0]
    use, leave = functional.logsigmoid(case.gate), functional.logsigmoid(-case.gate)
    expected = -torch.logaddexp(use + written, leave + case.log_copy).sum()
    torch.testing.assert_close(loss.detach().double(), expected, rtol=1e-5, atol=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients(loss, leaves))


def test_a_target_that_only_copying_can_give_teaches_the_projection_nothing() -> None:
    case, targets = Case(*random_case(8).leaves), random_targets(8)
    loss = found(case, targets, torch.zeros(ROWS, dtype=torch.bool))
    expected = -(functional.logsigmoid(-case.gate) + case.log_copy).sum()
    torch.testing.assert_close(loss, expected)
    d_features, d_weight, d_bias, d_gate, d_copy = gradients(loss, case)
    for nothing in (d_features, d_weight, d_bias):
        torch.testing.assert_close(nothing, torch.zeros_like(nothing))
    torch.testing.assert_close(d_gate, torch.sigmoid(case.gate))
    torch.testing.assert_close(d_copy, -torch.ones_like(d_copy))


def test_a_target_that_neither_way_can_give_costs_infinitely_much() -> None:
    case = random_case(9)
    case = case._replace(log_copy=torch.full_like(case.log_copy, -torch.inf))
    assert float(found(case, random_targets(9), writable_but(3))) == torch.inf


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_scores_stay_finite(size: float) -> None:
    case, targets = random_case(10), random_targets(10)
    bias = case.bias.clone()
    bias[0] += size
    leaves = Case(*case._replace(bias=bias).leaves)
    loss = found(leaves, targets, smoothing=0.1)
    scores = functional.linear(leaves.features, leaves.weight, leaves.bias)
    torch.testing.assert_close(
        loss, functional.cross_entropy(scores, targets, label_smoothing=0.1, reduction="sum")
    )
    assert all(gradient.isfinite().all() for gradient in gradients(loss, leaves))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("copies", [False, True])
def test_half_precision_is_close_and_keeps_the_types(smoothing: float, copies: bool) -> None:
    leaves = Case(*(each.detach().float().requires_grad_() for each in random_case(11, 40)))
    targets = random_targets(11, 40)
    writable = writable_but(3, 4, count=40) if copies else None
    exact = found(leaves, targets, writable, smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = found(leaves, targets, writable, smoothing)
    assert loss.dtype == torch.float32
    assert not loss.equal(exact)  # something was in half precision
    torch.testing.assert_close(loss, exact, rtol=0.01, atol=0.01)
    for half, full in zip(gradients(loss, leaves), gradients(exact, leaves), strict=True):
        assert half.dtype == torch.float32
        assert float((half - full).norm()) <= 0.02 * float(full.norm())


# Row by row


def rows_found(case: Case, targets: Tensor, writable: Tensor | None = None) -> Tensor:
    copying = None if writable is None else Copying(case.gate, case.log_copy, writable)
    return projected_log_probabilities(*case[:3], targets, copying=copying)


@patient
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 300]), st.sets(st.integers(0, ROWS - 1)))
def test_rows_one_by_one_are_those_of_the_sum(seed: int, chunk: int, unknown: set[int]) -> None:
    """Under any weights; for a single row it is the summed loss of that row."""
    case, targets, writable = Case(*random_case(seed).leaves), random_targets(seed), writable_but(*unknown)
    weights = torch.randn(ROWS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK", chunk)
        for given in (None, writable):
            loss = (rows_found(case, targets, given) * weights).sum()
            of_each = [
                found(
                    Case(*case[:3], case.gate[i], case.log_copy[i])._replace(features=case.features[i]),
                    targets[i],
                    None if given is None else given[i],
                )
                for i in (slice(row, row + 1) for row in range(ROWS))
            ]
            expected = -(torch.stack(of_each) * weights).sum()
            torch.testing.assert_close(loss, expected)
            torch.testing.assert_close(gradients(loss, case), gradients(expected, case))


def test_gradients_of_rows_agree_with_finite_differences() -> None:
    targets, writable = random_targets(1), writable_but(2, 5)
    leaves = random_case(2).leaves
    assert torch.autograd.gradcheck(lambda *each: rows_found(Case(*each), targets, writable), leaves)
    rest = leaves[3:]
    assert torch.autograd.gradcheck(lambda *each: rows_found(Case(*each, *rest), targets), leaves[:3])


def test_no_rows_have_no_log_probability() -> None:
    case = Case(*random_case(5, 0).leaves)
    result = rows_found(case, random_targets(5, 0), torch.zeros(0, dtype=torch.bool))
    assert result.shape == (0,)
    assert all(gradient.count_nonzero() == 0 for gradient in gradients(result.sum(), case))


@pytest.mark.parametrize("copies", [False, True])
def test_rows_in_half_precision_are_close_and_keep_the_types(copies: bool) -> None:
    leaves = Case(*(each.detach().float().requires_grad_() for each in random_case(11, 40)))
    targets, writable = random_targets(11, 40), writable_but(3, 4, count=40) if copies else None
    exact = rows_found(leaves, targets, writable)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = rows_found(leaves, targets, writable)
    assert result.dtype == torch.float32
    assert not result.equal(exact)  # something was in half precision
    torch.testing.assert_close(result, exact, rtol=0.03, atol=0.03)
    for half, full in zip(gradients(result.sum(), leaves), gradients(exact.sum(), leaves), strict=True):
        assert half.dtype == torch.float32
        assert float((half - full).norm()) <= 0.02 * float(full.norm())


@pytest.mark.parametrize("gate", [1e4, -1e4, torch.inf])
def test_rows_have_finite_gradients_at_both_ends_of_the_gate(gate: float) -> None:
    case, targets = random_case(7), random_targets(7)
    log_copy = torch.full_like(case.gate, -torch.inf if gate > 0 else -1.0)
    leaves = Case(*case._replace(gate=torch.full_like(case.gate, gate), log_copy=log_copy).leaves)
    result = rows_found(leaves, targets, writable_but())
    assert result.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(result.sum(), leaves))
