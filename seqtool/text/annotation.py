"""Annotated files as a whole: reading them with their layout, and the tag scheme that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seqtool.errors import DataError
from seqtool.text import tag_scheme
from seqtool.text.columns import (
    ColumnFormat,
    TaggedSentence,
    detect_format,
    detect_stream,
    read_sentences,
    require_sentences,
)
from seqtool.text.lines import open_input
from seqtool.text.tag_rules import SCHEMES, Scheme

AUTO = "auto"


@dataclass(frozen=True)
class Columns:
    """Where tokens and tags stand, as the user says it; None is the reader's own guess."""

    token: int | None = None
    tag: int | None = None
    features: tuple[int, ...] = ()

    def detect(self, path: str | Path) -> ColumnFormat:
        """The layout of a file; errors as `columns.detect_format`."""
        return detect_format(path, token=self.token, tag=self.tag, features=self.features)


@dataclass(frozen=True)
class AnnotatedFile:
    """All sentences of a file."""

    path: str
    layout: ColumnFormat
    sentences: tuple[TaggedSentence, ...]


def read_annotated(path: str | Path, columns: Columns) -> AnnotatedFile:
    """A file (or a pipe; `-` is standard input) with its layout.

    Raises:
        UsageError: there is no such file, or no such column.
        DataError: with file and line: it is not what it should be, or holds no sentence.
    """
    if Path(path).is_file():
        layout = columns.detect(path)
        sentences = read_sentences(path, layout)
    else:
        layout, sentences = open_annotated(str(path), columns)
    return AnnotatedFile(str(path), layout, tuple(require_sentences(sentences, str(path))))


def open_annotated(path: str, columns: Columns) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """The layout and the sentences of a file or pipe (`-`: standard input), one at a time.

    Raises:
        UsageError, StorageError, DataError: as `columns.detect_stream`.
    """
    name = "standard input" if path == "-" else path
    return detect_stream(
        open_input(path), name, token=columns.token, tag=columns.tag, features=columns.features
    )


def has_span_tags(sequences: Iterable[Sequence[str]]) -> bool:
    """True if most tags could be of a span scheme, so that others are mistakes; false for parts of speech."""
    counts = Counter(tag for tags in sequences for tag in tags if tag != tag_scheme.UNKNOWN)
    spans = sum(count for tag, count in counts.items() if tag_scheme.looks_like_spans([tag]))
    return 2 * spans > counts.total()


def find_scheme(files: Sequence[AnnotatedFile], wanted: str, repair: bool = False) -> Scheme | None:
    """The tag scheme that the files share; None for tags without spans, or no tags.

    Args:
        files: All of them count.
        wanted: The scheme to use whatever the tags, or `auto`.
        repair: Whether tags will be repaired: then the scheme with least to repair does.

    Raises:
        DataError: with file and line: no scheme fits, or two are mixed.
    """
    if wanted != AUTO:
        return scheme_named(wanted)
    tagged = [
        (sentence, file.layout) for file in files for sentence in file.sentences if sentence.tags is not None
    ]
    sequences = [sentence.tags or () for sentence, _ in tagged]
    if not has_span_tags(sequences):
        return None
    if repair:
        return tag_scheme.closest_scheme(sequences)
    return tag_scheme.detect_scheme(sequences, lambda number, position: place(*tagged[number], position))


def checked_tags(
    sentence: TaggedSentence, layout: ColumnFormat, scheme: Scheme, repair: bool
) -> tuple[TaggedSentence, int]:
    """The sentence with tags that are valid in the scheme, and how many were changed for it.

    Raises:
        DataError: with file and line: they are not valid, and may not be repaired.
    """
    tags = sentence.tags or ()
    problem = tag_scheme.first_problem(tags, scheme)
    if problem is None:
        return sentence, 0
    position, reason = problem
    where = place(sentence, layout, position)
    if not repair:
        raise DataError(
            f"{where}: invalid {scheme} sequence: {reason}; --repair fixes such tags, or name another scheme"
        )
    try:
        repaired, changed = tag_scheme.repair(tags, scheme)
    except DataError as error:
        raise DataError(f"{where}: cannot be repaired: {error}") from error
    if not changed:  # partial annotation
        raise DataError(f"{where}: cannot be repaired, as the sentence is annotated in part: {reason}")
    return replace(sentence, tags=tuple(repaired)), changed


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, which the caller has checked."""
    return next(scheme for scheme in SCHEMES if scheme == name)


def place(sentence: TaggedSentence, layout: ColumnFormat, position: int) -> str:
    """`file:line` of a token; where lines are not tokens, the line of the sentence and the token's number."""
    if layout.kind == "conll":
        return f"{sentence.source}:{sentence.line + position}"
    return f"{sentence.source}:{sentence.line}: token {position + 1}"
