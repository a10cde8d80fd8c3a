"""Sums of losses with what they were summed over; only the training loop divides."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.deferred import at_least_float32

CHUNK = 256  # rows of scores whose softmax is taken at a time: they stay in the processor's cache
GROUP = 4 * CHUNK  # rows of a product: each adds to the whole weight gradient


class LossSum(NamedTuple):
    """A summed loss: uneven batches, accumulation and ranks all agree because nobody averages early."""

    total: Tensor  # scalar, nats, summed
    count: int  # type: ignore[assignment]  # what it was summed over (tuple.count is not missed)
    unit: Literal["token", "sentence", "character"]


class Copying(NamedTuple):
    """The second way to a target, beside the projection."""

    gate: Tensor  # [M], logit of the probability that the projection is used
    log_copy: Tensor  # [M], log probability of the target by copying; -inf where the source lacks it
    writable: Tensor  # [M], bool: whether the projection knows the target (unknown ones can only be copied)


def projected_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    copying: Copying | None = None,
) -> Tensor:
    """Summed cross-entropy of softmax(features W^T + b), which is never there as a whole.

    Rows are dealt with in chunks, and a chunk's gradients are computed along with its loss, so
    that each score is made once and forgotten.

    With `copying` the probability of a target is g p_projection + (1 - g) p_copy, in log space
    throughout (See et al. 2017, equation 9), and the smoothing applies to the projection.

    Args:
        features: [M, D].
        weight: [V, D].
        bias: [V].
        targets: [M], ids in [0, V); where not writable, any.
        smoothing: Share e of the target that is spread evenly over all V (Szegedy et al. 2016,
            section 7), in [0, 1).
        copying: See there; where neither way can give the target, the loss is infinite.

    Returns:
        Scalar, nats. It can be differentiated once.
    """
    if copying is None:
        gate = log_copy = features.new_empty(0)
        writable = torch.empty(0, dtype=torch.bool, device=features.device)
    else:
        gate, log_copy = map(at_least_float32, (copying.gate, copying.log_copy))
        writable = copying.writable
    total: Tensor = _ProjectedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, gate, log_copy, targets, writable, smoothing
    )
    return total


def projected_log_probabilities(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    copying: Copying | None = None,
) -> Tensor:
    """Log probability of each target, where `projected_cross_entropy` sums them (arguments as there).

    For losses in which a row's weight depends on the others. No more than a chunk of scores is
    there at a time: they are made once for the values and once more for the gradients.

    Args:
        features: [M, D].
        weight: [V, D].
        bias: [V].
        targets: [M], ids in [0, V); where not writable, any.
        copying: The other way to the targets; one of the two has to be possible.

    Returns:
        [M], nats. It can be differentiated once.
    """
    log_written: Tensor = _ProjectedLogProbabilities.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, targets
    )
    if copying is None:
        return log_written
    gate, log_copy = map(at_least_float32, (copying.gate, copying.log_copy))
    log_written = torch.where(copying.writable, log_written, -torch.inf) + functional.logsigmoid(gate)
    return torch.logaddexp(log_written, functional.logsigmoid(-gate) + log_copy)


class _ProjectedLogProbabilities(Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        device = features.device.type
        reduced = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
        rows, matrix, offset = (each.to(reduced) for each in (features, weight, bias))
        parts, normalisers = [], []
        with torch.autocast(device, enabled=False):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                scores = at_least_float32(functional.linear(rows[part], matrix, offset))
                normalisers.append(scores.logsumexp(1))
                parts.append(scores.gather(1, targets[part, None])[:, 0] - normalisers[-1])
        empty = at_least_float32(features.new_empty(0))
        ctx.save_for_backward(rows, matrix, offset, targets, torch.cat([empty, *normalisers]))
        ctx.dtypes = features.dtype, weight.dtype, bias.dtype
        return torch.cat([empty, *parts])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix, offset, targets, normaliser = ctx.saved_tensors
        of_features, of_weight, of_bias = ctx.dtypes
        d_rows = torch.empty_like(rows)
        d_weight = at_least_float32(torch.zeros_like(matrix))
        d_bias = at_least_float32(torch.zeros_like(offset))
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            scores = at_least_float32(functional.linear(rows[part], matrix, offset))
            # d log p / d scores = onehot - softmax
            d_scores = (scores - normaliser[part, None]).exp_().mul_(-gradient[part, None])
            d_scores[torch.arange(len(d_scores), device=d_scores.device), targets[part]] += gradient[part]
            d_bias += d_scores.sum(0)
            d_scores = d_scores.to(rows.dtype)
            torch.mm(d_scores, matrix, out=d_rows[part])
            d_weight += d_scores.t() @ rows[part]
        return d_rows.to(of_features), d_weight.to(of_weight), d_bias.to(of_bias), None


class _ProjectedCrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        gate: Tensor,
        log_copy: Tensor,
        targets: Tensor,
        writable: Tensor,
        smoothing: float,
    ) -> Tensor:
        device = features.device.type
        reduced = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
        with torch.autocast(device, enabled=False):
            rows, matrix, offset = (each.to(reduced) for each in (features, weight, bias))
            mean = _mean_scores(features, weight, bias) if smoothing else features.new_zeros(len(features))
            d_rows, d_weight = torch.empty_like(rows), torch.zeros_like(weight)
            d_bias = torch.zeros_like(bias)
            d_gate, d_copy = torch.zeros_like(gate), torch.zeros_like(log_copy)
            total = features.new_zeros((), dtype=torch.float64)
            for start in range(0, len(rows), GROUP):
                part = slice(start, start + GROUP)
                scores = functional.linear(rows[part], matrix, offset)
                scale = torch.empty(len(scores), dtype=total.dtype, device=features.device)
                for first in range(0, len(scores), CHUNK):
                    inner = slice(first, first + CHUNK)
                    outer = slice(start + first, start + first + len(scores[inner]))
                    copying = Copying(gate[outer], log_copy[outer], writable[outer])
                    chunk = _chunk_loss(scores[inner], targets[outer], mean[outer], smoothing, copying)
                    total += chunk.loss
                    d_gate[outer], d_copy[outer] = chunk.gate, chunk.log_copy
                    d_bias += chunk.scale @ chunk.unscaled
                    scores[inner], scale[inner] = chunk.unscaled, chunk.scale
                by_row = scale[:, None].to(reduced)
                d_rows[part] = (scores @ matrix).mul_(by_row)
                d_weight += scores.t() @ (rows[part] * by_row)
            d_features = d_rows.to(features.dtype)
            if smoothing:  # every score of every row also has the gradient -e / V
                share = smoothing / len(weight)
                d_features -= share * weight.sum(0)
                d_weight -= share * features.sum(0)
                d_bias -= share * len(features)
        ctx.save_for_backward(d_features, d_weight, d_bias, d_gate, d_copy)
        return total.to(torch.promote_types(features.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        # The training loop starts from 1; then nothing large is read and written once more.
        scaled = saved if float(gradient) == 1.0 else tuple(gradient * each for each in saved)
        return (*scaled, None, None, None)


def _mean_scores(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean over the vocabulary of the scores of each row, [M], without the scores."""
    features, weight, bias = (at_least_float32(each) for each in (features, weight, bias))
    return features @ weight.mean(0) + bias.mean()


class _ChunkLoss(NamedTuple):
    """Of M rows; a row's gradient of the scores is `scale` times `unscaled`."""

    loss: Tensor  # scalar
    unscaled: Tensor  # [M, V]
    scale: Tensor  # [M]
    gate: Tensor  # [M], gradient
    log_copy: Tensor  # [M], gradient


def _chunk_loss(
    scores: Tensor, targets: Tensor, mean: Tensor, smoothing: float, copying: Copying
) -> _ChunkLoss:
    """Some rows, in as few passes over the scores as can be.

    Args:
        scores: [M, V].
        targets: [M].
        mean: Of each row, [M].
        smoothing: Share spread evenly; its even part is not in the gradient of the scores.
        copying: Of these rows.
    """
    rows = torch.arange(len(scores), device=scores.device)
    probabilities = scores.softmax(1, dtype=torch.promote_types(scores.dtype, torch.float32))
    at_target = probabilities[rows, targets]
    target_scores = scores[rows, targets].to(at_target.dtype)
    log_softmax = at_target.log()
    lost = at_target < torch.finfo(at_target.dtype).tiny  # rounded away: the slower way gives it
    if lost.any():
        exact = scores[lost].to(at_target.dtype).log_softmax(1)
        log_softmax[lost] = exact[rows[: len(exact)], targets[lost]]
    log_target, written, d_gate, d_copy = _mixture(log_softmax, copying, 1.0 - smoothing)
    normaliser = target_scores - log_softmax
    loss = -((1.0 - smoothing) * log_target + smoothing * (mean - normaliser))
    # d loss / d scores = (h + e) softmax - h onehot - e / V; h = (1 - e) times the share that is written.
    hard = (1.0 - smoothing) * written
    scale = hard + smoothing
    share = torch.where(scale > 0, hard / scale, 0.0)
    probabilities[rows, targets] = at_target - share
    return _ChunkLoss(loss.double().sum(), probabilities, scale, d_gate, d_copy)


def _mixture(log_written: Tensor, copying: Copying, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log probability of the targets, the projection's share in it, gradients of gate and log_copy."""
    if not len(copying.gate):
        return log_written, torch.ones_like(log_written), copying.gate, copying.log_copy
    log_use, log_leave = functional.logsigmoid(copying.gate), functional.logsigmoid(-copying.gate)
    log_written = torch.where(copying.writable, log_written, -torch.inf) + log_use
    log_copied = log_leave + copying.log_copy
    log_target = torch.logaddexp(log_written, log_copied)
    # The share of each way in hindsight; the gate moves by how far it was from it beforehand.
    written, copied = (log_written - log_target).exp(), (log_copied - log_target).exp()
    return log_target, written, -scale * (written - log_use.exp()), -scale * copied
