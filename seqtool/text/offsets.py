"""Aligning character spans, as annotation tools export them, with whole words.

Offsets may count UTF-16 units, as in JavaScript, so that every emoji before a span shifts it by one; and
they may cut a word in two. This module recognises both. It also finds the sentences of a document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import regex  # type: ignore[import-untyped]

from seqtool.text.tag_scheme import Span
from seqtool.text.tokenizer import Token, tokenize

Misaligned = Literal["error", "align", "drop"]

# Characters of words, without the scripts that put no spaces between words, or that attach particles to
# them: there, spans often begin or end inside what looks like a word.
_WORD = regex.compile(
    r"[[\p{L}\p{N}\p{M}]--[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Hangul}\p{Han}]]", regex.V1
)


class Placed(NamedTuple):
    """Spans that begin and end at word boundaries."""

    spans: list[Span]
    cut: list[Span]  # the original spans that cut a word


def from_utf16(spans: Sequence[Span], text: str, edges: Collection[int]) -> list[Span] | None:
    """The spans in characters, if their offsets count UTF-16 units; None if they count characters.

    The reading that fits better wins: more spans lie inside the text, cut no word and have no outer spaces.

    Args:
        spans: The spans as they were given.
        text: The text that they refer to.
        edges: Positions at which the text's tokens begin and end.
    """
    if text.isascii() or max(text) <= "\uffff":
        return None
    units = [0]  # UTF-16 units before each character
    for character in text:
        units.append(units[-1] + 1 + (character > "\uffff"))
    places = {unit: position for position, unit in enumerate(units)}
    converted = [Span(places.get(span.start, -1), places.get(span.end, -1), span.type) for span in spans]
    if sum(_fits(s, text, edges) for s in converted) > sum(_fits(s, text, edges) for s in spans):
        return converted
    return None


def _fits(span: Span, text: str, edges: Collection[int]) -> bool:
    if not 0 <= span.start < span.end <= len(text):
        return False
    spaces = text[span.start].isspace() or text[span.end - 1].isspace()
    return not spaces and not any(cuts_word(text, edge, edges) for edge in span[:2])


def cuts_word(text: str, position: int, edges: Collection[int]) -> bool:
    """True if a word continues across this position, and no token begins or ends there."""
    if not 0 < position < len(text) or position in edges:
        return False
    return bool(_WORD.match(text[position - 1]) and _WORD.match(text[position]))


def place_spans(spans: Iterable[Span], text: str, edges: Collection[int], misaligned: Misaligned) -> Placed:
    """Spans that cut no word: those that do are widened to whole words ("align") or left out.

    After widening, a span that overlaps the one before it is left out too.

    Args:
        spans: The spans, in characters.
        text: The text that they refer to.
        edges: Positions at which the text's tokens begin and end.
        misaligned: What to do with spans that cut a word.
    """
    result: list[Span] = []
    cut: list[Span] = []
    for span in sorted(spans):
        start, end = span.start, span.end
        while cuts_word(text, start, edges):
            start -= 1
        while cuts_word(text, end, edges):
            end += 1
        if (start, end) == span[:2]:
            result.append(span)
            continue
        cut.append(span)
        if misaligned == "align":
            result.append(Span(start, end, span.type))
    if cut:
        kept: list[Span] = []
        for span in sorted(result):
            if not kept or span.start >= kept[-1].end:
                kept.append(span)
        result = kept
    return Placed(result, cut)


def split_at(text: str, edges: Iterable[int]) -> list[Token]:
    """Tokens of a text that is split at `edges` first, with offsets in the whole text."""
    tokens = []
    for start, end in pairwise(sorted({0, len(text), *edges})):
        tokens += [Token(t.text, t.start + start, t.end + start) for t in tokenize(text[start:end])]
    return tokens


# Sentences of a document

LONG_TEXT = 100  # tokens; a longer text is taken for more than one sentence
_FINAL = regex.compile(r"[.!?…]+|[。！？]")
_CLOSING = frozenset("\"'”’»)]}")


def sentence_starts(text: str, tokens: Sequence[Token], spans: Iterable[Span]) -> list[int]:
    """Positions of the tokens that begin a sentence; never inside a span.

    Args:
        text: A whole document; a short one without line ends is a single sentence.
        tokens: Tokens of the text.
        spans: Spans of the text, in tokens.
    """
    if len(tokens) <= LONG_TEXT and "\n" not in text.strip():
        return [0]
    inside = {position for span in spans for position in range(span.start + 1, span.end)}
    return [0] + [
        position
        for position in range(1, len(tokens))
        if position not in inside and _parts(text, tokens, position)
    ]


def _parts(text: str, tokens: Sequence[Token], position: int) -> bool:
    """True if a sentence begins at this token: after a line end, or after sentence-final punctuation."""
    gap = text[tokens[position - 1].end : tokens[position].start]
    following = tokens[position].text[0]
    if "\n" in gap and (gap.count("\n") > 1 or not following.islower()):
        return True
    if following.islower() or following in _CLOSING:
        return False
    before = position - 1
    while before > 0 and tokens[before].text in _CLOSING:
        before -= 1
    final = _FINAL.fullmatch(tokens[before].text)
    return bool(final) and (bool(gap) or tokens[before].text in "。！？")
