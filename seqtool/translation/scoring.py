"""What a translator does with a given pair: the probability of each symbol, where it looked, what it copied.

The whole target is known, so all of it is one pass: this is how outputs of a search are scored
again, aligned and drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from seqtool.text.batching import prediction_batches
from seqtool.translation.batches import EncodedPair, pair_batch
from seqtool.translation.model import Translator

Array = NDArray[numpy.float64]


class ScoredPair(NamedTuple):
    """A pair as the model sees it; the last target step is the end, as is the last source symbol."""

    log_probabilities: list[float]  # nats, one a target symbol [T]
    attention: Array  # [T, S], rows that sum to 1
    writing: list[float] | None  # probability of writing rather than copying [T]; None without copying
    source_symbols: tuple[str, ...] = ()  # for people [S]
    target_symbols: tuple[str, ...] = ()  # for people [T]

    @property
    def score(self) -> float:
        """Log probability of the target, its end included, nats."""
        return sum(self.log_probabilities)

    @property
    def coverage(self) -> list[float]:
        """Attention that each source symbol had in all [S]."""
        total: list[float] = self.attention.sum(axis=0).tolist()
        return total


@torch.inference_mode()
def score_pairs(
    network: Translator,
    pairs: Sequence[EncodedPair],
    *,
    device: torch.device,
    autocast: torch.autocast,
    batch_tokens: int,
) -> list[ScoredPair]:
    """Readings of encoded pairs, in their order.

    Args:
        network: In evaluation mode.
        pairs: Targets with END.
        device: Of the network.
        autocast: The arithmetic to use.
        batch_tokens: Padded symbols a batch.
    """
    result: list[ScoredPair | None] = [None] * len(pairs)
    lengths = [max(len(pair.source.ids), len(pair.target)) for pair in pairs]
    for part in prediction_batches(lengths, budget=batch_tokens):
        batch = pair_batch([pairs[i] for i in part]).to(device)
        with autocast:
            source = network.encode(batch.source, batch.symbols)
            readout = network.read(source, batch.inputs)
            extra = max(len(pairs[i].source.extra) for i in part)
            table = network.log_probabilities(readout, source, extra)
        chosen = table.gather(2, batch.target[:, :, None])[:, :, 0].tolist()
        weights = readout.weights.double().cpu().numpy()
        gates = None if network.gate is None else network.gate_of(readout, source).sigmoid().tolist()
        for row, position in enumerate(part):
            source_length, length = len(pairs[position].source.ids), len(pairs[position].target)
            result[position] = ScoredPair(
                chosen[row][:length],
                weights[row, :length, :source_length],
                None if gates is None else gates[row][:length],
            )
    return [scored for scored in result if scored is not None]


def word_alignment(table: Array, sources: Sequence[int], targets: Sequence[int]) -> list[tuple[int, int]]:
    """The source word that each target word looked at most.

    Args:
        table: Attention of target symbols on source symbols [T, S].
        sources: Word of each source symbol [S].
        targets: Word of each target symbol [T].

    Returns:
        Pairs (source word, target word), rising target words.
    """
    if not len(sources) or not len(targets):
        return []
    words = numpy.zeros((max(targets) + 1, max(sources) + 1))
    numpy.add.at(words, (numpy.asarray(targets)[:, None], numpy.asarray(sources)[None]), table)
    return [(int(place), word) for word, place in enumerate(words.argmax(axis=1))]
