"""What a translator's encoder does along a source, for pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seqtool.inspection.traces import Trace, kind_of, require_layer, watched
from seqtool.nn.recurrence import Bidirectional
from seqtool.text.segmentation import SPACE
from seqtool.translation.prediction import TranslatorModel


def trace(model: TranslatorModel, lines: Sequence[str], layer: int) -> Trace:
    """A layer, counted from 1, of the encoder over the first line with text.

    Raises:
        UsageError: there is no such layer.
    """
    require_layer(layer, len(model.network.encoder.layers))
    bidirectional = model.network.encoder.layers[layer - 1]
    assert isinstance(bidirectional, Bidirectional)
    pair = model.parse(next(line for line in lines if line.strip()))
    with watched(bidirectional) as passes, torch.no_grad():
        (scored,) = model.read([pair], [[]])
    inputs, outputs = passes[0]
    labels, cell = list(scored.source_symbols), bidirectional.ahead
    start, kinds = bidirectional.initial(0, inputs), [kind_of(label.strip(SPACE)) for label in labels]
    return Trace(labels, kinds, outputs[0], cell, inputs, start)
