"""What a tagger's layers do along a sentence, for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqtool.errors import DataError
from seqtool.inspection.traces import Trace, require_layer, watched
from seqtool.nn.recurrence import Bidirectional
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.tokenizer import tokenize


def trace(model: TaggerModel, lines: Sequence[str], layer: int) -> Trace:
    """A layer, counted from 1, of the encoder over the first line with text; groups are the tags it gets.

    Raises:
        UsageError: there is no such layer.
        DataError: nothing but signs that are not seen.
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
    return Trace(tokens, list(tags), outputs[0], cell, inputs, bidirectional.initial(0, inputs))
