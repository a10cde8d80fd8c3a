"""What is in annotated files, and what is odd about them: leakage, unseen words, strange tokens."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from seqtool.text import tag_scheme
from seqtool.text.annotation import AnnotatedFile, Columns, TagReading, find_scheme, place, read_annotated
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme

LONG_TOKEN = 100  # characters
PLACES_SHOWN = 3  # of each kind of odd token


@dataclass(frozen=True)
class Oddity:
    """One kind of strange token."""

    count: int
    places: tuple[str, ...]  # the first ones


@dataclass(frozen=True)
class FileReport:
    """What one file holds; the comparisons are None for the first file."""

    path: str
    layout: str
    sentences: int
    tokens: int
    longest: int  # tokens of the longest sentence
    longest_at: str  # file:line
    tags: dict[str, int]  # tokens of each tag
    entities: dict[str, int]  # entities of each type; empty where tags have no spans
    partial: int  # sentences annotated in part; their entities are not counted
    repaired: int  # tags
    remarks: tuple[str, ...]  # what was met while reading
    repeated: int  # sentences that stand earlier in the same file
    shared: dict[str, int]  # sentences that also stand in each file before this one
    unseen_words: float | None  # share of the tokens whose word is not in the first file
    unseen_entities: float | None  # share of the entities that are not in the first file, type and words
    unseen_tags: dict[str, int] | None  # tokens of each tag that the first file does not have
    odd_tokens: dict[str, Oddity]


@dataclass(frozen=True)
class CorpusReport:
    """What some files hold together."""

    scheme: Scheme | None  # None: one tag a token without spans, or no tags
    files: tuple[FileReport, ...]
    invalid: str | None = None  # what is said of tags that are invalid in the scheme

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Contents:
    """What later files are compared with."""

    sentences: Counter[tuple[str, ...]]
    words: set[str]
    entities: Counter[tuple[str, tuple[str, ...]]]  # type and words
    tags: Counter[str]
    partial: int


def check_corpus(
    paths: Sequence[str | Path],
    columns: Columns,
    *,
    scheme: str = "auto",
    repair: bool = False,
    strict: bool = False,
) -> CorpusReport:
    """Read files as a training run would and say what is in them.

    Args:
        paths: The training file first: the others are compared with it.
        columns: Where tokens and tags stand.
        scheme: Of the tags, or `auto`.
        repair: Whether to repair (and count) any number of tags that are invalid in the scheme.
        strict: Whether to refuse all of them; else a handful is read, and said.

    Raises:
        UsageError: a file is missing, or a column.
        DataError: with file and line: what is wrong.
    """
    files = [read_annotated(path, columns) for path in paths]
    found = find_scheme(files, scheme, repair, strict)
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
    """The report of the last of `contents`, compared with those before it."""
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
    """Part of the counted things that are not known; None where nothing was counted."""
    total = counts.total()
    return sum(count for item, count in counts.items() if not known(item)) / total if total else None


def _unseen_tags(own: Counter[str], first: Counter[str], scheme: Scheme | None) -> Counter[str]:
    """Tags that the first file lacks; without spans `?` and `|` are part of a tag."""
    partial = {tag for tag in own if scheme is not None and tag_scheme.is_partial(tag)}
    return Counter({tag: n for tag, n in own.items() if tag not in first and tag not in partial})


def _sorted(counts: Counter[str]) -> dict[str, int]:
    """Most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# What is odd about a token: name to test. A token may be odd in several ways.
ODDITIES: dict[str, Callable[[str], bool]] = {
    "nothing visible": lambda token: all(unicodedata.category(c)[0] in "CZ" for c in token),
    "space inside": lambda token: any(map(str.isspace, token)),
    "control character": lambda token: any(unicodedata.category(c) == "Cc" for c in token),
    "replacement character (U+FFFD)": lambda token: "\ufffd" in token,
    "not in normal form C": lambda token: not unicodedata.is_normalized("NFC", token),
    f"longer than {LONG_TOKEN} characters": lambda token: len(token) > LONG_TOKEN,
}


def _odd_tokens(file: AnnotatedFile) -> dict[str, Oddity]:
    # Distinct words first: a corpus repeats itself, and the tests are slow.
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
