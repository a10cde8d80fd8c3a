"""Sentences to tensors: the vocabularies of a tagger, and its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from seqtool.errors import DataError, ModelError
from seqtool.tagging.forms import Forms, FormTable, clipped, count_forms, normalise, shape
from seqtool.tagging.settings import VocabularySettings
from seqtool.text import tagscheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.vocabulary import PADDING, UNKNOWN, Vocabulary

RARE_SHAPE = 3  # shapes seen less often are unknown, which trains the unknown shape


class Batch(NamedTuple):
    """Some sentences as tensors, right-padded."""

    forms: Forms  # the distinct forms of the batch
    rows: Tensor  # row in `forms` of each token, [B, T]; 0 at padding
    features: tuple[Tensor, ...]  # ids of each extra column, [B, T]
    mask: Tensor  # True at real tokens, [B, T]
    tags: Tensor | None = None  # tag ids, [B, T]
    possible: Tensor | None = None  # of partially annotated sentences, [B, T, K]
    passages: Tensor | None = None  # rows of the sentences of each passage, -1 at padding, [D, S]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        if device.type == "cpu":
            return self
        return Batch(
            self.forms.to(device),
            self.rows.to(device),
            tuple(column.to(device) for column in self.features),
            self.mask.to(device),
            None if self.tags is None else self.tags.to(device),
            None if self.possible is None else self.possible.to(device),
            None if self.passages is None else self.passages.to(device),
        )


@dataclass(frozen=True)
class Vocabularies:
    """All symbols of a tagger, built from the training part."""

    words: Vocabulary
    characters: Vocabulary
    shapes: Vocabulary
    features: tuple[Vocabulary, ...]
    tags: Vocabulary
    word_counts: Mapping[str, int]  # of the normalised words; empty in a loaded model

    @classmethod
    def build(
        cls, sentences: Sequence[TaggedSentence], tags: Sequence[str], settings: VocabularySettings
    ) -> Vocabularies:
        """Count the training sentences; `tags` is the inventory in the order of its ids."""
        forms = count_forms(sentence.tokens for sentence in sentences)
        words: Counter[str] = Counter()
        characters: Counter[str] = Counter()
        shapes: Counter[str] = Counter()
        for form, count in forms.items():
            word = normalise(form, lowercase=settings.lowercase, zero_digits=settings.zero_digits)
            words[word] += count
            shapes[shape(form)] += count
            characters.update(clipped(form))
        columns = len(sentences[0].features)
        return cls(
            Vocabulary.build(words, reserved=(UNKNOWN,), min_count=settings.min_count, limit=settings.size),
            Vocabulary.build(characters, reserved=(PADDING, UNKNOWN)),
            Vocabulary.build(shapes, reserved=(UNKNOWN,), min_count=RARE_SHAPE),
            tuple(_feature_vocabulary(sentences, column) for column in range(columns)),
            Vocabulary(tags),
            words,
        )

    def form_table(self, settings: VocabularySettings) -> FormTable:
        """An empty table of forms over these vocabularies."""
        return FormTable(
            self.words,
            self.characters,
            self.shapes,
            lowercase=settings.lowercase,
            zero_digits=settings.zero_digits,
        )

    def to_texts(self) -> dict[str, str]:
        """File name to content, for the model folder."""
        named = {"words": self.words, "characters": self.characters, "shapes": self.shapes, "tags": self.tags}
        named |= {f"feature-{number}": column for number, column in enumerate(self.features, 1)}
        return {f"{name}.txt": vocabulary.to_text() for name, vocabulary in named.items()}

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> Vocabularies:
        """The inverse of `to_texts`.

        Raises:
            ModelError: a file is missing, or no vocabulary, or one without an unknown symbol.
        """
        missing = [name for name in ("words", "characters", "shapes", "tags") if f"{name}.txt" not in texts]
        if missing:
            raise ModelError(f"the model folder lacks {missing[0]}.txt")
        read = {
            name: Vocabulary.from_text(text, name) for name, text in texts.items() if name.endswith(".txt")
        }
        columns = sum(name.startswith("feature-") for name in read)
        features = [read.get(f"feature-{number}.txt") for number in range(1, columns + 1)]
        if None in features:
            raise ModelError("the model folder lacks the vocabulary of an extra column")
        for name, vocabulary in read.items():
            if vocabulary.unknown is None and name != "tags.txt":
                raise ModelError(f"{name} has no {UNKNOWN}; the model could not read new text")
        return cls(
            read["words.txt"],
            read["characters.txt"],
            read["shapes.txt"],
            tuple(column for column in features if column is not None),
            read["tags.txt"],
            {},
        )


@dataclass(frozen=True)
class Corpus:
    """Encoded sentences: rows in a form table, feature ids, tag ids; batches are cut from it."""

    forms: list[numpy.ndarray]  # row of each token, [T] a sentence
    features: list[list[numpy.ndarray]]  # ids of each extra column, [T] a sentence and column
    tags: list[numpy.ndarray] | None  # tag ids, -1 where partial or unknown to the model
    partial: dict[int, numpy.ndarray]  # sentence to possible tags, [T, K]
    table: FormTable

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sentence."""
        return [len(row) for row in self.forms]

    def batch(self, sentences: Sequence[int], passages: Tensor | None = None) -> Batch:
        """The given sentences as tensors, right-padded; `passages` says which of them follow each other."""
        rows, columns, mask = self.columns(sentences)
        distinct, inverse = torch.unique(rows[mask], return_inverse=True)
        index = torch.zeros_like(rows)
        index[mask] = inverse
        tags = None
        if self.tags is not None:
            tags = _padded([self.tags[i] for i in sentences], mask.numpy())
        forms = self.table.rows(distinct.numpy())
        return Batch(forms, index, columns, mask, tags, self._possible(sentences, tags, mask), passages)

    def columns(self, sentences: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Rows in the form table [B, T], ids of each extra column [B, T], the mask [B, T]."""
        rows = [self.forms[i] for i in sentences]
        lengths = numpy.array([len(row) for row in rows])
        mask = numpy.arange(lengths.max()) < lengths[:, None]
        features = tuple(
            _padded([self.features[i][column] for i in sentences], mask)
            for column in range(len(self.features[sentences[0]]))
        )
        return _padded(rows, mask), features, torch.from_numpy(mask)

    def _possible(self, sentences: Sequence[int], tags: Tensor | None, mask: Tensor) -> Tensor | None:
        """What the annotation leaves possible, [B, T, K]; None when every tag is known."""
        partial = {row: self.partial[i] for row, i in enumerate(sentences) if i in self.partial}
        if not partial or tags is None:
            return None
        count = next(iter(partial.values())).shape[1]
        possible = torch.nn.functional.one_hot(tags.clamp(min=0), count).bool()
        possible[~mask] = True
        for row, allowed in partial.items():
            possible[row, : len(allowed)] = torch.from_numpy(allowed)
        return possible


def encode(
    sentences: Sequence[TaggedSentence], vocabularies: Vocabularies, table: FormTable, *, with_tags: bool
) -> Corpus:
    """Numbers for sentences.

    Args:
        sentences: With as many extra columns as the model has.
        vocabularies: Of the model.
        table: Over the same vocabularies; new forms are added.
        with_tags: Whether to encode the tags; those unknown to the model become -1.

    Raises:
        DataError: a sentence lacks an extra column that the model reads.
    """
    forms, features, tags = [], [], []
    partial: dict[int, numpy.ndarray] = {}
    for number, sentence in enumerate(sentences):
        if len(sentence.features) != len(vocabularies.features):
            where = f"{sentence.source}:{sentence.line}" if sentence.source else f"sentence {number + 1}"
            raise DataError(
                f"{where}: {len(sentence.features)} extra columns, "
                f"but the model reads {len(vocabularies.features)}"
            )
        forms.append(table.indices(sentence.tokens))
        columns = zip(sentence.features, vocabularies.features, strict=True)
        features.append([_ids(column, vocabulary) for column, vocabulary in columns])
        if with_tags and sentence.tags is not None:
            tags.append(_tag_ids(sentence.tags, vocabularies.tags))
            if any(map(tagscheme.is_partial, sentence.tags)):
                partial[number] = _possible_tags(sentence, vocabularies.tags)
    return Corpus(forms, features, tags if with_tags else None, partial, table)


def _feature_vocabulary(sentences: Sequence[TaggedSentence], column: int) -> Vocabulary:
    counts = Counter(value for sentence in sentences for value in sentence.features[column])
    return Vocabulary.build(counts, reserved=(UNKNOWN,), min_count=1)


def _ids(symbols: Sequence[str], vocabulary: Vocabulary) -> numpy.ndarray:
    return numpy.fromiter(map(vocabulary.id, symbols), numpy.int64, len(symbols))


def _tag_ids(tags: Sequence[str], vocabulary: Vocabulary) -> numpy.ndarray:
    return numpy.array([vocabulary.id(tag) if tag in vocabulary else -1 for tag in tags], numpy.int64)


def _possible_tags(sentence: TaggedSentence, vocabulary: Vocabulary) -> numpy.ndarray:
    possible = numpy.zeros((len(sentence.tokens), len(vocabulary)), dtype=bool)
    for row, tag in zip(possible, sentence.tags or (), strict=True):
        if tag == tagscheme.UNKNOWN:
            row[:] = True
        for alternative in tag.split("|"):
            if alternative in vocabulary:
                row[vocabulary.id(alternative)] = True
    return possible


def _padded(rows: Sequence[numpy.ndarray], mask: numpy.ndarray) -> Tensor:
    """Values of all real tokens, sentence after sentence, to [B, T] with 0 at padding."""
    result = numpy.zeros(mask.shape, dtype=numpy.int64)
    result[mask] = numpy.concatenate(rows)
    return torch.from_numpy(result)
