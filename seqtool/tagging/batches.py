"""The batches of a tagger's training, each built when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from seqtool.tagging.augmentation import Augmentation
from seqtool.tagging.data import TaggingData
from seqtool.tagging.documents import laid_out, passages
from seqtool.tagging.encoding import Batch, Corpus, Vocabularies, encode
from seqtool.tagging.settings import TaggerSettings
from seqtool.text.batching import training_batches


class TrainingBatches:
    """The batches of an epoch, a pure function of its number.

    Args:
        vocabularies: Of the model.
        data: With the training part.
        corpus: That part, encoded.
        settings: Of the run.
        device: Where the batches go.
    """

    def __init__(
        self,
        vocabularies: Vocabularies,
        data: TaggingData,
        corpus: Corpus,
        settings: TaggerSettings,
        device: torch.device,
    ) -> None:
        self._vocabularies, self._corpus = vocabularies, corpus
        self._settings, self._device = settings, device
        self._augmentation: Augmentation | None = None
        training = settings.training
        if training.mention_replacement or training.lowercase:
            self._augmentation = Augmentation(
                data.train,
                data.scheme,
                mention_replacement=training.mention_replacement,
                lowercase=training.lowercase,
                seed=settings.seed,
            )
        self._passages: list[list[int]] | None = None
        if settings.model.document_hidden:
            self._passages = passages(data.train, training.passage)

    def __call__(self, epoch: int) -> LazyBatches:
        """Batches of nearly equal length, shuffled."""
        corpus = self._corpus
        if self._augmentation is not None:
            sentences = self._augmentation.epoch(epoch)
            # Each epoch has a table of its own: the order of the forms in it decides which random number
            # is whose, and must not depend on the epochs that this process has seen before.
            corpus = encode(sentences, self._vocabularies, corpus.table.copy(), with_tags=True)
        return LazyBatches(corpus, self._passages, self._settings, epoch, self._device)


class LazyBatches(Sequence[Batch]):
    """Those of one epoch: sentences of nearly equal length, or passages whose longest ones are.

    Args:
        corpus: The training part, encoded.
        passages: Which sentences follow each other; None = each is by itself.
        settings: Of the run.
        epoch: Its number, from 0.
        device: Where the batches go.
    """

    def __init__(
        self,
        corpus: Corpus,
        passages: list[list[int]] | None,
        settings: TaggerSettings,
        epoch: int,
        device: torch.device,
    ) -> None:
        self._corpus, self._passages, self._device = corpus, passages, device
        each = [[i] for i in range(len(corpus.lengths))] if passages is None else passages
        self._counts = [len(together) for together in each]
        self._lengths = [max(corpus.lengths[i] for i in together) for together in each]
        budget = settings.training.batch_tokens
        self._parts = training_batches(
            self._lengths, budget=budget, seed=settings.seed, epoch=epoch, counts=self._counts
        )

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        part = self._parts[number]
        if self._passages is None:
            return self._corpus.batch(part).to(self._device)
        chosen = [self._passages[i] for i in part]
        together = [sentence for passage in chosen for sentence in passage]
        return self._corpus.batch(together, laid_out([len(each) for each in chosen])).to(self._device)

    @property
    def largest(self) -> int:
        """Number of the batch with the most padded tokens."""
        return max(range(len(self)), key=lambda i: self._padded(self._parts[i]))

    def _padded(self, part: list[int]) -> int:
        return max(self._lengths[i] for i in part) * sum(self._counts[i] for i in part)
