"""Sentence pairs as ids and as batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.parallel import SentencePair
from seqtool.translation.vocabularies import PADDING, START, Copies, EncodedSource, Vocabularies


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


LENGTH_SLACK = 5  # symbols that any output may have, however short its source
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
    1 at least.
    """
    ratios = sorted((len(pair.target) - LENGTH_SLACK) / len(pair.source.ids) for pair in pairs)
    return max(1.0, ratios[math.ceil(0.999 * len(ratios)) - 1]) if ratios else UNKNOWN_RATIO


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
