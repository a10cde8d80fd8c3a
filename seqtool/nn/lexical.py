"""Scores of tags by lexical features: the part of a feature CRF inside a neural one.

Each feature of a token and of its neighbours has a weight for each tag, as in a linear-chain CRF with
hand-made features (Lafferty et al. 2001, section 3); their sum is added to the emission scores of the
network. All features are those of a single form, so what a form contributes, to its own tag and to the tags
of its neighbours, is computed once per distinct form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALE = 3.0  # factor of the weights: a sparse feature is seen in few updates, so it has to learn faster


class LexicalFeatures(NamedTuple):
    """Ids of the lexical features of W forms, right-padded with 0."""

    own: Tensor  # features for the tag of the token itself, [W, M]
    around: Tensor  # features for the tags of its neighbours, [W, N]


class LexicalScores(nn.Module):
    """Weights of lexical features for the tags of a token and of its neighbours.

    Args:
        own: Number of features for the tag of the token itself; id 0 is padding.
        around: Number of features for the tags of its neighbours; id 0 is padding.
        tags: Number of tags K.
        window: Neighbours on each side whose features count, at least 0.
        dropout: Probability that training leaves a feature of a form out, in [0, 1).
    """

    def __init__(self, own: int, around: int, tags: int, window: int, dropout: float) -> None:
        super().__init__()
        self.window, self.tags, self.dropout = window, tags, dropout
        self.own = _zeros(own, tags)
        self.around: nn.Embedding | None = None
        if window:
            # Weights for the tags of the tokens around, from the first before to the last after.
            self.around = _zeros(around, 2 * window * tags)
        # Instead of a form: no token at distance i + 1 before (0) or after (1) this one, [2, window, K].
        self.edges = nn.Parameter(torch.zeros(2, window, tags))

    @property
    def outputs(self) -> int:
        """Length of what a form contributes, (2 window + 1) K."""
        return (2 * self.window + 1) * self.tags

    def forward(self, features: LexicalFeatures) -> Tensor:
        """What each form contributes to the scores of its own tag and of the tags around it, nats.

        Args:
            features: The features of W forms.

        Returns:
            Contributions, [W, (2 window + 1) K]: for its own tag, then for the tag of the token `window`
            positions before it, and so on to the one `window` positions after it.
        """
        parts = [self._summed(self.own, features.own)]
        if self.around is not None:
            parts.append(self._summed(self.around, features.around))
        return torch.cat(parts, 1)

    def _summed(self, weights: nn.Embedding, features: Tensor) -> Tensor:
        """The sum of the weights of the features of each form, in training with dropout."""
        # [W, M], the factor of each feature; 0 at padding
        factor = (features != 0).to(weights.weight.dtype)
        if self.training and self.dropout:
            factor = functional.dropout(factor, self.dropout)
        with torch.autocast(features.device.type, enabled=False):
            summed: Tensor = functional.embedding_bag(
                features, weights.weight, mode="sum", per_sample_weights=factor
            )
        return SCALE * summed

    def weights(self) -> tuple[Tensor, Tensor]:
        """All weights, nats.

        Returns:
            Of each feature for the tag of its own token, [features, K]; and of each feature for the tags of
            the tokens around it, from the one `window` positions before it to the one `window` positions
            after it, [features, 2 window, K].
        """
        own = SCALE * self.own.weight.detach()
        if self.around is None:
            return own, own.new_zeros(0, 0, self.tags)
        around = SCALE * self.around.weight.detach()
        return own, around.view(len(around), 2 * self.window, self.tags)

    def penalty(self, l1: float, l2: float) -> Tensor:
        """l1 times the sum of the absolute weights, plus l2 times that of their squares; scalar."""
        tables = [self.own.weight, self.edges, *([] if self.around is None else [self.around.weight])]
        total = self.own.weight.new_zeros(())
        for weight in (SCALE * table for table in tables):
            total = total + l1 * weight.abs().sum() + l2 * weight.square().sum()
        return total

    def scores(self, contributions: Tensor, mask: Tensor) -> Tensor:
        """Scores of the tags of each token, nats, [B, T, K].

        Args:
            contributions: What each token's form contributes, [B, T, (2 window + 1) K].
            mask: True at real tokens, right-padded, [B, T].
        """
        length = mask.shape[1]
        # [B, T, 2 window + 1, K]
        blocks = contributions.reshape(*mask.shape, 2 * self.window + 1, self.tags)
        # [B, T, K]
        scores: Tensor = blocks[:, :, 0].clone()
        edges = SCALE * self.edges
        for distance in range(1, self.window + 1):
            last = max(length - distance, 0)  # the first token that has no other at this distance after it
            here, there = slice(None, last), slice(distance, None)
            # The token at this distance before: what it contributes to those after it.
            scores[:, there] += blocks[:, here, self.window + distance]
            scores[:, :distance] += edges[0, distance - 1]
            # [B, T - distance, 1]: whether the token at this distance after is real
            real = mask[:, there, None]
            after = blocks[:, there, self.window + 1 - distance]
            scores[:, here] += torch.where(real, after, edges[1, distance - 1])
            scores[:, last:] += edges[1, distance - 1]
        return scores


def _zeros(features: int, width: int) -> nn.Embedding:
    """A table of weights that are all 0; it draws no random numbers, so the rest of a network is the same."""
    return nn.Embedding(features, width, padding_idx=0, _weight=torch.zeros(features, width))
