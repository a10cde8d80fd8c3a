"""What an encoder learns from text alone: each direction predicts the symbol that it reads next.

Shapes: B texts, S symbols, H hidden units of each direction, E width of an embedding, V symbols.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.losses import LossSum, projected_cross_entropy


class SymbolPrediction(nn.Module):
    """The next symbol from a layer's forward states, and the previous one from its backward states.

    Two language models, whose embeddings are those that the encoder reads and predicts alike (Press and Wolf
    2017). Only training needs it.

    Args:
        hidden: Hidden units H of each direction.
        width: Width E of an embedding.
        symbols: V, size of the vocabulary.

    Reference: Ramachandran et al. 2017, "Unsupervised pretraining for sequence to sequence learning",
    section 2.1; there the encoder reads in one direction only.
    """

    def __init__(self, hidden: int, width: int, symbols: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(hidden, width) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(symbols))

    def forward(self, states: Tensor, ids: Tensor, mask: Tensor, embeddings: Tensor) -> LossSum:
        """Summed cross-entropy of both directions, nats, over all symbols that are predicted.

        The last symbol of a text marks its end, for the backward direction its beginning as well.

        Args:
            states: States of the layer, the forward ones first, [B, S, 2H].
            ids: Symbols that it read, [B, S].
            mask: True at real symbols, right-padded, [B, S].
            embeddings: Embeddings of all symbols, [V, E].
        """
        ahead, back = states.chunk(2, 2)
        ends = ids.gather(1, mask.sum(1, keepdim=True) - 1)  # [B, 1]
        before = torch.cat([ends, ids[:, :-1]], 1)  # [B, S]
        further = functional.pad(mask[:, 1:], (0, 1))  # [B, S], True where another symbol follows
        # [N, E] each, the N symbols that are predicted in each direction
        queries = [self.maps[0](ahead[further]), self.maps[1](back[mask])]
        targets = torch.cat([ids[:, 1:][mask[:, 1:]], before[mask]])
        total = projected_cross_entropy(torch.cat(queries), embeddings, self.bias, targets)
        return LossSum(total, len(targets), "token")
