"""The layout of a file of sentences (kind, separator, columns), found from its first lines."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seqtool.errors import DataError, UsageError, counted
from seqtool.files import storage_errors
from seqtool.text.foreign import refuse_foreign
from seqtool.text.json_lines import JsonReading, is_sentence_object
from seqtool.text.lines import open_input
from seqtool.text.tag_scheme import looks_like_spans

Separator = Literal["tab", "whitespace"]


# How to call the formats that have no columns.
NAMES = {"jsonl": "JSON lines", "json": "JSON array", "inline": "text with marks", "brat": "brat standoff"}


class NoSentencesError(DataError):
    """A file without a sentence: an error where data is required, an empty result elsewhere."""


_CONLLU_COLUMNS = 10
CONLLU_ID = re.compile(r"[0-9]+([-.][0-9]+)?")
_SPACES = re.compile(r"[ \t]+")
DOCUMENT_START = "-DOCSTART-"
DOCUMENT_LINE = re.compile(rf"{DOCUMENT_START}([ \t]|$)")
_ARRAY = re.compile(r"\ufeff?\s*\[\s*(\{\s*[\"}]|\[\s*\")")  # a JSON array of objects, or of pairs
_OBJECT = re.compile(r"\{\s*\"[^\"]*\"\s*:")
# Names in a header row, in lower case: of the column of tokens, and of columns of tags (`ne-...`: HIPE).
_HEADER_NAMES = frozenset({"token", "tokens", "word", "words", "form"})
_TAG_NAMES = frozenset(
    {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "ne", "iob", "entity", "pos", "upos"}
    | {"ne-coarse-lit"}
)
# Signs of plain text: this many lines, words per line, and at most this share of lines of one length.
TEXT_LINES, TEXT_WORDS, TEXT_SHARE = 3, 4, 0.4
_GERMEVAL_COLUMNS = 4  # number, token, outer entity, inner entity


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """The layout of a file of sentences.

    Attributes:
        kind: Format of the file; `json` is one array of examples, `jsonl` has one example per line, `inline`
            marks tags in the text, `brat` has them in a file of its own beside the text.
        separator: What separates the columns; like all columns, unused for JSON.
        columns: Number of columns.
        token: Column of the tokens, from 1.
        tag: Column of the tags, from 1; None = there are no tags.
        features: Columns of further features, from 1.
        span_tags: Whether tags with prefixes (`B-PER`) were seen.
        header: Whether the first row names the columns.
        reading: How to read JSON.
    """

    kind: Literal["conll", "conllu", "jsonl", "json", "inline", "brat"]
    separator: Separator = "tab"
    columns: int = 0
    token: int = 0
    tag: int | None = None
    features: tuple[int, ...] = ()
    span_tags: bool = field(default=False, compare=False)
    header: bool = field(default=False, compare=False)
    reading: JsonReading = field(default=JsonReading(), compare=False)

    def describe(self) -> str:
        """A description of the layout, for reports.

        >>> ColumnFormat("conll", "tab", 4, 1, 4).describe()
        '4 columns, tab-separated: token = 1, tag = 4'
        """
        if self.kind in NAMES:
            return NAMES[self.kind]
        start = "CoNLL-U" if self.kind == "conllu" else counted(self.columns, "column")
        parts = [f"token = {self.token}"]
        if self.tag is not None:
            parts.append(f"tag = {self.tag}")
        if self.features:
            parts.append(f"features = {', '.join(map(str, self.features))}")
        return f"{start}, {self.separator}-separated: {', '.join(parts)}"


def no_sentences(name: str) -> NoSentencesError:
    """The error for a file without a sentence."""
    return NoSentencesError(f"{name}: no sentences; expected at least one")


def is_array(path: str | Path) -> bool:
    """True for a regular file that begins like a JSON array, which may be a single line of any length."""
    if not Path(path).is_file():
        return False
    with open_input(path) as stream, storage_errors(Path(path)):
        try:
            start = stream.read(4096)
        except (EOFError, gzip.BadGzipFile, zlib.error):  # reported by whoever reads the file
            return False
    return bool(_ARRAY.match(start.decode("utf-8", "replace")))


def _refuse_columns(name: str, token: int | None, tag: int | None, features: tuple[int, ...]) -> None:
    if token is not None or tag is not None or features:
        raise UsageError(f"{name}: this format has no columns; leave out the column numbers")


def layout_of(
    prefix: list[str],
    name: str,
    token: int | None,
    tag: int | None,
    features: tuple[int, ...],
    reading: JsonReading | None,
) -> ColumnFormat:
    """The layout of a file with these first lines; other arguments and errors as `columns.detect_format`."""
    reading = reading or JsonReading()
    content = [line for line in prefix if line.strip(" \t")]
    if not content:
        raise no_sentences(name)
    suffixes = [suffix for suffix in Path(name).suffixes if suffix != ".gz"]
    extension = suffixes[-1] if suffixes else ""
    content[0] = content[0].removeprefix("\ufeff")
    if extension in (".inline", ".ann"):
        _refuse_columns(name, token, tag, features)
        return ColumnFormat("inline" if extension == ".inline" else "brat", reading=reading)
    whole = extension == ".json" and not is_sentence_object(content[0])
    start = "\n".join(content[:2])
    if whole or _ARRAY.match(start) or (_OBJECT.match(start) and not is_sentence_object(content[0])):
        _refuse_columns(name, token, tag, features)
        return ColumnFormat("json" if extension != ".jsonl" else "jsonl", reading=reading)
    if extension == ".jsonl" or is_sentence_object(content[0]):
        _refuse_columns(name, token, tag, features)
        return ColumnFormat("jsonl", reading=reading)
    refuse_foreign(content, name, extension)
    if extension == ".conllu" or _looks_like_conllu(content):
        count = _CONLLU_COLUMNS
        numbers = _resolve(name, count, 2 if token is None else token, 4 if tag is None else tag, features)
        return ColumnFormat("conllu", "tab", count, *numbers)
    separator, count = _layout(content)
    _refuse_running_text(content, separator, name)
    numbered = count > 2 and _is_numbered(prefix, separator, count)
    if token is None:
        token = 2 if numbered else 1
    if tag is None:
        tag = _tag_column(content, separator, count, numbered=numbered)
    numbers = _resolve(name, count, token, tag, features)
    span_tags, header = _tags_and_header(content, separator, count, *numbers[:2])
    return ColumnFormat("conll", separator, count, *numbers, span_tags=span_tags, header=header)


def _tag_column(content: list[str], separator: Separator, count: int, *, numbered: bool) -> int:
    """The column of the tags: the one that a header row names, else the last; 0 = there are none.

    GermEval 2014 numbers the words and has two levels of entities, of which the outer one is taken.
    """
    rows = [cells for line in content if len(cells := cells_of(line, separator)) == count]
    if count == 1 or not rows:
        return -1 if count > 1 else 0
    first = [cell.lower() for cell in rows[0]]
    if not _HEADER_NAMES.isdisjoint(first):
        named = [place for place, cell in enumerate(first, 1) if cell in _TAG_NAMES]
        return named[0] if named and first[-1] not in _TAG_NAMES else -1
    if numbered and count == _GERMEVAL_COLUMNS:
        levels = [[row[place] for row in rows if row[0].isdecimal()] for place in (2, 3)]
        return 3 if all(map(looks_like_spans, levels)) else -1
    return -1


def _is_numbered(prefix: list[str], separator: Separator, count: int) -> bool:
    """True if the first column numbers the words of each sentence from 1, as in CoNLL-U or GermEval."""
    expected, rows = 1, 0
    for line in prefix:
        cells = cells_of(line, separator)
        if len(cells) != count or line.startswith("#"):
            expected = 1
            continue
        if cells[0] != str(expected):
            return False
        expected += 1
        rows += 1
    return rows > 0


def _tags_and_header(
    content: list[str], separator: Separator, count: int, token: int, tag: int | None
) -> tuple[bool, bool]:
    """Whether the tags in the first lines have prefixes, and whether the first row names the columns."""
    rows = [cells for line in content if len(cells := cells_of(line, separator)) == count]
    if not rows:
        return False, False
    header = rows[0][token - 1].lower() in _HEADER_NAMES and len(rows) > 1
    rest = rows[1:] if header else rows
    if tag is None and count == 1:
        # A sentence may well begin with "Word" or "Form", and nothing beside it tells that it does.
        return False, header and rows[0][0].lower() in ("token", "tokens")
    # A file whose tags are not read has its header all the same: its last column shows it as well.
    shown = (tag or (count if token != count else 1)) - 1
    header = (
        header
        and not looks_like_spans([rows[0][shown]])
        and rows[0][shown] not in {row[shown] for row in rest}
    )
    words = [row[shown] for row in rest if not row[0].startswith("#")]
    return tag is not None and looks_like_spans(words), header


def is_header(line: str, layout: ColumnFormat) -> bool:
    """Whether a line of a file with a header can be the row that names the columns."""
    cells = cells_of(line, layout.separator)
    return len(cells) == layout.columns and cells[layout.token - 1].lower() in _HEADER_NAMES


def _looks_like_conllu(content: list[str]) -> bool:
    rows = [line.split("\t") for line in content if not line.startswith("#")]
    return bool(rows) and all(len(row) == _CONLLU_COLUMNS and CONLLU_ID.fullmatch(row[0]) for row in rows)


def _layout(content: list[str]) -> tuple[Separator, int]:
    """The separator (tabs if the lines have them) and the most common number of columns."""
    rows = [line for line in content if not line.startswith("# ") and not DOCUMENT_LINE.match(line)]
    rows = rows or content
    with_tabs = Counter(len(cells_of(line, "tab")) for line in rows).most_common(1)[0][0]
    if with_tabs > 1:
        return "tab", with_tabs
    return "whitespace", Counter(len(cells_of(line, "whitespace")) for line in rows).most_common(1)[0][0]


def _refuse_running_text(content: list[str], separator: Separator, name: str) -> None:
    """Refuse lines with many words, hardly two of which have as many: these are no columns."""
    lengths = [len(_SPACES.split(line.strip(" \t"))) for line in content]
    few, often = TEXT_LINES, Counter(lengths).most_common(1)[0][1]
    if separator == "tab" or len(lengths) < few or sum(lengths) < TEXT_WORDS * len(lengths):
        return
    if often <= TEXT_SHARE * len(lengths):
        raise DataError(
            f"{name}: the lines look like plain text, not like columns; expected one token and its tag per "
            "line, and a blank line after each sentence (to tag plain text: --input-format text)"
        )


def _resolve(
    name: str, count: int, token: int, tag: int, features: tuple[int, ...]
) -> tuple[int, int | None, tuple[int, ...]]:
    """Column numbers counted from 1, given some that may count from the end; tag 0 becomes None."""

    def place(number: int, what: str) -> int:
        if not 1 <= abs(number) <= count:
            raise UsageError(f"{name}: there is no column {number} for the {what}; expected 1 to {count}")
        return number if number > 0 else count + 1 + number

    token_column = place(token, "token")
    tag_column = place(tag, "tag") if tag else None
    if token_column == tag_column:
        raise UsageError(f"{name}: token and tag are both column {tag_column}; expected two columns")
    return token_column, tag_column, tuple(place(number, "feature") for number in features)


def cells_of(line: str, separator: Separator) -> list[str]:
    """The cells of a line."""
    # Only spaces and tabs separate cells: str.split() would drop a token that is a no-break space.
    if separator == "tab":
        return [cell.strip(" ") for cell in line.split("\t")]
    return _SPACES.split(line.strip(" \t"))
