"""Documents and passages, for taggers that read each sentence in the context of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from seqtool.nn.cells import State
from seqtool.text.columns import TaggedSentence


class DocumentContext:
    """The state of a tagger between calls that read one document piece by piece."""

    def __init__(self) -> None:
        self.state: State | None = None  # state of the document's recurrence; None = at its beginning


def documents(sentences: Sequence[TaggedSentence]) -> list[range]:
    """The range of sentence indices of each document; sentences before the first mark form one too."""
    opens = [number for number, sentence in enumerate(sentences) if sentence.opens or not number]
    return [range(*each) for each in pairwise([*opens, len(sentences)])]


def passages(sentences: Sequence[TaggedSentence], size: int) -> list[list[int]]:
    """Sentence indices of each document in passages of `size` sentences; its last may be shorter."""
    return [
        list(document[start : start + size])
        for document in documents(sentences)
        for start in range(0, len(document), size)
    ]


def passage_rows(sizes: Sequence[int]) -> Tensor:
    """The batch rows of the sentences of each passage, [D, S]; -1 at padding.

    Args:
        sizes: Number of sentences of each of D passages, which follow one another in the batch.
    """
    # [D, S]
    rows = torch.full((len(sizes), max(sizes)), -1)
    first = 0
    for passage, size in enumerate(sizes):
        rows[passage, :size] = torch.arange(first, first + size)
        first += size
    return rows
