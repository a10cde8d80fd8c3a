"""Scoring lines of text one by one, as they arrive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from seqtool.lm.data import normalised
from seqtool.lm.loaded import LoadedLanguageModel
from seqtool.lm.scoring import Reader
from seqtool.lm.vocabulary import UNKNOWN


@dataclass(frozen=True)
class ScoredLine:
    """A line with the log probability of each of its symbols, its end included."""

    line: int  # line number, from 1
    text: str
    symbols: tuple[str, ...]
    log_probabilities: tuple[float, ...]  # log probability of each symbol, nats
    unknown: int  # number of symbols that the model does not have

    @property
    def nats(self) -> float:
        """Negative log probability of the line, nats."""
        return -math.fsum(self.log_probabilities)

    @property
    def characters(self) -> int:
        """Number of characters, the line end included."""
        return len(self.text) + 1

    @property
    def bits_per_character(self) -> float:
        """Bits per character, comparable between models whatever their symbols are."""
        return self.nats / math.log(2) / self.characters


def score_lines(
    model: LoadedLanguageModel, lines: Iterable[str], reader: Reader, *, cold: bool
) -> Iterator[ScoredLine]:
    """Score lines, each as soon as it is read.

    Args:
        model: The language model.
        lines: The lines, without their line ends.
        reader: Reader of the model.
        cold: Whether to reset the state before each line. It is always reset where a document of the model
            begins: at every line, or after a blank line.

    Yields:
        The scores of each line.

    Raises:
        UsageError: the model reads from the end.
    """
    model.require_forward("score lines one after the other")
    data = model.description.data
    blank = False  # whether the line before was blank, so that a paragraph may begin
    for number, line in enumerate(lines, 1):
        text = normalised(line, data)
        new_paragraph = data.documents == "paragraph" and blank and bool(text.strip())
        if cold or data.documents == "line" or new_paragraph:
            reader.reset()
        blank = not text.strip()
        ids = model.symbols.encode(text + "\n")
        with model.autocast():
            found = reader.read(ids)
        shown = tuple(model.symbols.show(each) for each in ids.tolist())
        yield ScoredLine(number, text, shown, tuple(found.tolist()), int((ids == UNKNOWN).sum()))
