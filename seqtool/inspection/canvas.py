"""The style that all pictures share, text that any font can show, and durable saving."""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import MaxNLocator

from seqtool.errors import UsageError
from seqtool.files import write_durably

# Okabe and Ito (2008): distinguishable with every common kind of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#777777",
)
COLOURS = (
    BLUE,
    ORANGE,
    GREEN,
    RED,
    PURPLE,
    SKY,
    GREY,
)  # in this order where things have no colour of their own
LINES = ("-", "--", ":", "-.")  # once all colours are used
NAMES_PER_COLUMN = 18  # of a legend
LONGEST_NAME = 40  # characters in a legend
FORMATS = ("png", "svg")
FONT = "DejaVu Sans"  # comes with matplotlib
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
    "svg.hashsalt": "seqtool",  # the same picture gives the same bytes
    "text.parse_math": False,  # a tag such as $( is no formula
}


@contextlib.contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Open a blank figure in the common style, and save it durably at the end of the `with` block.

    Args:
        path: Where to save, .png or .svg.
        width: Width in inches.
        height: Height in inches.

    Raises:
        UsageError: another suffix.
        StorageError: the file cannot be written.
    """
    kind = format_of(path)
    # A Figure made without pyplot needs no window system and stays out of pyplot's global list.
    # The default style comes first, so that a user's matplotlibrc cannot spoil the layout.
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height))
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_durably(path, buffer.getvalue())


def format_of(path: Path) -> str:
    """`png` or `svg`, by the suffix of a path.

    Raises:
        UsageError: another suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        given = f"a picture cannot be saved as {path.suffix}" if path.suffix else "a picture needs a suffix"
        raise UsageError(f"{path}: {given}; name a file that ends in .png or .svg")
    return kind


def printable(text: str, longest: int = 28) -> str:
    """`text` as the font shows it: missing characters are written `\\u4eba`, long texts end in an ellipsis.

    >>> printable("PER")
    'PER'
    >>> printable("\u4eba")
    '\\\\u4eba'
    """
    shown = "".join(c if c.isprintable() and ord(c) in _characters() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def plain_axes(axes: Axes) -> None:
    """Remove grid, frame and tick marks, for matrices and messages."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def say_empty(axes: Axes, message: str) -> None:
    """Write in the middle of `axes` why nothing is drawn."""
    axes.text(0.5, 0.5, message, ha="center", va="center", color=GREY, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def line_style(number: int, *, dashed: bool = False) -> dict[str, Any]:
    """Colour and dashes of the line with this number, from 0: 28 that can be told apart.

    >>> line_style(0), line_style(8)
    ({'color': '#0072B2', 'linestyle': '-'}, {'color': '#E69F00', 'linestyle': '--'})
    """
    dashes = "--" if dashed else LINES[number // len(COLOURS) % len(LINES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": dashes}


def whole_numbers(most: int = 9) -> MaxNLocator:
    """Places ticks of a scale at round whole numbers, in at most `most` intervals."""
    return MaxNLocator(nbins=most, steps=[1, 2, 5, 10], integer=True)


def add_legend(axes: Axes, names: int, title: str | None = None) -> None:
    """A legend to the right of `axes`, where it hides nothing, in as many columns as its names need."""
    columns = 1 + names // NAMES_PER_COLUMN
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=columns, fontsize=8, title=title)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """For each path the shortest end that no other path shares, as a legend can show it.

    A last folder `model` says nothing about a run and is left out.

    >>> short_names(["runs/ner/a", "runs/lm/a/model", "gru"])
    {'runs/ner/a': 'ner/a', 'runs/lm/a/model': 'lm/a', 'gru': 'gru'}
    """
    parts = {}
    for name in names:
        path = Path(name)
        parts[name] = (path.parent if path.name == "model" and path.parent.name else path).parts or (name,)
    found = {}
    for name, own in parts.items():
        others = [other for key, other in parts.items() if key != name]
        lengths = range(1, len(own))
        length = next((n for n in lengths if all(other[-n:] != own[-n:] for other in others)), len(own))
        found[name] = printable("/".join(own[-length:]), LONGEST_NAME)
    return found


@functools.cache
def _characters() -> frozenset[int]:
    """Code points for which the font has a glyph."""
    return frozenset(get_font(findfont(FONT)).get_charmap())
