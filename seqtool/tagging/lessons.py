"""What a teacher thinks of sentences, and which of them are read in an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seqtool.nn.forward_backward import Chain


@dataclass(frozen=True)
class Lessons:
    """What a teacher thinks of the last sentences of a corpus.

    Attributes:
        scores: Its emission scores for each of them, nats, [T, K].
        chain: Its transition, start and end scores.
        first: Index of the first of these sentences in the corpus; those before are annotated.
    """

    scores: list[Tensor]
    chain: Chain
    first: int

    def batch(self, sentences: Sequence[int], lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The teacher's scores for some sentences of the corpus, and which of them are annotated.

        Args:
            sentences: Their indices in the corpus.
            lengths: Number of tokens of each.

        Returns:
            Emission scores, nats, 0 for annotated sentences and at padding, [B, T, K]; and whether a
            sentence is annotated, [B].
        """
        tags = self.scores[0].shape[1]
        rows = [
            torch.zeros(length, tags) if number < self.first else self.scores[number - self.first]
            for number, length in zip(sentences, lengths, strict=True)
        ]
        return pad_sequence(rows, batch_first=True), torch.tensor([i < self.first for i in sentences])

    def of_epoch(self, epoch: int, ratio: float, seed: int) -> list[int]:
        """Indices of the sentences of an epoch: all annotated ones, and some of the others in turn.

        Args:
            epoch: Number of the epoch, from 0.
            ratio: How many of the teacher's sentences there are for each annotated one.
            seed: Random seed of their order.
        """
        count, wanted = len(self.scores), round(self.first * ratio)
        chosen: list[int] = []
        place = epoch * wanted
        while len(chosen) < wanted:
            order = numpy.random.default_rng([seed, place // count]).permutation(count)
            here = place % count
            taken = order[here : here + wanted - len(chosen)].tolist()
            chosen += taken
            place += len(taken)
        return [*range(self.first), *(self.first + number for number in chosen)]
