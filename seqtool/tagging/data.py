"""Reading annotated files: sentences with tags in the scheme of the model, and remarks on the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqtool.errors import DataError, counted
from seqtool.files import digest
from seqtool.tagging.settings import DataSettings, TaggerSettings
from seqtool.text import annotation, data_files, hub, tag_scheme
from seqtool.text.columns import ColumnFormat, TaggedSentence, read_sentences
from seqtool.text.json_lines import JsonReading, Remarks
from seqtool.text.tag_scheme import Scheme

PartName = data_files.PartName
MODEL_SCHEME: Scheme = "iobes"  # slightly better than IOB2 (Ratinov and Roth 2009, section 4)


@dataclass(frozen=True)
class Part:
    """One part of a data set."""

    name: str  # train, dev or test
    sentences: tuple[TaggedSentence, ...]
    source: str
    digest: str  # SHA-256 of the file; the pinned revision for a hub id
    layout: str  # description of the file format, for people
    columns: ColumnFormat = field(default=ColumnFormat("jsonl"))  # the file format, used to name lines
    remarks: tuple[str, ...] = ()  # warnings of the reader

    @property
    def size(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def describe(self) -> str:
        """Sizes and source of the part, in one line."""
        tokens = sum(len(sentence.tokens) for sentence in self.sentences)
        return f"{self.name}: {counted(self.size, 'sentence')}, {counted(tokens, 'token')}, {self.source}"


@dataclass(frozen=True)
class TaggingData(data_files.DataSet[Part]):
    """The parts of a data set, with tags in the scheme of the model."""

    file_scheme: Scheme | None = None  # tag scheme of the files; None = tags without spans
    scheme: Scheme | None = MODEL_SCHEME  # tag scheme of the model; None = tags without spans
    partial: bool = True  # whether ? and | in tags mark partial annotation rather than being part of the tag

    @property
    def train(self) -> tuple[TaggedSentence, ...]:
        """The sentences of the training part."""
        return self.parts["train"].sentences

    @property
    def dev(self) -> tuple[TaggedSentence, ...]:
        """The sentences of the development part."""
        return self.parts["dev"].sentences

    def tags_in_file(self, sentence: TaggedSentence) -> tuple[str, ...]:
        """The tags of a sentence in the scheme of the files."""
        tags = sentence.tags or ()
        if self.scheme is None or self.file_scheme is None:
            return tags
        return _converted(tags, self.scheme, self.file_scheme)

    def describe(self) -> list[str]:
        """A line for each part, then one for the file formats and one for the tag scheme."""
        layouts = dict.fromkeys(part.layout for part in self.parts.values())
        tags = self.file_scheme or "one per token, no spans"
        return [*super().describe(), "layout: " + "; ".join(layouts), f"tags: {tags}"]


def load_training_data(settings: TaggerSettings) -> TaggingData:
    """Read the training and the development part, checked, with tags in the scheme of the model.

    Without a development file the last tenth of the training sentences is held out.

    Args:
        settings: The run's settings.

    Raises:
        UsageError: a file is missing, or the recipe's data is not available on this machine.
        DataError: a file is not valid; the message names file and line.
    """
    parts, remarks = data_files.training_parts(settings.data, read_part, hold_out, "sentences")
    warnings = list(remarks)
    data = harmonise(parts, settings.data, spans=settings.task == "ner")
    train, dropped = _without_long(data.parts["train"], settings.data.max_length)
    if dropped:
        warnings.append(
            f"{counted(dropped, 'training sentence')} of more than {settings.data.max_length} tokens "
            "left out (data.max_length)"
        )
    if not train.sentences:
        raise DataError(
            f"{train.source}: no training sentence of at most {settings.data.max_length} tokens; "
            "raise data.max_length"
        )
    return replace(data, parts={**data.parts, "train": train}, warnings=(*warnings, *data.warnings))


def load_part(settings: TaggerSettings, name: PartName) -> TaggingData:
    """Read one part of the recipe's data, such as test (errors of `load_training_data`)."""
    data = settings.data
    part = data_files.single_part(data, name, read_part, hold_out)
    return harmonise({name: part}, data, spans=settings.task == "ner")


def read_part(data: DataSettings, name: PartName) -> Part:
    """Read one part from its file or from the hub, with tags as they are there.

    Args:
        data: The `[data]` table of the run.
        name: Name of the part.

    Raises:
        UsageError: the recipe names no such part, or its file is missing.
        DataError: the file is not valid, or contains no sentence.
    """
    path: str | None = getattr(data, name)
    if path is not None:
        return read_file(Path(path), name, data)
    if data.hub is not None and data.train is None:
        sentences = tuple(hub.read_hub(data.hub, name))
        return Part(name, sentences, f"hub {data.hub.id}", f"revision {data.hub.revision}", "hub columns")
    raise data_files.missing_part(data, name)


def read_file(path: Path, name: str, data: DataSettings) -> Part:
    """Read an annotated file as the part `name` (errors of `read_part`)."""
    reading = JsonReading(data.misaligned, tuple(data.tag_names), annotated=True)
    columns = annotation.Columns(data.token_column, data.tag_column, tuple(data.feature_columns), reading)
    layout, remarks = columns.detect(path), Remarks()
    sentences = tuple(read_sentences(path, layout, remarks))
    if not sentences:
        raise DataError(f"{path}: contains no sentences")
    if remarks.unannotated and any(sentence.tags is not None for sentence in sentences):
        sentences = tuple(sentence for sentence in sentences if sentence.tags is not None)
    _require_tags(sentences, path, layout)
    lines = tuple(remarks.lines(str(path), data.misaligned))
    return Part(name, sentences, str(path), digest(path), layout.describe(), layout, lines)


def harmonise(parts: dict[str, Part], data: DataSettings, *, spans: bool) -> TaggingData:
    """Detect the tag scheme of all parts, check or repair their tags, and convert them to the model's scheme.

    Args:
        parts: The parts as read, by name.
        data: The `[data]` table: scheme of the files, and what to do with tags that are invalid in it.
        spans: Whether tags mark spans; those of parts of speech are not converted.

    Raises:
        DataError: mixed schemes, or tags that are invalid in the scheme; the message names the line.
    """
    remarks = tuple(dict.fromkeys(line for part in parts.values() for line in part.remarks))
    partial = spans if data.partial is None else data.partial
    if not spans:
        return TaggingData(parts, remarks, scheme=None, partial=partial)
    tagged = [(sentence, part.columns) for part in parts.values() for sentence in part.sentences]
    if not partial:
        _refuse_partial(tagged)
    if data.scheme == "auto":
        scheme = annotation.scheme_of(tagged, repair=data.repair, strict=data.strict)
    else:
        scheme = annotation.scheme_named(data.scheme)
    reading = annotation.TagReading(scheme, data.repair, data.strict)
    converted = {}
    for name, part in parts.items():
        sentences = (_in_model_scheme(reading(s, part.columns), scheme) for s in part.sentences)
        converted[name] = replace(part, sentences=tuple(sentences))
    said = reading.finish()
    warnings = remarks if said is None else (*remarks, said)
    return TaggingData(converted, warnings, file_scheme=scheme, partial=partial)


def hold_out(train: Part) -> tuple[Part, Part]:
    """Split a training part: all but its last tenth, and that tenth as the development part.

    Raises:
        DataError: fewer than two sentences.
    """
    kept, held = data_files.hold_out(train.sentences, train.source, "sentence")
    return replace(train, sentences=kept), replace(train, name="dev", sentences=held)


def tag_inventory(
    sentences: Iterable[TaggedSentence], scheme: Scheme | None, *, partial: bool = True
) -> list[str]:
    """The output tags of a model: with a scheme all tags of each entity type, else the tags that occur.

    Args:
        sentences: The sentences of the training part.
        scheme: Tag scheme of the model; None = tags without spans.
        partial: Whether `?` and `|` in tags mark partial annotation rather than being part of the tag.
    """
    whole = {tag for s in sentences for tag in s.tags or ()}
    if not partial:
        return sorted(whole)
    tags = {part for tag in whole for part in tag.split("|") if part != tag_scheme.UNKNOWN}
    if scheme is None:
        return sorted(tags)
    types = {tag.split("-", 1)[1] if "-" in tag else "" for tag in tags if tag != "O"}
    return tag_scheme.inventory(types, scheme)


def unseen_tags(part: Part, known: Collection[str], data: TaggingData) -> dict[str, int]:
    """Count the tags of a part that the model does not have, written as in the file.

    Args:
        part: The part, with tags in the scheme of the model; partial tags are not counted.
        known: The tags of the model.
        data: The data set that the part belongs to.
    """
    counts: Counter[str] = Counter()
    for sentence in part.sentences:
        tags = sentence.tags or ()
        unseen = [
            position
            for position, tag in enumerate(tags)
            if tag not in known and not (data.partial and tag_scheme.is_partial(tag))
        ]
        if unseen:
            written = data.tags_in_file(sentence)
            counts.update(written[position] for position in unseen)
    return dict(counts)


def _require_tags(sentences: Iterable[TaggedSentence], path: Path, layout: ColumnFormat) -> None:
    for sentence in sentences:
        if sentence.tags is None:
            raise DataError(
                f"{path}:{sentence.line}: no tags ({layout.describe()}); training and evaluation need them"
            )


def _refuse_partial(tagged: Iterable[annotation.Tagged]) -> None:
    for sentence, layout in tagged:
        for position, tag in enumerate(sentence.tags or ()):
            if tag_scheme.is_partial(tag):
                raise DataError(
                    f"{annotation.place(sentence, layout, position)}: {tag!r} is partial annotation, "
                    "which data.partial = false rules out: --set data.partial=true reads it"
                )


def _in_model_scheme(sentence: TaggedSentence, scheme: Scheme) -> TaggedSentence:
    return replace(sentence, tags=_converted(sentence.tags or (), scheme, MODEL_SCHEME))


def _converted(tags: Sequence[str], source: Scheme, target: Scheme) -> tuple[str, ...]:
    convert = tag_scheme.convert_partial if any(map(tag_scheme.is_partial, tags)) else tag_scheme.convert
    return tuple(convert(tags, source, target))


def _without_long(part: Part, limit: int) -> tuple[Part, int]:
    kept, opens = [], False
    for sentence in part.sentences:
        opens |= sentence.opens  # if the first sentence of a document is left out, the next one opens it
        if len(sentence.tokens) <= limit:
            kept.append(replace(sentence, opens=opens))
            opens = False
    return replace(part, sentences=tuple(kept)), len(part.sentences) - len(kept)
