"""CoNLL columns, CoNLL-U and JSON lines to sentences with tags.

Plain CoNLL is one token a line and a blank line (spaces and tabs count as blank) after each
sentence. `-DOCSTART-` lines part documents and are skipped. A comment starts with `# `, stands
at the start of a sentence, and has another number of columns than the file: `#` alone is a token.
In CoNLL-U, lines in `#` are comments; ranges (`1-2`) and empty nodes (`1.1`) are not words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar

from seqtool.errors import DataError, UsageError
from seqtool.text.json_lines import is_sentence_object, parse_sentence_object
from seqtool.text.lines import lines_of, read_lines
from seqtool.text.tag_scheme import Scheme, spans

Item = TypeVar("Item")


class NoSentencesError(DataError):
    """There is not one sentence: an error where data is needed, an empty answer where there may be none."""


DETECTION_LINES = 1000  # how far `detect_format` looks
DETECTION_CHARACTERS = 1_000_000
SENTENCE_LIMIT = 100_000  # tokens; bounds memory where a file has no blank lines

_CONLLU_COLUMNS = 10
_CONLLU_ID = re.compile(r"[0-9]+([-.][0-9]+)?")
_SPACES = re.compile(r"[ \t]+")
# What may make columns read back otherwise: strange characters, empty cells, outer spaces.
_SUSPICIOUS = re.compile(r"[\r\0]|^[ \t]|[ \t]$|\t[ \t]| \t|-DOCSTART-", re.MULTILINE)
DOCUMENT_START = "-DOCSTART-"
_DOCUMENT_START = re.compile(rf"{DOCUMENT_START}([ \t]|$)")
_NEW_DOCUMENT = re.compile(r"# *newdoc\b")  # of CoNLL-U, a comment before a sentence


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """Tokens of one sentence with what stands beside them in the file.

    `tags` is None for text without annotation. A tag may be partial: `?` (anything) or
    alternatives joined by `|` (`B-PER|B-ORG`). `features` has one tuple a declared extra
    column, each as long as `tokens`. `line` is the line of the first token, 1-based. `opens` says
    whether the file marks the beginning of a document there.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    features: tuple[tuple[str, ...], ...] = ()
    source: str = ""
    line: int = 0
    opens: bool = False


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """How a file of sentences is laid out; columns are counted from 1, and mean nothing for `jsonl`."""

    kind: Literal["conll", "conllu", "jsonl"]
    separator: Literal["tab", "whitespace"] = "tab"
    columns: int = 0
    token: int = 0
    tag: int | None = None
    features: tuple[int, ...] = ()

    def describe(self) -> str:
        """The layout in words, for reports.

        >>> ColumnFormat("conll", "tab", 4, 1, 4).describe()
        '4 columns, tab-separated: token = 1, tag = 4'
        """
        if self.kind == "jsonl":
            return "JSON lines"
        start = "CoNLL-U" if self.kind == "conllu" else f"{self.columns} column{'s' * (self.columns > 1)}"
        parts = [f"token = {self.token}"]
        if self.tag is not None:
            parts.append(f"tag = {self.tag}")
        if self.features:
            parts.append(f"features = {', '.join(map(str, self.features))}")
        return f"{start}, {self.separator}-separated: {', '.join(parts)}"


def detect_format(
    path: str | Path, *, token: int | None = None, tag: int | None = None, features: tuple[int, ...] = ()
) -> ColumnFormat:
    """The layout of a file, from its first lines.

    Args:
        path: A regular file; what comes through a pipe can be read only once (`detect_stream`).
        token: Column of the tokens, from 1, or from -1 at the end; the first by default (CoNLL-U: 2).
        tag: Column of the tags, likewise; the last by default (CoNLL-U: 4); 0 if there is none.
        features: Further columns.

    Raises:
        UsageError: there is no such file, or a column that it does not have.
        DataError: it has no sentences, or is not text.
    """
    with closing(lines_of(path)) as lines:
        prefix = list(_first_lines(lines))
    return _detect(prefix, str(path), token, tag, features)


def detect_stream(
    stream: BinaryIO,
    name: str,
    *,
    token: int | None = None,
    tag: int | None = None,
    features: tuple[int, ...] = (),
) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """The layout of a stream from its first sentence, and all its sentences; arguments as `detect_format`.

    Waits for no more than the blank line after the first sentence.

    Raises:
        UsageError: a column that the stream does not have.
        DataError: it has no sentences, or is not text.
    """
    return detect_lines(read_lines(stream, name), name, token=token, tag=tag, features=features)


def detect_lines(
    lines: Iterator[str],
    name: str,
    *,
    token: int | None = None,
    tag: int | None = None,
    features: tuple[int, ...] = (),
) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """`detect_stream` for lines that are read already; a sentence is yielded at its blank line."""
    prefix = list(_first_lines(lines, one_sentence=True))
    layout = _detect(prefix, name, token, tag, features)
    return layout, _sentences(chain(prefix, lines), name, layout)


def read_sentences(path: str | Path, layout: ColumnFormat) -> Iterator[TaggedSentence]:
    """The sentences of a file (`-` is standard input), one at a time.

    Raises:
        UsageError, StorageError: the file cannot be opened or read.
        DataError: with file and line: ragged columns, an empty token, bad JSON, not UTF-8.
    """
    with closing(lines_of(path)) as lines:
        yield from _sentences(lines, "standard input" if str(path) == "-" else str(path), layout)


def read_stream(stream: BinaryIO, name: str, layout: ColumnFormat) -> Iterator[TaggedSentence]:
    """`read_sentences` for a pipe: a sentence is yielded at its blank line, not later."""
    return _sentences(read_lines(stream, name), name, layout)


def require_sentences(sentences: Iterable[Item], name: str) -> Iterator[Item]:
    """The same sentences.

    Raises:
        DataError: at the end, if there was none.
    """
    empty = True
    for sentence in sentences:
        empty = False
        yield sentence
    if empty:
        raise _no_sentences(name)


def _no_sentences(name: str) -> NoSentencesError:
    return NoSentencesError(f"{name}: no sentences; expected at least one")


# Detection


def _first_lines(lines: Iterable[str], one_sentence: bool = False) -> Iterator[str]:
    """Enough lines to tell the layout; with `one_sentence` up to the blank line that ends the first."""
    characters = 0
    for number, line in enumerate(lines, 1):
        yield line
        characters += len(line)
        blank = not line.strip(" \t")
        if one_sentence and (is_sentence_object(line) or (blank and characters > len(line))):
            return
        if number == DETECTION_LINES or characters >= DETECTION_CHARACTERS:
            return


def _detect(
    prefix: list[str], name: str, token: int | None, tag: int | None, features: tuple[int, ...]
) -> ColumnFormat:
    content = [line for line in prefix if line.strip(" \t")]
    if not content:
        raise _no_sentences(name)
    suffixes = [suffix for suffix in Path(name).suffixes if suffix != ".gz"]
    extension = suffixes[-1] if suffixes else ""
    if extension == ".jsonl" or is_sentence_object(content[0]):
        if token is not None or tag is not None or features:
            raise UsageError(f"{name}: JSON lines have no columns; leave out the column numbers")
        return ColumnFormat("jsonl")
    if extension == ".conllu" or _looks_like_conllu(content):
        count = _CONLLU_COLUMNS
        numbers = _resolve(name, count, 2 if token is None else token, 4 if tag is None else tag, features)
        return ColumnFormat("conllu", "tab", count, *numbers)
    separator, count = _layout(content)
    if tag is None:
        tag = -1 if count > 1 else 0
    return ColumnFormat(
        "conll", separator, count, *_resolve(name, count, 1 if token is None else token, tag, features)
    )


def _looks_like_conllu(content: list[str]) -> bool:
    rows = [line.split("\t") for line in content if not line.startswith("#")]
    return bool(rows) and all(len(row) == _CONLLU_COLUMNS and _CONLLU_ID.fullmatch(row[0]) for row in rows)


def _layout(content: list[str]) -> tuple[Literal["tab", "whitespace"], int]:
    """Separator and the commonest number of columns; tabs if the lines have them."""
    rows = [line for line in content if not line.startswith("# ") and not _DOCUMENT_START.match(line)]
    rows = rows or content
    with_tabs = Counter(len(_cells(line, "tab")) for line in rows).most_common(1)[0][0]
    if with_tabs > 1:
        return "tab", with_tabs
    return "whitespace", Counter(len(_cells(line, "whitespace")) for line in rows).most_common(1)[0][0]


def _resolve(
    name: str, count: int, token: int, tag: int, features: tuple[int, ...]
) -> tuple[int, int | None, tuple[int, ...]]:
    """Columns from 1, from columns that may count from the end; tag 0 is none."""

    def place(number: int, what: str) -> int:
        if not 1 <= abs(number) <= count:
            raise UsageError(f"{name}: there is no column {number} for the {what}; expected 1 to {count}")
        return number if number > 0 else count + 1 + number

    token_column = place(token, "token")
    tag_column = place(tag, "tag") if tag else None
    if token_column == tag_column:
        raise UsageError(f"{name}: token and tag are both column {tag_column}; expected two columns")
    return token_column, tag_column, tuple(place(number, "feature") for number in features)


# Reading


def _sentences(lines: Iterable[str], name: str, layout: ColumnFormat) -> Iterator[TaggedSentence]:
    if layout.kind == "jsonl":
        for number, line in enumerate(lines, 1):
            if line.strip(" \t"):
                tokens, tags = parse_sentence_object(line, f"{name}:{number}")
                yield TaggedSentence(tokens, tags, source=name, line=number)
        return
    rows: list[list[str]] = []
    first, opens = 0, False
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t") or _DOCUMENT_START.match(line):
            if rows:
                yield _sentence(rows, name, first, layout, opens)
                opens = False
            rows = []
            opens |= line.startswith("-")
            continue
        opens |= not rows and bool(_NEW_DOCUMENT.match(line))
        row = _row(line, f"{name}:{number}", layout, at_start=not rows)
        if row is None:
            continue
        if not rows:
            first = number
        rows.append(row)
        if len(rows) > SENTENCE_LIMIT:
            raise DataError(
                f"{name}:{first}: a sentence of more than {SENTENCE_LIMIT} tokens; expected blank lines"
            )
    if rows:
        yield _sentence(rows, name, first, layout, opens)


def _cells(line: str, separator: Literal["tab", "whitespace"]) -> list[str]:
    # Only spaces and tabs separate: a token may be a no-break space, which str.split() would drop.
    if separator == "tab":
        return [cell.strip(" ") for cell in line.split("\t")]
    return _SPACES.split(line.strip(" \t"))


def _row(line: str, place: str, layout: ColumnFormat, at_start: bool) -> list[str] | None:
    """The cells of a line, None if it holds no word."""
    if layout.kind == "conllu" and line.startswith("#"):
        return None
    row = _cells(line, layout.separator)
    if len(row) != layout.columns:
        if layout.kind == "conll" and at_start and line.startswith("# "):
            return None
        advice = "is a tab" if layout.separator == "tab" else "is not a tab, and that no token holds a space"
        raise DataError(
            f"{place}: {len(row)} column{'s' * (len(row) != 1)}, expected {layout.columns}; "
            f"check that the separator {advice}"
        )
    if layout.kind == "conllu" and not row[0].isdecimal():
        if not _CONLLU_ID.fullmatch(row[0]):
            raise DataError(f"{place}: {row[0]!r} is not the number of a word; expected CoNLL-U")
        return None
    for column in (layout.token, layout.tag, *layout.features):
        if column is not None and not row[column - 1]:
            what = "the token" if column == layout.token else f"column {column}"
            raise DataError(f"{place}: {what} is empty; expected text between the separators")
    return row


def _sentence(
    rows: list[list[str]], name: str, first: int, layout: ColumnFormat, opens: bool
) -> TaggedSentence:
    def column(number: int) -> tuple[str, ...]:
        return tuple(row[number - 1] for row in rows)

    tags = None if layout.tag is None else column(layout.tag)
    features = tuple(map(column, layout.features))
    return TaggedSentence(column(layout.token), tags, features, name, first, opens)


# Writing


def format_conll(tokens: Sequence[str], tags: Sequence[str] | None, *columns: Sequence[str]) -> str:
    """A sentence as tab-separated lines with the blank line that ends it; it reads back as it was.

    Args:
        tokens: First column.
        tags: Second column, None to leave it out.
        columns: Further ones, each as long as `tokens`.

    Raises:
        DataError: a cell that a file of columns cannot hold: empty, with a tab, a line end, ...

    >>> format_conll(["Ada", "lives"], ["B-PER", "O"])
    'Ada\\tB-PER\\nlives\\tO\\n\\n'
    """
    written = [tokens, *([] if tags is None else [tags]), *columns]
    lines = ["\t".join(row) for row in zip(*written, strict=True)]
    text = "".join(f"{line}\n" for line in [*lines, ""])
    # A look at the whole is much quicker than one at each cell, which is needed only for the message.
    tabs, ends = (len(written) - 1) * len(lines), len(lines) + 1
    plain = not _SUSPICIOUS.search(text) and text.count("\t") == tabs and text.count("\n") == ends
    if not plain or len(written) == 1:
        for cell in chain.from_iterable(written):
            _require_writable(cell, len(written))
    return text


def format_jsonl(
    tokens: Sequence[str], tags: Sequence[str] | None, extra: Mapping[str, object] | None = None
) -> str:
    """A sentence as one line of JSON: `tokens`, `tags` unless None, then the keys of `extra`.

    >>> format_jsonl(["Ada"], ["B-PER"], {"confidence": [0.5]})
    '{"tokens": ["Ada"], "tags": ["B-PER"], "confidence": [0.5]}\\n'
    """
    value: dict[str, object] = {"tokens": list(tokens)}
    if tags is not None:
        value["tags"] = list(tags)
    return json.dumps({**value, **(extra or {})}, ensure_ascii=False, allow_nan=False) + "\n"


def format_inline(
    tokens: Sequence[str],
    tags: Sequence[str],
    scheme: Scheme | None,
    confidence: Sequence[float] | None = None,
) -> str:
    """A sentence as one line to read: spans in brackets, or `token/TAG` where tags have no scheme.

    Brackets, slashes (where they mark tags) and backslashes of the text get a backslash.

    Args:
        tokens: Words of the sentence.
        tags: As many.
        scheme: Of the tags; None = no spans.
        confidence: Of each span, or of each token where there are none; it follows the type or the tag.

    >>> format_inline(["Ada", "Lovelace", "lives"], ["B-PER", "I-PER", "O"], "iob2", [0.98])
    '[PER:0.98 Ada Lovelace] lives\\n'
    """
    if scheme is None:
        escaped = [re.sub(r"([\\/])", r"\\\1", token) for token in tokens]
        marks = _marks(tags, confidence)
        return " ".join(f"{token}/{mark}" for token, mark in zip(escaped, marks, strict=True)) + "\n"
    words = [re.sub(r"([\\\[\]])", r"\\\1", token) for token in tokens]
    found = spans(tags, scheme)
    for span, mark in zip(found, _marks([span.type for span in found], confidence), strict=True):
        words[span.start] = f"[{mark} {words[span.start]}"
        words[span.end - 1] += "]"
    return " ".join(words) + "\n"


def _marks(names: Sequence[str], confidence: Sequence[float] | None) -> list[str]:
    if confidence is None:
        return list(names)
    return [f"{name}:{value:.2f}" for name, value in zip(names, confidence, strict=True)]


def _require_writable(cell: str, columns: int) -> None:
    """See to it that a reader that splits at tabs (at spaces too where there is one column) gets it back."""
    forbidden = set("\t\n\r\0 " if columns == 1 else "\t\n\r\0")
    if not cell or cell != cell.strip(" ") or forbidden & set(cell) or _DOCUMENT_START.match(cell):
        what = "expected text without tabs, line ends or outer spaces"
        raise DataError(f"{cell!r} cannot stand in a column; {what}; write JSON lines instead")
