"""Recurrent cells compared: how far back gradients reach, and how well they learn a problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter

from seqtool.inspection.canvas import GREY, add_legend, line_style, picture, short_names, whole_numbers

LEAST = 1e-12  # norms below this are not drawn: nothing of the gradient is left
ENDS = "A line ends where less than 1e-12 of the gradient is left."
HOPELESS = 4.0  # times the baseline's loss: a curve that ends above this would flatten all the others


class Curve(NamedTuple):
    """Gradient norms of one cell."""

    norms: Sequence[float]  # at distance 0, 1, 2, ... from the loss
    partner: str = ""  # name of the curve of the same cell before training, drawn in the same colour
    trained: bool = False  # whether it is of a trained model, which the legend then says


def gradient_figure(curves: Mapping[str, Curve], path: Path, *, title: str) -> None:
    """Draw gradient norms by distance on a logarithmic scale.

    A cell that was also trained is drawn twice in one colour: dashed before training, solid after it.

    Args:
        curves: By name; the path of a model is shortened in the legend.
        path: Where to save, .png or .svg.
        title: Title of the picture.
    """
    first = [name for name, curve in curves.items() if not curve.partner]
    partners = {curve.partner for curve in curves.values()}
    labels = short_names(list(curves))
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        for name, curve in curves.items():
            heights = [norm if norm >= LEAST else math.nan for norm in curve.norms]
            style = line_style(first.index(curve.partner or name), dashed=name in partners)
            label = f"{labels[name]} (trained)" if curve.trained else labels[name]
            axes.plot(range(len(heights)), heights, label=label, **style)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
        axes.xaxis.set_major_locator(whole_numbers())
        axes.set_xlabel("distance from the loss (steps back)")
        axes.set_ylabel("norm of the gradient, relative to that at distance 0")
        if any(norm < LEAST for curve in curves.values() for norm in curve.norms):
            figure.supxlabel(ENDS, fontsize=8, color=GREY)
        axes.set_title(title)
        add_legend(axes, len(curves))


def problem_figure(
    losses: Mapping[str, Sequence[tuple[int, float]]],
    path: Path,
    *,
    baseline: float,
    loss_name: str,
    title: str,
) -> None:
    """Draw held-out losses against updates, with the loss of always guessing as the baseline.

    Args:
        losses: Update and loss of each evaluation, by the name of the cell.
        path: Where to save, .png or .svg.
        baseline: Loss of the best constant guess.
        loss_name: What the loss is, with its unit.
        title: Title of the picture.
    """
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        axes.axhline(baseline, color=GREY, linewidth=1.0, linestyle=":", label="baseline: guessing")
        for number, (name, points) in enumerate(losses.items()):
            updates, values = zip(*points, strict=True)
            axes.plot(updates, values, label=name, **line_style(number))
        ends = [points[-1][1] for points in losses.values() if points[-1][1] < HOPELESS * baseline]
        axes.set_ylim(0, 1.1 * max([1.2 * baseline, *ends]))  # a curve may begin far above this
        axes.xaxis.set_major_locator(whole_numbers())
        axes.set_xlabel("updates")
        axes.set_ylabel(f"held-out {loss_name}")
        axes.set_title(title)
        add_legend(axes, len(losses) + 1)
