"""Traces of a tagger's encoder along a sentence, for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqtool.errors import DataError
from seqtool.inspection.traces import Trace, require_layer, watched
from seqtool.nn.recurrence import Bidirectional
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.tokenizer import tokenize


def trace(model: TaggerModel, lines: Sequence[str], layer: int) -> Trace:
    """Trace a layer of the encoder over the first line with text, grouped by predicted tag.

    Args:
        model: The tagger.
        lines: Plain text, at least one line not blank.
        layer: Number of the layer, from 1.

    Raises:
        UsageError: there is no such layer.
        DataError: the line holds only invisible characters.
    """
    require_layer(layer, len(model.network.encoder.layers))
    bidirectional = model.network.encoder.layers[layer - 1]
    assert isinstance(bidirectional, Bidirectional)
    tokens = [token.text for token in tokenize(next(line for line in lines if line.strip()))]
    if not tokens:
        raise DataError("the first line with text has no token")
    with watched(bidirectional) as passes, torch.no_grad():
        (tags,) = model.tag([tokens])
    inputs, outputs = passes[0]
    cell = bidirectional.ahead
    start = bidirectional.initial(0, inputs)
    return Trace(tokens, list(tags), outputs[0], cell, inputs, start, grouped_by="predicted tag")
