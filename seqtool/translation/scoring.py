"""Scoring given pairs with a translator: probability of each target symbol, attention, copying.

The whole target is known, so one pass over it suffices. Outputs of a search are scored again this
way, to align them with their sources and to draw their attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from seqtool.text.batching import prediction_batches
from seqtool.translation.batches import EncodedPair, pair_batch
from seqtool.translation.network import Network

Array = NDArray[numpy.float64]


class ScoredPair(NamedTuple):
    """What the model computes for one pair; the last symbol of both sides is the end of sentence."""

    log_probabilities: list[float]  # log probability of each target symbol, nats, [T]
    attention: Array  # attention of each target symbol (row) on each source symbol (column), [T, S]
    writing: list[float] | None  # probability of generating rather than copying, [T]; None without copying
    source_symbols: tuple[str, ...] = ()  # the source symbols as text, [S]
    target_symbols: tuple[str, ...] = ()  # the target symbols as text, [T]

    @property
    def score(self) -> float:
        """Log probability of the target including its end of sentence, nats."""
        return sum(self.log_probabilities)

    @property
    def coverage(self) -> list[float]:
        """Coverage: the attention on each source symbol, summed over target symbols, [S]."""
        total: list[float] = self.attention.sum(axis=0).tolist()
        return total


@torch.inference_mode()
def score_pairs(
    network: Network[Any, Any],
    pairs: Sequence[EncodedPair],
    *,
    device: torch.device,
    autocast: torch.autocast,
    batch_tokens: int,
) -> list[ScoredPair]:
    """Score encoded pairs.

    Args:
        network: The network in evaluation mode.
        pairs: Pairs whose targets end with END.
        device: Device of the network.
        autocast: Context that sets the arithmetic.
        batch_tokens: Largest number of padded symbols in a batch.

    Returns:
        A result for each pair, in their order.
    """
    result: list[ScoredPair | None] = [None] * len(pairs)
    lengths = [max(len(pair.source.ids), len(pair.target)) for pair in pairs]
    for part in prediction_batches(lengths, budget=batch_tokens):
        batch = pair_batch([pairs[i] for i in part]).to(device)
        with autocast:
            source = network.encode(batch)
            readout = network.read(source, batch.inputs)
            extra = max(len(pairs[i].source.extra) for i in part)
            # [B, T, V + extra]
            table = network.log_probabilities(readout, source, extra)
        # [B, T]
        chosen = table.gather(2, batch.target[:, :, None])[:, :, 0].tolist()
        # [B, T, S]
        weights = network.alignment(readout, source, batch.target, batch.target_mask).double().cpu().numpy()
        # [B, T]
        written = network.written(readout, source)
        gates = None if written is None else written.tolist()
        for row, position in enumerate(part):
            source_length, length = len(pairs[position].source.ids), len(pairs[position].target)
            result[position] = ScoredPair(
                chosen[row][:length],
                weights[row, :length, :source_length],
                None if gates is None else gates[row][:length],
            )
    return [scored for scored in result if scored is not None]


def word_alignment(table: Array, sources: Sequence[int], targets: Sequence[int]) -> list[tuple[int, int]]:
    """Align each target word with the source word that received most of its attention.

    Args:
        table: Attention of target symbols (rows) on source symbols (columns), [T, S].
        sources: Number of the word that each source symbol belongs to, from 0, [S].
        targets: Number of the word that each target symbol belongs to, from 0, [T].

    Returns:
        Pairs (source word, target word), in the order of the target words.
    """
    if not len(sources) or not len(targets):
        return []
    # attention summed over the symbols of each word: [target words, source words]
    words = numpy.zeros((max(targets) + 1, max(sources) + 1))
    numpy.add.at(words, (numpy.asarray(targets)[:, None], numpy.asarray(sources)[None]), table)
    return [(int(place), word) for word, place in enumerate(words.argmax(axis=1))]
