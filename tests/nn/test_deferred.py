"""Deferred linear maps against plain ones, in float64, over several steps that share the weight."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqtool.nn.deferred import DeferredLinear, DeferredMixture, at_least_float32

STEPS, WIDTH = 4, 3
Map = Callable[[Tensor], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weight_and_inputs() -> tuple[Tensor, Tensor]:
    return random(WIDTH, WIDTH).requires_grad_(), random(2, 5, WIDTH, seed=1).requires_grad_()


def deferred(weight: Tensor) -> Map:
    return DeferredLinear(weight)


def plain(weight: Tensor) -> Map:
    return lambda inputs: functional.linear(inputs, weight)


def looped(linear: Map, inputs: Tensor) -> Tensor:
    """Steps that depend on each other, the last with another shape; every step enters the result."""
    total = inputs.new_zeros(())
    for step in range(STEPS):
        inputs = torch.tanh(linear(inputs) + 0.1 * step * inputs)
        total = total + (inputs * (step + 1)).sin().sum()
    return total + linear(inputs[0, 0][None]).cos().sum()


def test_values_and_gradients_are_those_of_a_plain_linear_map() -> None:
    results = []
    for kind in (deferred, plain):
        weight, inputs = weight_and_inputs()
        total = looped(kind(weight), inputs)
        total.backward()  # type: ignore[no-untyped-call]
        results.append((total, weight.grad, inputs.grad))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    weight, inputs = random(2, WIDTH).requires_grad_(), random(2, WIDTH, seed=1).requires_grad_()

    def run(weight: Tensor, inputs: Tensor) -> Tensor:
        linear = DeferredLinear(weight.exp())  # no leaf either: the gradient goes on from the weight
        return torch.stack([linear(inputs * step) ** 2 for step in range(1, 4)])

    assert torch.autograd.gradcheck(run, (weight, inputs))


def test_a_second_backward_pass_adds_the_same_gradient_once_more() -> None:
    weight, inputs = weight_and_inputs()
    total = looped(DeferredLinear(weight), inputs)
    total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    first = weight.grad.clone()
    total.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weight.grad, 2 * first, rtol=1e-12, atol=1e-12)


def test_only_the_steps_that_a_loss_reads_count() -> None:
    gradients = []
    for kind in (deferred, plain):
        weight, inputs = weight_and_inputs()
        linear = kind(weight)
        outputs = [linear(inputs * step) for step in range(1, 4)]
        outputs[1].sin().sum().backward()  # type: ignore[no-untyped-call]
        outputs[2].sin().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(weight.grad)
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_each_pass_over_time_has_its_own_gradient() -> None:
    weight, inputs = weight_and_inputs()
    passes = [looped(DeferredLinear(weight), inputs * scale) for scale in (1.0, 2.0)]
    sum(passes, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    found, weight.grad = weight.grad, None
    for scale in (1.0, 2.0):
        looped(plain(weight), inputs * scale).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, weight.grad, rtol=1e-12, atol=1e-12)


def test_a_gradient_of_the_inputs_alone_leaves_nothing_behind() -> None:
    weight, inputs = weight_and_inputs()
    total = looped(DeferredLinear(weight), inputs)
    torch.autograd.grad(total, inputs, retain_graph=True)
    total.backward()  # type: ignore[no-untyped-call]
    (expected,) = torch.autograd.grad(looped(plain(weight), inputs), weight)
    torch.testing.assert_close(weight.grad, expected, rtol=1e-12, atol=1e-12)


def test_a_map_that_is_never_called_has_no_gradient() -> None:
    weight, inputs = weight_and_inputs()
    DeferredLinear(weight)
    inputs.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is None


def test_nothing_is_kept_without_gradients() -> None:
    weight, inputs = weight_and_inputs()
    with torch.no_grad():
        linear = DeferredLinear(weight)
        result = linear(inputs)
    assert not result.requires_grad
    torch.testing.assert_close(result, functional.linear(inputs, weight).detach())


def test_a_frozen_weight_passes_the_gradient_on_to_its_inputs() -> None:
    weight, inputs = weight_and_inputs()
    weight.requires_grad_(False)
    looped(DeferredLinear(weight), inputs).backward()  # type: ignore[no-untyped-call]
    (expected,) = torch.autograd.grad(looped(plain(weight), inputs), inputs)
    torch.testing.assert_close(inputs.grad, expected, rtol=1e-12, atol=1e-12)
    assert weight.grad is None


@pytest.mark.parametrize("trained", [True, False])
def test_autocast_multiplies_in_half_precision_and_keeps_the_type_of_the_inputs(trained: bool) -> None:
    weight, inputs = (each.detach().float().requires_grad_() for each in weight_and_inputs())
    weight.requires_grad_(trained)
    exact = functional.linear(inputs, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear = DeferredLinear(weight)
        total = looped(linear, inputs)
    with torch.autocast("cpu", enabled=False):  # as in a time loop: the product is converted all the same
        result = linear(inputs)
    assert result.dtype == torch.float32
    assert not result.equal(exact)
    assert result.equal(functional.linear(inputs.bfloat16(), weight.bfloat16()).float())
    torch.testing.assert_close(result, exact, rtol=0.02, atol=0.02)
    total.backward()  # type: ignore[no-untyped-call]
    leaves = [each for each in (inputs, weight) if each.requires_grad]
    for leaf, expected in zip(
        leaves, torch.autograd.grad(looped(plain(weight), inputs), leaves), strict=True
    ):
        assert leaf.grad is not None and leaf.grad.dtype == torch.float32
        assert float((leaf.grad - expected).norm() / expected.norm()) < 0.05


def test_half_precision_is_raised_and_the_rest_stays() -> None:
    for given, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert at_least_float32(torch.zeros(1, dtype=given)).dtype == expected


def mixtures(kind: type, values: Tensor, weights: Tensor) -> Tensor:
    mixture = kind(values)
    total = values.new_zeros(())
    for step in range(STEPS):
        found = mixture(weights)
        weights = torch.softmax(weights + found.sum(2, keepdim=True) * 0.1 * step, 2)
        total = total + (found * (step + 1)).sin().sum()
    return total + mixture(weights[:, :1]).cos().sum()


class PlainMixture:
    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, weights: Tensor) -> Tensor:
        return weights @ self.values


def test_values_and_gradients_of_mixtures_are_those_of_plain_products() -> None:
    results = []
    for kind in (DeferredMixture, PlainMixture):
        values, weights = random(2, 5, WIDTH).requires_grad_(), random(2, 4, 5, seed=1).requires_grad_()
        total = mixtures(kind, values.sin(), weights)
        total.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        total.backward()  # type: ignore[no-untyped-call]
        results.append((total, values.grad, weights.grad))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def test_mixtures_without_gradient_are_plain_products() -> None:
    values, weights = random(2, 5, WIDTH), random(2, 4, 5, seed=1)
    assert torch.equal(DeferredMixture(values)(weights), weights @ values)
    with torch.no_grad():
        assert not DeferredMixture(values.requires_grad_())(weights).requires_grad
