"""Data augmentation for taggers: other entities of the same type, sentences cropped or in lower case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy

from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme, Span

SHORTEST = 3  # tokens of a sentence that can be cropped
MentionPool = dict[str, list[tuple[str, ...]]]  # entity type to its distinct surface forms, as tokens


class Augmentation:
    """Changes some of the training sentences, anew in each epoch.

    Mention replacement puts other entities of the same type, drawn from the training part, in the
    place of a sentence's entities. The model then cannot memorise which names occur in which
    sentences, and has to learn from spelling and context, which helps where the entities of new
    texts differ from those of training. Lower-casing keeps it from relying on capital letters alone. Cropping
    lets a sentence begin at one of its later words, with a capital letter: otherwise a few hundred sentences
    show few first words, and the model takes others for names.

    Args:
        sentences: Sentences of the training part, with tags in `scheme`.
        scheme: Tag scheme; None for tags without spans, where there are no entities to replace.
        mention_replacement: Probability of replacing all entities of a sentence, in [0, 1).
        lowercase: Probability of lower-casing a sentence, in [0, 1).
        crop: Probability of cropping a sentence, in [0, 1).
        seed: Random seed of the run.

    Reference: Dai and Adel 2020, "An analysis of simple data augmentation for named entity
    recognition", section 3 (mention replacement; here every distinct entity is equally likely). Sahin and
    Steedman 2018, "Data augmentation via dependency tree morphing for low-resource languages", section 3.1
    (cropping; there along a dependency tree).
    """

    def __init__(
        self,
        sentences: Sequence[TaggedSentence],
        scheme: Scheme | None,
        *,
        mention_replacement: float,
        lowercase: float,
        crop: float,
        seed: int,
    ) -> None:
        self._sentences = sentences
        self._scheme = scheme
        self._mention_replacement = mention_replacement
        self._lowercase = lowercase
        self._crop = crop
        self._seed = seed
        self._spans = [self._spans_of(sentence) for sentence in sentences]
        self._pool = self._collect()

    def epoch(self, number: int) -> list[TaggedSentence]:
        """All sentences as epoch `number` (from 0) reads them; a pure function of that number."""
        generator = numpy.random.default_rng([self._seed, number, 1])
        result = []
        for sentence, spans in zip(self._sentences, self._spans, strict=True):
            changed = sentence
            if spans and generator.random() < self._mention_replacement:
                changed = self._replaced(changed, spans, generator)
            if self._crop and generator.random() < self._crop:
                changed = self._cropped(changed, generator)
            if generator.random() < self._lowercase:
                changed = replace(changed, tokens=tuple(token.lower() for token in changed.tokens))
            result.append(changed)
        return result

    def _cropped(self, sentence: TaggedSentence, generator: numpy.random.Generator) -> TaggedSentence:
        """The sentence from one of its later words on, or as it is if that word cannot begin a sentence."""
        tags = sentence.tags or ()
        if len(tags) < SHORTEST:
            return sentence
        start = int(generator.integers(1, len(tags) - 1))
        first = sentence.tokens[start]
        may_be_inside = self._scheme is not None and "O" not in tags[start - 1 : start + 1]
        if may_be_inside or not first[0].islower():
            return sentence
        return replace(
            sentence,
            tokens=(first[0].upper() + first[1:], *sentence.tokens[start + 1 :]),
            tags=tags[start:],
            features=tuple(column[start:] for column in sentence.features),
        )

    def _spans_of(self, sentence: TaggedSentence) -> list[Span]:
        """The entities that can be replaced: none in sentences with partial tags or feature columns."""
        tags = list(sentence.tags or ())
        if self._scheme is None or sentence.features or any(map(tag_scheme.is_partial, tags)):
            return []
        return tag_scheme.spans(tags, self._scheme)

    def _collect(self) -> MentionPool:
        """The distinct surface forms of each type in the training part, sorted."""
        found: dict[str, set[tuple[str, ...]]] = {}
        for sentence, spans in zip(self._sentences, self._spans, strict=True):
            for span in spans:
                found.setdefault(span.type, set()).add(sentence.tokens[span.start : span.end])
        return {kind: sorted(surfaces) for kind, surfaces in found.items()}

    def _replaced(
        self, sentence: TaggedSentence, spans: Sequence[Span], generator: numpy.random.Generator
    ) -> TaggedSentence:
        """The sentence with each of its entities replaced by a random one of the same type."""
        tokens: list[str] = []
        moved = []  # spans of the new entities in the new sentence
        assert self._scheme is not None, "only spans are replaced"
        copied = 0  # number of tokens of the original sentence that have been processed
        for span in spans:
            tokens += sentence.tokens[copied : span.start]
            surfaces = self._pool[span.type]
            mention = surfaces[int(generator.integers(len(surfaces)))]
            moved.append(Span(len(tokens), len(tokens) + len(mention), span.type))
            tokens += mention
            copied = span.end
        tokens += sentence.tokens[copied:]
        tags = tag_scheme.from_spans(moved, len(tokens), self._scheme)
        return replace(sentence, tokens=tuple(tokens), tags=tuple(tags))
