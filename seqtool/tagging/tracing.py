"""Traces of a tagger's encoder along a sentence, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.errors import DataError, UsageError
from seqtool.inspection.traces import Trace, require_layer, watched
from seqtool.nn.recurrence import Bidirectional
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.tokenizer import tokenize


class FeatureWeight(NamedTuple):
    """What a lexical feature counts for a tag."""

    name: str  # of the feature, as in "suffix=ing"
    position: int  # of the word that has it, from the tagged word: 0 = that word, -1 = the one before
    weight: float  # added to the score of the tag, nats


def strongest_features(model: TaggerModel, tag: str, count: int) -> list[FeatureWeight]:
    """The lexical features with the largest weights for a tag, the largest first.

    Args:
        model: The tagger.
        tag: A tag of the model.
        count: How many, at most.

    Raises:
        UsageError: the tagger has no lexical features.
    """
    lexical, lexicon = model.network.lexical, model.vocabularies.lexicon
    if lexical is None or lexicon is None:
        raise UsageError("this tagger has no lexical features; train one with --set model.lexical=true")
    number, window = model.vocabularies.tags.id(tag), lexical.window
    # [features, K] and [features around, 2 window, K]
    own, around = lexical.weights()
    found = [FeatureWeight(lexicon.own.symbol(i), 0, w) for i, w in _largest(own[:, number], count)]
    # A word contributes to the tags of the tokens before it first, for which it is itself a word after.
    positions = [*range(window, 0, -1), *range(-1, -window - 1, -1)]
    for column, position in enumerate(positions):
        largest = _largest(around[:, column, number], count)
        found += [FeatureWeight(lexicon.around.symbol(i), position, weight) for i, weight in largest]
    return sorted(found, key=lambda each: -each.weight)[:count]


def _largest(weights: Tensor, count: int) -> list[tuple[int, float]]:
    """Index and value of the largest weights that are above 0."""
    values, places = weights.topk(min(count, len(weights)))
    return [(i, value) for i, value in zip(places.tolist(), values.tolist(), strict=True) if value > 0]


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
