"""A picture of a translator's attention: which source symbols each output symbol attended to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import ArrayLike

from seqtool.inspection.canvas import BLUE, FONT, GREY, ORANGE, picture, plain_axes, printable, say_empty

CELL = 0.25  # side of a cell in inches, as long as there is room
LONGEST = 26.0  # inches that all cells of a side may take together; cells shrink beyond that
LABEL = 0.13  # inches that a line of text needs; where cells are smaller, only some are labelled
SIZE = 8.0  # font size of labels in points
ROW = 0.5  # inches for the bars of coverage (below) and of p(gen) (at the right)
GAP = 0.1  # inches between the parts
NARROWEST, LOWEST = 4.0, 2.4  # least width and height of the picture in inches
COLOURS = "Blues"  # light to dark, so that it can be read in grey too


class Layout(NamedTuple):
    """Position of the matrix, in inches from the lower left corner of the picture."""

    left: float
    bottom: float
    width: float  # of the matrix
    height: float  # of the matrix
    total_width: float  # of the picture
    total_height: float  # of the picture

    def axes(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
        """Add axes at a position given in inches."""
        return figure.add_axes(
            (
                left / self.total_width,
                bottom / self.total_height,
                width / self.total_width,
                height / self.total_height,
            )
        )


def attention_figure(
    source: Sequence[str],
    target: Sequence[str],
    weights: ArrayLike,
    path: Path,
    *,
    p_gen: Sequence[float] | None = None,
    coverage: Sequence[float] | None = None,
    title: str = "Attention",
) -> None:
    """Draw attention as shades: source symbols from left to right, output symbols from top to bottom.

    Shades follow the square root of the weight, so that weak attention is seen beside full attention.

    Args:
        source: Source symbols, [S].
        target: Output symbols, [T].
        weights: Attention weights, 0-1, each row summing to 1, [T, S].
        path: Where to save, .png or .svg.
        p_gen: Probability of generating rather than copying each output symbol, bars at the right, [T].
        coverage: Attention that each source symbol received in total, at least 0, bars below, [S].
        title: Title of the picture.

    Raises:
        UsageError: another suffix.
        StorageError: the file cannot be written.
    """
    table = np.asarray(weights, dtype=np.float64).reshape(len(target), len(source))
    assert p_gen is None or len(p_gen) == len(target), (len(p_gen), len(target))
    assert coverage is None or len(coverage) == len(source), (len(coverage), len(source))
    columns, rows = [_label(symbol) for symbol in source], [_label(symbol) for symbol in target]
    layout = _layout(columns, rows, p_gen is not None, coverage is not None)
    with picture(path, layout.total_width, layout.total_height) as figure:
        figure.set_layout_engine("none")  # positions are given in inches
        _write_title(figure, title, layout)
        axes = layout.axes(figure, layout.left, layout.bottom, layout.width, layout.height)
        plain_axes(axes)
        if not table.size:
            say_empty(axes, "no symbols")
            return
        shades = PowerNorm(0.5, vmin=0, vmax=1)
        axes.imshow(table, cmap=COLOURS, norm=shades, aspect="auto", interpolation="nearest")
        _label_columns(axes, columns, layout.width / len(columns))
        _label_rows(axes, rows, layout.height / len(rows))
        _lines_between_cells(axes, len(rows), len(columns), layout)
        right = layout.left + layout.width + GAP
        if p_gen is not None:
            _draw_generation(layout.axes(figure, right, layout.bottom, ROW, layout.height), p_gen)
            right += ROW + GAP
        if coverage is not None:
            place = layout.left, layout.bottom - GAP - ROW, layout.width, ROW
            _draw_coverage(layout.axes(figure, *place), coverage)
        high = min(2.4, max(layout.height, 0.8))
        bar = layout.axes(figure, right + 0.15, layout.bottom + layout.height - high, 0.13, high)
        _draw_scale(figure, bar, shades)


def _layout(columns: Sequence[str], rows: Sequence[str], generation: bool, coverage: bool) -> Layout:
    """Make room for every label at full length, and for the bars beside and below the matrix."""
    width, height = _side(len(columns)), _side(len(rows))
    left = max(0.4 + _longest(rows), 0.95 if coverage else 0.0)
    above = 0.7 + (_longest(columns) if _upright(columns) else LABEL)
    below = 0.15 + (GAP + ROW if coverage else 0.15 if generation else 0.0)
    right = GAP + (GAP + ROW if generation else 0.0) + 0.15 + 0.13 + 0.65
    total_width = max(NARROWEST, left + width + right)
    total_height = max(LOWEST, below + height + above)
    return Layout(left, total_height - above - height, width, height, total_width, total_height)


def _write_title(figure: Figure, title: str, layout: Layout) -> None:
    """Write the title in the upper left corner, cut to the width of the picture."""
    place = 0.12 / layout.total_width, 1 - 0.12 / layout.total_height
    text = printable(title, int(10 * layout.total_width))
    figure.suptitle(text, x=place[0], y=place[1], ha="left", va="top", weight="bold", size=11)


def _side(count: int) -> float:
    """Inches that `count` cells take together."""
    return CELL * max(1, count) if count * CELL <= LONGEST else LONGEST


def _label(symbol: str) -> str:
    """A symbol as the font can show it, with spaces made visible."""
    return printable(symbol.replace(" ", "␣"))


def _longest(labels: Sequence[str]) -> float:
    """Width of the longest label in inches."""
    font = FontProperties(family=FONT, size=SIZE)
    widths = [text_to_path.get_text_width_height_descent(label, font, False)[0] for label in labels]
    return max(widths, default=0.0) / 72


def _upright(labels: Sequence[str]) -> bool:
    """Whether the labels above the columns are too wide to stand horizontally; then all are turned."""
    return len(labels) * CELL > LONGEST or _longest(labels) > CELL - 0.04


def _shown(labels: Sequence[str], cell: float) -> tuple[range, list[str]]:
    """Positions and labels: all of them, or every n-th so that none overlap."""
    places = range(0, len(labels), max(1, math.ceil(LABEL / cell)))
    return places, [labels[place] for place in places]


def _label_columns(axes: Axes, labels: Sequence[str], cell: float) -> None:
    """Write the source above columns that are `cell` inches wide."""
    axes.xaxis.tick_top()
    axes.set_xticks(*_shown(labels, cell), rotation=90 if _upright(labels) else 0, fontsize=SIZE)
    axes.set_xlabel("source symbols", color=GREY, fontsize=SIZE)
    axes.xaxis.set_label_position("top")


def _label_rows(axes: Axes, labels: Sequence[str], cell: float) -> None:
    """Write the output beside rows that are `cell` inches high."""
    axes.set_yticks(*_shown(labels, cell), fontsize=SIZE)
    axes.set_ylabel("output symbols", color=GREY, fontsize=SIZE)


def _lines_between_cells(axes: Axes, rows: int, columns: int, layout: Layout) -> None:
    """Draw thin lines along which rows and columns can be followed to their labels, unless cells are tiny."""
    axes.tick_params(which="both", length=0)
    if min(layout.width / columns, layout.height / rows) >= LABEL:
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#E3E3E3", linewidth=0.6)
        axes.tick_params(which="minor", length=0)


def _draw_generation(axes: Axes, p_gen: Sequence[float]) -> None:
    """Draw the probability of generating, from 0 (copied) to 1 (generated), one bar per row."""
    axes.barh(range(len(p_gen)), p_gen, height=0.8, color=BLUE)
    axes.set(xlim=(0, 1), ylim=(len(p_gen) - 0.5, -0.5), yticks=[], xticks=[0, 1])
    axes.set_title("p(gen)\n0 = copied\n1 = generated", fontsize=7, weight="normal", loc="left", pad=4)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    axes.spines["left"].set_color("#BBBBBB")


def _draw_coverage(axes: Axes, coverage: Sequence[float]) -> None:
    """Draw the total attention of each source symbol, one bar per column, with a line at 1."""
    highest = max(1.25, *coverage)
    axes.bar(range(len(coverage)), coverage, width=0.8, color=ORANGE)
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    ticks = [0, 1] if highest < 4 else [0, int(highest)]  # two that stay apart
    axes.set(xlim=(-0.5, len(coverage) - 0.5), ylim=(0, highest), xticks=[], yticks=ticks)
    axes.set_ylabel("coverage", fontsize=SIZE, rotation=0, ha="right", va="center", labelpad=2)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    axes.grid(False)


def _draw_scale(figure: Figure, axes: Axes, shades: PowerNorm) -> None:
    """Draw the colour bar."""
    bar = figure.colorbar(ScalarMappable(shades, COLOURS), cax=axes, ticks=[0, 0.1, 0.25, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SIZE, length=2)
    bar.set_label("attention: dark = more", fontsize=SIZE)
