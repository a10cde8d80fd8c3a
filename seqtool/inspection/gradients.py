"""How far gradients reach back through a recurrence.

Reference: Bengio, Simard and Frasconi 1994, "Learning long-term dependencies with gradient descent is
difficult".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seqtool.nn.cells import State
from seqtool.nn.recurrence import Stack

Advance = Callable[[Tensor, Sequence[State]], tuple[Tensor, Sequence[State]]]  # a step of all layers


def gradient_norms(advance: Advance, states: Sequence[State], inputs: Tensor, *, seed: int = 0) -> Tensor:
    """Mean norm of dL/ds_k by the distance of step k from the last one, T.

    L is the hidden state of the uppermost layer after the last step, in a random direction of length 1,
    and s_k all that the layers hand on to the step after k: of an LSTM the hidden and the cell state.

    Args:
        advance: An input [B, I] and the states of all layers to an output [B, H] and the next states.
        states: Before the first step.
        inputs: [B, T, I].
        seed: Of the directions.

    Returns:
        [T], from distance 0 on; 0 where no gradient goes through.
    """
    known: list[list[Tensor]] = []
    for each in inputs.unbind(1):
        _, after = advance(each, states)
        # Copies, so that what a layer hands up within the step is no part of what it hands on.
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
    """A step of all layers, the output being the first part of a state: what comes later depends on it."""

    def advance(values: Tensor, states: Sequence[State]) -> tuple[Tensor, Sequence[State]]:
        after: list[State] = []
        for number, (cell, state) in enumerate(zip(stack.layers, states, strict=True)):
            after.append(cell.step(cell.project(values[:, None])[:, 0], state))
            values = stack.joints[number - 1](values, after[-1][0]) if number else after[-1][0]
        return values, after

    return advance


def _tracked(part: Tensor) -> Tensor:
    """A part of a state that a gradient can be asked for, also where none goes through."""
    return part if part.requires_grad else part.requires_grad_()
