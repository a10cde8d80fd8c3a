"""Checking annotated files: counts, leakage between files, unseen words, odd tokens."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from seqtool.errors import DataError
from seqtool.text import tag_scheme
from seqtool.text.annotation import AnnotatedFile, Columns, TagReading, find_scheme, place, read_annotated
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme

LONG_TOKEN = 100  # characters
PLACES_SHOWN = 3  # places listed for each kind of odd token


@dataclass(frozen=True)
class Oddity:
    """How often one kind of odd token occurs."""

    count: int
    places: tuple[str, ...]  # the first few, file:line


@dataclass(frozen=True)
class FileReport:
    """The contents of one file; comparisons with the first file are None for that file itself."""

    path: str
    layout: str
    sentences: int
    tokens: int
    longest: int  # tokens in the longest sentence
    longest_at: str  # file:line
    tags: dict[str, int]  # number of tokens with each tag
    entities: dict[str, int]  # number of entities of each type; empty if the tags mark no spans
    partial: int  # partially annotated sentences; their entities are not counted
    repaired: int  # tags that were repaired
    remarks: tuple[str, ...]  # what was noticed while reading
    repeated: int  # sentences that occur earlier in the same file
    shared: dict[str, int]  # for each file before this one, the sentences that occur there too
    unseen_words: float | None  # fraction of the tokens whose word is not in the first file
    unseen_entities: float | None  # fraction of the entities (type and words) that are not in the first file
    unseen_tags: dict[str, int] | None  # number of tokens with each tag that the first file lacks
    odd_tokens: dict[str, Oddity]


@dataclass(frozen=True)
class CorpusReport:
    """The contents of several files."""

    scheme: Scheme | None  # None: the tags mark no spans, or there are no tags
    files: tuple[FileReport, ...]
    invalid: str | None = None  # remark about tags that are invalid in the scheme

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Contents:
    """The contents of a file with which later files are compared."""

    sentences: Counter[tuple[str, ...]]
    words: set[str]
    entities: Counter[tuple[str, tuple[str, ...]]]  # type and words
    tags: Counter[str]
    partial: int


def check_corpus(
    paths: Sequence[str | Path],
    columns: Columns,
    *,
    spans: bool | None = None,
    scheme: str = "auto",
    repair: bool = False,
    strict: bool = False,
) -> CorpusReport:
    """Read files as a training run would, and report what is in them.

    Args:
        paths: The files; the training file comes first, and the others are compared with it.
        columns: Columns of tokens and tags.
        spans: Whether the tags mark spans; None = found from the tags.
        scheme: Tag scheme, or `auto` to find it.
        repair: Whether to repair (and count) any number of tags that are invalid in the scheme.
        strict: Whether to refuse every invalid tag; otherwise a handful is accepted and reported.

    Raises:
        UsageError: a file or a column does not exist.
        DataError: a file is invalid (with file and line), or its tags mark no spans though they should.
    """
    files = [read_annotated(path, columns) for path in paths]
    found = None if spans is False else find_scheme(files, scheme, repair, strict)
    if spans and found is None:
        raise DataError(
            f"{files[0].path}: its tags mark no entities; check it with --task pos, or name their "
            "scheme, as in --scheme io"
        )
    reading = None if found is None else TagReading(found, repair, strict)
    reports: list[FileReport] = []
    contents: list[_Contents] = []
    for file in files:
        before = 0 if reading is None else reading.invalid
        file = _checked(file, reading)
        repaired = 0 if reading is None else reading.invalid - before
        contents.append(_contents(file, found))
        reports.append(_report(file, contents, [report.path for report in reports], repaired, found))
    return CorpusReport(found, tuple(reports), None if reading is None else reading.finish())


def _checked(file: AnnotatedFile, reading: TagReading | None) -> AnnotatedFile:
    if reading is None:
        return file
    return replace(file, sentences=tuple(reading(sentence, file.layout) for sentence in file.sentences))


def _contents(file: AnnotatedFile, scheme: Scheme | None) -> _Contents:
    partial = [s for s in file.sentences if any(map(tag_scheme.is_partial, s.tags or ()))]
    aside = set(map(id, partial))
    entities: Counter[tuple[str, tuple[str, ...]]] = Counter()
    if scheme is not None:
        for sentence in file.sentences:
            if id(sentence) not in aside:
                entities.update(_entities(sentence, scheme))
    return _Contents(
        Counter(sentence.tokens for sentence in file.sentences),
        {token for sentence in file.sentences for token in sentence.tokens},
        entities,
        Counter(tag for sentence in file.sentences for tag in sentence.tags or ()),
        len(partial) if scheme is not None else 0,
    )


def _entities(sentence: TaggedSentence, scheme: Scheme) -> Iterable[tuple[str, tuple[str, ...]]]:
    for span in tag_scheme.spans(sentence.tags or (), scheme):
        yield span.type, sentence.tokens[span.start : span.end]


def _report(
    file: AnnotatedFile,
    contents: Sequence[_Contents],
    earlier: Sequence[str],
    repaired: int,
    scheme: Scheme | None,
) -> FileReport:
    """The report on the file of the last `contents`, compared with the files before it."""
    own, first = contents[-1], contents[0] if earlier else None
    longest = max(file.sentences, key=lambda sentence: len(sentence.tokens))
    types: Counter[str] = Counter()
    for (kind, _), count in own.entities.items():
        types[kind] += count
    return FileReport(
        path=file.path,
        layout=file.layout.describe(),
        sentences=len(file.sentences),
        tokens=sum(len(sentence.tokens) for sentence in file.sentences),
        longest=len(longest.tokens),
        longest_at=f"{longest.source}:{longest.line}",
        tags=_sorted(own.tags),
        entities=_sorted(types),
        partial=own.partial,
        repaired=repaired,
        remarks=tuple(file.remark_lines()),
        repeated=own.sentences.total() - len(own.sentences),
        shared={
            path: sum(count for tokens, count in own.sentences.items() if tokens in other.sentences)
            for path, other in zip(earlier, contents, strict=False)
        },
        unseen_words=None if first is None else _share(_words(file), first.words.__contains__),
        unseen_entities=None if first is None else _share(own.entities, first.entities.__contains__),
        unseen_tags=None if first is None else _sorted(_unseen_tags(own.tags, first.tags, scheme)),
        odd_tokens=_odd_tokens(file),
    )


def _words(file: AnnotatedFile) -> Counter[str]:
    return Counter(token for sentence in file.sentences for token in sentence.tokens)


def _share(counts: Counter[Any], known: Callable[[Any], bool]) -> float | None:
    """Fraction of the counted items that are not known; None if nothing was counted."""
    total = counts.total()
    return sum(count for item, count in counts.items() if not known(item)) / total if total else None


def _unseen_tags(own: Counter[str], first: Counter[str], scheme: Scheme | None) -> Counter[str]:
    """Tags that the first file lacks, partial ones aside; if tags mark no spans, none is partial."""
    partial = {tag for tag in own if scheme is not None and tag_scheme.is_partial(tag)}
    return Counter({tag: n for tag, n in own.items() if tag not in first and tag not in partial})


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """The counts in descending order."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# Kinds of odd tokens, each with its test. A token may be odd in several ways.
ODDITIES: dict[str, Callable[[str], bool]] = {
    "nothing visible": lambda token: all(unicodedata.category(c)[0] in "CZ" for c in token),
    "space inside": lambda token: any(map(str.isspace, token)),
    "control character": lambda token: any(unicodedata.category(c) == "Cc" for c in token),
    "replacement character (U+FFFD)": lambda token: "\ufffd" in token,
    "not in normal form C": lambda token: not unicodedata.is_normalized("NFC", token),
    f"longer than {LONG_TOKEN} characters": lambda token: len(token) > LONG_TOKEN,
}


def _odd_tokens(file: AnnotatedFile) -> dict[str, Oddity]:
    # Each distinct word is tested once, since the tests are slow and words recur.
    odd = {
        token: kinds
        for token in _words(file)
        if (kinds := [kind for kind, test in ODDITIES.items() if test(token)])
    }
    places: dict[str, list[str]] = {}
    if odd:
        for sentence in file.sentences:
            for position, token in enumerate(sentence.tokens):
                for kind in odd.get(token, ()):
                    places.setdefault(kind, []).append(place(sentence, file.layout, position))
    return {
        kind: Oddity(len(places[kind]), tuple(islice(places[kind], PLACES_SHOWN)))
        for kind in ODDITIES
        if kind in places
    }
