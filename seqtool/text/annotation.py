"""Reading whole annotated files together with their layout, and finding the tag scheme that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqtool.errors import DataError, counted
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
Tagged = tuple[TaggedSentence, ColumnFormat]  # a sentence with the layout of its file


@dataclass(frozen=True)
class Columns:
    """Columns of tokens and tags as the user gives them; None lets the reader find the column itself."""

    token: int | None = None
    tag: int | None = None
    features: tuple[int, ...] = ()
    reading: JsonReading = field(default_factory=lambda: JsonReading(annotated=True))  # how to read JSON

    def detect(self, path: str | Path) -> ColumnFormat:
        """The layout of a file.

        Raises:
            UsageError, DataError: as `columns.detect_format`.
        """
        reading = self.reading
        if not reading.tag_names:
            reading = replace(reading, tag_names=class_names(Path(path)))
        return detect_format(path, token=self.token, tag=self.tag, features=self.features, reading=reading)


@dataclass(frozen=True)
class AnnotatedFile:
    """All sentences of a file, with its layout and what is worth telling about it."""

    path: str
    layout: ColumnFormat
    sentences: tuple[TaggedSentence, ...]
    remarks: Remarks = field(default_factory=Remarks)

    def remark_lines(self) -> list[str]:
        """What was noticed while reading, one line per kind, to be shown to the user."""
        return self.remarks.lines(self.path, self.layout.reading.misaligned)


def read_annotated(path: str | Path, columns: Columns) -> AnnotatedFile:
    """Read a file or a pipe (`-` is standard input) with its layout.

    Args:
        path: The file.
        columns: Columns of tokens and tags.

    Raises:
        UsageError: the file or the column does not exist.
        DataError: the content is invalid (with file and line), or there is no sentence in it.
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
    """The layout of a file or pipe (`-` is standard input), and its sentences, read one at a time.

    Args:
        path: The file.
        columns: Columns of tokens and tags.
        remarks: Counts what is noticed while the sentences are read.

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
    """True if most tags could be of a span scheme, so that the rest are mistakes; false for PoS tags."""
    counts = Counter(tag for tags in sequences for tag in tags if tag != tag_scheme.UNKNOWN)
    spans = sum(count for tag, count in counts.items() if tag_scheme.looks_like_spans([tag]))
    return 2 * spans > counts.total() or tag_scheme.has_bare_types(counts)


def find_scheme(files: Sequence[AnnotatedFile], wanted: str, repair: bool, strict: bool) -> Scheme | None:
    """The tag scheme that the files share; None if their tags mark no spans, or if there are no tags.

    Args:
        files: All files of the data set; their tags are examined together.
        wanted: Name of the scheme to use, or `auto` to find it.
        repair: Whether invalid tags will be repaired, as in `scheme_of`.
        strict: Whether every invalid tag is refused, as in `scheme_of`.

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

    Published corpora have a few tags that are invalid in their scheme, such as an I- after O. These are read
    as conlleval reads them, so they do not prevent a scheme from being found.

    Args:
        tagged: Sentences with span tags, each with the layout of its file.
        repair: Whether invalid tags will be repaired; if so, the scheme with the fewest to repair is chosen.
        strict: Whether a single invalid tag rules a scheme out.

    Raises:
        DataError: no scheme fits, or two are mixed (with file and line).
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
    """The scheme with the fewest invalid tags, if these are few enough; None if there is no such scheme.

    In a scheme that marks the last token of a span no fixed number of tags is tolerated, only a share of the
    spans: otherwise a few tags (`S-PER` in a file of B and I) would make a file pass for another scheme.
    """
    readings = []
    for scheme in SCHEMES:
        if scheme == "io":
            continue
        reading = TagReading(scheme)
        try:
            for sentence, layout in tagged:
                reading(sentence, layout)
        except DataError:  # a tag that does not belong to the scheme
            continue
        allowed = TOLERATED_TAGS if scheme in WITHOUT_ENDS else 0
        if not reading.too_many(allowed):
            readings.append(reading)
    return min(readings, key=lambda reading: reading.invalid).scheme if readings else None


TOLERATED_TAGS = 20  # number of invalid tags that is accepted in any file, however small
TOLERATED_SHARE = 0.01  # more than that are accepted up to this share of the spans


@dataclass
class TagReading:
    """Reads tags in a scheme; invalid ones are counted, and read as conlleval reads them.

    Args:
        scheme: Tag scheme of the files.
        repair: Whether to repair any number of invalid tags.
        strict: Whether to refuse every invalid tag.
    """

    scheme: Scheme
    repair: bool = False
    strict: bool = False
    spans: int = 0
    invalid: int = 0  # tags that were changed
    first: str = ""  # where the first invalid tag is, and what is wrong with it

    def __call__(self, sentence: TaggedSentence, layout: ColumnFormat) -> TaggedSentence:
        """The sentence with tags that are valid in the scheme.

        Raises:
            DataError: a tag belongs to another scheme, or cannot or may not be repaired (with its place).
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
            remedy = (
                f"--scheme {self.scheme} --repair repairs such tags, --scheme NAME selects another scheme"
            )
            if self.scheme != "io" and not tag_scheme.looks_like_spans(tags):
                remedy = "correct it in the file, since --repair mends only the order of valid tags"
            raise DataError(f"{where}: invalid {self.scheme} sequence: {reason}; {remedy}")
        try:
            repaired, changed = tag_scheme.repair(tags, self.scheme)
        except DataError as error:
            raise DataError(f"{where}: cannot be repaired: {error}") from error
        if not changed:  # partial annotation
            raise DataError(
                f"{where}: invalid {self.scheme} sequence, which cannot be repaired "
                f"because the sentence is only partially annotated: {reason}"
            )
        self.first = self.first or f"{where}: {reason}"
        self.invalid += changed
        return replace(sentence, tags=tuple(repaired))

    def too_many(self, tolerated: int = TOLERATED_TAGS) -> bool:
        """True if there are more invalid tags than `tolerated`, and more than 1 % of the spans."""
        return self.invalid > tolerated and self.invalid > TOLERATED_SHARE * self.spans

    def finish(self) -> str | None:
        """The remark to make once all sentences have been read; None if every tag was valid.

        Raises:
            DataError: so many tags are invalid that the scheme must be wrong, and `repair` is off.
        """
        if not self.invalid:
            return None
        if self.repair:
            return f"{counted(self.invalid, 'tag')} repaired to valid {self.scheme} sequences"
        if self.too_many():
            raise DataError(
                f"{self.first}; {self.invalid:,} tags are invalid in {self.scheme}, and there are only "
                f"{counted(self.spans, 'span')}; --scheme {self.scheme} --repair reads all of them as "
                "conlleval does, --scheme NAME selects another scheme"
            )
        one = self.invalid == 1
        tags, them = ("1 tag is", "it") if one else (f"{self.invalid} tags are", "them")
        return (
            f"{tags} invalid in {self.scheme} and read as conlleval reads {them}, as the beginning or end of "
            f"an entity; the first: {self.first}; --strict refuses such tags"
        )


def scheme_named(name: str) -> Scheme:
    """The scheme of a name that the caller has checked."""
    return next(scheme for scheme in SCHEMES if scheme == name)


def place(sentence: TaggedSentence, layout: ColumnFormat, position: int) -> str:
    """`file:line` of a token; where a line is not a token, the sentence's line and the token's number.

    Args:
        sentence: Sentence of the token.
        layout: Layout of its file.
        position: Position of the token in the sentence, from 0.
    """
    if layout.kind == "conll":
        return f"{sentence.source}:{sentence.line + position}"
    if layout.kind == "json":
        return f"{sentence.source}: item {sentence.line}: token {position + 1}"
    return f"{sentence.source}:{sentence.line}: token {position + 1}"
