"""Annotated files to sentences in the model's own scheme, with every fact worth reporting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from seqtool.errors import DataError
from seqtool.files import digest
from seqtool.tagging.settings import DataSettings, TaggerSettings
from seqtool.text import annotation, data_files, hub, tag_scheme
from seqtool.text.columns import ColumnFormat, TaggedSentence, detect_format, read_sentences
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
    data = harmonise(
        parts, spans=settings.task == "ner", scheme=settings.data.scheme, repair=settings.data.repair
    )
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
    return harmonise({name: part}, spans=settings.task == "ner", scheme=data.scheme, repair=data.repair)


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
    layout = detect_format(
        path, token=data.token_column, tag=data.tag_column, features=tuple(data.feature_columns)
    )
    sentences = tuple(read_sentences(path, layout))
    if not sentences:
        raise DataError(f"{path}: no sentences in it")
    _require_tags(sentences, path, layout)
    return Part(name, sentences, str(path), digest(path), layout.describe(), layout)


def harmonise(parts: dict[str, Part], *, spans: bool, scheme: str, repair: bool) -> TaggingData:
    """Detect and check the tag scheme over all parts, repair on request, convert to the model's.

    Args:
        parts: As read.
        spans: False for parts of speech, which stay as they are.
        scheme: auto, or the scheme of the files.
        repair: Whether to repair invalid sequences.

    Raises:
        DataError: mixed schemes, or a sequence that is invalid in the scheme, with its line.
    """
    if not spans:
        return TaggingData(parts, scheme=None)
    found = _scheme_of(parts.values(), repair) if scheme == "auto" else annotation.scheme_named(scheme)
    warnings, converted, repaired = [], {}, 0
    for name, part in parts.items():
        sentences, changed = _to_model_scheme(part, found, repair)
        converted[name] = replace(part, sentences=sentences)
        repaired += changed
    if repaired:
        warnings.append(f"{repaired} tags repaired to valid {found} sequences")
    return TaggingData(converted, tuple(warnings), file_scheme=found)


def hold_out(train: Part) -> tuple[Part, Part]:
    """Train without its last tenth, and that tenth as dev.

    Raises:
        DataError: fewer than two sentences.
    """
    kept, held = data_files.hold_out(train.sentences, train.source, "sentence")
    return replace(train, sentences=kept), replace(train, name="dev", sentences=held)


def tag_inventory(sentences: Iterable[TaggedSentence], scheme: Scheme | None) -> list[str]:
    """The tags that a model of these sentences can give: all of each entity type, or all that occur."""
    alternatives = Counter(
        part
        for s in sentences
        for tag in s.tags or ()
        for part in tag.split("|")
        if part != tag_scheme.UNKNOWN
    )
    if scheme is None:
        return sorted(alternatives)
    types = {tag.split("-", 1)[1] if "-" in tag else "" for tag in alternatives if tag != "O"}
    return tag_scheme.inventory(types, scheme)


def unseen_tags(part: Part, known: set[str]) -> dict[str, int]:
    """Tags of a part that training never showed, with their counts; partial tags aside."""
    counts = Counter(
        tag
        for s in part.sentences
        for tag in s.tags or ()
        if tag not in known and not tag_scheme.is_partial(tag)
    )
    return dict(counts)


def _require_tags(sentences: Iterable[TaggedSentence], path: Path, layout: ColumnFormat) -> None:
    for sentence in sentences:
        if sentence.tags is None:
            raise DataError(f"{path}:{sentence.line}: no tags ({layout.describe()}); training needs them")


def _to_model_scheme(part: Part, scheme: Scheme, repair: bool) -> tuple[tuple[TaggedSentence, ...], int]:
    result, repaired = [], 0
    for sentence in part.sentences:
        checked, changed = annotation.checked_tags(sentence, part.columns, scheme, repair)
        tags = list(checked.tags or ())
        convert = tag_scheme.convert_partial if any(map(tag_scheme.is_partial, tags)) else tag_scheme.convert
        result.append(replace(sentence, tags=tuple(convert(tags, scheme, MODEL_SCHEME))))
        repaired += changed
    return tuple(result), repaired


def _scheme_of(parts: Iterable[Part], repair: bool) -> Scheme:
    """The scheme of all parts together; where tags are to be repaired, the one with least to repair."""
    tagged = [(sentence, part.columns) for part in parts for sentence in part.sentences if sentence.tags]
    sequences = [sentence.tags or () for sentence, _ in tagged]
    if repair:
        return tag_scheme.closest_scheme(sequences)
    return tag_scheme.detect_scheme(
        sequences, lambda number, position: annotation.place(*tagged[number], position)
    )


def _without_long(part: Part, limit: int) -> tuple[Part, int]:
    kept, opens = [], False
    for sentence in part.sentences:
        opens |= sentence.opens  # a document whose first sentence goes begins with its next
        if len(sentence.tokens) <= limit:
            kept.append(replace(sentence, opens=opens))
            opens = False
    return replace(part, sentences=tuple(kept)), len(part.sentences) - len(kept)
