"""Sums over all ways of editing a source into a target: the lattice of an edit transducer.

A point (j, i) of the lattice means that the first j target symbols are written and the first i source
symbols are read. Three kinds of arcs lead on from it: `skip` to (j, i + 1), which deletes a source symbol;
`stay` to (j + 1, i), which inserts a target symbol; and `move` to (j + 1, i + 1), which writes one in place
of a source symbol. At the last source position, that of the end of the source, a target may `end`.

A decoder reads the target written so far and nothing else of the path, so all paths to a point go on alike,
and sums over paths are recursions: over j by steps, over i at once. They run in float64.

Shapes: B pairs, T target steps (the end is one), S source positions (the end is one).

References: Graves 2012, "Sequence transduction with recurrent neural networks", section 2.4; Makarov and
Clematide 2018, "Neural transition-based string transduction for limited-resource setting in morphology",
for the actions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

# Log probability of what is impossible, within a recursion: at -inf a sum of two has no gradient.
IMPOSSIBLE = -1e30


class Arcs(NamedTuple):
    """Log probabilities of the arcs of a lattice, nats, -inf where there is none."""

    skip: Tensor  # [B, T, S]; what it is from the last position on has no effect
    stay: Tensor  # writes the target symbol of the step, [B, T, S]
    move: Tensor  # writes it in place of the source symbol, [B, T, S]
    end: Tensor  # at the last source position, in the last step, [B]


class Shape(NamedTuple):
    """Where the paths of a lattice begin and end."""

    first: Tensor  # source position at which a path begins, [B]
    last: Tensor  # source position of the end, [B]
    steps: Tensor  # number of target symbols, the end not counted, which is the last step, [B]


def log_marginal(arcs: Arcs, shape: Shape) -> Tensor:
    """Log of the sum over all paths of the product of their arcs, nats, [B], float64.

    The gradient of each arc is its posterior probability, which is computed along with the sum.
    """
    total: Tensor = _LogMarginal.apply(*arcs, *shape)  # type: ignore[no-untyped-call]
    return total


def reached(arcs: Arcs, shape: Shape, *, onward: bool = False) -> Tensor:
    """Log probability of all paths that come to each point, after the arcs that skip, nats, [B, T, S].

    Positions beyond the last hold no probability. Differentiable by the steps of the recursion.

    Args:
        arcs: The arcs of the lattice.
        shape: Where its paths begin and end.
        onward: Whether paths stay where they are in a step in which no target symbol can be written, so
            that the steps after it have probabilities.
    """
    position = torch.arange(arcs.skip.shape[2], device=arcs.skip.device)
    # [B, S]
    point = torch.where(position == shape.first[:, None], 0.0, IMPOSSIBLE).double()
    beyond = position > shape.last[:, None]
    skip, stay, move = (each.double().clamp(min=IMPOSSIBLE) for each in arcs[:3])
    found = []
    for step in range(skip.shape[1]):
        found.append(after_skipping(point, skip[:, step], shape.last).masked_fill(beyond, IMPOSSIBLE))
        point = torch.logaddexp(found[-1] + stay[:, step], advanced(found[-1] + move[:, step]))
        point = point.clamp(min=IMPOSSIBLE)
        if onward:
            point = torch.where(point.amax(1, keepdim=True) > IMPOSSIBLE / 2, point, found[-1])
    result = torch.stack(found, 1)
    return result.masked_fill(result < IMPOSSIBLE / 2, -torch.inf)


def posteriors(arcs: Arcs, shape: Shape) -> tuple[Tensor, Arcs]:
    """The log of the sum over all paths, nats, [B], and the posterior probability of each arc; in float64."""
    arcs = Arcs(*(each.double() for each in arcs))
    # [B, T, S] each
    ahead, back = reached(arcs, shape), _left(arcs, shape)
    rows = torch.arange(len(shape.last), device=shape.last.device)
    # [B]
    total = ahead[rows, shape.steps, shape.last] + arcs.end
    before = ahead - total[:, None, None]
    # What is left after an arc that writes, none after the last step, and after one that skips, [B, T, S].
    written = functional.pad(back[:, 1:], (0, 0, 0, 1), value=-torch.inf)
    aside = functional.pad(back[:, :, 1:], (0, 1), value=-torch.inf)
    across = functional.pad(written[:, :, 1:], (0, 1), value=-torch.inf)
    shares = Arcs(
        (before + arcs.skip + aside).exp(),
        (before + arcs.stay + written).exp(),
        (before + arcs.move + across).exp(),
        torch.ones_like(total),
    )
    return total, shares


def after_skipping(points: Tensor, skip: Tensor, last: Tensor) -> Tensor:
    """Log probability of coming to each position, from where a path may have skipped some, nats, [N, S].

    Args:
        points: Log probability of coming to each position by another arc, [N, S].
        skip: Log probability of skipping each position, [N, S].
        last: Source position of the end, which cannot be skipped, [N].
    """
    sums = _skipped(skip, last)
    return sums + torch.logcumsumexp(points - sums, 1)


def advanced(values: Tensor) -> Tensor:
    """Log probabilities [N, S] at the next position; nothing comes to the first."""
    return functional.pad(values[:, :-1], (1, 0), value=IMPOSSIBLE)


def _skipped(skip: Tensor, last: Tensor) -> Tensor:
    """Log probability of skipping all positions before each one, [N, S]; finite up to the last."""
    position = torch.arange(skip.shape[1], device=skip.device)
    usable = skip.masked_fill(position >= last[:, None], 0.0)
    return functional.pad(usable.cumsum(1)[:, :-1], (1, 0))


def _left(arcs: Arcs, shape: Shape) -> Tensor:
    """Log of the sum over all paths from each point to the end, nats, [B, T, S]."""
    position = torch.arange(arcs.skip.shape[2], device=arcs.skip.device)
    # [B, S]: the end, from where it can be reached
    end = torch.where(position == shape.last[:, None], arcs.end[:, None], -torch.inf)
    beyond = position > shape.last[:, None]
    following = torch.full_like(end, -torch.inf)
    found = []
    for step in reversed(range(arcs.skip.shape[1])):
        move = functional.pad(following[:, 1:], (0, 1), value=-torch.inf) + arcs.move[:, step]
        written = torch.logaddexp(arcs.stay[:, step] + following, move)
        written = torch.where((shape.steps == step)[:, None], end, written).masked_fill(beyond, -torch.inf)
        sums = _skipped(arcs.skip[:, step], shape.last)
        following = (written + sums).flip(1).logcumsumexp(1).flip(1) - sums
        found.append(following)
    return torch.stack(found[::-1], 1)


class _LogMarginal(Function):
    """Forward and backward recursion together; saves the posteriors."""

    @staticmethod
    def forward(
        ctx: Any,
        skip: Tensor,
        stay: Tensor,
        move: Tensor,
        end: Tensor,
        first: Tensor,
        last: Tensor,
        steps: Tensor,
    ) -> Tensor:
        arcs, shape = Arcs(skip, stay, move, end), Shape(first, last, steps)
        total, shares = posteriors(arcs, shape)
        ctx.save_for_backward(*(each.to(arc.dtype) for each, arc in zip(shares, arcs, strict=True)))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *points, end = ctx.saved_tensors
        scaled = (each * gradient.to(each.dtype)[:, None, None] for each in points)
        return (*scaled, end * gradient.to(end.dtype), None, None, None)
