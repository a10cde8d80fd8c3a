"""Which sentences belong together, for taggers that read what came before in a document."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from seqtool.nn.cells import State
from seqtool.text.columns import TaggedSentence


class DocumentContext:
    """How far a tagger has come in the document that it reads, from call to call."""

    def __init__(self) -> None:
        self.state: State | None = None  # None = at the beginning of a document


def documents(sentences: Sequence[TaggedSentence]) -> list[range]:
    """Positions of the sentences of each document; what stands before the first mark is one too."""
    opens = [number for number, sentence in enumerate(sentences) if sentence.opens or not number]
    return [range(*each) for each in pairwise([*opens, len(sentences)])]


def passages(sentences: Sequence[TaggedSentence], size: int) -> list[list[int]]:
    """Each document cut into runs of so many sentences; the last may be shorter."""
    return [
        list(document[start : start + size])
        for document in documents(sentences)
        for start in range(0, len(document), size)
    ]


def laid_out(sizes: Sequence[int]) -> Tensor:
    """Rows of consecutive passages of these sizes, [D, S]; -1 at padding."""
    rows = torch.full((len(sizes), max(sizes)), -1)
    first = 0
    for passage, size in enumerate(sizes):
        rows[passage, :size] = torch.arange(first, first + size)
        first += size
    return rows
