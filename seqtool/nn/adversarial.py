"""Small changes of embedded inputs that make a loss larger, for a network to learn to withstand.

Reference: Miyato et al. 2017, "Adversarial training methods for semi-supervised text classification",
section 3, equations 4 and 5. There embeddings are normalised so that a network cannot escape by making
them large; here the size of the change is a share of the input's own, which comes to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from seqtool.nn.regularization import InputNoise


@contextmanager
def recorded_inputs(network: nn.Module) -> Iterator[list[Tensor]]:
    """The embedded inputs of the passes that are made inside, in their order."""
    values: list[Tensor] = []

    def record(module: nn.Module, given: object, output: Tensor) -> Tensor:
        values.append(output if output.requires_grad else output.detach().requires_grad_())
        return values[-1]

    with _hooked(network, record):
        yield values


@contextmanager
def shifted_inputs(network: nn.Module, offsets: Sequence[Tensor]) -> Iterator[None]:
    """Inside, a pass adds these to its embedded inputs, in their order."""
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
    """Of all changes of a sentence's inputs of this size, those that raise the loss most, to first order.

    Args:
        loss: Scalar.
        inputs: [B, T, E] each, on which it depends.
        share: Of the norm of a sentence's inputs that its change has.

    Returns:
        share ||x|| g / ||g|| for each, [B, T, E], without a gradient; g is that of the loss by x.
    """
    gradients = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
    result = []
    for values, found in zip(inputs, gradients, strict=True):
        gradient = torch.zeros_like(values).float() if found is None else found.float()
        read = values.detach().float() * gradient.ne(0).any(2, keepdim=True)  # padding is no input
        size = share * read.norm(dim=(1, 2), keepdim=True)
        smallest = torch.finfo(gradient.dtype).tiny  # squares of small numbers underflow
        direction = gradient / gradient.abs().amax((1, 2), keepdim=True).clamp_min(smallest)
        length = direction.norm(dim=(1, 2), keepdim=True).clamp_min(smallest)
        result.append((size * direction / length).to(values.dtype))
    return result
