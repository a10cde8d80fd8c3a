"""The forward and the backward recursion of a chain, run together in scaled probabilities.

Both directions have the same form, a row vector times a matrix times the emission potentials, so they run
as one batched product per step: the forward recursion from the first token on, the backward recursion from
the last. An additional tag, STOP, occupies all padding and nothing else, which makes sentences of any
length look alike: the move into STOP has the end score.

Every few steps the vectors are divided by their sums (Rabiner 1989, section V.A). Two checks guard against
underflow. A batch whose scores differ by more than `SAFE_RANGE` within one step is not tried in that
precision. And no positive value may come so close to underflow that the next step could lose it; then every
0 is a forbidden path, and no path that may matter later is missing. A batch that fails a check is computed
again, more carefully: float32, then float64, then log space.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

# Largest difference, in nats, between the largest and the smallest factor of a step: half the distance from 1
# to the underflow of the number type (87 and 708 nats). The other half is left for several steps together.
SAFE_RANGE = {torch.float32: 42.0, torch.float64: 350.0}


class Chain(NamedTuple):
    """The scores of a tag path other than emissions; -inf forbids."""

    transitions: Tensor  # nats, [K, K], from row to column
    start: Tensor  # nats, [K]
    end: Tensor  # nats, [K]

    def to(self, precision: torch.dtype) -> Chain:
        """The same chain in another precision."""
        return Chain(*(part.to(precision) for part in self))


@dataclass(frozen=True)
class ForwardBackward(ABC):
    """The results of both recursions."""

    log_partition: Tensor  # nats, [B], float64
    ends: Tensor  # index of the last token, [B]

    @abstractmethod
    def unary(self) -> Tensor:
        """p(y_t = k), [B, T, K]; 0 at padding, and everywhere in a sentence without a possible path."""

    @abstractmethod
    def edges(self, weights: Tensor) -> Tensor:
        """Sum over sentences and steps of weight x p(y_{t-1} = i, y_t = j), [K, K].

        Args:
            weights: Weight of each sentence, [B].
        """


@torch.no_grad()
def forward_backward(scores: Tensor, chain: Chain, mask: Tensor) -> ForwardBackward:
    """Run both recursions in float32, float64 or log space, the first that is safe.

    The arguments are those of `seqtool.nn.crf.log_partition`.
    """
    given = torch.float64 if scores.dtype == torch.float64 else torch.float32
    chain = Chain(*(part.detach() for part in chain))
    for precision in (given, torch.float64):
        result = _scaled(scores.detach().to(precision), chain.to(precision), mask)
        if result is not None:
            return result
    return _log_space(scores.detach().double(), chain.to(torch.float64), mask)


def reverse_within_lengths(values: Tensor, lengths: Tensor) -> Tensor:
    """Reverse each sentence within its own length; padding stays where it is.

    Args:
        values: Values of each token, [B, T, ...].
        lengths: Number of real tokens of each sentence, [B].

    Returns:
        The reversed values, [B, T, ...].
    """
    position = torch.arange(values.shape[1], device=values.device)  # [T]
    index = lengths[:, None] - 1 - position  # [B, T], negative at padding
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, torch.where(index >= 0, index, position)]


@dataclass(frozen=True)
class _Scaled(ForwardBackward):
    """Scaled probabilities: each vector is known up to a factor. Time comes first; STOP is the last tag."""

    prefix: Tensor  # weight of all paths up to token t, its emission included, [T, B, K + 1]
    suffix: Tensor  # weight of all paths from token t on, its emission included, [T, B, K + 1]
    joint: Tensor  # prefix times the weight of all paths after token t, [T, B, K + 1]
    pairs: Tensor  # sum_ij prefix[t-1, i] matrix_ij suffix[t, j], [T - 1, B]
    matrix: Tensor  # [K + 1, K + 1]

    def unary(self) -> Tensor:
        # [T, B, K + 1] without STOP to [B, T, K]
        return (self.joint / self.joint.sum(2, keepdim=True))[:, :, :-1].transpose(0, 1)

    def edges(self, weights: Tensor) -> Tensor:
        before = self.prefix[:-1] * (weights / self.pairs)[:, :, None]  # [T - 1, B, K + 1]
        product = before.flatten(0, 1).t() @ self.suffix[1:].flatten(0, 1)  # [K + 1, K + 1]
        # A forbidden pair is 0 even where the product overflows.
        return torch.where(self.matrix > 0, self.matrix * product, 0.0)[:-1, :-1]


def _scaled(scores: Tensor, chain: Chain, mask: Tensor) -> _Scaled | None:
    """Both recursions in scaled probabilities; None if they might underflow."""
    links, link_shift, link_width = _links(chain)
    scores, shift, width = _shifted(torch.where(mask[:, :, None], scores, 0.0), 2)
    width += link_width + math.log(len(links))
    safe = SAFE_RANGE[scores.dtype]
    if not width <= safe:  # also true of NaN
        return None

    batch, steps, tags = scores.shape
    matrix = functional.pad(links[:-1], (0, 0, 0, 1))  # [K + 1, K + 1]; STOP in place of the start scores
    matrix[-1, -1] = 1.0
    # Emission potentials of both directions, [T, 2, B, K + 1]: STOP at padding, the tags at real tokens.
    vectors = scores.new_empty(steps, 2, batch, tags + 1)
    torch.mul(scores.exp_().transpose(0, 1), mask.t()[:, :, None], out=vectors[:, 0, :, :-1])
    vectors[:, 0, :, -1] = ~mask.t()
    vectors[:, 1] = vectors[:, 0].flip(0)
    # What is multiplied with the potentials at each step, [T, 2, B, K + 1]; first the start and end scores.
    reached = torch.empty_like(vectors)
    reached[0, 0] = links[-1]
    reached[0, 1] = matrix[:, -1]
    # Two vectors are multiplied below: between two divisions each may shrink by half the safe range.
    norms = _recursion(vectors, reached, matrix, every=max(1, int(safe / width / 2)))  # [T, B]

    prefix, suffix, after = vectors[:, 0], vectors[:, 1].flip(0), reached[:, 1].flip(0)  # [T, B, K + 1] each
    joint = prefix * after
    total = joint.sum(2)  # [T, B]
    pairs = total[1:] * norms[1:]  # [T - 1, B]
    floor = torch.finfo(scores.dtype).tiny * math.exp(safe)
    # Only values between 0 and the floor leave a fraction; this is several times as fast as comparing.
    fraction = (vectors / floor).clamp_(max=1.0).frac_().amax()
    lowest = torch.cat([total, pairs]).amin()
    if not bool((fraction == 0) & (lowest >= floor)):  # also where a sentence has no possible path
        return None
    log_partition = norms.log().sum(0, dtype=torch.float64) + total[-1].log()  # [B]
    lengths = mask.sum(1)
    log_partition += shift.sum((1, 2), dtype=torch.float64) + link_shift * (lengths + 1)
    return _Scaled(log_partition, lengths - 1, prefix, suffix, joint, pairs, matrix)


def _recursion(vectors: Tensor, reached: Tensor, matrix: Tensor, every: int) -> Tensor:
    """Run both directions in place.

    Args:
        vectors: Emission potentials, overwritten by their products with `reached`, [T, 2, B, K + 1].
        reached: Weights that the previous step passes on, [T, 2, B, K + 1]; the first step's are given, the
            others are filled in.
        matrix: Factors of the moves, STOP included, [K + 1, K + 1].
        every: Number of steps from one division to the next.

    Returns:
        Divisors of the forward vectors, [T, B].
    """
    matrices = torch.stack([matrix, matrix.t()])  # [2, K + 1, K + 1]
    norms = vectors.new_ones(*vectors.shape[:3], 1)  # [T, 2, B, 1]
    products, arrivals, divisors = vectors.unbind(0), reached.unbind(0), norms.unbind(0)
    for step, arrival in enumerate(arrivals):
        if step:
            torch.bmm(products[step - 1], matrices, out=arrival)
            if step % every == 0:
                arrival.div_(torch.sum(arrival, 2, keepdim=True, out=divisors[step]))
        products[step].mul_(arrival)
    return norms[:, 0, :, 0]


def _links(chain: Chain) -> tuple[Tensor, Tensor, float]:
    """exp of the chain's shifted scores, [K + 1, K + 1], with start in row K and end in column K.

    Returns:
        The factors; the shift, nats, scalar; the width of `_shifted`, nats.
    """
    beyond = chain.start.new_full((1, 1), float("-inf"))
    end = torch.cat([chain.end[:, None], beyond])
    links, shift, width = _shifted(
        torch.cat([torch.cat([chain.transitions, chain.start[None]]), end], 1), (0, 1)
    )
    return links.exp_(), shift.double().squeeze(), width


def _shifted(scores: Tensor, dims: int | tuple[int, ...]) -> tuple[Tensor, Tensor, float]:
    """Scores shifted so that the highest along `dims` is 0.

    Returns:
        The shifted scores; the highest, with `dims` kept; how far the lowest finite score lies below it.
    """
    highest = scores.amax(dims, keepdim=True).nan_to_num(neginf=0.0)
    scores = scores - highest
    lowest = float(scores.amin())
    if lowest == -math.inf:
        lowest = float(scores.masked_fill(scores == -math.inf, 0.0).amin())
    return scores, highest, -lowest


@dataclass(frozen=True)
class _Logarithms(ForwardBackward):
    """The same vectors as logarithms, nats, batch first, without STOP."""

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
        for t in range(1, self.mask.shape[1]):  # step by step, so that no tensor is [B, T, K, K]
            # [B, K from, K to]
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
    alpha, gamma = [start + scores[:, 0]], [end + turned[:, 0]]  # [B, K] each
    for t in range(1, scores.shape[1]):
        # [B, K from, K to], summed over `from` in the forward and over `to` in the backward recursion
        alpha.append(torch.logsumexp(alpha[-1][:, :, None] + transitions, 1) + scores[:, t])
        gamma.append(torch.logsumexp(gamma[-1][:, None, :] + transitions, 2) + turned[:, t])
    prefix = torch.stack(alpha, 1)  # [B, T, K]
    suffix = reverse_within_lengths(torch.stack(gamma, 1), lengths)  # [B, T, K]
    after = torch.empty_like(suffix)
    after[:, :-1] = torch.logsumexp(suffix[:, 1:, None, :] + transitions, 3)  # [B, T - 1, K]
    after[rows, lengths - 1] = end
    log_partition = torch.logsumexp(prefix[rows, lengths - 1] + end, 1)  # [B]
    return _Logarithms(log_partition, lengths - 1, prefix, suffix, after, transitions, mask)
