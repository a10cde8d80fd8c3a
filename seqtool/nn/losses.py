"""Summed losses with their counts; only the training loop divides.

Shapes: M rows (positions of a batch, flattened), D width of the features, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from seqtool.nn.deferred import at_least_float32

CHUNK = 256  # rows of scores per softmax, few enough to stay in the processor's cache
GROUP = 4 * CHUNK  # rows per matrix product, many because each product adds to the whole weight gradient


class LossSum(NamedTuple):
    """A summed loss. Uneven batches, accumulation and ranks all agree, because nothing is averaged early."""

    total: Tensor  # sum of the losses, nats, scalar
    count: int  # type: ignore[assignment]  # number of units summed over (it hides tuple.count)
    unit: Literal["token", "sentence", "character"]


class Copying(NamedTuple):
    """The copying part of a mixture of projection and copying (pointer-generator)."""

    gate: Tensor  # logit of the probability that the projection is used, [M]
    log_copy: Tensor  # log probability of copying the target, nats, [M]; -inf where the source lacks it
    writable: Tensor  # whether the projection has the target, [M], bool; if not, it can only be copied


def projected_cross_entropy(
    features: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    smoothing: float = 0.0,
    copying: Copying | None = None,
) -> Tensor:
    """Summed cross-entropy of softmax(features W^T + b), without holding all scores [M, V] at once.

    Rows are processed in chunks, and the gradients of a chunk are computed along with its loss, so that
    each score is computed once and then discarded.

    With `copying` the probability of a target is g p_projection + (1 - g) p_copy, computed in log space
    (See et al. 2017, equation 9); label smoothing then applies to the projection.

    Args:
        features: Inputs of the projection, [M, D].
        weight: Weight W of the projection, [V, D].
        bias: Bias b of the projection, [V].
        targets: Target ids, [M], in [0, V); any of them where the target is not writable.
        smoothing: Share e of label smoothing, in [0, 1): the part of the target distribution that is spread
            evenly over all V symbols (Szegedy et al. 2016, section 7).
        copying: Gate and probabilities of copying; None = no copying. Where neither the projection nor
            copying can produce the target, the loss is infinite.

    Returns:
        Summed loss, scalar, nats. It can be differentiated once.
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
    """Log probability of each target, for losses in which the weight of a row depends on other rows.

    Only one chunk of scores exists at a time: scores are computed once for the values and once more for the
    gradients.

    Args:
        features: Inputs of the projection, [M, D].
        weight: Weight W of the projection, [V, D].
        bias: Bias b of the projection, [V].
        targets: Target ids, [M], in [0, V); any of them where the target is not writable.
        copying: Gate and probabilities of copying; None = no copying. The projection or copying must be
            able to produce each target.

    Returns:
        Log probabilities, [M], nats. They can be differentiated once.
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
    """Features [M, D], weight [V, D], bias [V] and targets [M] to log probabilities [M]."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        device = features.device.type
        reduced = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else features.dtype
        rows, matrix, offset = (each.to(reduced) for each in (features, weight, bias))
        parts, normalisers = [], []
        with torch.autocast(device, enabled=False):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                scores = at_least_float32(functional.linear(rows[part], matrix, offset))  # [CHUNK, V]
                normalisers.append(scores.logsumexp(1))  # [CHUNK]
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
            scores = at_least_float32(functional.linear(rows[part], matrix, offset))  # [CHUNK, V]
            # d log p / d scores = onehot - softmax, [CHUNK, V]
            d_scores = (scores - normaliser[part, None]).exp_().mul_(-gradient[part, None])
            d_scores[torch.arange(len(d_scores), device=d_scores.device), targets[part]] += gradient[part]
            d_bias += d_scores.sum(0)
            d_scores = d_scores.to(rows.dtype)
            torch.mm(d_scores, matrix, out=d_rows[part])
            d_weight += d_scores.t() @ rows[part]
        return d_rows.to(of_features), d_weight.to(of_weight), d_bias.to(of_bias), None


class _ProjectedCrossEntropy(Function):
    """The summed loss, with all gradients computed in the forward pass.

    Features are [M, D], weight [V, D], bias [V], targets [M]; gate, log_copy and writable are [M], or empty
    without copying.
    """

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
                scores = functional.linear(rows[part], matrix, offset)  # [GROUP, V]
                scale = torch.empty(len(scores), dtype=total.dtype, device=features.device)  # [GROUP]
                for first in range(0, len(scores), CHUNK):
                    # rows of the chunk: within the group, and among all M
                    inner = slice(first, first + CHUNK)
                    outer = slice(start + first, start + first + len(scores[inner]))
                    copying = Copying(gate[outer], log_copy[outer], writable[outer])
                    chunk = _chunk_loss(scores[inner], targets[outer], mean[outer], smoothing, copying)
                    total += chunk.loss
                    d_gate[outer], d_copy[outer] = chunk.gate, chunk.log_copy
                    d_bias += chunk.scale @ chunk.unscaled
                    scores[inner], scale[inner] = chunk.unscaled, chunk.scale
                # `scores` now holds the unscaled gradients. Scaling the narrow factors instead of them
                # saves a pass over [GROUP, V].
                by_row = scale[:, None].to(reduced)  # [GROUP, 1]
                d_rows[part] = (scores @ matrix).mul_(by_row)  # [GROUP, D]
                d_weight += scores.t() @ (rows[part] * by_row)  # [V, D]
            d_features = d_rows.to(features.dtype)
            if smoothing:  # the even part of the target adds -e / V to the gradient of every score
                share = smoothing / len(weight)
                d_features -= share * weight.sum(0)
                d_weight -= share * features.sum(0)
                d_bias -= share * len(features)
        ctx.save_for_backward(d_features, d_weight, d_bias, d_gate, d_copy)
        return total.to(torch.promote_types(features.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        # The training loop starts backward with 1: then no large tensor is read and written again.
        scaled = saved if float(gradient) == 1.0 else tuple(gradient * each for each in saved)
        return (*scaled, None, None, None)


def _mean_scores(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean of each row's scores over the vocabulary, [M], without computing the scores."""
    features, weight, bias = (at_least_float32(each) for each in (features, weight, bias))
    return features @ weight.mean(0) + bias.mean()


class _ChunkLoss(NamedTuple):
    """Loss and gradients of a chunk of M rows; the gradient of the scores is `scale` times `unscaled`."""

    loss: Tensor  # summed loss, nats, scalar
    unscaled: Tensor  # [M, V]
    scale: Tensor  # [M]
    gate: Tensor  # gradient of the gate, [M]
    log_copy: Tensor  # gradient of log_copy, [M]


def _chunk_loss(
    scores: Tensor, targets: Tensor, mean: Tensor, smoothing: float, copying: Copying
) -> _ChunkLoss:
    """Loss and gradients of a chunk of rows, in as few passes over the scores as possible.

    Args:
        scores: Scores, nats, [M, V].
        targets: Target ids, [M].
        mean: Mean score of each row, nats, [M]; read only with smoothing.
        smoothing: Share e of label smoothing. Its even part, -e / V, is left out of the gradient of the
            scores.
        copying: Copying for these rows.
    """
    rows = torch.arange(len(scores), device=scores.device)
    probabilities = scores.softmax(1, dtype=torch.promote_types(scores.dtype, torch.float32))  # [M, V]
    # Of the targets, [M] each.
    at_target = probabilities[rows, targets]
    target_scores = scores[rows, targets].to(at_target.dtype)
    log_softmax = at_target.log()
    # Where the probability underflows, the logarithm is computed by the slower log_softmax.
    lost = at_target < torch.finfo(at_target.dtype).tiny
    if lost.any():
        exact = scores[lost].to(at_target.dtype).log_softmax(1)
        log_softmax[lost] = exact[rows[: len(exact)], targets[lost]]
    log_target, written, d_gate, d_copy = _mixture(log_softmax, copying, 1.0 - smoothing)
    normaliser = target_scores - log_softmax
    loss = -((1.0 - smoothing) * log_target + smoothing * (mean - normaliser))
    # d loss / d scores = (h + e) softmax - h onehot - e / V, with h = (1 - e) times the projection's share
    # in the probability of the target; unscaled: softmax - h / (h + e) onehot.
    hard = (1.0 - smoothing) * written
    scale = hard + smoothing  # [M]
    share = torch.where(scale > 0, hard / scale, 0.0)
    probabilities[rows, targets] = at_target - share
    return _ChunkLoss(loss.double().sum(), probabilities, scale, d_gate, d_copy)


def _mixture(log_written: Tensor, copying: Copying, scale: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The mixture of projection and copying at the targets.

    Args:
        log_written: Log probability of the targets under the projection, nats, [M].
        copying: Copying for these rows; empty tensors = no copying.
        scale: Factor of the gradients.

    Returns:
        Log probability of the targets, the projection's share in that probability, and the gradients of
        gate and log_copy for a loss of -log probability, [M] each.
    """
    if not len(copying.gate):
        return log_written, torch.ones_like(log_written), copying.gate, copying.log_copy
    log_use, log_leave = functional.logsigmoid(copying.gate), functional.logsigmoid(-copying.gate)
    log_written = torch.where(copying.writable, log_written, -torch.inf) + log_use
    log_copied = log_leave + copying.log_copy
    log_target = torch.logaddexp(log_written, log_copied)
    # Posterior shares of projection and copying; the gradient of the gate is prior minus posterior.
    written, copied = (log_written - log_target).exp(), (log_copied - log_target).exp()
    return log_target, written, -scale * (written - log_use.exp()), -scale * copied
