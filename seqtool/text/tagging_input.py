"""Reading sentences to be tagged, with everything in their file that is written back beside the tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from seqtool.errors import DataError
from seqtool.text.columns import ColumnFormat, NoSentencesError, TaggedSentence, detect_lines
from seqtool.text.json_lines import has_half, load_object
from seqtool.text.lines import read_lines
from seqtool.text.tokenizer import tokenize

_BETWEEN_SPACES = re.compile(r"[^ \t]+")
_ROW = re.compile(r"\S+(\t\S+)+\s*")
# Keys that an earlier tagger may have written, and that are written anew.
OF_TAGGERS = ("tags", "entities", "confidence", "alternatives")


@dataclass(frozen=True, slots=True)
class TaggingInput:
    """A sentence to be tagged, with what its file holds beside the tokens.

    Attributes:
        sentence: The tokens of the sentence.
        text: Text of the sentence; None if the file gives only tokens.
        offsets: Start and end of each token in the text, in characters, [T].
        keys: Further keys of the JSON object, without those that the tagger writes itself.
        comments: Comment lines before the sentence, in a file of columns.
        rows: Lines of a CoNLL-U sentence: words, ranges and empty nodes.
    """

    sentence: TaggedSentence
    text: str | None = None
    offsets: tuple[tuple[int, int], ...] = ()
    keys: Mapping[str, Any] | None = None
    comments: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        """Word number of each token in CoNLL-U; empty for other formats."""
        return [row.partition("\t")[0] for row in self.rows if is_word(row)]


def is_word(row: str) -> bool:
    """Whether a line of CoNLL-U is a word, rather than a range (`1-2`) or an empty node (`1.1`)."""
    return row.partition("\t")[0].isdecimal()


def read_text(stream: BinaryIO, name: str) -> Iterator[TaggingInput]:
    """Plain text, one sentence per line; a blank line is a sentence without tokens, and ends a document.

    Args:
        stream: The bytes to read.
        name: Name of the stream for messages.

    Raises:
        DataError, StorageError: as `read_lines`.
    """
    opens = True
    for number, line in enumerate(read_lines(stream, name), 1):
        found = tokenize(line)
        sentence = TaggedSentence(tuple(token.text for token in found), None, (), name, number, opens)
        opens = not found
        yield TaggingInput(sentence, line, tuple((token.start, token.end) for token in found))


def read_tokens(stream: BinaryIO, name: str) -> Iterator[TaggingInput]:
    """Text that is tokenised: one sentence per line, spaces between its tokens; otherwise as `read_text`."""
    opens = True
    for number, line in enumerate(read_lines(stream, name), 1):
        found = list(_BETWEEN_SPACES.finditer(line))
        sentence = TaggedSentence(tuple(token.group() for token in found), None, (), name, number, opens)
        opens = not found
        yield TaggingInput(sentence, line, tuple(token.span() for token in found))


def format_of(name: str) -> str:
    """The input format of a file by the ending of its name (also with `.gz`); text for any other.

    >>> format_of("dev.conllu.gz"), format_of("news.txt")
    ('conll', 'text')
    """
    ending = name.lower().removesuffix(".gz").rpartition(".")[2]
    return {"conll": "conll", "conllu": "conll", "jsonl": "jsonl"}.get(ending, "text")


def looks_like_columns(line: str) -> bool:
    """Whether a line of text looks like a row of columns: words with tabs between them, and no space."""
    return _ROW.fullmatch(line) is not None


def read_objects(stream: BinaryIO, name: str) -> Iterator[TaggingInput]:
    """JSON objects, one per line, with `tokens`, or with `text`, which is tokenised; either may be empty.

    Args:
        stream: The bytes to read.
        name: Name of the stream for messages.

    Raises:
        DataError: a line is not such an object (with file and line).
        DataError, StorageError: as `read_lines`.
    """
    opens = True
    for number, line in enumerate(read_lines(stream, name), 1):
        if not line.strip(" \t"):
            continue
        value = load_object(line, f"{name}:{number}")
        tokens, text, offsets = _of_object(value, f"{name}:{number}")
        keys = {key: each for key, each in value.items() if key not in OF_TAGGERS}
        yield TaggingInput(TaggedSentence(tokens, None, (), name, number, opens), text, offsets, keys)
        opens = False


def read_columns(
    stream: BinaryIO, name: str, *, token: int | None, features: tuple[int, ...]
) -> Iterator[TaggingInput]:
    """Sentences in columns, each as soon as its blank line has been read; tags in the file are ignored.

    Args:
        stream: The bytes to read.
        name: Name of the stream for messages.
        token: Column of the tokens in the model's training files, as in `detect_format`. CoNLL-U has a column
            of its own for them, which is read in any case.
        features: Columns that the model reads beside the tokens.

    Raises:
        UsageError, DataError, StorageError: as `detect_stream`, but an empty stream is not an error.
    """
    seen: list[tuple[int, str]] = []  # the lines since the last sentence

    def noted(lines: Iterator[str]) -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            if line.strip(" \t"):
                seen.append((number, line))
            yield line

    layout = ColumnFormat("conll")
    sentences: Iterator[TaggedSentence] = iter(())
    with suppress(NoSentencesError):  # empty input gives empty output
        lines = noted(read_lines(stream, name))
        layout, sentences = detect_lines(lines, name, token=token, tag=0, features=features, forms=True)
    for sentence in sentences:
        comments = tuple(line for number, line in seen if number < sentence.line and line.startswith("#"))
        rows = tuple(line for _, line in seen if not line.startswith("#"))
        seen.clear()
        yield TaggingInput(sentence, comments=comments, rows=rows if layout.kind == "conllu" else ())


def _of_object(
    value: dict[str, Any], place: str
) -> tuple[tuple[str, ...], str | None, tuple[tuple[int, int], ...]]:
    """The tokens, the text, and the start and end of each token in the text."""
    text = value.get("text")
    if "text" in value:
        _require_text([text], "text", place)
    if "tokens" not in value:
        if text is None:
            raise DataError(f'{place}: neither "tokens" nor "text"; expected one of them')
        found = tokenize(text)
        return tuple(token.text for token in found), text, tuple((each.start, each.end) for each in found)
    tokens = value["tokens"]
    if not isinstance(tokens, list):
        raise DataError(f'{place}: "tokens" is not a list; expected a list of texts')
    _require_text(tokens, "tokens", place)
    for token in tokens:
        if not token.strip(" "):
            raise DataError(f'{place}: {token!r} in "tokens"; expected text that is not empty')
    offsets = None if text is None else _places(tokens, text)
    return tuple(tokens), None if offsets is None else text, offsets or ()


def _require_text(values: Sequence[Any], key: str, place: str) -> None:
    for value in values:
        if not isinstance(value, str):
            raise DataError(f'{place}: {value!r} in "{key}"; expected text')
        if has_half(value):
            raise DataError(f'{place}: half of a surrogate pair in "{key}"; expected text')


def _places(tokens: Sequence[str], text: str) -> tuple[tuple[int, int], ...] | None:
    """Start and end of each token in the text, in order; None if a token does not occur there."""
    result, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        if start < 0:
            return None
        end = start + len(token)
        result.append((start, end))
    return tuple(result)
