"""Sentences as ids and as batches; the batches of training are built when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from seqtool.errors import DataError
from seqtool.nn.forms import Forms
from seqtool.tagging.augmentation import Augmentation
from seqtool.tagging.data import TaggingData
from seqtool.tagging.documents import passage_rows, passages
from seqtool.tagging.lessons import Lessons
from seqtool.tagging.readings import Readings
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.vocabulary import Vocabularies
from seqtool.text import tag_scheme
from seqtool.text.batching import LazyBatches, training_batches
from seqtool.text.columns import TaggedSentence
from seqtool.text.forms import FormTable
from seqtool.text.vocabulary import Vocabulary


class Batch(NamedTuple):
    """B sentences as tensors, right-padded to T tokens."""

    forms: Forms  # the distinct word forms of the batch
    rows: Tensor  # row in `forms` of each token, [B, T]; 0 at padding
    features: tuple[Tensor, ...]  # for each feature column its ids, [B, T]
    mask: Tensor  # True at real tokens, [B, T]
    tags: Tensor | None = None  # tag ids, [B, T]; 0 at padding
    possible: Tensor | None = None  # True at tags that a partial annotation allows, [B, T, K]
    passages: Tensor | None = None  # batch rows of the sentences of each passage, [D, S]; -1 at padding
    readings: Tensor | None = None  # states of language models at each token, [B, T, C]
    taught: Tensor | None = None  # emission scores of a teacher, nats, [B, T, K]; None = there is none
    annotated: Tensor | None = None  # with a teacher, whether a sentence has tags instead, [B]

    def to(self, device: torch.device) -> Batch:
        """A copy of the batch on another device; the batch itself on the CPU."""
        if device.type == "cpu":
            return self
        forms, rows, features, *others = self
        moved = (None if each is None else each.to(device) for each in others)
        columns = tuple(column.to(device) for column in features)
        return Batch(forms.to(device), rows.to(device), columns, *moved)  # type: ignore[arg-type]

    @property
    def annotated_part(self) -> Batch:
        """What a loss reads of the annotated sentences: mask, tags and possible tags."""
        if self.annotated is None:
            return self
        chosen = self.annotated
        return self._replace(
            mask=self.mask[chosen],
            tags=None if self.tags is None else self.tags[chosen],
            possible=None if self.possible is None else self.possible[chosen],
        )


@dataclass(frozen=True)
class Corpus:
    """Encoded sentences: rows in a form table, feature ids, tag ids; batches are built from it."""

    forms: list[numpy.ndarray]  # for each sentence the row of each token in `table`, [T]
    features: list[list[numpy.ndarray]]  # for each sentence and feature column its ids, [T]
    tags: list[numpy.ndarray] | None  # for each sentence its tag ids, [T]; -1 where partial or unknown
    partial: dict[int, numpy.ndarray]  # index of a partially annotated sentence to its allowed tags, [T, K]
    table: FormTable
    readings: Readings | None = None  # what language models find in the sentences; None = there are none
    lessons: Lessons | None = None  # what a teacher thinks of the last of the sentences; None = no teacher

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each sentence."""
        return [len(row) for row in self.forms]

    def batch(self, sentences: Sequence[int], passages: Tensor | None = None) -> Batch:
        """Some of the sentences as a batch.

        Args:
            sentences: Their indices in the corpus.
            passages: Which of them follow each other in a document, as in `Batch.passages`.
        """
        rows, columns, mask = self.columns(sentences)
        # Each distinct form is encoded once per batch: [F] of them, and where each token finds its own.
        distinct, inverse = torch.unique(rows[mask], return_inverse=True)
        # [B, T]
        index = torch.zeros_like(rows)
        index[mask] = inverse
        tags = None
        if self.tags is not None:
            tags = _padded([self.tags[i] for i in sentences], mask.numpy())
        forms = self.table.rows(distinct.numpy())
        possible = self._possible(sentences, tags, mask)
        readings = None if self.readings is None else self.readings.batch(sentences)
        taught = annotated = None
        if self.lessons is not None:
            taught, annotated = self.lessons.batch(sentences, [len(self.forms[i]) for i in sentences])
        return Batch(forms, index, columns, mask, tags, possible, passages, readings, taught, annotated)

    def columns(self, sentences: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Rows in the form table [B, T], ids of each feature column [B, T] each, padding mask [B, T]."""
        rows = [self.forms[i] for i in sentences]
        lengths = numpy.array([len(row) for row in rows])
        mask = numpy.arange(lengths.max()) < lengths[:, None]
        features = tuple(
            _padded([self.features[i][column] for i in sentences], mask)
            for column in range(len(self.features[sentences[0]]))
        )
        return _padded(rows, mask), features, torch.from_numpy(mask)

    def _possible(self, sentences: Sequence[int], tags: Tensor | None, mask: Tensor) -> Tensor | None:
        """True at each tag that the annotation allows, [B, T, K]; None when every tag is known."""
        partial = {row: self.partial[i] for row, i in enumerate(sentences) if i in self.partial}
        if not partial or tags is None:
            return None
        count = next(iter(partial.values())).shape[1]
        # [B, T, K]
        possible = torch.nn.functional.one_hot(tags.clamp(min=0), count).bool()
        possible[~mask] = True
        for row, allowed in partial.items():
            possible[row, : len(allowed)] = torch.from_numpy(allowed)
        return possible


def encode(
    sentences: Sequence[TaggedSentence],
    vocabularies: Vocabularies,
    table: FormTable,
    *,
    with_tags: bool,
    partial_tags: bool = True,
    readings: Readings | None = None,
) -> Corpus:
    """Encode sentences as ids.

    Args:
        sentences: Sentences with as many feature columns as the model reads.
        vocabularies: Vocabularies of the model.
        table: Table of word forms over the same vocabularies; new forms are added to it.
        with_tags: Whether to encode the tags; tags unknown to the model become -1.
        partial_tags: Whether `?` and `|` in tags mark partial annotation rather than being part of the tag.
        readings: What language models find in these sentences; None = the model has none.

    Raises:
        DataError: a sentence has more or fewer feature columns than the model reads.
    """
    forms, features, tags = [], [], []
    partial: dict[int, numpy.ndarray] = {}
    for number, sentence in enumerate(sentences):
        if len(sentence.features) != len(vocabularies.features):
            where = f"{sentence.source}:{sentence.line}" if sentence.source else f"sentence {number + 1}"
            raise DataError(
                f"{where}: {len(sentence.features)} feature columns, "
                f"but the model reads {len(vocabularies.features)}"
            )
        forms.append(table.indices(sentence.tokens))
        columns = zip(sentence.features, vocabularies.features, strict=True)
        features.append([_ids(column, vocabulary) for column, vocabulary in columns])
        if with_tags and sentence.tags is None:
            tags.append(numpy.full(len(sentence.tokens), -1, numpy.int64))
        elif with_tags and sentence.tags is not None:
            tags.append(_tag_ids(sentence.tags, vocabularies.tags))
            unknown = [tag for tag in sentence.tags if tag not in vocabularies.tags]
            if partial_tags and any(map(tag_scheme.is_partial, unknown)):
                partial[number] = _possible_tags(sentence, vocabularies.tags)
    return Corpus(forms, features, tags if with_tags else None, partial, table, readings)


class TrainingBatches:
    """Makes the batches of an epoch, as a pure function of its number.

    Args:
        vocabularies: Vocabularies of the model.
        data: The data, of which the training part is read.
        corpus: The training part, encoded.
        settings: The run's settings.
        device: Device that the batches are moved to.
        raw: The sentences of the corpus that a teacher gives lessons about, after those of the data.
    """

    def __init__(
        self,
        vocabularies: Vocabularies,
        data: TaggingData,
        corpus: Corpus,
        settings: TaggerSettings,
        device: torch.device,
        raw: Sequence[TaggedSentence] = (),
    ) -> None:
        self._vocabularies, self._corpus, self._raw = vocabularies, corpus, raw
        self._settings, self._device = settings, device
        self._augmentation: Augmentation | None = None
        training = settings.training
        if augments(settings):
            self._augmentation = Augmentation(
                data.train,
                data.scheme,
                mention_replacement=training.mention_replacement,
                lowercase=training.lowercase,
                crop=training.crop,
                seed=settings.seed,
            )
        self._passages: list[list[int]] | None = None
        if settings.model.document_hidden:
            self._passages = passages(data.train, training.passage)

    def __call__(self, epoch: int) -> LazyBatches[Batch]:
        """Shuffled batches of sentences of similar length (or of passages, by their longest sentence).

        Args:
            epoch: Number of the epoch, from 0.
        """
        corpus, passages = self._corpus_of(epoch), self._passages
        lengths = self._lengths(corpus)
        if corpus.lessons is not None:
            return self._with_lessons(corpus, corpus.lessons, epoch)
        counts = [1] * len(lengths) if passages is None else list(map(len, passages))
        parts = training_batches(
            lengths,
            budget=self._settings.training.batch_tokens,
            seed=self._settings.seed,
            epoch=epoch,
            counts=counts,
        )
        sizes = [max(lengths[i] for i in part) * sum(counts[i] for i in part) for part in parts]

        def build(number: int) -> Batch:
            if passages is None:
                return corpus.batch(parts[number]).to(self._device)
            chosen = [passages[i] for i in parts[number]]
            together = [sentence for passage in chosen for sentence in passage]
            return corpus.batch(together, passage_rows(list(map(len, chosen)))).to(self._device)

        return LazyBatches(sizes, build)

    def _with_lessons(self, corpus: Corpus, lessons: Lessons, epoch: int) -> LazyBatches[Batch]:
        """Shuffled batches of the annotated sentences and some of those that a teacher speaks about."""
        training = self._settings.training
        chosen = lessons.of_epoch(epoch, training.raw_ratio, self._settings.seed)
        lengths = [len(corpus.forms[i]) for i in chosen]
        parts = training_batches(lengths, budget=training.batch_tokens, seed=self._settings.seed, epoch=epoch)
        sizes = [max(lengths[i] for i in part) * len(part) for part in parts]

        def build(number: int) -> Batch:
            return corpus.batch([chosen[i] for i in parts[number]]).to(self._device)

        return LazyBatches(sizes, build)

    def _corpus_of(self, epoch: int) -> Corpus:
        """The training part as this epoch reads it, augmented where the settings say so."""
        corpus = self._corpus
        if self._augmentation is not None:
            sentences = self._augmentation.epoch(epoch)
            # Each epoch gets a copy of the table: the order of its forms decides which form gets which
            # random number of dropout, and must not depend on which epochs this process ran before.
            sentences = [*sentences, *self._raw]
            readings = None if corpus.readings is None else corpus.readings.of_others(sentences)
            table = corpus.table.copy()
            made = encode(sentences, self._vocabularies, table, with_tags=True, readings=readings)
            corpus = replace(made, lessons=corpus.lessons)
        return corpus

    def _lengths(self, corpus: Corpus) -> list[int]:
        """Number of tokens of each sentence, or of the longest sentence of each passage."""
        if self._passages is None:
            return corpus.lengths
        return [max(corpus.lengths[i] for i in passage) for passage in self._passages]


def augments(settings: TaggerSettings) -> bool:
    """Whether each epoch reads other sentences, made from those of the training part."""
    training = settings.training
    return bool(training.mention_replacement or training.lowercase or training.crop)


def _ids(symbols: Sequence[str], vocabulary: Vocabulary) -> numpy.ndarray:
    return numpy.fromiter(map(vocabulary.id, symbols), numpy.int64, len(symbols))


def _tag_ids(tags: Sequence[str], vocabulary: Vocabulary) -> numpy.ndarray:
    """Tag ids, [T]; -1 where the model does not have the tag, or it is partial."""
    return numpy.array([vocabulary.id(tag) if tag in vocabulary else -1 for tag in tags], numpy.int64)


def _possible_tags(sentence: TaggedSentence, vocabulary: Vocabulary) -> numpy.ndarray:
    """True at each tag that the annotation of a sentence allows, [T, K]."""
    possible = numpy.zeros((len(sentence.tokens), len(vocabulary)), dtype=bool)
    for row, tag in zip(possible, sentence.tags or (), strict=True):
        if tag == tag_scheme.UNKNOWN and tag not in vocabulary:
            row[:] = True
        for alternative in (tag,) if tag in vocabulary else tag.split("|"):
            if alternative in vocabulary:
                row[vocabulary.id(alternative)] = True
    return possible


def _padded(rows: Sequence[numpy.ndarray], mask: numpy.ndarray) -> Tensor:
    """One tensor [B, T] from the values of each sentence, with 0 where `mask` [B, T] is False."""
    result = numpy.zeros(mask.shape, dtype=numpy.int64)
    result[mask] = numpy.concatenate(rows)
    return torch.from_numpy(result)
