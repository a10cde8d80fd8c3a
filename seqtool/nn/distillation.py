"""Distillation of a CRF: the cross-entropy between the distributions over tag paths of two of them."""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.nn.crf import log_partition
from seqtool.nn.forward_backward import Chain, forward_backward


def path_cross_entropy(
    scores: Tensor, chain: Chain, teacher: Tensor, of_teacher: Chain, mask: Tensor
) -> Tensor:
    """Expected negative log-likelihood of a tag path drawn from a teacher, nats, summed over sentences.

    It is log Z minus the expected score of a path, for which the teacher's marginals of tags and edges are
    enough; nothing is sampled. It is least where the student's distribution is the teacher's.

    Args:
        scores: Emission scores of the student, nats, [B, T, K].
        chain: Its transition, start and end scores.
        teacher: Emission scores of the teacher, nats, [B, T, K]; no gradient flows to them.
        of_teacher: Its transition, start and end scores.
        mask: True at real tokens, right-padded, [B, T].

    Returns:
        The sum, scalar, nats, float64.

    Reference: Hinton, Vinyals and Dean 2015, section 2, for paths instead of classes.
    """
    with torch.no_grad():
        found = forward_backward(teacher, Chain(*(part.detach() for part in of_teacher)), mask)
        unary = found.unary()  # [B, T, K], 0 at padding
        edges = found.edges(unary.new_ones(len(unary)))  # [K, K], summed over sentences and positions
        first, last = unary[:, 0].sum(0), unary[torch.arange(len(unary)), found.ends].sum(0)  # [K] each
    expected = _weighted(unary, scores) + _weighted(edges, chain.transitions)
    expected = expected + _weighted(first, chain.start) + _weighted(last, chain.end)
    return log_partition(scores, chain, mask).sum() - expected


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """The sum of values, each times its weight; a value of -inf counts 0 where its weight is 0."""
    possible = weights > 0
    return (weights * values.double().masked_fill(~possible, 0.0)).sum()
