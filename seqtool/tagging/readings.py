"""What language models find in sentences: their states at each token, kept in memory if that is small."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from seqtool.nn.regularization import SequenceDropout
from seqtool.tagging.settings import ModelSettings
from seqtool.text.columns import TaggedSentence

if TYPE_CHECKING:
    from seqtool.lm.reading import SentenceReader

KEPT = 2**30  # bytes of states that are kept in memory; more are computed anew for each batch


class Readings:
    """The states of language models at the tokens of sentences.

    Args:
        readers: The language models, at least one.
        sentences: The sentences.
        keep: Whether to read all of them at once and to keep the states, if they fit in `KEPT` bytes.
    """

    def __init__(
        self, readers: Sequence[SentenceReader], sentences: Sequence[TaggedSentence], *, keep: bool
    ) -> None:
        self._readers = readers
        self._tokens = [sentence.tokens for sentence in sentences]
        self._states: list[Tensor] | None = None
        width = sum(reader.outputs for reader in readers)
        if keep and sum(map(len, self._tokens)) * width * torch.float32.itemsize <= KEPT:
            self._states = self._read(self._tokens)

    def batch(self, sentences: Sequence[int]) -> Tensor:
        """The states of some sentences, 0 at padding, [B, T, C]; C is the width of all language models."""
        if self._states is None:
            return pad_sequence(self._read([self._tokens[i] for i in sentences]), batch_first=True)
        return pad_sequence([self._states[i] for i in sentences], batch_first=True)

    def part(self, first: int) -> Readings:
        """The readings of the sentences from `first` on."""
        result = copy(self)
        result._tokens = self._tokens[first:]
        result._states = None if self._states is None else self._states[first:]
        return result

    def of_others(self, sentences: Sequence[TaggedSentence]) -> Readings:
        """The readings of other sentences by the same language models, which are not kept."""
        return Readings(self._readers, sentences, keep=False)

    def _read(self, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
        """The states at the tokens of each sentence, [T, C] each."""
        by_reader = [reader.vectors(sentences) for reader in self._readers]
        return [torch.cat(states, 1) for states in zip(*by_reader, strict=True)]


class ReadingInput(nn.Module):
    """The states of language models as an input of the encoder: with dropout, and projected.

    Args:
        settings: The network's settings.
        readers: The language models.
    """

    def __init__(self, settings: ModelSettings, readers: Sequence[SentenceReader]) -> None:
        super().__init__()
        width = sum(reader.outputs for reader in readers)
        self.dropout = SequenceDropout(settings.language_model_dropout, settings.locked)
        self.outputs = settings.language_model_projection or width
        self.projection: nn.Linear | None = None
        if settings.language_model_projection:
            self.projection = nn.Linear(width, self.outputs)
            nn.init.xavier_uniform_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)

    def forward(self, states: Tensor) -> Tensor:
        """States of language models, [B, T, C], to inputs of the encoder, [B, T, outputs]."""
        dropped: Tensor = self.dropout(states)
        return dropped if self.projection is None else self.projection(dropped)
