"""Lines of text scored as they come."""

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
    """A line and what it cost, its end included."""

    line: int  # from 1
    text: str
    symbols: tuple[str, ...]
    log_probabilities: tuple[float, ...]  # nats, one a symbol
    unknown: int  # symbols that the model does not have

    @property
    def nats(self) -> float:
        """Of the whole line."""
        return -math.fsum(self.log_probabilities)

    @property
    def characters(self) -> int:
        """With the line end."""
        return len(self.text) + 1

    @property
    def bits_per_character(self) -> float:
        """Comparable whatever the symbols of a model are."""
        return self.nats / math.log(2) / self.characters


def score_lines(
    model: LoadedLanguageModel, lines: Iterable[str], reader: Reader, *, cold: bool
) -> Iterator[ScoredLine]:
    """Each line as soon as it has come.

    Args:
        model: Whose symbols the lines are made of.
        lines: Without their ends.
        reader: Of the model.
        cold: Whether each line stands alone; lines that are documents always do, and a blank line
            ends a paragraph.
    """
    data = model.description.data
    blank = False  # whether a paragraph may have ended
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
