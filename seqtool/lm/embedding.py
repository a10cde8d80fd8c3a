"""Vectors of words and lines by a language model: its states after reading them."""

from __future__ import annotations

from collections.abc import Sequence

from seqtool.lm.prediction import LanguageModel
from seqtool.lm.reading import SentenceReader
from seqtool.models.embedded import Embedded


def embed(model: LanguageModel, lines: Sequence[str]) -> list[Embedded]:
    """The state after each word of a line, and after the whole line; each line is read by itself.

    A model that reads from the end has read all that follows a word, and at last the first word.

    Args:
        model: The language model.
        lines: Plain text, which is split into words at spaces.
    """
    reader = SentenceReader.of(model)
    words = [line.split() for line in lines]
    filled = [number for number, tokens in enumerate(words) if tokens]
    nothing = model.network.embedding.weight.new_zeros(0, reader.outputs).detach().cpu().float()
    found = [Embedded([], nothing, nothing.sum(0))] * len(lines)
    last = 0 if model.description.data.direction == "backward" else -1
    for number, vectors in zip(filled, reader.vectors([words[i] for i in filled]), strict=True):
        states = vectors.float().cpu()
        found[number] = Embedded(words[number], states, states[last])
    return found
