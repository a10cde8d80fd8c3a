"""What a language model's layers do along a text, for pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.decoding.sampling import SamplingOptions
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.sampling import Continuation, Sampler, beginning
from seqtool.nn.cells import State


def own_text(model: LanguageModel, *, rows: int, length: int, seed: int) -> tuple[Tensor, list[State]]:
    """Embeddings of text that the model writes, float64, and the states before it.

    Args:
        model: In evaluation mode; it is in float64 afterwards.
        rows: B, texts beside each other.
        length: T, symbols of each.
        seed: Of what it writes.

    Returns:
        [B, T, E], and the states of all layers before the first symbol.
    """
    start = beginning(model)
    states = [tuple(part.expand(rows, -1).contiguous() for part in layer) for layer in start.states]
    sampler = Sampler(model, SamplingOptions(seed=seed), Continuation(states, start.last.expand(rows)))
    symbols = torch.tensor([sampler.step() for _ in range(length)]).t()
    network = model.network.double()
    with torch.no_grad():
        embedded = network.embedding(symbols)
    return embedded, [tuple(part.double() for part in layer) for layer in states]
