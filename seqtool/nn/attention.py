"""Attention: how much each source position counts at a target step.

A decoder asks with `query` [B, K, Q], K rows a sentence: the hypotheses of a beam, or the
steps of a target when they are all known. What belongs to the source is computed once a
sentence and never tiled: the keys, and the *values*. A context vector is a weighted sum of
encoder states, and whatever reads it is linear, so the states go through those maps first,
all in one product, and the sum is taken over the results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32

Scorer = Callable[
    [Tensor, Tensor | None], Tensor
]  # query [B, K, Q], coverage [B, K, S] -> weights [B, K, G x S]


class Attention(nn.Module, ABC):
    """Scores of source positions for a query; holds parameters only.

    Args:
        queries: Width Q of a query.
        states: Width C of an encoder state.
    """

    heads = 1  # G

    def __init__(self, queries: int, states: int) -> None:
        super().__init__()
        self.queries = queries
        self.states = states

    @abstractmethod
    def keys(self, states: Tensor) -> Tensor:
        """What the query is compared with, once a sentence: [B, S, C] -> [B, S, A]."""

    @abstractmethod
    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """The attention over these keys, for one pass over time.

        Args:
            keys: [B, S, A].
            mask: [B, S], True = a source position; at least one a sentence.
            linear: Makes the products with weights.

        Returns:
            A function of a query [B, K, Q] and of the coverage [B, K, S] (None without) to the
            weights [B, K, G x S], head after head; each head's sum to 1 and are 0 at padding.
        """


class AdditiveAttention(Attention):
    """e_s = v . tanh(W q + U h_s + c_s u), a = softmax(e), with c_s the coverage.

    With G heads, W q + U h_s is cut into G parts, each with a softmax of its own.

    Reference: Bahdanau et al. 2015, section 3.1 and appendix A.1.2; coverage: See et al. 2017,
    equation 11.
    """

    def __init__(
        self, queries: int, states: int, *, width: int, heads: int = 1, coverage: bool = False
    ) -> None:
        super().__init__(queries, states)
        assert width % heads == 0, (width, heads)
        self.heads = heads
        self.query = nn.Linear(queries, width, bias=False)
        self.key = nn.Linear(states, width)
        self.energy = nn.Parameter(torch.empty(width))
        self.coverage = nn.Parameter(torch.zeros(width)) if coverage else None
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        nn.init.uniform_(self.energy, -((3 / width) ** 0.5), (3 / width) ** 0.5)

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, C] -> [B, S, A]."""
        keys: Tensor = self.key(states)
        return keys

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`."""
        query_of = linear(self.query.weight)
        # tanh x = 2 sigmoid(2x) - 1, and a softmax does not see the constant. The sigmoid is several
        # times as fast on a CPU, and this function is what the attention spends its time on.
        keys = 2.0 * at_least_float32(keys)
        energy = 2.0 * self.energy.view(self.heads, -1)
        covering = None if self.coverage is None else 2.0 * self.coverage
        barrier = _barrier(keys, mask)

        def weights(query: Tensor, coverage: Tensor | None) -> Tensor:
            asked = 2.0 * query_of(query)
            if self.heads == 1:
                scores: Tensor = _AdditiveScores.apply(  # type: ignore[no-untyped-call]
                    keys, asked, energy[0], None if covering is None else coverage, covering
                )
                return (scores + barrier).softmax(2)
            features = torch.sigmoid(keys[:, None] + asked[:, :, None])
            parts = features.view(*features.shape[:3], *energy.shape)
            scores = (parts * energy).sum(4).transpose(2, 3) + barrier[:, :, None]  # [B, K, G, S]
            return scores.softmax(3).flatten(2)

        return weights


class _AdditiveScores(Function):
    """sigmoid(keys + query + coverage x covering) . energy: what the attention's time goes into.

    The features [B, K, S, A] are the largest thing of a step; here they are made in one block,
    changed where they stand, and their gradient is too.
    """

    @staticmethod
    def forward(
        ctx: Any,
        keys: Tensor,
        query: Tensor,
        energy: Tensor,
        coverage: Tensor | None,
        covering: Tensor | None,
    ) -> Tensor:
        features = keys[:, None] + query[:, :, None]
        if coverage is not None and covering is not None:
            features.addcmul_(coverage[..., None], covering)
        features.sigmoid_()
        ctx.save_for_backward(features, energy, coverage, covering)
        return features @ energy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, energy, coverage, covering = ctx.saved_tensors
        d_energy = gradient.flatten() @ features.flatten(0, 2)
        inner = gradient[..., None] * energy
        torch.ops.aten.sigmoid_backward.grad_input(inner, features, grad_input=inner)
        d_coverage = d_covering = None
        if coverage is not None:
            d_coverage = inner @ covering
            d_covering = coverage.flatten() @ inner.flatten(0, 2)
        d_keys = inner[:, 0] if inner.shape[1] == 1 else inner.sum(1)
        return d_keys, inner.sum(2), d_energy, d_coverage, d_covering


class GeneralAttention(Attention):
    """e_s = q . W h_s (Luong et al. 2015, section 3.1, equation 8)."""

    def __init__(self, queries: int, states: int) -> None:
        super().__init__(queries, states)
        self.key = nn.Linear(states, queries, bias=False)
        nn.init.xavier_uniform_(self.key.weight)

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, C] -> [B, S, Q]."""
        keys: Tensor = self.key(states)
        return keys

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`."""
        return _dot_products(keys, mask)


class DotAttention(Attention):
    """e_s = q . h_s (Luong et al. 2015, section 3.1, equation 8), h_s the sum of both directions.

    A query is as wide as one direction of the encoder; summing the two makes the widths agree.
    """

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, 2Q] -> [B, S, Q]."""
        ahead, back = states.chunk(2, 2)
        return ahead + back

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`."""
        return _dot_products(keys, mask)


class NoAttention(Attention):
    """Nothing is attended to: weights are 0, and so is every context (Sutskever et al. 2014)."""

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, C] -> [B, S, 0]."""
        return states[..., :0]

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`, but for the sums."""
        return lambda query, coverage: query.new_zeros(*query.shape[:2], mask.shape[1])


def context_values(states: Tensor, weight: Tensor, heads: int) -> Tensor:
    """Encoder states through a linear map of the context vector, for `mixed`.

    With G heads the context vector is the G parts of the states side by side, each summed
    under the weights of its own head.

    Args:
        states: [B, S, C].
        weight: [P, C].
        heads: G, a divisor of C.

    Returns:
        [B, G x S, P].
    """
    if heads == 1:
        return states @ weight.t()
    parts = states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)  # [B, G, S, C / G]
    maps = weight.reshape(len(weight), heads, -1).permute(1, 2, 0)  # [G, C / G, P]
    return torch.matmul(parts, maps).flatten(1, 2)


def mixed(weights: Tensor, values: Tensor) -> Tensor:
    """Weighted sums: [B, K, G x S] and [B, G x S, P] to [B, K, P]."""
    return torch.bmm(weights, values)


def mean_over_heads(weights: Tensor, heads: int) -> Tensor:
    """[B, K, G x S] to one weight a position, [B, K, S]."""
    return weights if heads == 1 else weights.reshape(*weights.shape[:2], heads, -1).mean(2)


def _dot_products(keys: Tensor, mask: Tensor) -> Scorer:
    keys = at_least_float32(keys)
    barrier = _barrier(keys, mask)
    columns = keys.transpose(1, 2)

    def weights(query: Tensor, coverage: Tensor | None) -> Tensor:
        return (torch.bmm(query, columns) + barrier).softmax(2)

    return weights


def _barrier(keys: Tensor, mask: Tensor) -> Tensor:
    """0 at source positions and -inf at padding, [B, 1, S]: added to scores before the softmax."""
    return keys.new_zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None]
