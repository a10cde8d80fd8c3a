"""Products inside a time loop whose shared factor gets its gradient in one product after the loop.

Autograd adds a full-sized gradient at every step. The gradient of a shared factor is the sum over
steps of outer products, which is a single product of all steps' inputs and output gradients laid
end to end; so the steps only note theirs, and the product is made once, when the last of them has
been through the backward pass.
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
Linears = Callable[[Tensor], Linear]  # a weight [O, I] to its product, for one pass over time
Noted = tuple[Tensor, Tensor]  # input and output gradient of a call


class _Deferred:
    """A product with a shared factor, for one forward pass.

    Args:
        factor: Whose gradient is deferred.
        used: What the steps compute with: the factor, detached, perhaps in another type.
        anchor: Before all steps in the graph.
        step: Of each call.
    """

    def __init__(self, factor: Tensor, used: Tensor, anchor: type[Function], step: type[Function]) -> None:
        self._used, self._step = used, step
        self._steps: dict[int, Noted] = {}
        self._calls = 0
        self._anchor: Tensor | None = None
        if torch.is_grad_enabled() and factor.requires_grad:
            self._anchor = anchor.apply(factor, self._steps)  # type: ignore[no-untyped-call]

    def _noted(self, inputs: Tensor) -> Tensor:
        """A call that notes what the factor's gradient will need."""
        self._calls += 1
        result: Tensor = self._step.apply(  # type: ignore[no-untyped-call]
            inputs, self._anchor, self._used, self._steps, self._calls
        )
        return result


class DeferredLinear(_Deferred):
    """`x -> x W^T` for one forward pass; make a new one for each.

    Under autocast the weight is converted once, here, and the result comes back in the type
    of the input, so that what stands between two products keeps its precision.

    Args:
        weight: [O, I].
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
    """`weights -> weights @ values` for each sentence, for one forward pass; make a new one for each.

    Args:
        values: [B, S, P].
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values.detach()
        super().__init__(values, self.values, _MixtureAnchor, _MixtureStep)

    def __call__(self, weights: Tensor) -> Tensor:
        """[B, K, S] to [B, K, P]."""
        return torch.bmm(weights, self.values) if self._anchor is None else self._noted(weights)


class _MixtureAnchor(Function):
    """As `_Anchor`, for `DeferredMixture`."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, steps: dict[int, Noted]) -> Tensor:
        ctx.steps = steps
        return values.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.steps:
            return None, None
        noted = ctx.steps.values()
        weights = torch.cat([each for each, _ in noted], 1)
        gradients = torch.cat([each for _, each in noted], 1)
        ctx.steps.clear()
        return torch.bmm(weights.transpose(1, 2), gradients), None


class _MixtureStep(Function):
    """One product of each sentence; its backward pass notes what the gradient of the values needs."""

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
    """Stands before all steps in the graph, so its backward pass comes after all of theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: dict[int, Noted]) -> Tensor:
        ctx.steps, ctx.dtype = steps, weight.dtype
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, None]:
        if not ctx.steps:
            return None, None
        noted = ctx.steps.values()
        inputs = torch.cat([each.flatten(0, -2) for each, _ in noted])
        gradients = torch.cat([each.flatten(0, -2) for _, each in noted])
        ctx.steps.clear()
        return (gradients.t() @ inputs).to(ctx.dtype), None


class _Step(Function):
    """One product; its backward pass notes what the weight gradient needs."""

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
        ctx.steps[ctx.number] = inputs, converted  # a second pass replaces what the first has noted
        anchor = gradient.new_zeros(())
        return (converted @ ctx.weight).to(gradient.dtype), anchor, None, None, None


def _product(inputs: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(inputs.device.type, enabled=False):
        return functional.linear(inputs.to(weight.dtype), weight).to(inputs.dtype)


def at_least_float32(values: Tensor) -> Tensor:
    """Values of a half precision as float32; others as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def product_in_type_of(weight: Tensor) -> Linear:
    """`x -> x W^T`, made in the type of the weight; the result has that of the input."""
    return partial(_product, weight=weight)
