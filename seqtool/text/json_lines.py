"""One sentence a line as a JSON object, with tags a token or with spans of characters.

    {"tokens": ["Ada", "lives"], "tags": ["B-PER", "O"]}            or "ner_tags", "labels"
    {"text": "Ada lives", "spans": [{"start": 0, "end": 3, "label": "PER"}]}     or "entities"

Text is split by `seqtool.text.tokenizer`, and where a span starts or ends; its tags are IOB2.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from seqtool.errors import DataError
from seqtool.text.tag_scheme import Span, from_spans
from seqtool.text.tokenizer import Token, tokenize

_TAG_KEYS = ("tags", "ner_tags", "labels")
_SPAN_KEYS = ("spans", "entities")

Annotation = tuple[tuple[str, ...], tuple[str, ...] | None]  # tokens, tags


def is_sentence_object(line: str) -> bool:
    """True if a line is a JSON object with `tokens` or `text`."""
    if not line.lstrip(" \t").startswith("{"):
        return False
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and ("tokens" in value or "text" in value)


def parse_sentence_object(line: str, place: str) -> Annotation:
    """Tokens and tags of one line; `place` (`file:line`) heads messages.

    Raises:
        DataError: not a JSON object of the form above, no tokens, or tags that do not fit them.
    """
    value = _load(line, place)
    if "tokens" in value:
        tokens = _texts(value["tokens"], "tokens", place)
        tags = _tags(value, len(tokens), place)
    elif "text" in value:
        (text,) = _texts([value["text"]], "text", place)
        tokens, tags = _from_text(text, value, place)
    else:
        raise DataError(f'{place}: neither "tokens" nor "text"; expected one of them')
    if not tokens:
        raise DataError(f"{place}: no tokens; expected at least one")
    return tokens, tags


def _load(line: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply; expected one flat JSON object a line") from error
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object a line") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object; expected one object a line")
    return value


def _texts(values: Any, key: str, place: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise DataError(f'{place}: "{key}" is not a list; expected a list of texts')
    for value in values:
        if not isinstance(value, str) or not value.strip(" "):
            raise DataError(f'{place}: {value!r} in "{key}"; expected text that is not empty')
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DataError(f'{place}: half of a surrogate pair in "{key}"; expected text')
    return tuple(values)


def _tags(value: dict[str, Any], length: int, place: str) -> tuple[str, ...] | None:
    for key in _TAG_KEYS:
        if key in value:
            tags = _texts(value[key], key, place)
            if len(tags) != length:
                raise DataError(f"{place}: {len(tags)} tags for {length} tokens; expected one a token")
            return tags
    return None


def _from_text(text: str, value: dict[str, Any], place: str) -> Annotation:
    for key in _SPAN_KEYS:
        if key in value:
            if not isinstance(value[key], list):
                raise DataError(f'{place}: "{key}" is not a list; expected a list of spans')
            found = [_character_span(item, text, place) for item in value[key]]
            break
    else:
        return tuple(token.text for token in tokenize(text)), None
    tokens = _split(text, sorted({0, len(text), *(edge for span in found for edge in span[:2])}))
    spans = []
    for span in found:
        inside = [i for i, token in enumerate(tokens) if span.start <= token.start and token.end <= span.end]
        if not inside:
            raise DataError(f"{place}: no token in span {span.start} to {span.end}; expected text there")
        spans.append(Span(inside[0], inside[-1] + 1, span.type))
    try:
        tags = from_spans(spans, len(tokens), "iob2")
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    return tuple(token.text for token in tokens), tuple(tags)


def _character_span(item: Any, text: str, place: str) -> Span:
    if isinstance(item, dict):
        start, end, label = item.get("start"), item.get("end"), item.get("label")
        if type(start) is int and type(end) is int and 0 <= start < end <= len(text):
            return Span(start, end, *_texts([label], "label", place))
    raise DataError(
        f"{place}: span {json.dumps(item)} in a text of {len(text)} characters; "
        'expected {"start": ..., "end": ..., "label": ...} inside it'
    )


def _split(text: str, edges: list[int]) -> list[Token]:
    """Tokens of the pieces between `edges`, with offsets in the whole text."""
    tokens = []
    for start, end in pairwise(edges):
        tokens += [Token(t.text, t.start + start, t.end + start) for t in tokenize(text[start:end])]
    return tokens
