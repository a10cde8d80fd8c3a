"""The forward and the backward recursion of a chain, run together in scaled probabilities.

Both directions have the same form, a row vector times a matrix times the emission
potentials, so they run as one batched product a step: the forward one from the first
column, the backward one from the last. One more tag, STOP, stands at all padding and only
there, which makes sentences of any length look alike: the step into it is the end score.

Every few steps the vectors are divided by their sums (Rabiner 1989, section V.A). Two
guards stand behind that. Scores that differ by more than `SAFE_RANGE` within one step are
not tried in that precision. And nothing positive may come so close to underflow that the
next step could lose it: then what is 0 is forbidden, and no path that may matter later is
missing. Otherwise the batch is done again more carefully: float32, float64, log space.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# nats between the largest and the smallest factor of a step: half of what lies above the underflow of
# the number type (87 and 708), so that the other half is there for what comes together over several steps
SAFE_RANGE = {torch.float32: 42.0, torch.float64: 350.0}


class Chain(NamedTuple):
    """What scores a tag path beside its emissions; -inf forbids."""

    transitions: Tensor  # nats, [K, K], from row to column
    start: Tensor  # nats, [K]
    end: Tensor  # nats, [K]

    def to(self, precision: torch.dtype) -> Chain:
        """The same in another precision."""
        return Chain(*(part.to(precision) for part in self))


@dataclass(frozen=True)
class ForwardBackward(ABC):
    """What follows from the forward and the backward vectors."""

    log_partition: Tensor  # nats, [B], float64
    ends: Tensor  # index of the last token, [B]

    @abstractmethod
    def unary(self) -> Tensor:
        """p(y_t = k), [B, T, K]; 0 at padding, and everywhere in a sentence without a possible path."""

    @abstractmethod
    def edges(self, weights: Tensor) -> Tensor:
        """Sum over sentences and steps of weight x p(y_{t-1} = i, y_t = j), [K, K].

        Args:
            weights: One a sentence, [B].
        """


@torch.no_grad()
def forward_backward(scores: Tensor, chain: Chain, mask: Tensor) -> ForwardBackward:
    """Run both recursions (arguments as in `seqtool.nn.crf.log_partition`): float32, float64, log space."""
    given = torch.float64 if scores.dtype == torch.float64 else torch.float32
    chain = Chain(*(part.detach() for part in chain))
    for precision in (given, torch.float64):
        result = _scaled(scores.detach().to(precision), chain.to(precision), mask)
        if result is not None:
            return result
    return _log_space(scores.detach().double(), chain.to(torch.float64), mask)


def reverse_within_lengths(values: Tensor, lengths: Tensor) -> Tensor:
    """Each sentence reversed within its own length; padding stays where it is.

    Args:
        values: [B, T, ...].
        lengths: [B].
    """
    position = torch.arange(values.shape[1], device=values.device)
    index = lengths[:, None] - 1 - position
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, torch.where(index >= 0, index, position)]


@dataclass(frozen=True)
class _Scaled(ForwardBackward):
    """Vectors of probabilities, each known up to a factor. Time comes first, STOP is the last tag."""

    prefix: Tensor  # weight of all paths up to token t with its emission, [T, B, K + 1]
    suffix: Tensor  # weight of all paths from token t on with its emission, [T, B, K + 1]
    joint: Tensor  # prefix times what comes after token t, [T, B, K + 1]
    pairs: Tensor  # sum_ij prefix[t-1, i] matrix_ij suffix[t, j], [T - 1, B]
    matrix: Tensor  # [K + 1, K + 1]

    def unary(self) -> Tensor:
        return (self.joint / self.joint.sum(2, keepdim=True))[:, :, :-1].transpose(0, 1)

    def edges(self, weights: Tensor) -> Tensor:
        before = self.prefix[:-1] * (weights / self.pairs)[:, :, None]
        product = before.flatten(0, 1).t() @ self.suffix[1:].flatten(0, 1)
        # A forbidden pair is 0 even where the product overflows.
        return torch.where(self.matrix > 0, self.matrix * product, 0.0)[:-1, :-1]


def _scaled(scores: Tensor, chain: Chain, mask: Tensor) -> _Scaled | None:
    """Both recursions in scaled probabilities; None where they might underflow."""
    links, link_shift, link_width = _links(chain)
    scores, shift, width = _shifted(torch.where(mask[:, :, None], scores, 0.0), 2)
    width += link_width + math.log(len(links))
    safe = SAFE_RANGE[scores.dtype]
    if not width <= safe:  # also where something is not a number
        return None

    batch, steps, tags = scores.shape
    matrix = functional.pad(links[:-1], (0, 0, 0, 1))  # the row of START gives way to that of STOP
    matrix[-1, -1] = 1.0
    vectors = scores.new_empty(steps, 2, batch, tags + 1)  # what a step starts from, then its result
    torch.mul(scores.exp_().transpose(0, 1), mask.t()[:, :, None], out=vectors[:, 0, :, :-1])
    vectors[:, 0, :, -1] = ~mask.t()
    vectors[:, 1] = vectors[:, 0].flip(0)
    reached = torch.empty_like(vectors)
    reached[0, 0] = links[-1]
    reached[0, 1] = matrix[:, -1]
    # Two vectors are multiplied in the end: each may shrink by half of what is safe until it is divided.
    norms = _recursion(vectors, reached, matrix, every=max(1, int(safe / width / 2)))

    prefix, suffix, after = vectors[:, 0], vectors[:, 1].flip(0), reached[:, 1].flip(0)
    joint = prefix * after
    total = joint.sum(2)
    pairs = total[1:] * norms[1:]
    floor = torch.finfo(scores.dtype).tiny * math.exp(safe)
    # 0 and what is well above the floor leave no fraction; several times faster than comparisons
    fraction = (vectors / floor).clamp_(max=1.0).frac_().amax()
    lowest = torch.cat([total, pairs]).amin()
    if not bool((fraction == 0) & (lowest >= floor)):  # also where a sentence has no possible path
        return None
    log_partition = norms.log().sum(0, dtype=torch.float64) + total[-1].log()
    lengths = mask.sum(1)
    log_partition += shift.sum((1, 2), dtype=torch.float64) + link_shift * (lengths + 1)
    return _Scaled(log_partition, lengths - 1, prefix, suffix, joint, pairs, matrix)


def _recursion(vectors: Tensor, reached: Tensor, matrix: Tensor, every: int) -> Tensor:
    """Run both directions in place and return what the forward vectors were divided by, [T, B].

    Args:
        vectors: Emission potentials, overwritten by their products with `reached`, [T, 2, B, K + 1].
        reached: The first row is given, the others are filled: what the step before leads to.
        matrix: [K + 1, K + 1].
        every: Steps from one division to the next.
    """
    matrices = torch.stack([matrix, matrix.t()])
    norms = vectors.new_ones(*vectors.shape[:3], 1)
    products, arrivals, divisors = vectors.unbind(0), reached.unbind(0), norms.unbind(0)
    for step, arrival in enumerate(arrivals):
        if step:
            torch.bmm(products[step - 1], matrices, out=arrival)
            if step % every == 0:
                arrival.div_(torch.sum(arrival, 2, keepdim=True, out=divisors[step]))
        products[step].mul_(arrival)
    return norms[:, 0, :, 0]


def _links(chain: Chain) -> tuple[Tensor, Tensor, float]:
    """exp of transitions, start (row K) and end (column K), shifted; the shift; the width, [K + 1, K + 1]."""
    beyond = chain.start.new_full((1, 1), float("-inf"))
    end = torch.cat([chain.end[:, None], beyond])
    links, shift, width = _shifted(
        torch.cat([torch.cat([chain.transitions, chain.start[None]]), end], 1), (0, 1)
    )
    return links.exp_(), shift.double().squeeze(), width


def _shifted(scores: Tensor, dims: int | tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
    """Scores less the highest along `dims`; the highest, kept; how far a finite one lies below it at most."""
    highest = scores.amax(dims, keepdim=True).nan_to_num(neginf=0.0)
    scores = scores - highest
    lowest = float(scores.amin())
    if lowest == -math.inf:
        lowest = float(scores.masked_fill(scores == -math.inf, 0.0).amin())
    return scores, highest, -lowest


@dataclass(frozen=True)
class _Logarithms(ForwardBackward):
    """The same vectors as logarithms, batch first, without STOP."""

    prefix: Tensor  # [B, T, K]
    suffix: Tensor  # [B, T, K]
    after: Tensor  # [B, T, K]
    transitions: Tensor  # [K, K]
    mask: Tensor  # [B, T]

    def unary(self) -> Tensor:
        joint = (self.prefix + self.after).masked_fill(~self.mask[:, :, None], float("-inf"))
        return torch.softmax(joint, 2).nan_to_num(0.0)

    def edges(self, weights: Tensor) -> Tensor:
        total = torch.zeros_like(self.transitions)
        for t in range(1, self.mask.shape[1]):  # one step at a time: nothing of size [B, T, K, K]
            joint = self.prefix[:, t - 1, :, None] + self.transitions + self.suffix[:, t, None, :]
            share = torch.softmax(joint.flatten(1), 1).nan_to_num(0.0).view_as(joint)
            total += torch.einsum("b,bij->ij", weights * self.mask[:, t], share)
        return total


def _log_space(scores: Tensor, chain: Chain, mask: Tensor) -> _Logarithms:
    """Both recursions in log space, for scores of any size and for sentences without a possible path."""
    transitions, start, end = chain
    lengths = mask.sum(1)
    rows = torch.arange(len(scores), device=scores.device)
    turned = reverse_within_lengths(scores, lengths)
    alpha, gamma = [start + scores[:, 0]], [end + turned[:, 0]]
    for t in range(1, scores.shape[1]):
        alpha.append(torch.logsumexp(alpha[-1][:, :, None] + transitions, 1) + scores[:, t])
        gamma.append(torch.logsumexp(gamma[-1][:, None, :] + transitions, 2) + turned[:, t])
    prefix = torch.stack(alpha, 1)
    suffix = reverse_within_lengths(torch.stack(gamma, 1), lengths)
    after = torch.empty_like(suffix)
    after[:, :-1] = torch.logsumexp(suffix[:, 1:, None, :] + transitions, 3)
    after[rows, lengths - 1] = end
    log_partition = torch.logsumexp(prefix[rows, lengths - 1] + end, 1)
    return _Logarithms(log_partition, lengths - 1, prefix, suffix, after, transitions, mask)
