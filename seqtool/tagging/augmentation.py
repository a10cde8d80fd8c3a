"""Data augmentation for taggers: entities replaced by others of their type, and lower-cased sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy

from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme, Span

MentionPool = dict[str, list[tuple[str, ...]]]  # entity type to its distinct surface forms, as tokens


class Augmentation:
    """Changes some of the training sentences, anew in each epoch.

    Mention replacement puts other entities of the same type, drawn from the training part, in the
    place of a sentence's entities. The model then cannot memorise which names occur in which
    sentences, and has to learn from spelling and context, which helps where the entities of new
    texts differ from those of training. Lower-casing keeps it from relying on capital letters alone.

    Args:
        sentences: Sentences of the training part, with tags in `scheme`.
        scheme: Tag scheme; None for tags without spans, whose sentences are only lower-cased.
        mention_replacement: Probability of replacing all entities of a sentence, in [0, 1).
        lowercase: Probability of lower-casing a sentence, in [0, 1).
        seed: Random seed of the run.

    Reference: Dai and Adel 2020, "An analysis of simple data augmentation for named entity
    recognition", section 3 (mention replacement; here every distinct entity is equally likely).
    """

    def __init__(
        self,
        sentences: Sequence[TaggedSentence],
        scheme: Scheme | None,
        *,
        mention_replacement: float,
        lowercase: float,
        seed: int,
    ) -> None:
        self._sentences = sentences
        self._scheme = scheme
        self._mention_replacement = mention_replacement
        self._lowercase = lowercase
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
            if generator.random() < self._lowercase:
                changed = replace(changed, tokens=tuple(token.lower() for token in changed.tokens))
            result.append(changed)
        return result

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
