"""Adversarial training: small perturbations of the embedded inputs that raise the loss most.

Reference: Miyato et al. 2017, "Adversarial training methods for semi-supervised text classification",
section 3, equations 4 and 5. The paper normalises embeddings, so that a network cannot evade the
perturbation by making them large; here the norm of the perturbation is a fraction of the input's own norm,
which has the same effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqtool.nn.regularization import InputNoise


@contextmanager
def recorded_inputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """Record the embedded inputs, [B, T, E] each, of the forward passes made inside, in order."""
    values: list[Tensor] = []

    def record(module: nn.Module, given: object, output: Tensor) -> Tensor:
        values.append(output if output.requires_grad else output.detach().requires_grad_())
        return values[-1]

    with _hooked(network, record):
        yield values


@contextmanager
def shifted_inputs(network: nn.Module, offsets: Sequence[Tensor]) -> Iterator[None]:
    """Add the offsets, in order, to the embedded inputs of the forward passes made inside."""
    left = iter(offsets)

    def shift(module: nn.Module, given: object, output: Tensor) -> Tensor:
        return output + next(left)

    with _hooked(network, shift):
        yield


@contextmanager
def _hooked(network: nn.Module, hook: object) -> Iterator[None]:
    places = [module for module in network.modules() if isinstance(module, InputNoise)]
    handles = [place.register_forward_hook(hook) for place in places]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def worst_offsets(loss: Tensor, inputs: Sequence[Tensor], share: float) -> list[Tensor]:
    """The perturbations of a given norm that raise the loss most, to first order.

    Args:
        loss: Loss, scalar.
        inputs: Embedded inputs that the loss depends on, [B, T, E] each.
        share: Norm of a sentence's perturbation, as a fraction of the norm of its inputs.

    Returns:
        share ||x|| g / ||g|| for each of the inputs x, [B, T, E], detached; g is the gradient of the loss
        with respect to x, and norms are taken over a whole sentence.
    """
    gradients = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    result = []
    for values, found in zip(inputs, gradients, strict=True):
        gradient = torch.zeros_like(values).float() if found is None else found.float()
        # Padding, whose gradient is 0, does not count towards the norm of a sentence.
        read = values.detach().float() * gradient.ne(0).any(2, keepdim=True)
        size = share * read.norm(dim=(1, 2), keepdim=True)  # [B, 1, 1]
        # The squares of small gradients underflow: divide by the largest first.
        smallest = torch.finfo(gradient.dtype).tiny
        direction = gradient / gradient.abs().amax((1, 2), keepdim=True).clamp_min(smallest)
        length = direction.norm(dim=(1, 2), keepdim=True).clamp_min(smallest)
        result.append((size * direction / length).to(values.dtype))
    return result
