"""Vectors of words and lines by a translator: the states of its encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqtool.models.embedded import Embedded
from seqtool.text.batching import prediction_batches
from seqtool.translation.batches import source_batch
from seqtool.translation.prediction import BATCH_TOKENS, TranslatorModel


@torch.inference_mode()
def embed(model: TranslatorModel, lines: Sequence[str]) -> list[Embedded]:
    """Vectors of the symbols of sources, and their means.

    Args:
        model: The translator.
        lines: Sources, in the form that `seqtool translate` reads.
    """
    network, apart = model.network, model.description.model.reads_apart
    nothing = network.encoder_norm(torch.zeros(0, network.encoder.outputs, device=model.device)).cpu().float()
    found = [Embedded([], nothing, nothing.sum(0))] * len(lines)
    pairs = {number: model.parse(line, number + 1) for number, line in enumerate(lines) if line.strip()}
    numbers = list(pairs)
    sources = [model.encoded_source(pairs[number]) for number in numbers]
    for part in prediction_batches([len(source.ids) for source in sources], budget=BATCH_TOKENS):
        batch = source_batch([sources[i] for i in part]).to(model.device)
        with model.autocast():
            states = network.encoded(batch).dropped.float().cpu()
        for row, place in enumerate(part):
            symbols = model.vocabularies.source_symbols(pairs[numbers[place]], apart=apart)
            vectors = states[row, : len(symbols)]
            found[numbers[place]] = Embedded(list(symbols), vectors, vectors.mean(0))
    return found
