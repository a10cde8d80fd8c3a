"""Vectors of words and lines by a tagger: the states of its encoder."""

from __future__ import annotations

from collections.abc import Sequence

from seqtool.models.embedded import Embedded
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.columns import TaggedSentence
from seqtool.text.tokenizer import tokenize


def embed(model: TaggerModel, lines: Sequence[str]) -> list[Embedded]:
    """Vectors of the tokens of lines, and their means.

    Args:
        model: The tagger.
        lines: Plain text, which is split into tokens as by `seqtool tag`.
    """
    words = [[token.text for token in tokenize(line)] for line in lines]
    nothing = model.network.output.weight.new_zeros(0, model.network.encoder.outputs).detach().cpu().float()
    found = [Embedded([], nothing, nothing.sum(0))] * len(lines)
    filled = [number for number, tokens in enumerate(words) if tokens]
    for batch in model.state_batches([TaggedSentence(tuple(words[number])) for number in filled]):
        states = batch.states.float().cpu()
        for row, place in enumerate(batch.part):
            tokens = words[filled[place]]
            vectors = states[row, : len(tokens)]
            found[filled[place]] = Embedded(tokens, vectors, vectors.mean(0))
    return found
