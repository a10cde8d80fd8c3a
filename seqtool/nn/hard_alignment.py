"""Hard attention: exact sums over all alignments of a target with its source.

Each target symbol is aligned with one source position, and what it is depends on that position alone. The
probability of a target is the sum over all sequences of positions. Which position follows which is the
`Order`: any, whatever the last one was (zeroth order), or the last one or a later one (first order,
monotonic). Scores e_ij of position j at step i do not depend on the last position j', only what they are
normalised over does:

    a_i(j | j') = exp(e_ij) / sum_{k >= j'} exp(e_ik)   for j >= j', else 0.

So the factors of j and j' part in the forward recursion, with R_i(j') = log sum_{k >= j'} exp(e_ik):

    log alpha_i(j) = log p(y_i | j) + e_ij + log sum_{j' <= j} exp(log alpha_{i-1}(j') - R_i(j')).

Both sums are cumulative ones, so a step takes time proportional to S, not to its square. The backward
recursion is alike, from right to left. All run in float64.

Shapes: B pairs, N rows, T target steps (the end is one), S source positions.

References: Wu, Shapiro and Cotterell 2018, "Hard non-monotonic attention for character-level transduction"
(zeroth order); Wu and Cotterell 2019, "Exact hard monotonic attention for character-level transduction"
(first order; there the scores depend on the last position as well).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

# Log probability of what is impossible, within a recursion: at -inf a sum of two has no gradient.
IMPOSSIBLE = -1e30


class Alignments(NamedTuple):
    """What the probabilities of all alignments of some pairs follow from."""

    emissions: Tensor  # log probability of each target symbol at each position, nats, [B, T, S]
    scores: Tensor  # score of each position at each step, nats, [B, T, S]
    usable: Tensor  # True at positions that may be aligned, side by side, at least one a pair, [B, S]
    real: Tensor  # True at target symbols, right-padded, [B, T]


class Order(ABC):
    """Which position may follow which, and with what probability.

    Scores are `IMPOSSIBLE` at positions that may not be aligned.
    """

    @abstractmethod
    def following(self, points: Tensor, scores: Tensor) -> Tensor:
        """Log probability of coming to each position from all others, nats, [..., S].

        Args:
            points: Log probability of each position before, nats, [..., S].
            scores: Score of each position, nats, [..., S].
        """

    @abstractmethod
    def leading(self, points: Tensor, scores: Tensor) -> Tensor:
        """Log probability of what lies ahead of each position, nats, [..., S].

        Args:
            points: Log probability of what lies ahead of each position that may follow, with what happens
                there, nats, [..., S].
            scores: Score of each of those, nats, [..., S].
        """


class AnyPosition(Order):
    """Each position is chosen without regard to the last one: zeroth order."""

    def following(self, points: Tensor, scores: Tensor) -> Tensor:
        """See `Order.following`."""
        return points.logsumexp(-1, keepdim=True) + scores.log_softmax(-1)

    def leading(self, points: Tensor, scores: Tensor) -> Tensor:
        """See `Order.leading`."""
        return (points + scores.log_softmax(-1)).logsumexp(-1, keepdim=True).expand_as(points)


class LaterPosition(Order):
    """The last position or a later one follows: first order, monotonic."""

    def following(self, points: Tensor, scores: Tensor) -> Tensor:
        """See `Order.following`."""
        return scores + torch.logcumsumexp(points - _from_right(scores), -1)

    def leading(self, points: Tensor, scores: Tensor) -> Tensor:
        """See `Order.leading`."""
        return _from_right(points + scores) - _from_right(scores)


ORDERS: dict[str, Order] = {"hard": AnyPosition(), "monotonic": LaterPosition()}


def log_marginal(pairs: Alignments, order: Order) -> Tensor:
    """Log probability of each target, summed over all its alignments, nats, [B], float64.

    Its gradient follows from the posterior probabilities of the positions, which are computed along with it.
    """
    total: Tensor = _LogMarginal.apply(*pairs, order)  # type: ignore[no-untyped-call]
    return total


def before_symbols(pairs: Alignments, order: Order, *, onward: bool = False) -> Tensor:
    """Log probability of the symbols before each step and of each position at it, nats, [B, T, S], float64.

    Differentiable by the steps of the recursion.

    Args:
        pairs: The pairs.
        order: Which position may follow which.
        onward: Whether a symbol that no position can have is passed over, so that the steps after it have
            probabilities.
    """
    emissions, scores = _in_float64(pairs)
    point, found = start(pairs.usable), []
    for step in range(scores.shape[1]):
        found.append(order.following(point, scores[:, step]).clamp(min=IMPOSSIBLE))
        after = (found[-1] + emissions[:, step]).clamp(min=IMPOSSIBLE)
        passes = pairs.real[:, step, None]
        if onward:
            passes = passes & (after.amax(1, keepdim=True) > IMPOSSIBLE / 2)
        point = torch.where(passes, after, point)
    return torch.stack(found, 1)


def posteriors(pairs: Alignments, order: Order) -> tuple[Tensor, Tensor, Tensor]:
    """Log probability of each target, and of its positions given all of it; in float64.

    Returns:
        Log probability of each target, nats, [B]; -inf if no alignment is possible. The posterior probability
        of each position at each step, [B, T, S], 0 at padding. The probability of coming to each position
        from the posterior of the step before, without regard to the symbols from there on, [B, T, S].
    """
    emissions, scores = _in_float64(pairs)
    reached = before_symbols(pairs, order) + emissions
    ahead, found = torch.zeros_like(reached[:, 0]), []
    for step in reversed(range(scores.shape[1])):
        found.append(ahead)
        before = order.leading(emissions[:, step] + ahead, scores[:, step])
        ahead = torch.where(pairs.real[:, step, None], before, ahead)
    # [B, T, S]; each step sums to the same total
    whole = reached + torch.stack(found[::-1], 1)
    total = whole[:, 0].logsumexp(1)
    logs = (whole - total[:, None, None]).clamp(min=IMPOSSIBLE)
    last = torch.cat([start(pairs.usable)[:, None], logs[:, :-1]], 1)
    expected = order.following(last, scores).exp()
    possible = torch.where(total > IMPOSSIBLE / 2, total, -torch.inf)
    real = pairs.real[:, :, None]
    return possible, logs.exp() * real, expected * real


def start(usable: Tensor) -> Tensor:
    """Log probability of each position before the first step, which is the first usable one, nats, [B, S]."""
    first = usable.long().argmax(1, keepdim=True)
    everywhere = torch.full(usable.shape, IMPOSSIBLE, dtype=torch.float64, device=usable.device)
    return everywhere.scatter(1, first, 0.0)


def _from_right(values: Tensor) -> Tensor:
    """Log of the sum of what stands at each position and after it, [..., S]."""
    return values.flip(-1).logcumsumexp(-1).flip(-1)


def _in_float64(pairs: Alignments) -> tuple[Tensor, Tensor]:
    """Emissions and scores, impossible at what is not usable; emissions of padding are 0."""
    outside = ~pairs.usable[:, None]
    emissions = pairs.emissions.double().masked_fill(~pairs.real[:, :, None], 0.0)
    emissions = emissions.masked_fill(outside, IMPOSSIBLE).clamp(min=IMPOSSIBLE)
    return emissions, pairs.scores.double().masked_fill(outside, IMPOSSIBLE)


class _LogMarginal(Function):
    """Forward and backward recursion together; saves the gradients."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, scores: Tensor, usable: Tensor, real: Tensor, order: Order
    ) -> Tensor:
        total, found, expected = posteriors(Alignments(emissions, scores, usable, real), order)
        # A score raises the probability of its position and lowers that of all it is normalised with.
        ctx.save_for_backward(found.to(emissions.dtype), (found - expected).to(scores.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (each * gradient.to(each.dtype)[:, None, None] for each in ctx.saved_tensors)
        return (*scaled, None, None, None)
