"""Pictures of cells side by side: how far gradients reach, how problems are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from seqtool.inspection.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, picture, printable

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
LINES = ("-", "--", ":", "-.")
LEAST = 1e-12  # what is smaller is not drawn: nothing is left
HOPELESS = 4.0  # times the loss of guessing: a course that ends above would press the others together
BESIDE = 18  # names that stand below each other


class Curve(NamedTuple):
    """Gradient norms of one cell."""

    norms: Sequence[float]  # at distance 0, 1, 2, ... from the loss
    partner: str = ""  # of which other curve it is a later state, in the same colour


def gradient_figure(curves: Mapping[str, Curve], path: Path, *, title: str) -> None:
    """Norms by distance on a logarithmic scale; a cell that was trained in full, as it started dashed.

    Args:
        curves: By name.
        path: Where to save, .png or .svg.
        title: Stands above.
    """
    first = [name for name, curve in curves.items() if not curve.partner]
    partners = {curve.partner for curve in curves.values()}
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        for name, curve in curves.items():
            number = first.index(curve.partner or name)
            line = "--" if name in partners else LINES[number // len(COLOURS) % len(LINES)]
            heights = [norm if norm >= LEAST else math.nan for norm in curve.norms]
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(range(len(heights)), heights, line, color=colour, label=printable(name, 40))
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("steps back from the loss")
        axes.set_ylabel("norm of the gradient by the state")
        axes.set_title(title)
        _name_lines(axes, len(curves))


def course_figure(
    courses: Mapping[str, Sequence[tuple[int, float]]], path: Path, *, guessing: float, title: str
) -> None:
    """Held-out losses against updates, and the loss of guessing.

    Args:
        courses: Update and loss, by name.
        path: Where to save, .png or .svg.
        guessing: A line to compare with.
        title: Stands above.
    """
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        axes.axhline(guessing, color=GREY, linewidth=1.0, linestyle=":", label="guessing")
        for number, (name, points) in enumerate(courses.items()):
            line = LINES[number // len(COLOURS) % len(LINES)]
            updates, losses = zip(*points, strict=True)
            axes.plot(updates, losses, line, color=COLOURS[number % len(COLOURS)], label=printable(name, 40))
        ends = [points[-1][1] for points in courses.values() if points[-1][1] < HOPELESS * guessing]
        axes.set_ylim(0, 1.1 * max([1.2 * guessing, *ends]))  # where a course begins may be far above
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("updates")
        axes.set_ylabel("loss on sequences not seen in training")
        axes.set_title(title)
        _name_lines(axes, len(courses) + 1)


def compared_courses(
    courses: Mapping[str, Sequence[tuple[float, float]]], path: Path, *, name: str, against: str
) -> None:
    """A dev metric of several trainings.

    Args:
        courses: Place and value, by name, the best first.
        path: Where to save, .png or .svg.
        name: Of the metric.
        against: What the places are.
    """
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        for number, (run, points) in enumerate(courses.items()):
            line = LINES[number // len(COLOURS) % len(LINES)]
            across, values = zip(*points, strict=True)
            colour, marker = COLOURS[number % len(COLOURS)], "o" if len(points) == 1 else None
            axes.plot(across, values, line, color=colour, marker=marker, label=printable(run, 40))
        axes.set_xlabel(against)
        axes.set_ylabel(f"dev {name.replace('_', ' ')}")
        axes.set_title("Trainings side by side")
        _name_lines(axes, len(courses))


def _name_lines(axes: Axes, lines: int) -> None:
    """Beside the picture, where the names hide nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=1 + lines // BESIDE, fontsize=8)
