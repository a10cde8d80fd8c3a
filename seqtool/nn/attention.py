"""Attention: the weight of each source position at a target step.

A decoder passes a `query` [B, K, Q] with K rows per sentence: the hypotheses of a beam, or all steps of a
target that is known. What depends on the source alone is computed once per sentence and never tiled: the
keys, and the *values*. A context vector is a weighted sum of encoder states, and every layer that reads it
is linear, so those linear maps are applied to the states first, in one product, and the weighted sum is
taken over the results.

Shapes: B sentences, K query rows per sentence, S source positions, G heads, Q query width, C width of an
encoder state, A width of the keys, P width of the values.
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
    """A function that scores source positions for a query; it holds parameters only.

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
        """The keys that a query is compared with, computed once per sentence: [B, S, C] -> [B, S, A]."""

    @abstractmethod
    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """The attention over these keys, for one pass over time.

        Args:
            keys: Keys, [B, S, A].
            mask: True at source positions, [B, S]; at least one per sentence.
            linear: Makes the products with weights.

        Returns:
            A function from a query [B, K, Q] and the coverage [B, K, S] (None = no coverage) to attention
            weights [B, K, G x S], head after head; the weights of a head sum to 1 and are 0 at padding.
        """


class AdditiveAttention(Attention):
    """e_s = v . tanh(W q + U h_s + c_s u), a = softmax(e), where c_s is the coverage of position s.

    With G heads the A units are cut into G parts, each with a softmax of its own.

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
        # tanh x = 2 sigmoid(2x) - 1, and softmax is invariant to the constant. On a CPU the sigmoid is
        # several times as fast as tanh, which attention would spend most of its time on.
        keys = 2.0 * at_least_float32(keys)  # [B, S, A]
        energy = 2.0 * self.energy.view(self.heads, -1)  # [G, A / G]
        covering = None if self.coverage is None else 2.0 * self.coverage  # [A]
        barrier = _barrier(keys, mask)  # [B, 1, S]

        def weights(query: Tensor, coverage: Tensor | None) -> Tensor:
            asked = 2.0 * query_of(query)  # [B, K, A]
            if self.heads == 1:
                # [B, K, S]
                scores: Tensor = _AdditiveScores.apply(  # type: ignore[no-untyped-call]
                    keys, asked, energy[0], None if covering is None else coverage, covering
                )
                return (scores + barrier).softmax(2)
            features = torch.sigmoid(keys[:, None] + asked[:, :, None])  # [B, K, S, A]
            parts = features.view(*features.shape[:3], *energy.shape)  # [B, K, S, G, A / G]
            scores = (parts * energy).sum(4).transpose(2, 3) + barrier[:, :, None]  # [B, K, G, S]
            return scores.softmax(3).flatten(2)  # [B, K, G x S]

        return weights


class _AdditiveScores(Function):
    """sigmoid(keys + query + coverage x covering) . energy, where attention spends most of its time.

    The features [B, K, S, A] are the largest tensor of a step: they are allocated once and computed in
    place, and so is their gradient.

    Keys are [B, S, A], the query [B, K, A], energy and covering [A], the coverage [B, K, S]; the result is
    [B, K, S].
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
        features = keys[:, None] + query[:, :, None]  # [B, K, S, A]
        if coverage is not None and covering is not None:
            features.addcmul_(coverage[..., None], covering)
        features.sigmoid_()
        ctx.save_for_backward(features, energy, coverage, covering)
        return features @ energy  # [B, K, S]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, energy, coverage, covering = ctx.saved_tensors
        d_energy = gradient.flatten() @ features.flatten(0, 2)  # [A], summed over all B x K x S positions
        # Gradient of what the sigmoid is applied to, [B, K, S, A].
        inner = gradient[..., None] * energy
        torch.ops.aten.sigmoid_backward.grad_input(inner, features, grad_input=inner)
        d_coverage = d_covering = None
        if coverage is not None:
            d_coverage = inner @ covering  # [B, K, S]
            d_covering = coverage.flatten() @ inner.flatten(0, 2)  # [A]
        d_keys = inner[:, 0] if inner.shape[1] == 1 else inner.sum(1)  # [B, S, A]
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
    """e_s = q . h_s (Luong et al. 2015, section 3.1, equation 8), with h_s summed over both directions.

    A query is as wide as one direction of the encoder; summing the directions makes the widths agree.
    """

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, 2Q] -> [B, S, Q]."""
        ahead, back = states.chunk(2, 2)  # [B, S, Q] each
        return ahead + back

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`."""
        return _dot_products(keys, mask)


class NoAttention(Attention):
    """No attention: all weights are 0, and so is every context vector (Sutskever et al. 2014)."""

    def keys(self, states: Tensor) -> Tensor:
        """[B, S, C] -> [B, S, 0]."""
        return states[..., :0]

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears = DeferredLinear) -> Scorer:
        """See `Attention.scorer`; the weights are all 0."""
        return lambda query, coverage: query.new_zeros(*query.shape[:2], mask.shape[1])


def context_values(states: Tensor, weight: Tensor, heads: int) -> Tensor:
    """Encoder states after the linear map that reads the context vector, for `mixed`.

    With G heads the context vector is the concatenation of the G parts of the states, each summed under
    the weights of its own head.

    Args:
        states: Encoder states, [B, S, C].
        weight: Weight of the linear map, [P, C].
        heads: G, a divisor of C.

    Returns:
        Mapped states, head after head, [B, G x S, P].
    """
    if heads == 1:
        return states @ weight.t()
    parts = states.reshape(*states.shape[:2], heads, -1).transpose(1, 2)  # [B, G, S, C / G]
    maps = weight.reshape(len(weight), heads, -1).permute(1, 2, 0)  # [G, C / G, P]
    return torch.matmul(parts, maps).flatten(1, 2)  # [B, G, S, P] to [B, G x S, P]


def mixed(weights: Tensor, values: Tensor) -> Tensor:
    """Sums of values [B, G x S, P] under attention weights [B, K, G x S]: [B, K, P]."""
    return torch.bmm(weights, values)


def mean_over_heads(weights: Tensor, heads: int) -> Tensor:
    """Attention weights [B, K, G x S] averaged over the heads, [B, K, S]."""
    return weights if heads == 1 else weights.reshape(*weights.shape[:2], heads, -1).mean(2)


def _dot_products(keys: Tensor, mask: Tensor) -> Scorer:
    """A scorer whose scores are dot products of queries [B, K, Q] and keys [B, S, Q]."""
    keys = at_least_float32(keys)
    barrier = _barrier(keys, mask)  # [B, 1, S]
    columns = keys.transpose(1, 2)  # [B, Q, S]

    def weights(query: Tensor, coverage: Tensor | None) -> Tensor:
        return (torch.bmm(query, columns) + barrier).softmax(2)

    return weights


def _barrier(keys: Tensor, mask: Tensor) -> Tensor:
    """0 at source positions and -inf at padding, [B, 1, S]; added to the scores before the softmax."""
    return keys.new_zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None]
