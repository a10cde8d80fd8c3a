"""The forward and the backward recursion of a chain, run together in scaled probabilities.

Both directions have the same form, a row vector times a matrix times the emission
potentials, so they run as one batched product a step: the forward one from the start, the
backward one over the sentence turned round within its own length. After each step the
vector is divided by its sum (Rabiner 1989, section V.A).

Two guards stand behind the scaling. Scores that differ by more than `SAFE_RANGE` within one
step are not tried in that precision: float32 gives way to float64, that to log space. And
the partition is computed at every cut between two tokens: were a path that matters lost to
underflow, the cuts would disagree, and the batch is done again more carefully.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# nats; float32 underflows 87 below the largest, float64 745
SAFE_RANGE = {torch.float32: 35.0, torch.float64: 300.0}
# largest relative difference of the partition between cuts
AGREEMENT = {torch.float32: 1e-5, torch.float64: 1e-11}


@dataclass(frozen=True)
class ForwardBackward:
    """Scaled forward and backward vectors and what follows from them.

    `prefix[t]` is proportional to the weight of all paths up to token t with its emission;
    `suffix[t]` to that of all paths from token t on, with its emission; `after[t]` to that
    after token t, without it.
    """

    prefix: Tensor  # [B, T, K]
    suffix: Tensor  # [B, T, K]
    after: Tensor  # [B, T, K]
    matrix: Tensor  # exp(transitions - highest), [K, K]
    log_partition: Tensor  # nats, [B]
    mask: Tensor  # [B, T]
    ends: Tensor  # index of the last token, [B]

    def unary(self) -> Tensor:
        """p(y_t = k), [B, T, K]; 0 at padding, and everywhere in a sentence without a possible path."""
        joint = (self.prefix * self.after).masked_fill(~self.mask[:, :, None], 0.0)
        return joint / joint.sum(2, keepdim=True).clamp(min=torch.finfo(joint.dtype).tiny)

    def edges(self, weights: Tensor) -> Tensor:
        """Sum over sentences and steps of weight x p(y_{t-1} = i, y_t = j), [K, K], by one product.

        Args:
            weights: One a sentence, [B].
        """
        before, following = self.prefix[:, :-1], self.suffix[:, 1:]
        # sum_ij before_i matrix_ij following_j is the normaliser of the pair
        total = ((before @ self.matrix) * following).sum(2, keepdim=True)
        total = total.clamp(min=torch.finfo(total.dtype).tiny)
        share = (weights[:, None] * self.mask[:, 1:])[:, :, None] / total
        return self.matrix * ((before * share).flatten(0, 1).t() @ following.flatten(0, 1))


class Chain(NamedTuple):
    """What scores a tag path beside its emissions; -inf forbids."""

    transitions: Tensor  # nats, [K, K], from row to column
    start: Tensor  # nats, [K]
    end: Tensor  # nats, [K]

    def to(self, precision: torch.dtype) -> Chain:
        """The same in another precision."""
        return Chain(*(part.to(precision) for part in self))


@torch.no_grad()
def forward_backward(scores: Tensor, chain: Chain, mask: Tensor) -> ForwardBackward:
    """Run both recursions (arguments as in `seqtool.nn.crf.log_partition`): float32, float64, log space."""
    given = torch.float64 if scores.dtype == torch.float64 else torch.float32
    chain = Chain(*(part.detach() for part in chain))
    scores = scores.detach()
    width = _widest(scores, mask) + sum(_widest(x) for x in chain)
    for precision in (given, torch.float64):
        if width <= SAFE_RANGE[precision]:
            result = _scaled(scores.to(precision), chain.to(precision), mask)
            if result is not None:
                return result
    return _log_space(scores.double(), chain.to(torch.float64), mask)


def turn_round(values: Tensor, lengths: Tensor) -> Tensor:
    """Each sentence reversed within its own length; padding stays where it is.

    Args:
        values: [B, T, ...].
        lengths: [B].
    """
    rows = torch.arange(len(values), device=values.device)[:, None]
    return values[rows, _turning_index(lengths, values.shape[1])]


def _turning_index(lengths: Tensor, steps: int) -> Tensor:
    """Where each position comes from when sentences turn round, [B, T]."""
    position = torch.arange(steps, device=lengths.device)
    index = lengths[:, None] - 1 - position
    return torch.where(index >= 0, index, position)


def _widest(scores: Tensor, mask: Tensor | None = None) -> float:
    """Largest difference between the finite scores of one step (or of the whole tensor)."""
    finite = scores.isfinite()
    dims = (2,) if mask is not None else tuple(range(scores.dim()))
    high = scores.masked_fill(~finite, float("-inf")).amax(dims)
    low = scores.masked_fill(~finite, float("inf")).amin(dims)
    width = (high - low).clamp(min=0.0)
    return float((width if mask is None else width.masked_fill(~mask, 0.0)).max())


def _scaled(scores: Tensor, chain: Chain, mask: Tensor) -> ForwardBackward | None:
    """Both recursions in scaled probabilities; None where the cuts disagree.

    Time comes first here, so that each step reads and writes one contiguous block.
    """
    steps, lengths = scores.shape[1], mask.sum(1)
    emission, shift = _exponential(scores.masked_fill(~mask[:, :, None], 0.0), 2)
    matrix, move = _exponential(chain.transitions, (0, 1))
    first, first_shift = _exponential(chain.start, 0)
    last, last_shift = _exponential(chain.end, 0)
    turn = _turning_index(lengths, steps).t(), torch.arange(len(lengths), device=scores.device)
    vectors = emission.new_empty(steps, 2, *emission.shape[::2])  # [T, 2, B, K]
    vectors[:, 0] = emission.transpose(0, 1)
    vectors[:, 1] = vectors[:, 0][turn]
    matrices = torch.stack([matrix, matrix.t()])
    norms = emission.new_empty(steps, 2, len(lengths), 1)
    reached = torch.stack([first, last])[:, None, :].expand_as(vectors[0])
    for vector, norm in zip(vectors.unbind(0), norms.unbind(0), strict=True):
        torch.sum(vector.mul_(reached), 2, keepdim=True, out=norm)
        reached = torch.bmm(vector.div_(norm), matrices)

    prefix = vectors[:, 0]
    suffix = vectors[:, 1][turn]
    after = torch.empty_like(suffix)
    torch.matmul(suffix[1:], matrix.t(), out=after[:-1])
    end_of_row = lengths - 1, turn[1]
    after[end_of_row] = last
    log_norm = norms[..., 0].log().double().cumsum(0)  # [T, 2, B]
    since = log_norm[:, 1][turn]  # of token t and all that follow
    beyond = torch.cat([since[1:], since.new_zeros(1, len(lengths))])
    beyond[end_of_row] = 0.0
    cuts = log_norm[:, 0] + beyond + (prefix * after).sum(2).log()  # log Z less the shifts, at every token
    whole = cuts[0]
    gap = (cuts - whole).abs().masked_fill(~mask.t(), 0.0)
    if not bool((gap <= AGREEMENT[scores.dtype] * (1 + whole.abs())).all()):
        return None  # also where something is not a number: an underflow, or no possible path
    shifts = (shift[:, :, 0] * mask).sum(1, dtype=torch.float64) + move.squeeze() * (lengths - 1)
    log_partition = whole + shifts + first_shift + last_shift
    prefix, suffix, after = (x.transpose(0, 1) for x in (prefix, suffix, after))
    return ForwardBackward(prefix, suffix, after, matrix, log_partition, mask, lengths - 1)


def _log_space(scores: Tensor, chain: Chain, mask: Tensor) -> ForwardBackward:
    """The same in log space, for scores of any size and for sentences without a possible path."""
    transitions, start, end = chain
    steps = scores.shape[1]
    lengths = mask.sum(1)
    rows = torch.arange(len(scores), device=scores.device)
    scores = scores.masked_fill(~mask[:, :, None], 0.0)
    turned = turn_round(scores, lengths)
    alpha, gamma = [start + scores[:, 0]], [end + turned[:, 0]]
    for t in range(1, steps):
        alpha.append(torch.logsumexp(alpha[-1][:, :, None] + transitions, 1) + scores[:, t])
        gamma.append(torch.logsumexp(gamma[-1][:, None, :] + transitions, 2) + turned[:, t])
    prefix = torch.stack(alpha, 1)
    suffix = turn_round(torch.stack(gamma, 1), lengths)
    after = torch.empty_like(suffix)
    after[:, :-1] = torch.logsumexp(suffix[:, 1:, None, :] + transitions, 3)
    after[rows, lengths - 1] = end
    log_partition = torch.logsumexp(prefix[rows, lengths - 1] + end, 1)
    return _LogForwardBackward(prefix, suffix, after, transitions, log_partition, mask, lengths - 1)


class _LogForwardBackward(ForwardBackward):
    """`ForwardBackward` whose vectors and matrix are logarithms."""

    def unary(self) -> Tensor:
        joint = (self.prefix + self.after).masked_fill(~self.mask[:, :, None], float("-inf"))
        return torch.softmax(joint, 2).nan_to_num(0.0)

    def edges(self, weights: Tensor) -> Tensor:
        total = torch.zeros_like(self.matrix)
        for t in range(1, self.mask.shape[1]):  # one step at a time: nothing of size [B, T, K, K]
            joint = self.prefix[:, t - 1, :, None] + self.matrix + self.suffix[:, t, None, :]
            share = torch.softmax(joint.flatten(1), 1).nan_to_num(0.0).view_as(joint)
            total += torch.einsum("b,bij->ij", weights * self.mask[:, t], share)
        return total


def _exponential(scores: Tensor, dims: int | tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """exp(scores - highest) and the highest score along `dims` (kept); 0 stands for a highest of -inf."""
    highest = scores.amax(dims, keepdim=True).nan_to_num(neginf=0.0)
    return (scores - highest).exp(), highest
