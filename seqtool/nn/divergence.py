"""How far two predictions of the same thing are apart, for a network that is to agree with itself."""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.nn.crf import check_chain_input
from seqtool.nn.forward_backward import Chain

IMPOSSIBLE = -1e4  # nats: a finite score in place of -inf, whose derivatives are not numbers


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of distributions given by their logarithms, summed over rows.

    Args:
        first: log p, nats, [..., V]; -inf where both are 0.
        second: log q, likewise.

    Returns:
        Scalar, nats.
    """
    possible = (first > -torch.inf) & (second > -torch.inf)
    log_p, log_q = first.masked_fill(~possible, 0.0), second.masked_fill(~possible, 0.0)
    terms = (log_p.exp() - log_q.exp()) * (log_p - log_q)  # the terms of both directions together
    return terms.masked_fill(~possible, 0.0).double().sum().to(terms.dtype)


def symmetric_path_divergence(first: Tensor, second: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of the distributions over tag paths of two CRFs with one chain.

    Their log-partitions cancel, and so do the transitions: what is left is
    sum_t sum_k (p(y_t = k) - q(y_t = k)) (s_tk - r_tk) with emissions s and r.

    Args:
        first: Emission scores of p, nats, [B, T, K].
        second: Emission scores of q, likewise.
        chain: Transition, start and end scores of both.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        Scalar, nats, float64; summed over sentences.
    """
    check_chain_input(first, chain, mask)
    marginals = [_unary_marginals(scores, chain, mask) for scores in (first, second)]
    moved = (first - second).double().masked_fill(~mask[:, :, None], 0.0)
    return ((marginals[0] - marginals[1]) * moved).sum()


def _unary_marginals(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """p(y_t = k), [B, T, K], float64, which can be differentiated."""
    scores = scores.double().masked_fill(~mask[:, :, None], 0.0)
    scores = scores if scores.requires_grad else scores.requires_grad_()
    with torch.enable_grad():
        total = _log_partition(scores, Chain(*(part.double().clamp(min=IMPOSSIBLE) for part in chain)), mask)
        (result,) = torch.autograd.grad(total.sum(), scores, create_graph=True)
    return result


def _log_partition(scores: Tensor, chain: Chain, mask: Tensor) -> Tensor:
    """The forward algorithm as autograd records it: slower than `nn.crf.log_partition`, any derivative."""
    alpha = chain.start + scores[:, 0]
    for t in range(1, scores.shape[1]):
        following = torch.logsumexp(alpha[:, :, None] + chain.transitions, 1) + scores[:, t]
        alpha = torch.where(mask[:, t, None], following, alpha)
    return torch.logsumexp(alpha + chain.end, 1)
