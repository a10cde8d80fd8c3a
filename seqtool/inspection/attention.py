"""Attention of a translator as a picture: which source symbols each output symbol looked at."""

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

CELL = 0.25  # inches a side, as long as there is room
LONGEST = 26.0  # inches that the cells of a side may take together; smaller cells beyond that
LABEL = 0.13  # inches that a label needs across its direction; in smaller cells only some have one
SIZE = 8.0  # of labels, points
ROW = 0.5  # inches, coverage below and p(generate) at the right
GAP = 0.1  # inches between the parts
NARROWEST, LOWEST = 4.0, 2.4  # inches of the whole picture
COLOURS = "Blues"  # light to dark: read without colour too


class Layout(NamedTuple):
    """Where the matrix stands, inches from the lower left corner of the picture."""

    left: float
    bottom: float
    width: float  # of the matrix
    height: float
    total_width: float  # of the picture
    total_height: float

    def axes(self, figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
        """New axes at a place in inches."""
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
    """Attention as shades: source symbols from left to right, output symbols from top to bottom.

    Shades go by the square root, so that a faint second look is seen beside a full one.

    Args:
        source: Symbols, [S].
        target: Output symbols, [T].
        weights: Attention, 0-1, each row with a sum of 1, [T, S].
        path: Where to save, .png or .svg.
        p_gen: Probability of generating rather than copying at each step, bars at the right, [T].
        coverage: Attention that each source symbol had in all, at least 0, bars below, [S].
        title: Above the picture.

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
        figure.set_layout_engine("none")  # the places are known to the inch
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
    """Room for every label at full length, measured, and for what stands beside and below."""
    width, height = _side(len(columns)), _side(len(rows))
    left = max(0.4 + _longest(rows), 0.95 if coverage else 0.0)
    above = 0.7 + (_longest(columns) if _upright(columns) else LABEL)
    below = 0.15 + (GAP + ROW if coverage else 0.15 if generation else 0.0)
    right = GAP + (GAP + ROW if generation else 0.0) + 0.15 + 0.13 + 0.65
    total_width = max(NARROWEST, left + width + right)
    total_height = max(LOWEST, below + height + above)
    return Layout(left, total_height - above - height, width, height, total_width, total_height)


def _write_title(figure: Figure, title: str, layout: Layout) -> None:
    """In the upper left corner, as much as there is room for."""
    place = 0.12 / layout.total_width, 1 - 0.12 / layout.total_height
    text = printable(title, int(10 * layout.total_width))
    figure.suptitle(text, x=place[0], y=place[1], ha="left", va="top", weight="bold", size=11)


def _side(count: int) -> float:
    """Inches that so many cells take together."""
    return CELL * max(1, count) if count * CELL <= LONGEST else LONGEST


def _label(symbol: str) -> str:
    """A symbol as it can be written; a space would not be seen."""
    return printable(symbol.replace(" ", "␣"))


def _longest(labels: Sequence[str]) -> float:
    """Inches of the longest label."""
    font = FontProperties(family=FONT, size=SIZE)
    widths = [text_to_path.get_text_width_height_descent(label, font, False)[0] for label in labels]
    return max(widths, default=0.0) / 72


def _upright(labels: Sequence[str]) -> bool:
    """Whether labels above the columns have to be turned to fit; all or none, for the eye's sake."""
    return len(labels) * CELL > LONGEST or _longest(labels) > CELL - 0.04


def _shown(labels: Sequence[str], cell: float) -> tuple[range, list[str]]:
    """Places and labels: every one, or as many as do not overlap."""
    places = range(0, len(labels), max(1, math.ceil(LABEL / cell)))
    return places, [labels[place] for place in places]


def _label_columns(axes: Axes, labels: Sequence[str], cell: float) -> None:
    axes.xaxis.tick_top()
    axes.set_xticks(*_shown(labels, cell), rotation=90 if _upright(labels) else 0, fontsize=SIZE)
    axes.set_xlabel("source", color=GREY, fontsize=SIZE)
    axes.xaxis.set_label_position("top")


def _label_rows(axes: Axes, labels: Sequence[str], cell: float) -> None:
    axes.set_yticks(*_shown(labels, cell), fontsize=SIZE)
    axes.set_ylabel("output", color=GREY, fontsize=SIZE)


def _lines_between_cells(axes: Axes, rows: int, columns: int, layout: Layout) -> None:
    """Thin lines by which rows and columns can be followed to their labels; none between tiny cells."""
    axes.tick_params(which="both", length=0)
    if min(layout.width / columns, layout.height / rows) >= LABEL:
        axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#E3E3E3", linewidth=0.6)
        axes.tick_params(which="minor", length=0)


def _draw_generation(axes: Axes, p_gen: Sequence[float]) -> None:
    """Bars from 0 (copied) to 1 (generated), one a row."""
    axes.barh(range(len(p_gen)), p_gen, height=0.8, color=BLUE)
    axes.set(xlim=(0, 1), ylim=(len(p_gen) - 0.5, -0.5), yticks=[], xticks=[0, 1])
    axes.set_title("p(gen)", fontsize=SIZE, weight="normal", loc="center", pad=4)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    axes.spines["left"].set_color("#BBBBBB")


def _draw_coverage(axes: Axes, coverage: Sequence[float]) -> None:
    """Bars, one a column, with a line at 1: looked at once in all."""
    highest = max(1.25, *coverage)
    axes.bar(range(len(coverage)), coverage, width=0.8, color=ORANGE)
    axes.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xlim=(-0.5, len(coverage) - 0.5), ylim=(0, highest), xticks=[], yticks=[0, 1])
    axes.set_ylabel("coverage", fontsize=SIZE, rotation=0, ha="right", va="center", labelpad=2)
    axes.tick_params(labelsize=SIZE, length=2, pad=2)
    axes.grid(False)


def _draw_scale(figure: Figure, axes: Axes, shades: PowerNorm) -> None:
    bar = figure.colorbar(ScalarMappable(shades, COLOURS), cax=axes, ticks=[0, 0.1, 0.25, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SIZE, length=2)
    bar.set_label("attention", fontsize=SIZE)
