"""Annotated files to sentences in the model's own scheme, with every fact worth reporting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqtool.errors import DataError
from seqtool.files import digest
from seqtool.tagging.settings import DataSettings, TaggerSettings
from seqtool.text import annotation, data_files, hub, tag_scheme
from seqtool.text.columns import ColumnFormat, TaggedSentence, read_sentences
from seqtool.text.json_lines import JsonReading, Remarks
from seqtool.text.tag_scheme import Scheme

PartName = data_files.PartName
MODEL_SCHEME: Scheme = "iobes"  # a little better than IOB2 (Ratinov and Roth 2009, section 4)


@dataclass(frozen=True)
class Part:
    """One part of a data set, tags as in the file."""

    name: str  # train, dev or test
    sentences: tuple[TaggedSentence, ...]
    source: str
    digest: str  # SHA-256 of the file; the pinned revision for a hub id
    layout: str  # how the file is laid out, for people
    columns: ColumnFormat = field(default=ColumnFormat("jsonl"))  # the same, for naming the places of tokens
    remarks: tuple[str, ...] = ()  # what was met while reading, for people

    @property
    def size(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def describe(self) -> str:
        """One line for people."""
        tokens = sum(len(sentence.tokens) for sentence in self.sentences)
        return f"{self.name}: {self.size} sentences, {tokens} tokens, {self.source}"


@dataclass(frozen=True)
class TaggingData(data_files.DataSet[Part]):
    """The parts of a data set, tags in the scheme of the model (None for parts of speech)."""

    file_scheme: Scheme | None = None
    scheme: Scheme | None = MODEL_SCHEME
    partial: bool = True  # whether ? and | in tags mark partial annotation; else they are part of the tag

    @property
    def train(self) -> tuple[TaggedSentence, ...]:
        """Sentences of the training part."""
        return self.parts["train"].sentences

    @property
    def dev(self) -> tuple[TaggedSentence, ...]:
        """Sentences of the development part."""
        return self.parts["dev"].sentences

    def describe(self) -> list[str]:
        """One line per part, then their layout and tags, for people."""
        layouts = dict.fromkeys(part.layout for part in self.parts.values())
        tags = self.file_scheme or "one per token, no spans"
        return [*super().describe(), "layout: " + "; ".join(layouts), f"tags: {tags}"]


def load_training_data(settings: TaggerSettings) -> TaggingData:
    """Train and dev (held out of train when there is none), checked and converted.

    Raises:
        UsageError: a file is missing, or the recipe's data cannot be had here.
        DataError: a file is not what it should be, with file and line.
    """
    parts, remarks = data_files.training_parts(settings.data, read_part, hold_out, "sentences")
    warnings = list(remarks)
    data = harmonise(parts, settings.data, spans=settings.task == "ner")
    train, dropped = _without_long(data.parts["train"], settings.data.max_length)
    if dropped:
        warnings.append(
            f"{dropped} training sentences of more than {settings.data.max_length} tokens left out"
        )
    if not train.sentences:
        raise DataError(f"{train.source}: no training sentence of at most {settings.data.max_length} tokens")
    return replace(data, parts={**data.parts, "train": train}, warnings=(*warnings, *data.warnings))


def load_part(settings: TaggerSettings, name: PartName) -> TaggingData:
    """One part (test, say) of the recipe's data, checked and converted; errors as `load_training_data`."""
    data = settings.data
    part = data_files.single_part(data, name, read_part, hold_out)
    return harmonise({name: part}, data, spans=settings.task == "ner")


def read_part(data: DataSettings, name: PartName) -> Part:
    """One part as it stands in its file or on the hub.

    Raises:
        UsageError: the recipe names no such part, or its file is missing.
        DataError: it cannot be read, or holds no sentence.
    """
    path: str | None = getattr(data, name)
    if path is not None:
        return read_file(Path(path), name, data)
    if data.hub is not None and data.train is None:
        sentences = tuple(hub.read_hub(data.hub, name))
        return Part(name, sentences, f"hub {data.hub.id}", f"revision {data.hub.revision}", "hub columns")
    raise data_files.missing_part(data, name)


def read_file(path: Path, name: str, data: DataSettings) -> Part:
    """An annotated file as a part; errors as `read_part`."""
    reading = JsonReading(data.misaligned, tuple(data.tag_names), annotated=True)
    columns = annotation.Columns(data.token_column, data.tag_column, tuple(data.feature_columns), reading)
    layout, remarks = columns.detect(path), Remarks()
    sentences = tuple(read_sentences(path, layout, remarks))
    if not sentences:
        raise DataError(f"{path}: no sentences in it")
    if remarks.unannotated and any(sentence.tags is not None for sentence in sentences):
        sentences = tuple(sentence for sentence in sentences if sentence.tags is not None)
    _require_tags(sentences, path, layout)
    lines = tuple(remarks.lines(str(path), data.misaligned))
    return Part(name, sentences, str(path), digest(path), layout.describe(), layout, lines)


def harmonise(parts: dict[str, Part], data: DataSettings, *, spans: bool) -> TaggingData:
    """Detect and check the tag scheme over all parts, repair on request, convert to the model's.

    Args:
        parts: As read.
        data: Says which scheme the files have, and what becomes of tags that are invalid in it.
        spans: False for parts of speech, which stay as they are.

    Raises:
        DataError: mixed schemes, or tags that are invalid in the scheme, with the line.
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
    """Train without its last tenth, and that tenth as dev.

    Raises:
        DataError: fewer than two sentences.
    """
    kept, held = data_files.hold_out(train.sentences, train.source, "sentence")
    return replace(train, sentences=kept), replace(train, name="dev", sentences=held)


def tag_inventory(
    sentences: Iterable[TaggedSentence], scheme: Scheme | None, *, partial: bool = True
) -> list[str]:
    """The tags that a model of these sentences can give: all of each entity type, or all that occur.

    Args:
        sentences: The training part.
        scheme: That of the model; None for tags without spans.
        partial: Whether `?` and `|` mark partial annotation; else they are part of a tag.
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
    """Tags of a part that training never showed, with their counts, as the file writes them.

    Args:
        part: In the scheme of the model.
        known: The tags of the model.
        data: That the part is of; partial tags do not count.
    """
    counts: Counter[str] = Counter()
    for sentence in part.sentences:
        tags = sentence.tags or ()
        unseen = [
            position
            for position, tag in enumerate(tags)
            if tag not in known and not (data.partial and tag_scheme.is_partial(tag))
        ]
        if unseen and data.scheme is not None and data.file_scheme is not None:
            tags = _converted(tags, data.scheme, data.file_scheme)
        counts.update(tags[position] for position in unseen)
    return dict(counts)


def _require_tags(sentences: Iterable[TaggedSentence], path: Path, layout: ColumnFormat) -> None:
    for sentence in sentences:
        if sentence.tags is None:
            raise DataError(f"{path}:{sentence.line}: no tags ({layout.describe()}); training needs them")


def _refuse_partial(tagged: Iterable[annotation.Tagged]) -> None:
    for sentence, layout in tagged:
        for position, tag in enumerate(sentence.tags or ()):
            if tag_scheme.is_partial(tag):
                raise DataError(
                    f"{annotation.place(sentence, layout, position)}: {tag!r} is partial annotation, and "
                    "data.partial = false"
                )


def _in_model_scheme(sentence: TaggedSentence, scheme: Scheme) -> TaggedSentence:
    return replace(sentence, tags=_converted(sentence.tags or (), scheme, MODEL_SCHEME))


def _converted(tags: Sequence[str], source: Scheme, target: Scheme) -> tuple[str, ...]:
    convert = tag_scheme.convert_partial if any(map(tag_scheme.is_partial, tags)) else tag_scheme.convert
    return tuple(convert(tags, source, target))


def _without_long(part: Part, limit: int) -> tuple[Part, int]:
    kept, opens = [], False
    for sentence in part.sentences:
        opens |= sentence.opens  # a document whose first sentence goes begins with its next
        if len(sentence.tokens) <= limit:
            kept.append(replace(sentence, opens=opens))
            opens = False
    return replace(part, sentences=tuple(kept)), len(part.sentences) - len(kept)
