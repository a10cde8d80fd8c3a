"""How far back gradients reach through a recurrent network.

Reference: Bengio, Simard and Frasconi 1994, "Learning long-term dependencies with gradient descent is
difficult".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqtool.nn.cells import State
from seqtool.nn.recurrence import Stack

Advance = Callable[[Tensor, Sequence[State]], tuple[Tensor, Sequence[State]]]  # one step of all layers


def gradient_norms(advance: Advance, states: Sequence[State], inputs: Tensor, *, seed: int = 0) -> Tensor:
    """Mean norm of dL/ds_k by the distance of step k from the last step, T.

    L is the projection of the topmost layer's hidden state after the last step on a random direction of
    length 1; s_k is the whole state that the layers hand on after step k, of an LSTM hidden and cell state.

    Args:
        advance: Takes an input [B, I] and the states of all layers to an output [B, H] and the next states.
        states: States of all layers before the first step.
        inputs: Inputs of the lowest layer, [B, T, I].
        seed: Random seed of the directions.

    Returns:
        Norms averaged over the batch, from distance 0 to T - 1, [T]; 0 where no gradient flows.
    """
    known: list[list[Tensor]] = []
    for each in inputs.unbind(1):
        _, after = advance(each, states)
        # Clones, so that only the path to the next step counts, not the one to the layer above in this step.
        states = [tuple(_tracked(part.clone()) for part in state) for state in after]
        known.append([part for state in states for part in state])
    last = states[-1][0]
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
    loss = (last * direction / direction.norm(dim=1, keepdim=True)).sum()
    everything = [part for parts in known for part in parts]
    found = torch.autograd.grad(loss, everything, allow_unused=True)
    left, norms = iter(found), []
    for parts in known:
        reached = [next(left) for _ in parts]
        squares = [each.square().sum(1) for each in reached if each is not None]
        norms.append(torch.stack(squares).sum(0).sqrt().mean() if squares else torch.zeros(()).to(loss))
    return torch.stack(norms[::-1]).detach()


def of_stack(stack: Stack) -> Advance:
    """One step of all layers of a stack; the output of a layer is the first part of its state."""

    def advance(values: Tensor, states: Sequence[State]) -> tuple[Tensor, Sequence[State]]:
        after: list[State] = []
        for number, (cell, state) in enumerate(zip(stack.layers, states, strict=True)):
            after.append(cell.step(cell.project(values[:, None])[:, 0], state))
            values = stack.joints[number - 1](values, after[-1][0]) if number else after[-1][0]
        return values, after

    return advance


def _tracked(part: Tensor) -> Tensor:
    """Make sure that a gradient with respect to this part of a state can be asked for."""
    return part if part.requires_grad else part.requires_grad_()
