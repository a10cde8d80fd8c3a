"""Matrix products inside a time loop, with the gradient of the shared factor computed once after the loop.

Autograd would add a gradient of the full size of the weight at every step. That gradient is a sum of outer
products over steps, which equals one product of the inputs and output gradients of all steps, concatenated.
So each step only records its own, and the product is computed once, after the backward pass of all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

Linear = Callable[[Tensor], Tensor]  # [..., I] -> [..., O]
Linears = Callable[[Tensor], Linear]  # a weight W [O, I] to `x -> x W^T`, for one pass over time
Noted = tuple[Tensor, Tensor]  # input and output gradient of one call


class _Deferred:
    """A product with a shared factor, for one forward pass.

    Args:
        factor: Shared factor, whose gradient is deferred.
        used: The factor as the steps use it: detached, perhaps in another number type.
        anchor: Autograd function that precedes all steps in the graph.
        step: Autograd function of one call.
    """

    def __init__(self, factor: Tensor, used: Tensor, anchor: type[Function], step: type[Function]) -> None:
        self._used, self._step = used, step
        self._steps: dict[int, Noted] = {}
        self._calls = 0
        self._anchor: Tensor | None = None
        if torch.is_grad_enabled() and factor.requires_grad:
            self._anchor = anchor.apply(factor, self._steps)  # type: ignore[no-untyped-call]

    def _noted(self, inputs: Tensor) -> Tensor:
        """A call that records what the gradient of the factor will need."""
        self._calls += 1
        result: Tensor = self._step.apply(  # type: ignore[no-untyped-call]
            inputs, self._anchor, self._used, self._steps, self._calls
        )
        return result


class DeferredLinear(_Deferred):
    """`x -> x W^T` for one forward pass; create a new one for each pass.

    Under autocast the weight is converted once, here, and the result has the number type of the input, so
    that the operations between two products keep their precision.

    Args:
        weight: Weight W, [O, I].
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight.detach()
        if torch.is_autocast_enabled(weight.device.type):
            self.weight = self.weight.to(torch.get_autocast_dtype(weight.device.type))
        super().__init__(weight, self.weight, _Anchor, _Step)

    def __call__(self, inputs: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        return _product(inputs, self.weight) if self._anchor is None else self._noted(inputs)


class DeferredMixture(_Deferred):
    """`weights -> weights @ values` per sentence, for one forward pass; create a new one for each pass.

    Args:
        values: Vectors that are summed under the weights, [B, S, P].
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach()
        super().__init__(values, self.values, _MixtureAnchor, _MixtureStep)

    def __call__(self, weights: Tensor) -> Tensor:
        """[B, K, S] to [B, K, P]."""
        return torch.bmm(weights, self.values) if self._anchor is None else self._noted(weights)


class _MixtureAnchor(Function):
    """The same as `_Anchor`, for `DeferredMixture`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, steps: dict[int, Noted]) -> Tensor:
        ctx.steps = steps
        return values.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.steps:
            return None, None
        noted = ctx.steps.values()
        weights = torch.cat([each for each, _ in noted], 1)  # [B, K of all calls, S]
        gradients = torch.cat([each for _, each in noted], 1)  # [B, K of all calls, P]
        ctx.steps.clear()
        return torch.bmm(weights.transpose(1, 2), gradients), None


class _MixtureStep(Function):
    """One product per sentence, whose backward pass records what the gradient of the values needs."""

    @staticmethod
    def forward(
        ctx: Any, weights: Tensor, anchor: Tensor, values: Tensor, steps: dict[int, Noted], number: int
    ) -> Tensor:
        ctx.save_for_backward(weights)
        ctx.values, ctx.steps, ctx.number = values, steps, number
        return torch.bmm(weights, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weights,) = ctx.saved_tensors
        ctx.steps[ctx.number] = weights, gradient
        anchor = gradient.new_zeros(())
        return torch.bmm(gradient, ctx.values.transpose(1, 2)), anchor, None, None, None


class _Anchor(Function):
    """Precedes all steps in the graph, so that its backward pass runs after theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: dict[int, Noted]) -> Tensor:
        ctx.steps, ctx.dtype = steps, weight.dtype
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.steps:
            return None, None
        noted = ctx.steps.values()
        inputs = torch.cat([each.flatten(0, -2) for each, _ in noted])  # [rows of all calls, I]
        gradients = torch.cat([each.flatten(0, -2) for _, each in noted])  # [rows of all calls, O]
        ctx.steps.clear()
        return (gradients.t() @ inputs).to(ctx.dtype), None


class _Step(Function):
    """One product, whose backward pass records what the weight gradient needs."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, anchor: Tensor, weight: Tensor, steps: dict[int, Noted], number: int
    ) -> Tensor:
        converted = inputs.to(weight.dtype)
        ctx.save_for_backward(converted)
        ctx.weight, ctx.steps, ctx.number = weight, steps, number
        return _product(converted, weight).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (inputs,) = ctx.saved_tensors
        converted = gradient.to(ctx.weight.dtype)
        ctx.steps[ctx.number] = inputs, converted  # a second backward pass replaces the first one's record
        anchor = gradient.new_zeros(())
        return (converted @ ctx.weight).to(gradient.dtype), anchor, None, None, None


def _product(inputs: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return functional.linear(inputs.to(weight.dtype), weight).to(inputs.dtype)


def at_least_float32(values: Tensor) -> Tensor:
    """Values in half precision converted to float32; others unchanged."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def product_in_type_of(weight: Tensor) -> Linear:
    """`x -> x W^T`, computed in the number type of the weight; the result has that of the input."""
    return partial(_product, weight=weight)
