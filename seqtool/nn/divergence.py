"""Divergence between two predictions for the same input, for R-Drop and the like."""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.nn.crf import check_chain_input
from seqtool.nn.forward_backward import Chain

IMPOSSIBLE = -1e4  # nats: replaces -inf, whose derivatives would be NaN


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p), summed over rows.

    Args:
        first: log p, nats, [..., V]; -inf where the probability is 0 in both.
        second: log q, nats, [..., V].

    Returns:
        Sum over all rows, scalar, nats.
    """
    possible = (first > -torch.inf) & (second > -torch.inf)
    log_p, log_q = first.masked_fill(~possible, 0.0), second.masked_fill(~possible, 0.0)
    terms = (log_p.exp() - log_q.exp()) * (log_p - log_q)  # both directions in one
    return terms.masked_fill(~possible, 0.0).double().sum().to(terms.dtype)


def symmetric_path_divergence(first: Tensor, second: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) between the distributions over tag paths of two CRFs that share a chain.

    The log-partitions and the transition scores cancel; what remains is
    sum_t sum_k (p(y_t = k) - q(y_t = k)) (s_tk - r_tk), with s and r the emission scores of p and q.

    Args:
        first: Emission scores of p, nats, [B, T, K].
        second: Emission scores of q, nats, [B, T, K].
        chain: Transition, start and end scores of both.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        Sum over sentences, scalar, nats, float64.
    """
    check_chain_input(first, chain, mask)
    marginals = [_unary_marginals(scores, chain, mask) for scores in (first, second)]
    moved = (first - second).double().masked_fill(~mask[:, :, None], 0.0)
    return ((marginals[0] - marginals[1]) * moved).sum()


def _unary_marginals(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """Differentiable marginals p(y_t = k), [B, T, K], float64: the gradient of the log-partition."""
    scores = scores.double().masked_fill(~mask[:, :, None], 0.0)
    scores = scores if scores.requires_grad else scores.requires_grad_()
    with torch.enable_grad():
        total = _log_partition(scores, Chain(*(part.double().clamp(min=IMPOSSIBLE) for part in chain)), mask)
        (result,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    return result


def _log_partition(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """The forward algorithm recorded by autograd: slower than `nn.crf.log_partition`, any derivative."""
    alpha = chain.start + scores[:, 0]  # [B, K]
    for t in range(1, scores.shape[1]):
        # [B, K from, K to], summed over the tag moved from
        following = torch.logsumexp(alpha[:, :, None] + chain.transitions, 1) + scores[:, t]
        alpha = torch.where(mask[:, t, None], following, alpha)
    return torch.logsumexp(alpha + chain.end, 1)
