"""Reading files of sentence pairs: the parts of a data set, and remarks on the files."""

from __future__ import annotations

import shlex
from bisect import bisect, bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from seqtool.errors import DataError, counted
from seqtool.files import digest
from seqtool.text import data_files, hub
from seqtool.text.data_files import PartName
from seqtool.text.pair_files import columns_of, headings_remark, read_pairs, require_files
from seqtool.text.parallel import SIDES, SentencePair
from seqtool.translation.corpora import Corpus, Tags, describe_corpora
from seqtool.translation.data_settings import DataSettings, Files
from seqtool.translation.settings import TranslatorSettings

SINGLE_WORDS = 1.5  # mean words of a source, up to which the data is one of words
# Of targets that are symbols between spaces: mean number in a target, at least, and mean length, at most; and
# how many letters a symbol stands for, or symbols a letter, at most.
FEWEST_SYMBOLS, LONGEST_SYMBOLS, MOST_LETTERS = 2.5, 2.5, 3.0
FEWEST = 10  # pairs held out whose mean length is compared
UNLIKE = 1.8  # ratio of the mean lengths of the pairs held out and the others that is reported
UNLIKE_IF_SORTED = 1.2  # the same if nearly all others are shorter, or nearly all are longer
SORTED = 0.4  # distance from a half of the share of shorter pairs


@dataclass(frozen=True)
class Part:
    """One part of a data set; every pair has a target."""

    name: str  # train, dev or test
    pairs: tuple[SentencePair, ...]
    source: str
    digest: str  # SHA-256 of each file; the pinned revision for a hub id
    dropped: int = 0  # pairs with an empty side that were left out
    remark: str | None = None  # what the user should know about how the file was read

    @property
    def size(self) -> int:
        """Number of sentence pairs."""
        return len(self.pairs)

    def describe(self) -> str:
        """Sizes and source of the part, in one line; words are separated by white space."""
        source = sum(len(pair.source.split()) for pair in self.pairs)
        target = sum(len((pair.target or "").split()) for pair in self.pairs)
        return (
            f"{self.name}: {counted(self.size, 'sentence pair')}, {counted(source, 'source word')}, "
            f"{counted(target, 'target word')}, {self.source}"
        )


@dataclass(frozen=True)
class TranslationData(data_files.DataSet[Part]):
    """The parts of a data set of sentence pairs."""

    columns: tuple[str, ...] | None = None  # of the files, if they show that there is one of features
    counting: str = ""  # how the symbols of training pairs were counted, if it decides which are left out
    corpora: tuple[Corpus, ...] = ()  # of the training part, in the order of its pairs; empty = it is one
    tags: Tags = field(default_factory=Tags)  # of the training part

    @property
    def train(self) -> tuple[SentencePair, ...]:
        """The pairs of the training part, with one target each."""
        return self.parts["train"].pairs

    @property
    def dev(self) -> tuple[SentencePair, ...]:
        """The pairs of the development part."""
        return self.parts["dev"].pairs

    def fingerprint(self) -> dict[str, str]:
        """Digest of each part, and how symbols were counted if other pairs would be left out otherwise."""
        return super().fingerprint() | ({"counting": self.counting} if self.counting else {})

    def describe(self) -> list[str]:
        """A description of one line for each part and each corpus, for the user."""
        return super().describe() + describe_corpora(self.corpora)

    def counted_anew(self) -> TranslationData:
        """The same data, marked as read by the limits of `filter_lengths`.

        Earlier versions counted the end and the features as symbols. The mark is in the fingerprint, so a
        run that learned from other pairs for that reason is not resumed with these.
        """
        return replace(self, counting="symbols without features and end")


def load_training_data(settings: TranslatorSettings) -> TranslationData:
    """Read the training and the development part.

    A column of features is recognised, unless the settings say what the columns are. Without development
    files the last tenth of the training pairs is held out; where all are of `data.corpora`, that of each
    corpus. A training pair with several targets becomes as many pairs.

    Args:
        settings: The run's settings.

    Raises:
        UsageError: a file is missing, or the recipe's data is not available on this machine.
        DataError: a line is not a pair, or one of its sides is empty; the message names file and line.
    """
    data, columns = settings.data, _columns_shown(settings.data)
    if columns is not None:
        data = data.model_copy(update={"columns": list(columns)})
    parts, dev, remarks = _training_parts(data, read_part)
    about = [line for part in (*parts, dev) for line in warnings_about(part)]
    parts = [replace(part, pairs=tuple(_one_target_each(part.pairs))) for part in parts]
    named = [Corpus("", 0, tag=data.tag)] if len(parts) > len(data.corpora) else []
    named += [Corpus("", 0, corpus.weight, corpus.tag) for corpus in data.corpora]
    found = zip(named, parts, strict=True)
    corpora = [replace(corpus, source=part.source, size=part.size) for corpus, part in found]
    train, tags = joined("train", parts), Tags(data.tags)
    tags = replace(tags, needed=bool(tags.names) and all(tags.of(pair) for pair in train.pairs))
    tags.require(dev.pairs, "write it as the first feature, or set data.tag to that of dev")
    return TranslationData(
        {"train": train, "dev": dev},
        (*about, *remarks),
        columns=columns,
        corpora=tuple(corpora) if data.corpora else (),
        tags=tags,
    )


Reader = Callable[[DataSettings, PartName], Part]


def _training_parts(data: DataSettings, read: Reader) -> tuple[list[Part], Part, tuple[str, ...]]:
    """The training part of each corpus, the development part, and remarks about it."""
    further = [_read_corpus(data, number) for number in range(len(data.corpora))]
    if data.has_own_part or not further:
        parts, remarks = data_files.training_parts(data, read, hold_out, "pairs")
        train, dev = parts["train"], parts["dev"]
        if remarks:
            remarks += _sorted_by_length(train, dev, data)
        return [train, *further], dev, remarks
    if data.dev is not None:
        dev = read(data, "dev")
        return further, dev, tuple(line for part in further for line in data_files.same_content(part, dev))
    halves = [hold_out(part) for part in further]
    dev = joined("dev", [held for _, held in halves])
    remark = f"no dev file: the last pairs of each corpus, {dev.size:,} in all, are held out for it"
    return [kept for kept, _ in halves], dev, (remark,)


def _read_corpus(data: DataSettings, number: int) -> Part:
    """The pairs of one of `data.corpora`, with its tag."""
    corpus = data.corpora[number]
    part = read_files(_paths(corpus.train), data, "train")
    return _tagged(part, data, corpus.tag)


def _tagged(part: Part, data: DataSettings, tag: str | None) -> Part:
    """The part with a tag before its sources."""
    return replace(part, pairs=tuple(Tags(data.tags).put(pair, tag) for pair in part.pairs))


def joined(name: str, parts: Sequence[Part]) -> Part:
    """Several parts as one.

    Args:
        name: Its name.
        parts: The parts, at least one.
    """
    pairs = tuple(pair for part in parts for pair in part.pairs)
    source = ", ".join(part.source for part in parts)
    return Part(name, pairs, source, " ".join(part.digest for part in parts))


def _paths(files: Files) -> list[Path]:
    return [Path(file) for file in ([files] if isinstance(files, str) else files)]


def _columns_shown(data: DataSettings) -> tuple[str, ...] | None:
    """The columns of a training file if it has one of features, and the settings do not name them."""
    if "columns" in data.model_fields_set:
        return None
    alone = [file for file in data.training_files() if isinstance(file, str)]
    shown = (columns_of(file, data.feature_separator) for file in alone)
    return next((columns for columns in shown if columns is not None), None)


def _sorted_by_length(train: Part, dev: Part, data: DataSettings) -> tuple[str, ...]:
    """A warning if the pairs held out from the end are much longer or shorter than the others."""
    lengths, held = sorted(_lengths(train)), _lengths(dev)
    ratio = (sum(held) / dev.size) / max(sum(lengths) / train.size, 1.0)
    # Share of the other pairs that are shorter: 0.5 on average, and nearly 1 or 0 in a sorted file.
    shorter = sum(bisect(lengths, length) + bisect_left(lengths, length) for length in held)
    apart = abs(shorter / (2 * train.size * dev.size) - 0.5) > SORTED
    limit = UNLIKE_IF_SORTED if apart else UNLIKE
    if dev.size < FEWEST or 1 / limit <= ratio <= limit:
        return ()
    files = [data.train] if isinstance(data.train, str) else data.train or []
    named = [*files[:2], "-o", "parts", "--task", "translate"]
    if data.languages is not None:
        named += ["--languages", ",".join(data.languages)]
    if data.columns != list(SIDES):
        named += ["--columns", ",".join(data.columns)]
    return (
        f"the pairs held out are {ratio:.1f} times as long as the others; if the file is sorted, split it at "
        f"random with: "
        f"{shlex.join(['seqtool', 'data', 'split', *named])}",
    )


def _lengths(part: Part) -> list[int]:
    """Number of characters of each pair, both sides together."""
    return [len(pair.source) + len(pair.target or "") for pair in part.pairs]


def _one_target_each(pairs: Iterable[SentencePair]) -> Iterator[SentencePair]:
    """A pair for each target of each source, so that training learns from all of them."""
    for pair in pairs:
        if not pair.others:
            yield pair
            continue
        for target in pair.references:
            yield replace(pair, target=target, others=())


def load_part(settings: TranslatorSettings, name: PartName) -> TranslationData:
    """Read one part of the recipe's data, such as test (errors of `load_training_data`)."""
    data, read = settings.data, partial(read_part, to_be_scored=True)
    in_corpora = name == "train" or (name == "dev" and data.dev is None and not data.has_own_part)
    if not (data.corpora and in_corpora):
        part = data_files.single_part(data, name, read, hold_out)
    else:
        trains, dev, _ = _training_parts(data, read)
        part = dev if name == "dev" else joined("train", trains)
    return TranslationData({name: part}, warnings_about(part))


def read_part(data: DataSettings, name: PartName, *, to_be_scored: bool = False) -> Part:
    """Read one part from its files or from the hub.

    Args:
        data: The `[data]` table of the run.
        name: Name of the part.
        to_be_scored: Whether to keep pairs with an empty side, as in `read_files`.

    Raises:
        UsageError: the recipe names no such part, or one of its files is missing.
        DataError: a file is not valid, or there is no sentence pair.
    """
    files: Files | None = getattr(data, name)
    if files is not None:
        part = read_files(_paths(files), data, name, to_be_scored=to_be_scored)
        return _tagged(part, data, data.tag)
    if data.hub is not None and data.train is None:
        source = f"hub {data.hub.id}"
        pairs, dropped = _usable(hub.read_pair_hub(data.hub, name), data.empty, source)
        part = Part(name, pairs, source, f"revision {data.hub.revision}", dropped)
        return _tagged(part, data, data.tag)
    raise data_files.missing_part(data, name)


def read_files(paths: Sequence[Path], data: DataSettings, name: str, *, to_be_scored: bool = False) -> Part:
    """Read the sentence pairs of some files as the part `name`.

    Args:
        paths: The files: a source and its targets, or one file of pairs (see `pair_files.read_pairs`).
        data: The `[data]` table of the run: columns, languages, and what to do with empty sides.
        name: Name of the part.
        to_be_scored: Whether to keep pairs with an empty side, unless `data.empty` is drop; the translation
            of an empty line is an empty line.

    Raises:
        UsageError: a file is missing, or a file of pairs is given together with other files.
        DataError: a line is no pair, or has no target or an empty side; the message names file and line.
    """
    source = " and ".join(map(str, paths))
    empty = "keep" if to_be_scored and data.empty == "error" else data.empty
    pairs, dropped = _usable(_read(paths, data), empty, source, target_file=str(paths[-1]))
    remark = headings_remark(paths, data.columns, _languages(data))
    return Part(name, pairs, source, " ".join(map(digest, paths)), dropped, remark)


def are_spaced(pairs: Sequence[SentencePair]) -> bool:
    """Whether targets are symbols between spaces, such as the sounds of a word.

    So it looks if sources are single words, and targets are short symbols, about as many as the source has
    letters.

    Args:
        pairs: Some pairs.
    """
    words = sum(len(pair.source.split()) for pair in pairs)
    letters = sum(len(pair.source) for pair in pairs)
    symbols = [symbol for pair in pairs for symbol in (pair.target or "").split()]
    alike = letters <= MOST_LETTERS * len(symbols) and len(symbols) <= MOST_LETTERS * letters
    return (
        words <= SINGLE_WORDS * len(pairs)
        and len(symbols) >= FEWEST_SYMBOLS * len(pairs)
        and sum(map(len, symbols)) <= LONGEST_SYMBOLS * len(symbols)
        and alike
    )


def hold_out(train: Part) -> tuple[Part, Part]:
    """Split a training part: all but its last tenth, and that tenth as the development part.

    Raises:
        DataError: fewer than two pairs.
    """
    kept, held = data_files.hold_out(train.pairs, train.source, "sentence pair")
    return replace(train, pairs=kept), replace(train, name="dev", pairs=held, dropped=0, remark=None)


def filter_lengths(
    pairs: Sequence[SentencePair],
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
    data: DataSettings,
) -> tuple[list[int], tuple[str, ...]]:
    """Select the training pairs that are neither too long nor too different in length.

    Args:
        pairs: The training pairs.
        source_lengths: Number of symbols of each source, without features and end.
        target_lengths: Number of symbols of each target, without end.
        data: The `[data]` table, whose `max_length` and `max_ratio` are the limits. A pair that exceeds both
            is counted as too long.

    Returns:
        Indices of the pairs to keep, ascending; warnings that count the others.

    Raises:
        DataError: no pair is left.
    """
    lengths = zip(source_lengths, target_lengths, strict=True)
    exceeded = [exceeded_limit(source, target, data) for source, target in lengths]
    kept = [position for position, limit in enumerate(exceeded) if limit is None]
    warnings = []
    if long := exceeded.count("max_length"):
        warnings.append(
            f"{counted(long, 'training pair')} with more than {counted(data.max_length, 'symbol')} on a side "
            "left out (data.max_length)"
        )
    if uneven := exceeded.count("max_ratio"):
        warnings.append(
            f"{counted(uneven, 'training pair')} with one side more than {data.max_ratio:g} times the other "
            "left out (data.max_ratio)"
        )
    if not kept:
        source = pairs[0].file if pairs else "train"
        remedies = ["raise data.max_length"] if long else []
        remedies += ["raise data.max_ratio (0 = off)"] if uneven else []
        raise DataError(f"{source}: no training pair is left: {'; '.join(warnings)}; {', '.join(remedies)}")
    return kept, tuple(warnings)


def exceeded_limit(source: int, target: int, data: DataSettings) -> Literal["max_length", "max_ratio"] | None:
    """The setting of `data` that rules out a pair with so many symbols on its sides; None = neither."""
    if max(source, target) > data.max_length:
        return "max_length"
    uneven = data.max_ratio and max(source, target) > data.max_ratio * min(source, target)
    return "max_ratio" if uneven else None


def _read(paths: Sequence[Path], data: DataSettings) -> Iterator[SentencePair]:
    require_files(paths)
    return read_pairs(paths, data.columns, _languages(data), data.feature_separator)


def _languages(data: DataSettings) -> tuple[str, str] | None:
    return None if data.languages is None else (data.languages[0], data.languages[1])


def _usable(
    pairs: Iterable[SentencePair], empty: str, source: str, target_file: str | None = None
) -> tuple[tuple[SentencePair, ...], int]:
    """The pairs that `empty` (error, drop or keep) lets through, and the number of those left out."""
    kept, dropped = [], 0
    for pair in pairs:
        if pair.target is None:
            raise DataError(f"{pair.place}: no target; training and evaluation need source and target")
        if empty == "keep" or not pair.has_empty_side:
            kept.append(pair)
        elif empty == "drop":
            dropped += 1
        else:
            _refuse(pair, target_file or pair.file)
    if not kept:
        raise DataError(f"{source}: contains no sentence pairs")
    return tuple(kept), dropped


def _refuse(pair: SentencePair, target_file: str) -> None:
    blank_source = not pair.source.strip(" \t")
    side, file = ("source", pair.file) if blank_source else ("target", target_file)
    raise DataError(
        f"{file}:{pair.line}: the {side} is empty; expected text on both sides; leave such pairs out with "
        "--set data.empty=drop"
    )


def warnings_about(part: Part) -> tuple[str, ...]:
    """Warnings about a part: its first row taken for headings, pairs left out because of an empty side."""
    remarks = [] if part.remark is None else [part.remark]
    if part.dropped:
        remarks.append(f"{part.name}: {counted(part.dropped, 'pair')} with an empty side left out")
    return tuple(remarks)
