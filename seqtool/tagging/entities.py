"""Entities that a tagger finds in plain text, with their character offsets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from seqtool.errors import ModelError
from seqtool.text.columns import TaggedSentence
from seqtool.text.tokenizer import Token, tokenize

if TYPE_CHECKING:
    from seqtool.text.tag_scheme import Span

TRAINING_ENTITIES = "entities.jsonl"  # file of a model folder


class Entity(NamedTuple):
    """An entity in a text.

    Args:
        text: The entity as it is written in the text.
        type: Type of the entity, such as PER.
        start: Offset of its first character, from 0.
        end: Offset after its last character, so that `text == whole[start:end]`.
        confidence: Probability that exactly this span is an entity of this type, in [0, 1].
    """

    text: str
    type: str
    start: int
    end: int
    confidence: float


def tokenised(texts: Sequence[str]) -> tuple[list[list[Token]], list[TaggedSentence]]:
    """The tokens of each text with their offsets, and the texts as sentences for a tagger."""
    tokens = [tokenize(text) for text in texts]
    return tokens, [TaggedSentence(tuple(token.text for token in found)) for found in tokens]


def entities_of(
    text: str, tokens: Sequence[Token], spans: Sequence[Span], confidences: Sequence[float]
) -> list[Entity]:
    """The entities of a text, from left to right.

    Args:
        text: The whole text.
        tokens: Its tokens.
        spans: Token spans of the entities.
        confidences: Confidence of each span, in [0, 1].
    """
    found = []
    for span, confidence in zip(spans, confidences, strict=True):
        start, end = tokens[span.start].start, tokens[span.end - 1].end
        found.append(Entity(text[start:end], span.type, start, end, confidence))
    return found


def entity_lines(entities: Iterable[tuple[str, str]]) -> str:
    """The content of the file of a model folder that holds the entities of the training part.

    Args:
        entities: (type, surface form) of each.
    """
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in sorted(entities))


def entities_of_lines(text: str, name: str) -> set[tuple[str, str]]:
    """The entities that `entity_lines` wrote.

    Args:
        text: Content of the file; empty if there is none.
        name: The model folder, for messages.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        return {
            (str(kind), str(surface)) for kind, surface in map(json.loads, filter(None, text.split("\n")))
        }
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{name}: {TRAINING_ENTITIES}: damaged: {error}") from error
