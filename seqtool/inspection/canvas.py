"""One look for every picture, and safe ways to put any text on it and any picture on disk."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from seqtool.errors import UsageError
from seqtool.files import write_durably

# Okabe and Ito (2008): told apart with every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#777777",
)
FORMATS = ("png", "svg")
FONT = "DejaVu Sans"  # travels with matplotlib
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.family": [FONT],
    "font.size": 9.5,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 150,
    "svg.hashsalt": "seqtool",  # the same picture is the same file
    "text.parse_math": False,  # a tag such as $( is text
}


@contextlib.contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A blank figure in the house style; what was drawn on it is saved durably at the end.

    Args:
        path: Ends in `.png` or `.svg`.
        width: Inches.
        height: Inches.

    Raises:
        UsageError: another suffix.
        StorageError: the file cannot be written.
    """
    kind = format_of(path)
    # A Figure made without pyplot belongs to nobody else: no global list, no window, no back end.
    # The default style comes first, so that a user's matplotlibrc cannot spoil the layout.
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height))
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_durably(path, buffer.getvalue())


def format_of(path: Path) -> str:
    """`png` or `svg`, by the suffix.

    Raises:
        UsageError: another one.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UsageError(f"{path}: a picture in {path.suffix or 'no format'}, expected .png or .svg")
    return kind


def printable(text: str, longest: int = 28) -> str:
    """`text` as the font can show it: what it lacks becomes `\\u4eba`, what is too long ends in an ellipsis.

    >>> printable("PER")
    'PER'
    >>> printable("\u4eba")
    '\\\\u4eba'
    """
    shown = "".join(c if c.isprintable() and ord(c) in _characters() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def plain_axes(axes: Axes) -> None:
    """No grid, no frame, no ticks: for matrices and notes."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def say_empty(axes: Axes, message: str) -> None:
    """Say in the middle of `axes` why there is nothing to see."""
    axes.text(0.5, 0.5, message, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


@functools.cache
def _characters() -> frozenset[int]:
    """Code points that the font has."""
    return frozenset(get_font(findfont(FONT)).get_charmap())
