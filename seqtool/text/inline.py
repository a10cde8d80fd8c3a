"""Sentences as readable lines: spans in brackets, or `token/TAG` where tags mark no spans.

    [PER Ada Lovelace] lives in [LOC London] .
    Ada/PROPN lives/VERB

A backslash stands before a bracket (or a slash, where it separates tags) or a backslash of the text. After a
type or tag its probability may stand, as in `[PER:0.98 Ada]`; a reader skips it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from seqtool.errors import DataError
from seqtool.text.tag_scheme import Scheme
from seqtool.text.tag_scheme import spans as spans_of

_CONFIDENCE = re.compile(r":[01]\.[0-9]{2}")  # what stands after a type or tag with its probability
_ESCAPED = re.compile(r"\\(.)")
_SLASH = re.compile(r"(?<!\\)(?:\\\\)*/")  # a slash that is not escaped
_CLOSING = re.compile(r"(?<!\\)(?:\\\\)*\]$")


def format_inline(
    tokens: Sequence[str],
    tags: Sequence[str],
    scheme: Scheme | None,
    confidence: Sequence[float] | None = None,
) -> str:
    """A sentence as one readable line: spans in brackets, or `token/TAG` if the tags mark no spans.

    Brackets, slashes (where they separate tags) and backslashes in the text are escaped by a backslash.

    Args:
        tokens: The tokens, T of them.
        tags: Tag of each token, T of them.
        scheme: Scheme of the tags; None = no spans.
        confidence: Confidence of each span (of each token if there are no spans), written after its type or
            tag; None = not written.

    Raises:
        DataError: a token contains a line end, which would break the line.

    >>> format_inline(["Ada", "Lovelace", "lives"], ["B-PER", "I-PER", "O"], "iob2", [0.98])
    '[PER:0.98 Ada Lovelace] lives\\n'
    """
    for token in tokens:
        if "\n" in token or "\r" in token:
            raise DataError(
                f"{token!r} cannot stand in a line of text; expected text without line ends; "
                "--format jsonl or --to jsonl writes it"
            )
    if scheme is None:
        escaped = [re.sub(r"([\\/])", r"\\\1", token) for token in tokens]
        marks = _marks(tags, confidence)
        return " ".join(f"{token}/{mark}" for token, mark in zip(escaped, marks, strict=True)) + "\n"
    words = [re.sub(r"([\\\[\]])", r"\\\1", token) for token in tokens]
    found = spans_of(tags, scheme)
    for span, mark in zip(found, _marks([span.type for span in found], confidence), strict=True):
        words[span.start] = f"[{mark} {words[span.start]}"
        words[span.end - 1] += "]"
    return " ".join(words) + "\n"


def parse_inline(line: str, place: str, *, spans: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens and tags of a line; tags of spans are IOB2.

    Args:
        line: The line, without its end.
        place: `file:line` for messages.
        spans: Whether tags mark spans.

    Raises:
        DataError: brackets do not match, or a token has no tag.

    >>> parse_inline("[PER:0.98 Ada Lovelace] lives", "text:1", spans=True)
    (('Ada', 'Lovelace', 'lives'), ('B-PER', 'I-PER', 'O'))
    """
    words = list(inline_words(line, spans, ()))
    for token, tag in words:
        if not token or not tag:
            what = "brackets do not match" if spans else f"{token!r} has no tag"
            expected = "[TYPE words], and \\[ for a bracket of the text" if spans else "token/TAG"
            raise DataError(f"{place}: {what}; expected {expected}")
    if spans and _unbalanced(line):
        raise DataError(
            f"{place}: brackets do not match; expected [TYPE words], and \\[ for a bracket of the text"
        )
    return tuple(token for token, _ in words), tuple(tag for _, tag in words)


def marks_spans(line: str) -> bool:
    """Whether a line marks spans in brackets, rather than a tag after every token."""
    return any(_SLASH.search(word) is None for word in line.split(" "))


def inline_words(line: str, spans: bool, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Tokens and tags (entities in IOB2) of a line; the inverse of `format_inline`.

    Args:
        line: The line.
        spans: Whether tags mark spans.
        names: Types (tags without spans) that are known; any other that ends like a confidence has one.
    """
    if not spans:
        for word in line.split(" "):
            slash = _SLASH.search(word)
            end = len(word) if slash is None else slash.end() - 1
            yield _ESCAPED.sub(r"\1", word[:end]), _without_confidence(word[end + 1 :], names)
        return
    kind, begins = None, False
    for word in line.split(" "):
        if kind is None and word.startswith("["):
            kind, begins = _without_confidence(word[1:], names), True
            continue
        closes = kind is not None and bool(_CLOSING.search(word))
        tag = "O" if kind is None else f"{'B' if begins else 'I'}-{kind}".removesuffix("-")
        yield _ESCAPED.sub(r"\1", word[:-1] if closes else word), tag
        kind, begins = (None if closes else kind), False


def _unbalanced(line: str) -> bool:
    """Whether the brackets of a line that are not escaped do not open and close in turn."""
    brackets = re.sub(r"\\.|[^\\\[\]]", "", line)
    return brackets.replace("[]", "") != ""


def _without_confidence(mark: str, names: Collection[str]) -> str:
    """The type or tag of a mark such as `PER:0.98`."""
    end = len(mark) - len(":0.98")
    return mark[:end] if mark not in names and end >= 0 and _CONFIDENCE.fullmatch(mark, end) else mark


def _marks(names: Sequence[str], confidence: Sequence[float] | None) -> list[str]:
    if confidence is None:
        return list(names)
    return [f"{name}:{value:.2f}" for name, value in zip(names, confidence, strict=True)]
