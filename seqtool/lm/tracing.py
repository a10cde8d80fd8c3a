"""What a language model's layers do along a text, for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.decoding.sampling import SamplingOptions
from seqtool.inspection.traces import Trace, kind_of, require_layer
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.sampling import Sampler, beginning
from seqtool.lm.vocabulary import START
from seqtool.nn.cells import State
from seqtool.nn.cells.running import run_cell


def own_text(model: LanguageModel, *, rows: int, length: int, seed: int) -> tuple[Tensor, list[State]]:
    """Embeddings of text that the model writes, float64, and the states before it.

    Args:
        model: In evaluation mode; it is in float64 afterwards.
        rows: B, texts beside each other.
        length: T, symbols of each.
        seed: Random seed of what it writes.

    Returns:
        [B, T, E], and the states of all layers before the first symbol.
    """
    start = beginning(model).repeated(rows)
    sampler = Sampler(model, SamplingOptions(seed=seed), start)
    symbols = torch.tensor([sampler.step() for _ in range(length)]).t()
    network = model.network.double()
    with torch.no_grad():
        embedded = network.embedding(symbols)
    return embedded, [tuple(part.double() for part in layer) for layer in start.states]


def trace(model: LanguageModel, lines: Sequence[str], layer: int) -> Trace:
    """A layer, counted from 1, over a text.

    Raises:
        UsageError: there is no such layer.
    """
    text = "\n".join(lines)
    require_layer(layer, len(model.network.stack.layers))
    ids = torch.from_numpy(model.symbols.encode(text).astype("int64")).to(model.device)[None]
    read = torch.cat([torch.full_like(ids[:, :1], START), ids], 1)  # as every text is read
    stack, states = model.network.stack, model.network.initial(1)
    with torch.no_grad():
        values = model.network.embedding(read)
        for number, (cell, state) in enumerate(zip(stack.layers, states, strict=True)):
            inputs = values
            outputs, _ = run_cell(cell, inputs, state)
            values = stack.joints[number - 1](inputs, outputs) if number else outputs
            if number == layer - 1:
                break
        _, start = run_cell(cell, inputs[:, :1], state)
    labels = [model.symbols.decode([number]) for number in ids[0].tolist()]
    return Trace(labels, [kind_of(label) for label in labels], outputs[0, 1:], cell, inputs[:, 1:], start)
