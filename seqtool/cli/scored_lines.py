"""Scored lines of a text as JSON, columns or coloured text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from seqtool.cli import console
from seqtool.errors import counted

if TYPE_CHECKING:
    from seqtool.lm.lines import ScoredLine

# Style of a symbol from this surprisal on, in bits.
COLOURS = ((8.0, "bold red"), (5.0, "red"), (3.0, "yellow"), (1.0, "none"), (0.0, "dim"))
LEGEND = (
    "bits per character stand before each line; a symbol is dim below 1 bit, plain from 1, yellow from 3, "
    "red from 5, bold red from 8"
)


class Totals:
    """Sums over all lines, for the summary on standard error."""

    def __init__(self) -> None:
        self.lines = self.characters = self.symbols = self.unknown = 0
        self.nats = 0.0

    def add(self, row: ScoredLine) -> None:
        """Add a line."""
        self.lines += 1
        self.characters += row.characters
        self.symbols += len(row.symbols)
        self.unknown += row.unknown
        self.nats += row.nats

    def describe(self) -> str:
        """The summary: lines, nats, bits per character, perplexity per symbol."""
        if not self.lines:
            return "0 lines"
        bits = self.nats / math.log(2)
        perplexity = math.exp(min(self.nats / self.symbols, 700.0))
        unknown = f"; unknown to the model: {self.unknown:,}" if self.unknown else ""
        lines = counted(self.lines, "line")
        return (
            f"{lines}, {self.nats:,.1f} nats, {bits / self.characters:.4f} bits per character, "
            f"perplexity {perplexity:,.3f} per symbol{unknown}"
        )


def adding_up(rows: Iterable[ScoredLine], totals: Totals) -> Iterator[ScoredLine]:
    """Pass rows on while adding them to the totals."""
    for row in rows:
        totals.add(row)
        yield row


def writer(form: str, details: Sequence[str] = ()) -> Callable[[ScoredLine], None]:
    """A function that writes a row in a format.

    Args:
        form: Name of the format, as in `--format`.
        details: What JSON says about the parts of a line: per_token (log probability of each symbol),
            per_word (bits of each word).
    """
    if form == "auto":
        form = "colour" if console.is_terminal() and not details else "jsonl"
    if form == "colour":
        console.say(LEGEND)
        return _write_coloured
    if form == "tsv":
        return lambda row: console.write_result(_columns(row))
    return lambda row: console.write_result(json.dumps(_object(row, details), ensure_ascii=False) + "\n")


def _object(row: ScoredLine, details: Sequence[str]) -> dict[str, object]:
    facts: dict[str, object] = {
        "line": row.line,
        "text": row.text,
        "nats": round(row.nats, 6),
        "bits_per_character": round(row.bits_per_character, 6),
        "symbols": len(row.symbols),
    }
    if row.unknown:
        facts["unknown"] = row.unknown
    if "per_token" in details:
        pairs = zip(row.symbols, row.log_probabilities, strict=True)
        facts["log_probabilities"] = [[symbol, round(value, 6)] for symbol, value in pairs]
    if "per_word" in details:
        facts["words"] = [[word, round(bits, 6)] for word, bits in words_of(row)]
    return facts


def words_of(row: ScoredLine) -> list[tuple[str, float]]:
    """The words of a line, which white space separates, and its end, each with its bits.

    The space before a word counts as part of the word, so that all bits together are those of the line.
    """
    found: list[tuple[str, float]] = []
    word, bits = "", 0.0
    for symbol, value in zip(row.symbols, row.log_probabilities, strict=True):
        if word.strip() and symbol[:1].isspace():
            found.append((word.strip(), bits))
            word, bits = "", 0.0
        word, bits = word + symbol, bits - value / math.log(2)
    found.append((word.strip() or "\n", bits))
    names = row.text.split()  # as they are written, where symbols are bytes or unknown
    if len(names) == len(found) - 1:
        return [*zip(names, (bits for _, bits in found), strict=False), found[-1]]
    return found


def _columns(row: ScoredLine) -> str:
    """Line, nats, bits per character, text."""
    text = row.text.replace("\t", " ")
    return f"{row.line}\t{row.nats:.6f}\t{row.bits_per_character:.6f}\t{text}\n"


def _write_coloured(row: ScoredLine) -> None:
    from rich.text import Text

    text = Text(f"{row.bits_per_character:6.2f}  ", style="cyan")
    # If symbols are characters, take them from the text, so that unknown ones are shown as they are.
    symbols = row.text + "\n" if len(row.symbols) == row.characters else row.symbols
    for symbol, value in zip(symbols, row.log_probabilities, strict=True):
        bits = -value / math.log(2)
        style = next(style for least, style in COLOURS if bits >= least or not least)
        text.append(console.printable(symbol.removesuffix("\n")), style="" if style == "none" else style)
    console.print_text(text)
