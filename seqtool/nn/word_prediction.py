"""A further objective of a tagger: each direction of its encoder predicts the word that it reads next.

Shapes: B sentences, T tokens, H hidden units of each direction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.losses import projected_cross_entropy

WIDTH = 50  # of the layer before the softmax, as in the paper
WORDS = 7500  # the most frequent words, which are told apart, as in the paper


class WordPrediction(nn.Module):
    """The next word from a layer's forward states, and the previous word from its backward states.

    Only training needs it: it teaches the encoder what words go together, which tags alone say little about.
    The states must know nothing of the words to be predicted, so the encoder has one layer.

    Args:
        hidden: Hidden units H of each direction.
        words: Size of the word vocabulary, most frequent words first; id 0 is the unknown word, and so are
            all words beyond the first `WORDS`.

    Reference: Rei 2017, "Semi-supervised multitask learning for sequence labeling", section 3.
    """

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        self.known = min(words, WORDS)  # the id after the last of them is that of the end of a sentence
        self.ahead, self.back = (_Softmax(hidden, self.known + 1) for _ in range(2))

    def forward(self, states: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        """Summed cross-entropy of both directions, nats.

        Args:
            states: States of the encoder, the forward ones first, [B, T, 2H].
            words: Word ids, [B, T].
            mask: True at real tokens, right-padded, [B, T].
        """
        words = words.masked_fill(words >= self.known, 0).masked_fill(~mask, self.known)
        # [B, T + 2], with the end of the sentence on both sides
        around = functional.pad(words, (1, 1), value=self.known)
        # [N, H] each, the N real tokens
        ahead, back = states[mask].chunk(2, 1)
        total: Tensor = self.ahead(ahead, around[:, 2:][mask]) + self.back(back, around[:, :-2][mask])
        return total


class _Softmax(nn.Module):
    """A narrow layer and a softmax over words."""

    def __init__(self, hidden: int, words: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(hidden, WIDTH)
        self.words = nn.Linear(WIDTH, words)

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Summed cross-entropy, nats, of targets [N] given states [N, H]."""
        return projected_cross_entropy(
            torch.tanh(self.narrow(states)), self.words.weight, self.words.bias, targets
        )
