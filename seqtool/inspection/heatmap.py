"""A translator's attention drawn with characters, for terminals, files and slow connections."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import regex  # type: ignore[import-untyped]
from numpy.typing import ArrayLike, NDArray

SHADES = " ░▒▓█"
LEVELS = (0.05, 0.2, 0.4, 0.7)  # least attention of each shade after the blank
COLOURS = (
    0,
    67,
    74,
    178,
    208,
)  # in the 256-colour palette, blue to orange: legible on light and dark backgrounds
LEAST, MOST = 3, 10  # terminal columns that a source symbol takes
ROW_MOST = 16  # terminal columns that an output symbol takes at most
ISOLATE, END_ISOLATE = "\u2068", "\u2069"  # Unicode annex 9, section 2.4

_MARK = regex.compile(
    r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}]"
)  # combines with the character before it

Matrix = NDArray[np.float64]


def attention_lines(
    source: Sequence[str],
    target: Sequence[str],
    weights: ArrayLike,
    *,
    p_gen: Sequence[float] | None = None,
    coverage: Sequence[float] | None = None,
    width: int = 80,
    colour: bool = False,
) -> list[str]:
    """Attention as shades, one line per output symbol and one column per source symbol.

    Columns that do not fit side by side follow in further panels, with the output symbols repeated.
    Right-to-left symbols are isolated, so that the columns stay in the order of the source.

    Args:
        source: Source symbols, [S].
        target: Output symbols, [T].
        weights: Attention weights, 0-1, each row summing to 1, [T, S].
        p_gen: Probability of generating rather than copying each output symbol, a column of numbers, [T].
        coverage: Attention that each source symbol received in total, at least 0, a line of numbers, [S].
        width: Columns of the terminal, at least 40.
        colour: Whether to colour the shades by escape sequences.

    Returns:
        Lines without line ends, none wider than `width`; the last one explains the shades.
    """
    table = np.asarray(weights, dtype=np.float64).reshape(len(target), len(source))
    assert p_gen is None or len(p_gen) == len(target), (len(p_gen), len(target))
    assert coverage is None or len(coverage) == len(source), (len(coverage), len(source))
    assert width >= 40, width
    before, after = _edges(target, p_gen, coverage is not None)
    labels = [_cut(_visible(symbol), MOST) for symbol in source]
    widths = [max(LEAST, display_width(label)) for label in labels]
    lines: list[str] = []
    for part in _panels(widths, width - len(after[0]) - display_width(before[0])):
        heads = [_pad(label, size) for label, size in zip(labels[part], widths[part], strict=True)]
        cells = [_cells(row, widths[part], colour) for row in table[:, part]]
        last = [] if coverage is None else [_numbers(coverage[part], widths[part])]
        middle = [" ".join(texts) for texts in [heads, *cells, *last]]
        lines += ["".join(texts) for texts in zip(before, middle, after, strict=True)] + [""]
    return [*lines, _legend(colour)]


def display_width(text: str) -> int:
    """Number of terminal columns of a text: none for combining accents, two for wide characters.

    >>> display_width("naïve"), display_width("人名")
    (5, 4)
    """
    return sum(_cluster_width(cluster) for cluster in regex.findall(r"\X", text))


def _cluster_width(cluster: str) -> int:
    """Terminal columns of one grapheme cluster: a letter with its marks, or an emoji of several parts."""
    if "\ufe0f" in cluster or regex.fullmatch(r"\p{Regional_Indicator}{2}", cluster):
        return 2  # U+FE0F selects the emoji form; two regional indicators are a flag
    if unicodedata.category(cluster[0]) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    spacing = sum(unicodedata.category(character) in ("Mc", "Lm") for character in cluster[1:])
    if not regex.match(
        r"\p{Emoji_Modifier_Base}", cluster
    ):  # without a base, a skin colour is shown on its own
        spacing += 2 * len(regex.findall(r"\p{Emoji_Modifier}", cluster[1:]))
    return (2 if unicodedata.east_asian_width(cluster[0]) in "WF" else 1) + spacing


def _visible(symbol: str) -> str:
    """A symbol that is safe to print: control characters escaped, spaces made visible.

    A combining mark without a letter is put on a dotted circle, not on the character printed before it.
    """
    joiners = "\u200c\u200d"  # needed for the shape of letters and emoji, and without effect elsewhere
    text = symbol.replace(" ", "␣")
    text = "".join(c if c.isprintable() or c in joiners else ascii(c)[1:-1] for c in text)
    return "\u25cc" + text if _MARK.match(text) else text


def _cut(text: str, most: int) -> str:
    """Cut a text to `most` terminal columns, ending in an ellipsis."""
    if display_width(text) <= most:
        return text
    kept = ""
    for cluster in regex.findall(r"\X", text):
        if display_width(kept + cluster) > most - 1:
            break
        kept += cluster
    return kept + "…"


def _pad(text: str, size: int) -> str:
    """Pad a text with spaces; right-to-left text is isolated, so that it does not reorder its neighbours."""
    space = " " * (size - display_width(text))
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text):
        text = ISOLATE + text + END_ISOLATE
    return text + space


def _edges(
    target: Sequence[str], p_gen: Sequence[float] | None, coverage: bool
) -> tuple[list[str], list[str]]:
    """Texts before and after the cells of each line: of the heading, the output symbols and the coverage."""
    names = ["", *(_cut(_visible(symbol), ROW_MOST) for symbol in target)]
    ends = [""] * len(names) if p_gen is None else ["p(gen)", *(f"{p:6.2f}" for p in p_gen)]
    if coverage:
        names.append("coverage")
        ends.append("")
    size = max(map(display_width, names))
    return [_pad(name, size) + "│" for name in names], ["│" + end for end in ends]


def _panels(widths: Sequence[int], room: int) -> Iterator[slice]:
    """Ranges of columns, each with as many as fit side by side with a space between them."""
    start, used = 0, 0
    for place, size in enumerate(widths):
        if place > start and used + size > room:
            yield slice(start, place)
            start, used = place, 0
        used += size + 1
    if widths:
        yield slice(start, len(widths))


def _cells(row: Matrix, widths: Sequence[int], colour: bool) -> list[str]:
    """The shades of one line, each as wide as its column."""
    levels = np.searchsorted(LEVELS, row, side="right")
    return [_shade(int(level), size, colour) for level, size in zip(levels, widths, strict=True)]


def _shade(level: int, size: int, colour: bool) -> str:
    """One cell of a line."""
    text = SHADES[level] * size
    return f"\x1b[38;5;{COLOURS[level]}m{text}\x1b[0m" if colour and level else text


def _numbers(values: Sequence[float], widths: Sequence[int]) -> list[str]:
    """Numbers with one decimal place, where there is room for it."""
    texts = [f"{value:.1f}" if value < 9.95 else f"{value:.0f}" for value in values]
    return [f"{text:{size}}" for text, size in zip(texts, widths, strict=True)]


def _legend(colour: bool) -> str:
    """The line that explains the shades."""
    steps = [f"{_shade(level, 1, colour)} {least:g}+" for level, least in enumerate(LEVELS, start=1)]
    return "attention: " + " ".join(steps)
