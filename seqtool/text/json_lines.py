"""JSON lines: one sentence or text per line as an object, with tags per token or with character spans.

    {"tokens": ["Ada", "lives"], "tags": ["B-PER", "O"]}            or "ner_tags", "labels"
    {"text": "Ada lives", "spans": [{"start": 0, "end": 3, "label": "PER"}]}     or "entities"

Exports of annotation tools are read too (`seqtool.text.exports`). Text is tokenised by
`seqtool.text.tokenizer`, with further token boundaries where a span starts or ends; its tags are IOB2. If
annotation is expected, a long text is taken for a document and split into sentences.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from seqtool.errors import DataError, counted
from seqtool.text.exports import (
    SPAN_KEYS,
    TAG_KEYS,
    annotation_like,
    has_several_answers,
    is_pair,
    span_of,
    standard,
)
from seqtool.text.offsets import Misaligned, from_utf16, place_spans, sentence_starts, split_at
from seqtool.text.tag_scheme import Span, from_spans
from seqtool.text.tokenizer import Token, tokenize

# What JSON text has wherever it holds a value that `load` refuses; the values are looked at only then.
_ODD = re.compile(r"\\u[dD][89a-fA-F]|NaN|Infinity|[eE]\+?[0-9]{3}|[0-9]{200}")


class Annotation(NamedTuple):
    """The tokens and tags of one sentence."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None  # None: not annotated
    opens: bool = False  # whether a document begins here


@dataclass(frozen=True)
class JsonReading:
    """How to read JSON.

    Args:
        misaligned: What to do with spans that cut a word: widen them to whole words ("align"), leave them
            out ("drop"), or refuse them ("error").
        tag_names: Names of tags that are numbers, from 0.
        annotated: Whether annotation is expected. If so, documents are split into sentences, and an unknown
            key that looks like annotation is an error.
    """

    misaligned: Misaligned = "align"
    tag_names: tuple[str, ...] = ()
    annotated: bool = False


@dataclass
class Remarks:
    """Counts of what was noticed while reading JSON."""

    misaligned: int = 0  # spans that cut a word
    first_misaligned: str = ""  # place and text of the first of them
    utf16: int = 0  # texts whose offsets count UTF-16 units
    rejected: int = 0  # examples that the annotator rejected
    several: int = 0  # texts with more than one annotation, of which the first is read
    unannotated: int = 0  # texts without annotation
    documents: int = 0  # texts that were split into sentences
    sentences: int = 0  # number of sentences in these documents

    def lines(self, name: str, misaligned: Misaligned) -> list[str]:
        """One line per kind of remark, to be shown to the user.

        Args:
            name: Name of the file.
            misaligned: What was done with spans that cut a word.
        """
        lines = []
        if self.misaligned:
            done = "widened to whole words" if misaligned == "align" else "left out"
            lines.append(
                f"{name}: {self.misaligned:,} spans cut a word and are {done}, the first at "
                f"{self.first_misaligned}; --misaligned drop leaves them out, error refuses them "
                "(in `train`: --set data.misaligned=drop)"
            )
        if self.utf16:
            lines.append(
                f"{name}: offsets of {counted(self.utf16, 'text')} are in UTF-16 units, and are read that way"
            )
        if self.rejected:
            lines.append(f"{name}: {self.rejected:,} rejected examples are left out")
        if self.several:
            texts = counted(self.several, "text")
            lines.append(f"{name}: {texts} annotated more than once; the first annotation of each is read")
        if self.unannotated:
            lines.append(f"{name}: {counted(self.unannotated, 'text')} without annotation")
        if self.documents:
            lines.append(
                f"{name}: {counted(self.documents, 'document')} split into "
                f"{counted(self.sentences, 'sentence')}"
            )
        return lines


def is_sentence_object(line: str) -> bool:
    """True if a line is a whole JSON object, or a pair of a text and an object (spaCy)."""
    if not line.lstrip(" \t").startswith(("{", "[")):
        return False
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return (isinstance(value, dict) and bool(value)) or is_pair(value)


def load(text: str, place: str, *, array: bool = False) -> Any:
    """The value of a JSON text, which can be written as JSON again.

    Args:
        text: The text.
        place: `file:line` for messages.
        array: Whether the text is a whole file of examples, so that messages name the number of one.

    Raises:
        DataError: the text is not valid JSON, or holds NaN, infinity or half of a surrogate pair.
    """
    try:
        value = json.loads(text)
        if _ODD.search(text):
            _refuse_unwritable(value, place, array=array)
        return value
    except RecursionError as error:
        raise DataError(f"{place}: nested too deeply; expected one flat JSON object per line") from error
    except ValueError as error:
        raise DataError(f"{place}: not JSON: {error}; expected one object per line") from error


def load_object(line: str, place: str) -> dict[str, Any]:
    """The JSON object on a line.

    Args:
        line: The line.
        place: `file:line` for messages.

    Raises:
        DataError: the line is not a JSON object, or as `load`.
    """
    value = load(line, place)
    if not isinstance(value, dict):
        raise DataError(f"{place}: not a JSON object; expected one object per line")
    return value


def _refuse_unwritable(value: Any, place: str, *, array: bool) -> None:
    """Refuse texts that UTF-8 cannot write, and numbers that JSON cannot."""
    if array and isinstance(value, list):
        for number, item in enumerate(value, 1):
            _refuse_unwritable(item, f"{place}: item {number}", array=False)
        return
    top = value.items() if isinstance(value, dict) else [("", value)]
    for key, each in top:
        where = f' in "{key}"' if key and not has_half(key) else ""
        for part in (key, *_parts(each)):
            if isinstance(part, str) and has_half(part):
                raise DataError(f"{place}: half of a surrogate pair{where}; expected text")
            if isinstance(part, float) and not math.isfinite(part):
                raise DataError(
                    f"{place}: a number that JSON does not have (NaN or infinity){where}; expected null or a "
                    "finite number"
                )


def _parts(value: Any) -> Iterator[Any]:
    """All texts and numbers in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parts(each)
    else:
        yield value


def has_half(text: str) -> bool:
    """Whether a text contains half of a surrogate pair, which UTF-8 cannot write."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def sentences_of(loaded: Any, place: str, reading: JsonReading, remarks: Remarks) -> Iterator[Annotation]:
    """The sentences of one example.

    Args:
        loaded: The example, a JSON value.
        place: `file:line` for messages.
        reading: How to read it.
        remarks: Counts what is noticed.

    Raises:
        DataError: the example is not of a known form, has no tokens, or its tags or spans do not fit them.
    """
    value = standard(loaded, place)
    if value is None:
        remarks.rejected += 1
        return
    remarks.several += has_several_answers(loaded)
    if "tokens" in value and not _has_token_objects(value):
        tokens = _texts(value["tokens"], "tokens", place)
        found: list[Annotation] = [Annotation(tokens, _tags(value, len(tokens), place, reading))]
    else:
        found = list(_from_text(value, place, reading, remarks))
    for sentence in found:
        if not sentence.tokens:
            raise DataError(f"{place}: no tokens; expected at least one")
    yield from found


def _has_token_objects(value: dict[str, Any]) -> bool:
    tokens = value["tokens"]
    return "text" in value and isinstance(tokens, list) and all(isinstance(token, dict) for token in tokens)


def _texts(values: Any, key: str, place: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise DataError(f'{place}: "{key}" is not a list; expected a list of texts')
    for value in values:
        if not isinstance(value, str) or not value.strip(" "):
            raise DataError(f'{place}: {value!r} in "{key}"; expected text that is not empty')
        if has_half(value):
            raise DataError(f'{place}: half of a surrogate pair in "{key}"; expected text')
    return tuple(values)


def _tags(value: dict[str, Any], length: int, place: str, reading: JsonReading) -> tuple[str, ...] | None:
    for key in TAG_KEYS:
        if key in value:
            tags = _texts(_named(value[key], key, place, reading), key, place)
            if len(tags) != length:
                raise DataError(
                    f"{place}: {counted(len(tags), 'tag')} for {counted(length, 'token')}; "
                    "expected one per token"
                )
            return tags
    _refuse_unknown(value, length, place, reading, TAG_KEYS)
    return None


def _named(tags: Any, key: str, place: str, reading: JsonReading) -> Any:
    """The tags, with the names of those that are numbers."""
    if not isinstance(tags, list) or not tags or not all(type(tag) is int for tag in tags):
        return tags
    names = reading.tag_names
    if not names and reading.annotated:
        raise DataError(
            f'{place}: "{key}" holds numbers; give the names of the tags 0, 1, ... in order: --tag-names '
            'O,B-PER,I-PER, or in `train` --set \'data.tag_names=["O", "B-PER", "I-PER"]\''
        )
    unknown = [tag for tag in tags if not 0 <= tag < len(names)]
    if names and unknown:
        raise DataError(f'{place}: {unknown[0]} in "{key}"; there are names only for 0 to {len(names) - 1}')
    return [names[tag] for tag in tags] if names else tags


def _refuse_unknown(
    value: dict[str, Any], tokens: int | None, place: str, reading: JsonReading, known: tuple[str, ...]
) -> None:
    """Refuse an unknown key that looks like annotation, so that labels are never lost silently."""
    for key in annotation_like(value, tokens) if reading.annotated else ():
        raise DataError(
            f'{place}: "{key}" looks like annotation, but no such key is read; rename it to "{known[0]}"'
        )


def _from_text(
    value: dict[str, Any], place: str, reading: JsonReading, remarks: Remarks
) -> Iterator[Annotation]:
    (text,) = _texts([value["text"]], "text", place)
    given = _token_objects(value, text, place)
    tokens = tokenize(text) if given is None else given
    key = next((key for key in SPAN_KEYS if key in value), None)
    if key is None:
        _refuse_unknown(value, None, place, reading, SPAN_KEYS)
        remarks.unannotated += 1
        yield from _sentences(text, tokens, [], None, reading, remarks)
        return
    edges = frozenset(edge for token in tokens for edge in token[1:])
    found = _placed(
        _spans(value[key], key, text, place, edges, remarks), text, edges, place, reading, remarks
    )
    if given is None:
        tokens = split_at(text, (edge for span in found for edge in span[:2]))
    spans = []
    for span in found:
        inside = [i for i, token in enumerate(tokens) if span.start < token.end and token.start < span.end]
        if not inside:
            raise DataError(f"{place}: the span {span.start} to {span.end} has no token; expected text in it")
        spans.append(Span(inside[0], inside[-1] + 1, span.type))
    try:
        tags = tuple(from_spans(spans, len(tokens), "iob2"))
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    yield from _sentences(text, tokens, spans, tags, reading, remarks)


def _token_objects(value: dict[str, Any], text: str, place: str) -> list[Token] | None:
    """The tokens given beside the text, as Prodigy and spaCy write them; None if there are none."""
    if not value.get("tokens"):
        return None
    tokens = []
    for item in value["tokens"]:
        start, end = item.get("start"), item.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
            raise DataError(
                f"{place}: token {json.dumps(item)} is not inside the text; expected its start and end there"
            )
        if text[start:end].strip():  # some tokens of spaCy are only spaces
            tokens.append(Token(text[start:end], start, end))
    return tokens


def _spans(
    items: Any, key: str, text: str, place: str, edges: frozenset[int], remarks: Remarks
) -> list[Span]:
    """The spans of a text, in characters."""
    if not isinstance(items, list):
        raise DataError(f'{place}: "{key}" is not a list; expected a list of spans')
    found = [span_of(item) for item in items]
    spans = [span for span in found if span is not None]
    if len(spans) == len(items):
        converted = from_utf16(spans, text, edges)
        if converted is not None:
            remarks.utf16 += 1
            spans = converted
    for item, span in zip(items, spans if len(spans) == len(items) else found, strict=True):
        if isinstance(item, str):
            raise DataError(f'{place}: "{key}" labels the whole text; expected spans, as [0, 3, "PER"]')
        if span is None or not 0 <= span.start < span.end <= len(text):
            raise DataError(
                f"{place}: span {json.dumps(item)} in a text of {len(text)} characters; "
                'expected {"start": ..., "end": ..., "label": ...} inside it'
            )
        _texts([span.type], "label", place)
    return spans


def _placed(
    spans: list[Span], text: str, edges: frozenset[int], place: str, reading: JsonReading, remarks: Remarks
) -> list[Span]:
    """The spans aligned with whole words; those that cut a word are counted, or refused."""
    placed = place_spans(spans, text, edges, reading.misaligned)
    if placed.cut:
        first = placed.cut[0]
        where = f"{place}: {text[first.start : first.end]!r}, characters {first.start} to {first.end}"
        if reading.misaligned == "error":
            raise DataError(
                f"{where} ({first.type}) cuts a word; "
                "--misaligned align widens such spans to whole words, drop leaves them out "
                "(in `train`: --set data.misaligned=align)"
            )
        remarks.misaligned += len(placed.cut)
        remarks.first_misaligned = remarks.first_misaligned or where
    return placed.spans


def _sentences(
    text: str,
    tokens: list[Token],
    spans: list[Span],
    tags: tuple[str, ...] | None,
    reading: JsonReading,
    remarks: Remarks,
) -> Iterator[Annotation]:
    """The text as one sentence, or the sentences of a document."""
    starts = sentence_starts(text, tokens, spans) if reading.annotated else [0]
    if len(starts) > 1:
        remarks.documents += 1
        remarks.sentences += len(starts)
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        words = tuple(token.text for token in tokens[start:end])
        opens = len(starts) > 1 and start == 0
        yield Annotation(words, None if tags is None else tags[start:end], opens)
