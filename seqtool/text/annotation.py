"""Annotated files as a whole: reading them with their layout, and the tag scheme that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from seqtool.text.exports import class_names
from seqtool.text.json_lines import JsonReading, Remarks
from seqtool.text.lines import open_input
from seqtool.text.tag_rules import SCHEMES, WITHOUT_ENDS, Scheme, spelling_problem

AUTO = "auto"
Tagged = tuple[TaggedSentence, ColumnFormat]  # with the layout of its file


@dataclass(frozen=True)
class Columns:
    """Where tokens and tags stand, as the user says it; None is the reader's own guess."""

    token: int | None = None
    tag: int | None = None
    features: tuple[int, ...] = ()
    reading: JsonReading = field(default_factory=lambda: JsonReading(annotated=True))  # how JSON is read

    def detect(self, path: str | Path) -> ColumnFormat:
        """The layout of a file; errors as `columns.detect_format`."""
        reading = self.reading
        if not reading.tag_names:
            reading = replace(reading, tag_names=class_names(Path(path)))
        return detect_format(path, token=self.token, tag=self.tag, features=self.features, reading=reading)


@dataclass(frozen=True)
class AnnotatedFile:
    """All sentences of a file."""

    path: str
    layout: ColumnFormat
    sentences: tuple[TaggedSentence, ...]
    remarks: Remarks = field(default_factory=Remarks)

    def remark_lines(self) -> list[str]:
        """What was met while reading, for people."""
        return self.remarks.lines(self.path, self.layout.reading.misaligned)


def read_annotated(path: str | Path, columns: Columns) -> AnnotatedFile:
    """A file (or a pipe; `-` is standard input) with its layout.

    Raises:
        UsageError: there is no such file, or no such column.
        DataError: with file and line: it is not what it should be, or holds no sentence.
    """
    remarks = Remarks()
    if Path(path).is_file():
        layout = columns.detect(path)
        sentences = read_sentences(path, layout, remarks)
    else:
        layout, sentences = open_annotated(str(path), columns, remarks)
    return AnnotatedFile(str(path), layout, tuple(require_sentences(sentences, str(path))), remarks)


def open_annotated(
    path: str, columns: Columns, remarks: Remarks
) -> tuple[ColumnFormat, Iterator[TaggedSentence]]:
    """The layout and the sentences of a file or pipe (`-`: standard input), one at a time.

    Raises:
        UsageError, StorageError, DataError: as `columns.detect_stream`.
    """
    name = "standard input" if path == "-" else path
    return detect_stream(
        open_input(path),
        name,
        token=columns.token,
        tag=columns.tag,
        features=columns.features,
        reading=columns.reading,
        remarks=remarks,
    )


def has_span_tags(sequences: Iterable[Sequence[str]]) -> bool:
    """True if most tags could be of a span scheme, so that others are mistakes; false for parts of speech."""
    counts = Counter(tag for tags in sequences for tag in tags if tag != tag_scheme.UNKNOWN)
    spans = sum(count for tag, count in counts.items() if tag_scheme.looks_like_spans([tag]))
    return 2 * spans > counts.total() or tag_scheme.has_bare_types(counts)


def find_scheme(files: Sequence[AnnotatedFile], wanted: str, repair: bool, strict: bool) -> Scheme | None:
    """The tag scheme that the files share; None for tags without spans, or no tags.

    Args:
        files: All of them count.
        wanted: The scheme to use whatever the tags, or `auto`.
        repair, strict: As of `scheme_of`.

    Raises:
        DataError: as `scheme_of`.
    """
    if wanted != AUTO:
        return scheme_named(wanted)
    tagged = [
        (sentence, file.layout) for file in files for sentence in file.sentences if sentence.tags is not None
    ]
    if not has_span_tags(sentence.tags or () for sentence, _ in tagged):
        return None
    return scheme_of(tagged, repair=repair, strict=strict)


def scheme_of(tagged: Sequence[Tagged], *, repair: bool, strict: bool) -> Scheme:
    """The scheme in which all tags are valid, or all but a handful.

    Published corpora have a few tags that are invalid in their scheme, such as an I- after O. They are read
    as conlleval reads them, so they do not keep a scheme from being found.

    Args:
        tagged: Sentences with span tags, each with the layout of its file.
        repair: Whether tags will be repaired: then the scheme with least to repair does.
        strict: Whether not one tag may be invalid.

    Raises:
        DataError: with file and line: no scheme fits, or two are mixed.
    """
    sequences = [sentence.tags or () for sentence, _ in tagged]
    if repair:
        return tag_scheme.closest_scheme(sequences)
    try:
        return tag_scheme.detect_scheme(sequences, lambda number, at: place(*tagged[number], at))
    except DataError:
        nearly = None if strict else _nearly_valid(tagged)
        if nearly is None:
            raise
        return nearly


def _nearly_valid(tagged: Sequence[Tagged]) -> Scheme | None:
    """The scheme with fewest invalid tags, if these are few enough.

    Where the last token of a span is marked, a scheme is taken for another by a handful of tags (`S-PER` in
    a file of B and I), so that only the share of the spans counts.
    """
    readings = []
    for scheme in SCHEMES:
        if scheme == "io":
            continue
        reading = TagReading(scheme)
        try:
            for sentence, layout in tagged:
                reading(sentence, layout)
        except DataError:  # a tag that is not of the scheme
            continue
        allowed = TOLERATED_TAGS if scheme in WITHOUT_ENDS else 0
        if not reading.too_many(allowed):
            readings.append(reading)
    return min(readings, key=lambda reading: reading.invalid).scheme if readings else None


TOLERATED_TAGS = 20  # invalid tags that are read in any file, however small
TOLERATED_SHARE = 0.01  # and more of them, up to this share of the spans


@dataclass
class TagReading:
    """Reads tags in a scheme, and counts those that are invalid in it; they are read as conlleval reads them.

    Args:
        scheme: That of the files.
        repair: Whether any number of invalid tags may be repaired.
        strict: Whether none may be.
    """

    scheme: Scheme
    repair: bool = False
    strict: bool = False
    spans: int = 0
    invalid: int = 0  # tags that were changed
    first: str = ""  # where the first of them is, and what is wrong with it

    def __call__(self, sentence: TaggedSentence, layout: ColumnFormat) -> TaggedSentence:
        """The sentence with tags that are valid in the scheme.

        Raises:
            DataError: with file and line: a tag of another scheme, or one that may or can not be repaired.
        """
        tags = sentence.tags or ()
        problem = tag_scheme.first_problem(tags, self.scheme)
        if problem is not None:
            sentence = self._mended(sentence, layout, *problem)
        if not any(map(tag_scheme.is_partial, tags)):
            self.spans += len(tag_scheme.spans(sentence.tags or (), self.scheme))
        return sentence

    def _mended(
        self, sentence: TaggedSentence, layout: ColumnFormat, position: int, reason: str
    ) -> TaggedSentence:
        tags, where = sentence.tags or (), place(sentence, layout, position)
        foreign = any(
            part != tag_scheme.UNKNOWN and spelling_problem(part, self.scheme)
            for tag in tags
            for part in tag.split("|")
        )
        if not self.repair and (self.strict or foreign):
            raise DataError(
                f"{where}: invalid {self.scheme} sequence: {reason}; "
                f"--scheme {self.scheme} --repair mends such tags, --scheme NAME names another scheme"
            )
        try:
            repaired, changed = tag_scheme.repair(tags, self.scheme)
        except DataError as error:
            raise DataError(f"{where}: cannot be repaired: {error}") from error
        if not changed:  # partial annotation
            raise DataError(
                f"{where}: invalid {self.scheme} sequence, which cannot be repaired, "
                f"as the sentence is annotated in part: {reason}"
            )
        self.first = self.first or f"{where}: {reason}"
        self.invalid += changed
        return replace(sentence, tags=tuple(repaired))

    def too_many(self, tolerated: int = TOLERATED_TAGS) -> bool:
        """True if there are more invalid tags than that, and more than one per cent of the spans."""
        return self.invalid > tolerated and self.invalid > TOLERATED_SHARE * self.spans

    def finish(self) -> str | None:
        """What there is to say when all sentences are read; None if every tag was valid.

        Raises:
            DataError: there are so many invalid tags that the file is something else, and no repair.
        """
        if not self.invalid:
            return None
        if self.repair:
            return f"{self.invalid} tags repaired to valid {self.scheme} sequences"
        if self.too_many():
            raise DataError(
                f"{self.first}; {self.invalid:,} tags are invalid in {self.scheme}, and there are but "
                f"{self.spans:,} spans; --scheme {self.scheme} --repair reads all of them as conlleval does, "
                "--scheme NAME names another scheme"
            )
        tags = "1 tag is" if self.invalid == 1 else f"{self.invalid} tags are"
        return (
            f"{tags} invalid in {self.scheme} and read as conlleval reads them, as the beginning or end of "
            f"an entity; the first: {self.first}; --strict refuses such tags"
        )


def scheme_named(name: str) -> Scheme:
    """The scheme of that name, which the caller has checked."""
    return next(scheme for scheme in SCHEMES if scheme == name)


def place(sentence: TaggedSentence, layout: ColumnFormat, position: int) -> str:
    """`file:line` of a token; where lines are not tokens, the line of the sentence and the token's number."""
    if layout.kind == "conll":
        return f"{sentence.source}:{sentence.line + position}"
    if layout.kind == "json":
        return f"{sentence.source}: item {sentence.line}: token {position + 1}"
    return f"{sentence.source}:{sentence.line}: token {position + 1}"
