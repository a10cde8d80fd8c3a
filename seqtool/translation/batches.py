"""Sentence pairs as ids and as batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import numpy
import torch
from torch import Tensor

from seqtool.errors import DataError, SettingsError
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.batching import LazyBatches, training_batches
from seqtool.text.parallel import SentencePair
from seqtool.training import distributed
from seqtool.translation.corpora import Corpus, drawn_pairs, quotas
from seqtool.translation.data import TranslationData, exceeded_limit, filter_lengths
from seqtool.translation.hallucination import LEAST, Hallucination
from seqtool.translation.settings import ModelSettings, TranslatorSettings
from seqtool.translation.vocabulary import PADDING, START, Copies, EncodedSource, Vocabularies, copies_of


@dataclass(frozen=True)
class SourceBatch:
    """B sources as tensors, right-padded to S symbols."""

    source: Tensor  # ids, END included, then PADDING, [B, S]
    symbols: Tensor  # extended target id of each source symbol, or NOT_COPYABLE, [B, S]
    first: Tensor  # number of features that stand before the symbols, [B]
    features: Tensor  # ids of F features that are read apart, then PADDING, [B, F]
    extra: int  # largest number of symbols that any of the sources adds to the target vocabulary

    def to(self, device: torch.device) -> SourceBatch:
        """The batch on another device."""
        return _moved(self, device)


@dataclass(frozen=True)
class Batch:
    """B pairs as tensors, right-padded to S source and T target symbols."""

    source: Tensor  # ids, END included, then PADDING, [B, S]
    symbols: Tensor  # extended target id of each source symbol, or NOT_COPYABLE, [B, S]
    first: Tensor  # number of features that stand before the symbols, [B]
    features: Tensor  # ids of F features that are read apart, then PADDING, [B, F]
    inputs: Tensor  # START, then the target without its END, then START as padding; extended ids, [B, T]
    target: Tensor  # extended ids, END included, then PADDING, [B, T]
    target_mask: Tensor  # True at target symbols, [B, T]
    tokens: int  # number of target symbols, padding not counted
    step: int = 0  # number of updates made before the one that this batch belongs to
    pairs: tuple[EncodedPair, ...] = ()  # the pairs of the batch
    beside: Batch | None = None  # pairs that are made up, whose loss is added with a weight

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        moved = _moved(self, device)
        return moved if self.beside is None else replace(moved, beside=self.beside.to(device))


Moved = TypeVar("Moved", SourceBatch, Batch)


def _moved(batch: Moved, device: torch.device) -> Moved:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    moved: dict[str, Any] = {name: v.to(device) for name, v in values.items() if isinstance(v, Tensor)}
    return replace(batch, **moved)


SEEDS_PER_EPOCH = 2**33  # more than the sampled segmentations of an epoch, so that no two share a seed
LENGTH_SLACK = 5  # symbols that an output may have beyond its length ratio, however short its source
MOST_TIMES = 1_000.0  # largest length ratio
UNKNOWN_RATIO = 2.0  # length ratio of a model for which none was computed in training


class EncodedPair(NamedTuple):
    """A sentence pair as ids."""

    source: EncodedSource
    target: list[int]  # extended ids, END included
    text: str = ""  # the target text
    number: int = 0  # index of the pair among those that were encoded together


def length_ratio(pairs: Sequence[EncodedPair]) -> float:
    """The length ratio r in |target| <= r |source| + LENGTH_SLACK, in [1, `MOST_TIMES`].

    The smallest r for which this holds in 99.9 % of the pairs; the longest of the others are often
    mistakes.
    """
    ratios = sorted((len(pair.target) - LENGTH_SLACK) / len(pair.source.ids) for pair in pairs)
    if not ratios:
        return UNKNOWN_RATIO
    return min(max(1.0, ratios[math.ceil(0.999 * len(ratios)) - 1]), MOST_TIMES)


def encode_pairs(
    pairs: Sequence[SentencePair],
    vocabularies: Vocabularies,
    *,
    copies: Copies = "symbols",
    apart: bool = False,
    sampling: float = 0.0,
    seed: int = 0,
) -> list[EncodedPair]:
    """Encode pairs as ids.

    Args:
        pairs: Pairs with targets.
        vocabularies: Vocabularies of both sides.
        copies: What can be copied from the source; see `Vocabularies.encode_source`.
        apart: Whether features are read apart, as there.
        sampling: Randomness of SentencePiece segmentations, in [0, 1], as in `VocabularySettings`; 0 = the
            most probable segmentation.
        seed: Random seed of the sampling; each side of each pair gets a seed of its own from it.
    """
    result = []
    for number, pair in enumerate(pairs):
        own = seed + 2 * number
        source = vocabularies.encode_source(pair, copies=copies, apart=apart, sampling=sampling, seed=own)
        text = pair.target or ""
        target = vocabularies.encode_target(text, source.extra, sampling=sampling, seed=own + 1)
        result.append(EncodedPair(source, target, text, number))
    return result


def source_batch(sources: Sequence[EncodedSource]) -> SourceBatch:
    """A batch of encoded sources."""
    return SourceBatch(
        padded([source.ids for source in sources], PADDING),
        padded([source.symbols for source in sources], NOT_COPYABLE),
        torch.tensor([source.first for source in sources]),
        padded([source.features for source in sources], PADDING),
        max((len(source.extra) for source in sources), default=0),
    )


def pair_batch(pairs: Sequence[EncodedPair], step: int = 0) -> Batch:
    """A batch of encoded pairs, for the update that follows `step` others."""
    sources = source_batch([pair.source for pair in pairs])
    inputs, target, mask = target_tensors([pair.target for pair in pairs])
    read = sources.source, sources.symbols, sources.first, sources.features
    return Batch(*read, inputs, target, mask, int(mask.sum()), step, tuple(pairs))


def target_tensors(targets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and mask as in `Batch`, [N, T] each, for N lists of extended ids."""
    # [N, T]
    target = padded(targets, PADDING)
    mask = target != PADDING
    # [N, 1]
    start = torch.full((len(target), 1), START)
    # [N, T]. Inputs after the end may be any symbol, since the outputs there are ignored.
    inputs = torch.cat([start, target[:, :-1]], 1).masked_fill(~mask, START)
    return inputs, target, mask


def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """One tensor [rows, longest] from rows of ids, padded on the right with `filler`."""
    result = numpy.full((len(rows), max(map(len, rows), default=0)), filler, dtype=numpy.int64)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return torch.from_numpy(result)


class TrainingBatches:
    """Makes the batches of an epoch, as a pure function of its number.

    Args:
        vocabularies: Vocabularies of the model.
        data: The data, of which the training part is read.
        settings: The run's settings.
        device: Device that the batches are moved to.

    Attributes:
        warnings: Counts of the pairs that are left out.
        length_ratio: Length ratio of the pairs that are kept.
        corpora: The corpora of the data, with the sizes of what is kept.
        counts_anew: Whether other pairs would be kept if features and end counted as symbols.

    Raises:
        DataError: no pair is within the length limits, or a pure pointer network cannot produce a target.
    """

    def __init__(
        self,
        vocabularies: Vocabularies,
        data: TranslationData,
        settings: TranslatorSettings,
        device: torch.device,
    ) -> None:
        self._vocabularies, self._settings, self._device = vocabularies, settings, device
        self._copies = copies_of(settings.model)
        self._apart = settings.model.reads_apart
        encoded = encode_pairs(data.train, vocabularies, copies=self._copies, apart=self._apart)
        sources = [len(pair.source.ids) - 1 for pair in encoded]
        targets = [len(pair.target) - 1 for pair in encoded]
        texts = [len(pair.source.ids) - 1 - pair.source.first for pair in encoded]
        kept, self.warnings = filter_lengths(data.train, texts, targets, settings.data)
        self.counts_anew = kept != [
            position
            for position, (source, target) in enumerate(zip(sources, targets, strict=True))
            if exceeded_limit(source + 1, target + 1, settings.data) is None
        ]
        self._pairs, self._encoded = [data.train[i] for i in kept], [encoded[i] for i in kept]
        self.length_ratio = length_ratio(self._encoded)
        for pair, ids in zip(self._pairs, self._encoded, strict=True):
            if not is_writable(ids, settings.model, len(vocabularies.target.symbols)):
                reason = only_copies(settings.model)
                raise DataError(f"{pair.place}: the target has symbols that its source lacks, and {reason}")
        self.corpora = _kept_corpora(data.corpora, kept)
        self._weighted = len({corpus.weight for corpus in self.corpora}) > 1
        self._invented = _hallucination(self._pairs, settings, data, self.corpora)
        # Number of batches that one update sums, over all processes; an epoch ends with an update.
        self._grouped = settings.training.accumulation * distributed.world_size()
        self._updates = math.ceil(len(self(0)) / self._grouped)

    def __call__(self, epoch: int) -> LazyBatches[Batch]:
        """Shuffled batches of pairs of similar length.

        Sampled segmentations are drawn anew in each epoch, and so are pairs of corpora with several weights.

        Args:
            epoch: Number of the epoch, from 0.
        """
        encoded, pairs, sampling = self._encoded, self._pairs, self._settings.vocabulary.sampling
        if self._weighted:
            drawn = drawn_pairs(self.corpora, seed=self._settings.seed, epoch=epoch)
            pairs = [pairs[i] for i in drawn]
            encoded = [encoded[i]._replace(number=place) for place, i in enumerate(drawn)]
        if sampling:
            encoded = encode_pairs(
                pairs,
                self._vocabularies,
                copies=self._copies,
                apart=self._apart,
                sampling=sampling,
                seed=(self._settings.seed * 1_000 + epoch) * SEEDS_PER_EPOCH,
            )
        parts = training_batches(
            [longer_side(pair) for pair in encoded],
            ties=[shorter_side(pair) for pair in encoded],
            budget=self._settings.training.batch_tokens,
            seed=self._settings.seed,
            epoch=epoch,
        )
        first = epoch * self._updates if epoch else 0  # number of updates before this epoch

        def build(number: int) -> Batch:
            step = first + number // self._grouped
            batch = pair_batch([encoded[i] for i in parts[number]], step)
            beside = self._beside(len(parts[number]), epoch, number)
            return replace(batch, beside=beside).to(self._device)

        sizes = [len(part) * max(longer_side(encoded[i]) for i in part) for part in parts]
        return LazyBatches(sizes, build)

    def _beside(self, count: int, epoch: int, number: int) -> Batch | None:
        """The batch of pairs that are made up beside a batch of so many; None if there are none."""
        if self._invented is None:
            return None
        training, settings = self._settings.training, self._settings
        draw = numpy.random.default_rng([settings.seed, epoch, number])
        made = self._invented.pairs(max(round(training.hallucinate * count), 1), draw)
        encoded = encode_pairs(made, self._vocabularies, copies=self._copies, apart=self._apart)
        size = len(self._vocabularies.target.symbols)
        usable = [pair for pair in encoded if is_writable(pair, settings.model, size)]
        return pair_batch(usable) if usable else None


def _kept_corpora(corpora: Sequence[Corpus], kept: Sequence[int]) -> tuple[Corpus, ...]:
    """The corpora with the sizes of what is kept of them.

    Args:
        corpora: The corpora as they were read.
        kept: Indices of the pairs that are kept, ascending.

    Raises:
        SettingsError: the weight of one is so small that none of its pairs would be drawn.
    """
    ends = numpy.searchsorted(kept, numpy.cumsum([0, *(corpus.size for corpus in corpora)]))
    sizes = numpy.diff(ends).tolist()
    found = tuple(replace(corpus, size=size) for corpus, size in zip(corpora, sizes, strict=True))
    for corpus, count in zip(found, quotas(found), strict=True):
        if corpus.size and not count:
            raise SettingsError(
                f"data.corpora: with weight {corpus.weight:g} no pair of {corpus.source} would be drawn; "
                "raise it, or leave the corpus out"
            )
    return found


def _hallucination(
    pairs: Sequence[SentencePair],
    settings: TranslatorSettings,
    data: TranslationData,
    corpora: Sequence[Corpus],
) -> Hallucination | None:
    """What makes up pairs, if the settings ask for some.

    Raises:
        SettingsError: the symbols are not characters.
        DataError: no pair shows what may be replaced.
    """
    if not settings.training.hallucinate:
        return None
    if settings.vocabulary.kind not in ("character", "byte"):
        raise SettingsError("training.hallucinate replaces letters: it needs vocabulary.kind = 'character'")
    rates = [count / max(corpus.size, 1) for corpus, count in zip(corpora, quotas(corpora), strict=True)]
    each = [rate for corpus, rate in zip(corpora, rates, strict=True) for _ in range(corpus.size)]
    made = Hallucination(pairs, tags=data.tags, rates=each if len(set(rates)) > 1 else None)
    if not made.models:
        raise DataError(
            f"{pairs[0].file}: no source shares {LEAST} letters in a row with its target; set "
            "training.hallucinate=0"
        )
    return made


def longer_side(pair: EncodedPair) -> int:
    """Number of symbols of the longer side of a pair, which is its size in a batch."""
    return max(len(pair.source.ids), len(pair.target))


def shorter_side(pair: EncodedPair) -> int:
    """Number of symbols of the shorter side of a pair."""
    return min(len(pair.source.ids), len(pair.target))


def is_writable(pair: EncodedPair, model: ModelSettings, size: int) -> bool:
    """Whether a network with these settings can write the target, whatever its weights are.

    A pure pointer network needs all its symbols in the source; an edit transducer those that its vocabulary
    lacks, in the order in which the source has them, and so does a copying network with monotonic attention,
    which may copy one of them more than once. What other networks lack is written as unknown.

    Args:
        pair: The pair.
        model: The settings.
        size: Size of the target vocabulary.
    """
    if model.output == "positions":
        return set(pair.target) <= set(pair.source.symbols) - {NOT_COPYABLE}
    lacking = [symbol for symbol in pair.target if symbol >= size]
    if model.attention == "monotonic":  # of the same symbol in a row, all can be copies of one
        lacking = [symbol for symbol, _ in groupby(lacking)]
    elif model.decoder != "edit":
        return True
    rest = iter(pair.source.symbols)
    return all(symbol in rest for symbol in lacking)


def only_copies(model: ModelSettings) -> str:
    """Why a network with these settings cannot write some targets, and what to set so that it can."""
    if model.output == "positions":
        return "model.output = 'positions' can only copy; set model.output=vocabulary, with model.copy=true"
    return (
        f"model.{model.sums} can only copy what the vocabulary lacks, from left to right; set "
        "vocabulary.min_count=1 and vocabulary.size=0"
    )
