"""Reading and writing tagged sentences: CoNLL columns, CoNLL-U and JSON lines.

Plain CoNLL has one token per line and a blank line after each sentence (a line of spaces and tabs counts as
blank). `-DOCSTART-` lines separate documents and are skipped. Since `#` can be a token, a line is a comment
only at the start of a sentence, if it begins with `#` and a space or tab, and either looks like a comment
(`# key = value`, `# id ...`, an address) or has a different number of columns from the file. A first row
with the names of the columns is skipped. In CoNLL-U every line that begins with `#` is a comment; ranges
(`1-2`) and empty nodes (`1.1`) are not words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from seqtool.errors import DataError, counted
from seqtool.text.exports import items_of
from seqtool.text.inline import marks_spans, parse_inline
from seqtool.text.json_lines import JsonReading, Remarks, is_sentence_object, load, sentences_of
from seqtool.text.layout import (
    CONLLU_ID,
    DOCUMENT_LINE,
    cells_of,
    is_array,
    layout_of,
    no_sentences,
)
from seqtool.text.layout import DOCUMENT_START as DOCUMENT_START
from seqtool.text.layout import ColumnFormat as ColumnFormat
from seqtool.text.layout import NoSentencesError as NoSentencesError
from seqtool.text.lines import LINE_LIMIT, lines_of, read_lines
from seqtool.text.standoff import standoff_examples
from seqtool.text.tag_scheme import looks_like_spans

Item = TypeVar("Item")


DETECTION_LINES = 1000  # number of lines that `detect_format` reads at most
DETECTION_CHARACTERS = 1_000_000
SENTENCE_LIMIT = 100_000  # tokens; bounds memory where a file has no blank lines

# What might be read back differently from columns: control characters, empty cells, outer spaces.
_SUSPICIOUS = re.compile(r"[\r\0]|^[ \t]|[ \t]$|\t[ \t]| \t|-DOCSTART-", re.MULTILINE)
_NEW_DOCUMENT = re.compile(r"# *newdoc\b")  # a CoNLL-U comment before a sentence
# Always a comment, whatever the number of columns: a key with its value, an identifier, an address.
_COMMENT = re.compile(r"# +[\w.:-]+ *= *\S|# id[ \t]|#[ \t]+(https?://|www\.)")
ARRAY_LIMIT = 500_000_000  # bytes of a JSON array, which is read as a whole


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """One sentence with its annotation.

    Attributes:
        tokens: The tokens, T of them.
        tags: Tag of each token; None for text without annotation. A tag may be partial: `?` (any tag) or
            alternatives joined by `|` (`B-PER|B-ORG`).
        features: One tuple of T values per feature column.
        source: Name of the file, for messages.
        line: Line of the first token in the file, from 1.
        opens: Whether the file marks the beginning of a document here.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    features: tuple[tuple[str, ...], ...] = ()
    source: str = ""
    line: int = 0
    opens: bool = False


def detect_format(
    path: str | Path,
    *,
    token: int | None = None,
    tag: int | None = None,
    features: tuple[int, ...] = (),
    reading: JsonReading | None = None,
) -> ColumnFormat:
    """The layout of a file, found from its first lines.

    Args:
        path: A regular file; for a pipe, which can be read only once, use `detect_stream`.
        token: Column of the tokens, counted from 1, or from -1 at the end; None = the first (CoNLL-U: 2).
        tag: Column of the tags, counted likewise; None = the last (CoNLL-U: 4); 0 = there are no tags.
        features: Columns of further features.
        reading: How to read JSON.

    Raises:
        UsageError: the file does not exist, or does not have a column that was named.
        DataError: it has no sentences, is not text, or is in a format that is not read.
    """
    if is_array(path):
        return layout_of(["[{}]"], str(path), token, tag, features, reading)
    with closing(lines_of(path)) as lines:
        prefix = list(_first_lines(lines))
    return layout_of(prefix, str(path), token, tag, features, reading)


def detect_stream(
    stream: BinaryIO,
    name: str,
    *,
    token: int | None = None,
    tag: int | None = None,
    features: tuple[int, ...] = (),
    reading: JsonReading | None = None,
    remarks: Remarks | None = None,
) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """The layout of a stream, found from its first sentence, and all its sentences.

    Does not wait for more than the blank line after the first sentence.

    Args:
        stream: The bytes to read.
        name: Name of the stream for messages.
        token: Column of the tokens, as in `detect_format`.
        tag: Column of the tags, as in `detect_format`.
        features: Columns of further features.
        reading: How to read JSON.
        remarks: Counts what is noticed while JSON is read.

    Raises:
        UsageError: the stream does not have a column that was named.
        DataError: it has no sentences, or is not text.
    """
    lines = read_lines(stream, name)
    return detect_lines(
        lines, name, token=token, tag=tag, features=features, reading=reading, remarks=remarks
    )


def detect_lines(
    lines: Iterator[str],
    name: str,
    *,
    token: int | None = None,
    tag: int | None = None,
    features: tuple[int, ...] = (),
    reading: JsonReading | None = None,
    remarks: Remarks | None = None,
    forms: bool = False,
) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """Like `detect_stream`, for decoded lines; with `forms`, tokens of CoNLL-U are its forms in any case."""
    prefix = list(_first_lines(lines, one_sentence=True))
    layout = layout_of(prefix, name, None if forms else token, tag, features, reading)
    if forms and token is not None and layout.kind != "conllu":
        layout = layout_of(prefix, name, token, tag, features, reading)
    return layout, _sentences(chain(prefix, lines), name, layout, remarks)


def read_sentences(
    path: str | Path, layout: ColumnFormat, remarks: Remarks | None = None
) -> Iterator[TaggedSentence]:
    """The sentences of a file (`-` is standard input), one at a time.

    Args:
        path: The file.
        layout: Its layout.
        remarks: Counts what is noticed while JSON is read.

    Raises:
        UsageError, StorageError: the file cannot be opened or read.
        DataError: rows of different lengths, an empty token, invalid JSON, not UTF-8 (with file and line).
    """
    limit = ARRAY_LIMIT if layout.kind == "json" else LINE_LIMIT
    with closing(lines_of(path, limit)) as lines:
        yield from _sentences(lines, "standard input" if str(path) == "-" else str(path), layout, remarks)


def require_sentences(sentences: Iterable[Item], name: str) -> Iterator[Item]:
    """Pass the sentences on.

    Raises:
        DataError: at the end, if there was no sentence.
    """
    empty = True
    for sentence in sentences:
        empty = False
        yield sentence
    if empty:
        raise no_sentences(name)


# Detection


def _first_lines(lines: Iterable[str], one_sentence: bool = False) -> Iterator[str]:
    """Enough lines to find the layout; with `one_sentence`, up to the end of the first sentence."""
    characters, begun = 0, False
    for number, line in enumerate(lines, 1):
        yield line
        characters += len(line)
        blank = not line.strip(" \t")
        if one_sentence and (is_sentence_object(line) or (blank and begun)):
            return
        # Marks of documents and comments may stand by themselves before the first sentence.
        begun |= not blank and not line.startswith((DOCUMENT_START, "#"))
        if number == DETECTION_LINES or characters >= DETECTION_CHARACTERS:
            return


# Reading


def _json_sentences(
    lines: Iterable[str], name: str, layout: ColumnFormat, remarks: Remarks
) -> Iterator[TaggedSentence]:
    """The sentences of a JSON file; a document may hold several, and what follows it begins a new one."""
    examples: Iterator[tuple[int, str, Any]]
    if layout.kind == "json":
        items = items_of(load("\n".join(lines), name, array=True), name)
        examples = ((number, f"{name}: item {number}", item) for number, item in enumerate(items, 1))
    elif layout.kind == "brat":
        found_lines = enumerate(standoff_examples(lines, name), 1)
        examples = ((number, f"{name}: line {number}", value) for number, value in found_lines)
    else:
        filled = ((n, line.removeprefix("\ufeff")) for n, line in enumerate(lines, 1))
        examples = ((n, f"{name}:{n}", load(line, f"{name}:{n}")) for n, line in filled if line.strip(" \t"))
    after_document = False
    for number, place, value in examples:
        found = list(sentences_of(value, place, layout.reading, remarks))
        for position, (tokens, tags, opens) in enumerate(found):
            opens |= after_document and position == 0
            yield TaggedSentence(tokens, tags, source=name, line=number, opens=opens)
        after_document = len(found) > 1


def _inline_sentences(lines: Iterable[str], name: str) -> Iterator[TaggedSentence]:
    """The sentences of lines with marks; a blank line ends a document."""
    spans: bool | None = None
    opens = False
    for number, line in enumerate(lines, 1):
        line = line.removeprefix("\ufeff").strip(" \t")
        if not line:
            opens = True
            continue
        spans = marks_spans(line) if spans is None else spans
        tokens, tags = parse_inline(line, f"{name}:{number}", spans=spans)
        yield TaggedSentence(tokens, tags, source=name, line=number, opens=opens)
        opens = False


def _sentences(
    lines: Iterable[str], name: str, layout: ColumnFormat, remarks: Remarks | None = None
) -> Iterator[TaggedSentence]:
    if layout.kind in ("jsonl", "json", "brat"):
        yield from _json_sentences(lines, name, layout, Remarks() if remarks is None else remarks)
        return
    if layout.kind == "inline":
        yield from _inline_sentences(lines, name)
        return
    header = layout.header
    rows: list[list[str]] = []
    first, opens = 0, False
    for number, line in enumerate(lines, 1):
        line = line.removeprefix("\ufeff")  # inside a file too: concatenated files each had their own mark
        if not line.strip(" \t") or DOCUMENT_LINE.match(line):
            if rows:
                yield _sentence(rows, name, first, layout, opens)
                opens = False
            rows = []
            opens |= line.startswith("-")
            continue
        opens |= not rows and bool(_NEW_DOCUMENT.match(line))
        row = _row(line, f"{name}:{number}", layout, at_start=not rows)
        if row is None or header:
            header = header and row is None
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


def _row(line: str, place: str, layout: ColumnFormat, at_start: bool) -> list[str] | None:
    """The cells of a line; None if it is a comment, or otherwise not a word."""
    if layout.kind == "conllu" and line.startswith("#"):
        return None
    row = cells_of(line, layout.separator)
    if layout.kind == "conll" and at_start and line.startswith("#") and _is_comment(line, row, layout):
        return None
    if len(row) != layout.columns:
        tabs = layout.separator == "tab"
        if len(row) > layout.columns:
            advice = "is a tab, and that no column is too many"
            advice = (
                advice if tabs else "is not a tab, and that no token holds a space and no column is too many"
            )
        else:
            advice = f"is {'' if tabs else 'not '}a tab, and that neither the token nor its tag is missing"
        raise DataError(
            f"{place}: {counted(len(row), 'column')}, expected {layout.columns}; "
            f"check that the separator {advice}"
        )
    if layout.kind == "conllu" and not row[0].isdecimal():
        if not CONLLU_ID.fullmatch(row[0]):
            raise DataError(f"{place}: {row[0]!r} is not a word number; expected the ten columns of CoNLL-U")
        return None
    for column in (layout.token, layout.tag, *layout.features):
        if column is not None and not row[column - 1]:
            what = "the token" if column == layout.token else f"column {column}"
            raise DataError(f"{place}: {what} is empty; expected text between the separators")
    return row


def _is_comment(line: str, row: list[str], layout: ColumnFormat) -> bool:
    """True if a line that begins with `#` at the start of a sentence is a comment, not a token."""
    if _COMMENT.match(line) or (len(row) != layout.columns and line.startswith(("# ", "#\t"))):
        return True
    # In a file of span tags, the last cell is not one: `# by` in a file of two columns.
    return (
        layout.span_tags
        and layout.tag is not None
        and len(row) == layout.columns
        and line.startswith("# ")
        and not looks_like_spans([row[layout.tag - 1]])
    )


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
    """A sentence as tab-separated lines and the blank line that ends it; reading it gives the same sentence.

    Args:
        tokens: First column.
        tags: Second column; None leaves it out.
        columns: Further columns, each as long as `tokens`.

    Raises:
        DataError: a cell that a column cannot hold: empty, or with a tab, a line end, ...

    >>> format_conll(["Ada", "lives"], ["B-PER", "O"])
    'Ada\\tB-PER\\nlives\\tO\\n\\n'
    """
    written = [tokens, *([] if tags is None else [tags]), *columns]
    lines = ["\t".join(row) for row in zip(*written, strict=True)]
    text = "".join(f"{line}\n" for line in [*lines, ""])
    # Checking the whole text is much faster than checking each cell, which only the message needs.
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


def _require_writable(cell: str, columns: int) -> None:
    """Refuse a cell that would not be read back as it is, at tabs (and at spaces if there is one column)."""
    forbidden = set("\t\n\r\0 " if columns == 1 else "\t\n\r\0")
    if not cell or cell != cell.strip(" ") or forbidden & set(cell) or DOCUMENT_LINE.match(cell):
        what = "expected text without tabs, line ends or outer spaces"
        raise DataError(f"{cell!r} cannot stand in a column; {what}; --format jsonl or --to jsonl writes it")
