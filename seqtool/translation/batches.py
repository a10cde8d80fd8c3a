"""Sentence pairs as ids and as batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from seqtool.errors import DataError
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.batching import LazyBatches, training_batches
from seqtool.text.parallel import SentencePair
from seqtool.training import distributed
from seqtool.translation.data import TranslationData, filter_lengths
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.vocabulary import PADDING, START, Copies, EncodedSource, Vocabularies, copies_of


@dataclass(frozen=True)
class SourceBatch:
    """Sources, right-padded."""

    source: Tensor  # [B, S] ids, END included, then PADDING
    symbols: Tensor  # [B, S] extended target id of each source symbol, or NOT_COPYABLE
    extra: int  # the most symbols that a source adds to the target vocabulary

    def to(self, device: torch.device) -> SourceBatch:
        """The batch on a device."""
        return SourceBatch(self.source.to(device), self.symbols.to(device), self.extra)


@dataclass(frozen=True)
class Batch:
    """Pairs, right-padded."""

    source: Tensor  # [B, S] ids, END included, then PADDING
    symbols: Tensor  # [B, S] extended target id of each source symbol, or NOT_COPYABLE
    inputs: Tensor  # [B, T] START, then the target without its END, then START; extended ids
    target: Tensor  # [B, T] extended ids, END included, then PADDING
    target_mask: Tensor  # [B, T]
    tokens: int  # real target positions
    step: int = 0  # updates made before the one that it is for
    pairs: tuple[EncodedPair, ...] = ()  # what it was made of

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            name: v.to(device) if isinstance(v, Tensor) else v for name, v in values.items()
        }
        return Batch(**moved)


SEEDS_AN_EPOCH = 2**33  # room for the draws of one epoch between those of its neighbours
LENGTH_SLACK = 5  # symbols that any output may have, however short its source
MOST_TIMES = 1_000.0  # as long as its source that an output may be
UNKNOWN_RATIO = 2.0  # of lengths, where nobody has measured it


class EncodedPair(NamedTuple):
    """A pair as ids."""

    source: EncodedSource
    target: list[int]  # extended ids, END included
    text: str = ""  # the target as it was written
    number: int = 0  # among the pairs that were encoded together


def length_ratio(pairs: Sequence[EncodedPair]) -> float:
    """How long targets are for their sources: r of |target| <= r |source| + LENGTH_SLACK.

    The least that holds for all but one pair in a thousand, the longest, which are often mistakes;
    1 at least, `MOST_TIMES` at most.
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
    sampling: float = 0.0,
    seed: int = 0,
) -> list[EncodedPair]:
    """Pairs as ids.

    Args:
        pairs: With targets.
        vocabularies: Of both sides.
        copies: As in `Vocabularies.encode_source`.
        sampling: Of SentencePiece segmentations; 0 = the likeliest ones.
        seed: Of the sampling; each side of each pair draws for itself.
    """
    result = []
    for number, pair in enumerate(pairs):
        own = seed + 2 * number
        source = vocabularies.encode_source(pair, copies=copies, sampling=sampling, seed=own)
        text = pair.target or ""
        target = vocabularies.encode_target(text, source.extra, sampling=sampling, seed=own + 1)
        result.append(EncodedPair(source, target, text, number))
    return result


def source_batch(sources: Sequence[EncodedSource]) -> SourceBatch:
    """Sources as tensors."""
    return SourceBatch(
        padded([source.ids for source in sources], PADDING),
        padded([source.symbols for source in sources], NOT_COPYABLE),
        max((len(source.extra) for source in sources), default=0),
    )


def pair_batch(pairs: Sequence[EncodedPair], step: int = 0) -> Batch:
    """Pairs as tensors, for the update after `step` others."""
    sources = source_batch([pair.source for pair in pairs])
    inputs, target, mask = target_tensors([pair.target for pair in pairs])
    return Batch(sources.source, sources.symbols, inputs, target, mask, int(mask.sum()), step, tuple(pairs))


def target_tensors(targets: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and mask of a `Batch`, [N, T] each, for N lists of extended ids."""
    target = padded(targets, PADDING)
    mask = target != PADDING
    start = torch.full((len(target), 1), START)
    # After the end, inputs are any real symbol: what comes of them is not looked at.
    inputs = torch.cat([start, target[:, :-1]], 1).masked_fill(~mask, START)
    return inputs, target, mask


def padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    """Rows as one tensor [rows, longest], filled up at the right."""
    result = numpy.full((len(rows), max(map(len, rows), default=0)), filler, dtype=numpy.int64)
    for number, row in enumerate(rows):
        result[number, : len(row)] = row
    return torch.from_numpy(result)


class TrainingBatches:
    """The batches of an epoch, a pure function of its number.

    Args:
        vocabularies: Of the model.
        data: With the training part.
        settings: Of the run.
        device: Where the batches go.

    Raises:
        DataError: no pair within the length limits, or one that a pointer network cannot give.
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
        encoded = encode_pairs(data.train, vocabularies, copies=self._copies)
        sources, targets = [len(pair.source.ids) for pair in encoded], [len(pair.target) for pair in encoded]
        kept, self.warnings = filter_lengths(data.train, sources, targets, settings.data)
        self._pairs, self._encoded = [data.train[i] for i in kept], [encoded[i] for i in kept]
        self.length_ratio = length_ratio(self._encoded)
        if settings.model.output == "positions":
            _require_copyable(self._pairs, self._encoded)
        # What one update sums, over all processes; an epoch ends with an update.
        self._grouped = settings.training.accumulation * distributed.world_size()
        self._updates = math.ceil(len(self(0)) / self._grouped)

    def __call__(self, epoch: int) -> LazyBatches[Batch]:
        """Batches of nearly equal length, shuffled; segmentations are drawn afresh where asked for."""
        encoded, sampling = self._encoded, self._settings.vocabulary.sampling
        if sampling:
            encoded = encode_pairs(
                self._pairs,
                self._vocabularies,
                copies=self._copies,
                sampling=sampling,
                seed=(self._settings.seed * 1_000 + epoch) * SEEDS_AN_EPOCH,
            )
        parts = training_batches(
            [longer_side(pair) for pair in encoded],
            ties=[shorter_side(pair) for pair in encoded],
            budget=self._settings.training.batch_tokens,
            seed=self._settings.seed,
            epoch=epoch,
        )
        first = epoch * self._updates if epoch else 0  # updates before this epoch

        def build(number: int) -> Batch:
            step = first + number // self._grouped
            return pair_batch([encoded[i] for i in parts[number]], step).to(self._device)

        sizes = [len(part) * max(longer_side(encoded[i]) for i in part) for part in parts]
        return LazyBatches(sizes, build)


def longer_side(pair: EncodedPair) -> int:
    """What a pair takes in a batch, symbols."""
    return max(len(pair.source.ids), len(pair.target))


def shorter_side(pair: EncodedPair) -> int:
    """The other side's symbols."""
    return min(len(pair.source.ids), len(pair.target))


def _require_copyable(pairs: Sequence[SentencePair], encoded: Sequence[EncodedPair]) -> None:
    """A pure pointer network can only give what stands in the source."""
    for pair, ids in zip(pairs, encoded, strict=True):
        missing = set(ids.target) - set(ids.source.symbols) - {NOT_COPYABLE}
        if missing:
            raise DataError(
                f"{pair.place}: the target has symbols that its source lacks, and model.output = 'positions' "
                "can only copy"
            )
