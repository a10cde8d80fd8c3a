"""Learning from what other taggers think: distillation, and self-training on raw text.

A teacher, which may be an ensemble, gives no tags but its whole distribution over tag paths; the loss of a
sentence is the cross-entropy between that and the student's (`nn.distillation`). The teacher's sentences are
raw text, or the annotated ones if there is none.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.errors import DataError, counted
from seqtool.models.tensors import weights_digest
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.batches import Corpus, augments, encode
from seqtool.tagging.data import TaggingData
from seqtool.tagging.ensemble import TaggerEnsemble, require_alike
from seqtool.tagging.lessons import Lessons
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.readings import Readings
from seqtool.tagging.settings import TaggerSettings
from seqtool.text.columns import TaggedSentence
from seqtool.text.raw_text import sentences_of

MOST_RAW = 10  # tokens of raw text per annotated token that a teacher is asked about, at most
MOST_TOKENS = 100_000  # of raw text, at most: what language models find in them has to fit in memory


def lessons(
    teacher: TaggerModel,
    tags: Sequence[str],
    sentences: Sequence[TaggedSentence],
    readings: Readings | None,
    first: int,
) -> Lessons:
    """Ask a teacher about sentences.

    Args:
        teacher: The teacher, with the tags of the student in any order.
        tags: The tags of the student in the order of their ids.
        sentences: The sentences, without empty ones.
        readings: What the language models of the student find in them, if the teacher has the same.
        first: Number of annotated sentences before these in the corpus.
    """
    order = torch.tensor([teacher.vocabularies.tags.id(tag) for tag in tags])
    found: list[Tensor] = [torch.empty(0)] * len(sentences)
    for part, scores, mask in teacher.score_batches(sentences, readings=readings):
        for number, row, length in zip(part, scores.cpu()[:, :, order], mask.sum(1).tolist(), strict=True):
            found[number] = row[:length].clone()
    own = Chain(*(each.detach().cpu() for each in teacher.chain))
    chain = Chain(own.transitions[order][:, order], own.start[order], own.end[order])
    return Lessons(found, chain, first)


def raw_sentences(
    pool: Iterable[TaggedSentence], annotated: Sequence[TaggedSentence], limit: int, seed: int
) -> list[TaggedSentence]:
    """A random sample of raw sentences, each once, without those that are annotated or too long.

    Args:
        pool: The raw sentences.
        annotated: The training part, which says how many are needed.
        limit: Longest sentence, in tokens.
        seed: Random seed of the sample.
    """
    seen = {sentence.tokens for sentence in annotated}
    found = []
    for sentence in pool:
        if sentence.tokens not in seen and len(sentence.tokens) <= limit:
            seen.add(sentence.tokens)
            found.append(replace(sentence, tags=None, features=()))
    random.Random(seed).shuffle(found)
    room = min(MOST_RAW * sum(len(sentence.tokens) for sentence in annotated), MOST_TOKENS)
    kept = []
    for sentence in found:
        room -= len(sentence.tokens)
        if room < 0:
            break
        kept.append(sentence)
    return kept


class Lesson(NamedTuple):
    """What a teacher shall be asked, and what to tell about it; without a teacher all is empty."""

    teacher: TaggerModel | None = None
    sentences: Sequence[TaggedSentence] = ()
    facts: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


def lesson_of(
    teachers: Mapping[str, TaggerModel], model: TaggerModel, settings: TaggerSettings, data: TaggingData
) -> Lesson:
    """The teachers as one, and the sentences to ask it about: raw text, or else the training part.

    Args:
        teachers: The teachers, by their names in messages; may be empty.
        model: The model that learns from them.
        settings: The run's settings.
        data: Its data.

    Raises:
        UsageError: the teachers have other tags than the model.
    """
    if not teachers:
        return Lesson()
    for name, each in teachers.items():
        require_alike(model, each, "the training part", name)
    teacher = TaggerEnsemble(list(teachers.values()), list(teachers))
    sentences = [replace(sentence, tags=None) for sentence in data.train]
    where = "the training part"
    if settings.data.text:
        pool = sentences_of(Path(name) for name in settings.data.text)
        sentences = raw_sentences(pool, data.train, settings.data.max_length, settings.seed)
        where = "raw text"
        if not sentences:
            raise DataError("data.text: no sentence that is not in the training part")
    what, names = counted(len(sentences), "sentence"), " and ".join(teachers)
    fact = f"also learned: {what} of {where} as tagged by {names}"
    digests = tuple(weights_digest(each.network) for each in teacher.members)
    return Lesson(teacher, sentences, (fact,), digests)


def taught_corpus(model: TaggerModel, settings: TaggerSettings, data: TaggingData, lesson: Lesson) -> Corpus:
    """The training part and the sentences of a teacher, encoded, with all that is known about them."""
    sentences = [*data.train, *lesson.sentences]
    readings = model.readings(sentences, keep=not augments(settings))
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(
        sentences,
        model.vocabularies,
        table,
        with_tags=True,
        partial_tags=data.partial,
        readings=readings,
    )
    if lesson.teacher is None:
        return corpus
    theirs = [reader.digest for reader in lesson.teacher.readers]
    same = readings is not None and theirs == [reader.digest for reader in model.readers]
    asked = readings.part(len(data.train)) if readings is not None and same else None
    tags = model.vocabularies.tags.symbols
    return replace(corpus, lessons=lessons(lesson.teacher, tags, lesson.sentences, asked, len(data.train)))
