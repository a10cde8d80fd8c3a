"""Pictures of what a layer does along a text: its states on a plane, its gates as heatmaps."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from seqtool.errors import counted
from seqtool.inspection.canvas import COLOURS, GREY, picture, printable
from seqtool.inspection.traces import separator_of

LABELLED = 60  # points with a label beside them at most, and half the symbols written below a heatmap
CONTEXT = 10  # characters that a label shows at most of a symbol and the text before it
LONGEST_LABEL = 16  # characters
LABEL_SIZE = 6.5  # points
OTHERS = "all others"
USUAL, FARTHEST = 0.98, 3.0  # points beyond 3 times the distance that 98 % stay within are left out of sight
MARGIN = 0.05  # around the points in sight, as a share of their extent
PERPLEXITY = 30.0  # of t-SNE, where there are enough points
MEANING: dict[str, Any] = {"fontsize": 8, "fontweight": "normal", "color": GREY, "loc": "right"}
UNITS = 64  # rows of a heatmap; more would be thinner than a pixel needs to be

Matrix = NDArray[np.float64]


class Plane(NamedTuple):
    """States projected to two dimensions."""

    points: Matrix  # [T, 2]
    axes: tuple[str, str]  # what the two directions are
    method: str
    note: str = ""  # what the plane does not show


def projected(states: Matrix, method: Literal["pca", "tsne"], *, seed: int = 0) -> Plane:
    """Project states to a plane.

    Args:
        states: At least 3 of them, [T, D].
        method: Principal components (Hotelling 1933) or t-SNE (van der Maaten and Hinton 2008).
        seed: Random seed of t-SNE.
    """
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    if method == "pca":
        model = PCA(2)
        points = model.fit_transform(states)
        shares = [f"{100 * share:.0f} % of the variance" for share in model.explained_variance_ratio_]
        first, second = (f"principal component {number} ({share})" for number, share in enumerate(shares, 1))
        hidden = 100 * (1 - min(model.explained_variance_ratio_.sum(), 1.0))
        note = f"{hidden:.0f} % of the variance is not shown."
        return Plane(points, (first, second), "principal components", note)
    perplexity = min(PERPLEXITY, (len(states) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    points = model.fit_transform(states)
    return Plane(
        points,
        ("t-SNE dimension 1 (no unit)", "t-SNE dimension 2 (no unit)"),
        f"t-SNE, perplexity {perplexity:.3g}",
    )


def state_figure(
    plane: Plane,
    labels: Sequence[str],
    groups: Sequence[str],
    path: Path,
    *,
    title: str,
    grouped_by: str,
) -> None:
    """Draw states as points, coloured by group, with the text before as many of them as there is room for.

    Args:
        plane: T points.
        labels: Symbol read last before each state, [T].
        groups: Group of each state, [T].
        path: Where to save, .png or .svg.
        title: Title of the picture.
        grouped_by: What the groups are; title of the legend.
    """
    points = plane.points
    ranked = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    shown = ranked if len(ranked) <= len(COLOURS) else ranked[: len(COLOURS) - 1]
    merged = [name if name in shown else OTHERS for name in groups]
    with picture(path, 7.8, 5.8) as figure:
        axes = figure.add_subplot()
        for name, colour in zip(dict.fromkeys([*shown, *merged]), COLOURS, strict=False):
            chosen = points[[group == name for group in merged]]
            label = printable(name)
            axes.scatter(chosen[:, 0], chosen[:, 1], s=16, color=colour, label=label, linewidths=0)
        axes.set_xlabel(plane.axes[0])
        axes.set_ylabel(plane.axes[1])
        axes.tick_params(labelsize=8)
        outside = _limit(axes, points)
        left_out = f"{counted(outside, 'state')} farther out not shown"
        axes.set_title(f"{title}\n{left_out}" if outside else title)
        last = "word that was read last" if separator_of(labels) else "last few characters that were read"
        note = f"Each point is the state after a symbol; some are labelled with the {last}."
        figure.supxlabel(f"{note}\n{plane.note}".rstrip(), fontsize=8, color=GREY)
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, title=grouped_by, title_fontsize=8
        )
        _label_points(figure, axes, points, in_context(labels))


def in_context(labels: Sequence[str]) -> list[str]:
    """Each symbol with the text read before it, cut at the left; words are long enough by themselves.

    >>> in_context(list("the king"))[-1], in_context(["Ada", "met", "Bob"])[-1]
    ('the␣king', 'Bob')
    """
    if separator_of(labels):
        return [printable(visible(label), LONGEST_LABEL) for label in labels]
    found = []
    for place in range(len(labels)):
        start, length = place, len(labels[place])
        while start > 0 and length + len(labels[start - 1]) <= CONTEXT:
            start -= 1
            length += len(labels[start])
        text = printable(visible("".join(labels[start : place + 1])), LONGEST_LABEL)
        found.append(f"…{text}" if start else text)
    return found


def _label_points(figure: Figure, axes: Axes, points: Matrix, labels: Sequence[str]) -> None:
    """Write labels beside points, leaving out those that would cover another one or leave the axes."""
    figure.draw_without_rendering()  # only now it is known where the axes stand
    inside, scale = axes.get_window_extent(), figure.dpi / 72
    taken: list[Bbox] = []
    # In a fixed random order, so that the labels come from the whole text.
    for place in np.random.default_rng(0).permutation(len(labels)):
        x, y = axes.transData.transform(points[place])
        width, height = 0.62 * LABEL_SIZE * len(labels[place]) * scale, 1.2 * LABEL_SIZE * scale
        box = Bbox.from_bounds(x + 2 * scale, y + 2 * scale, width, height)
        within = inside.x0 <= x <= inside.x1 and inside.y0 <= y <= inside.y1 and box.x1 <= inside.x1
        if len(taken) == LABELLED or not within or any(box.overlaps(other) for other in taken):
            continue
        taken.append(box)
        axes.annotate(
            labels[place],
            points[place],
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=LABEL_SIZE,
            color="#222222",
            path_effects=[withStroke(linewidth=2, foreground="white", alpha=0.8)],
        )


def _limit(axes: Axes, points: Matrix) -> int:
    """Leave the few points out of sight that would press the others together; how many there are."""
    apart = np.abs(points - np.median(points, 0))
    near = (apart <= FARTHEST * np.quantile(apart, USUAL, 0)).all(1)
    low, high = points[near].min(0), points[near].max(0)
    if near.all() or (low == high).any():  # the near ones may all be at one place
        return 0
    margin = MARGIN * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    return int((~near).sum())


def gate_figure(
    gates: Mapping[str, Matrix],
    labels: Sequence[str],
    path: Path,
    *,
    title: str,
    meanings: Mapping[str, str] | None = None,
) -> None:
    """Draw a heatmap per gate: units from top to bottom, the text from left to right, dark where it is open.

    Above each heatmap stands the mean of all units. A layer of more than 64 units is shown by the 64 that
    vary most along the text.

    Args:
        gates: Activations in [0, 1], [T, H] each, by the name of the gate.
        labels: Symbol read at each step, [T].
        path: Where to save, .png or .svg.
        title: Title of the picture.
        meanings: What a gate does where it is open, by its name.
    """
    width = min(max(5.0, 0.14 * len(labels) + 2.2), 16.0)
    with picture(path, width, 1.6 + 2.0 * len(gates)) as figure:
        heights = [1, 9] * len(gates)
        grid = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        for number, (name, opened) in enumerate(gates.items()):
            above, below = grid[2 * number : 2 * number + 2]
            _draw_gate(above, opened.mean(1, keepdims=True), len(labels))
            above.set_ylabel("mean", fontsize=8, rotation=0, ha="right", va="center")
            if name in (meanings or {}):
                above.set_title(f"open {name}: {(meanings or {})[name]}", **MEANING)
            image = _draw_gate(below, opened[:, shown_units(opened)], len(labels))
            below.set_ylabel(name)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        _write_text(grid[-1], labels)
        bar = figure.colorbar(image, ax=list(grid), shrink=0.7, aspect=30, ticks=[0, 0.25, 0.5, 0.75, 1])
        bar.ax.set_yticklabels(["0 shut", "0.25", "0.5", "0.75", "1 open"])
        bar.set_label("gate activation: dark = open")
        note = textwrap.fill(_about_rows([opened.shape[1] for opened in gates.values()]), int(14.5 * width))
        figure.supxlabel(note, fontsize=8, color=GREY)


def shown_units(opened: Matrix) -> list[int]:
    """The units drawn, from the most to the least open on average.

    Args:
        opened: Activations, [T, H].

    Returns:
        All units, or the 64 with the largest standard deviation along the text.
    """
    chosen = np.argsort(-opened.std(0), kind="stable")[:UNITS]
    return [int(unit) for unit in chosen[np.argsort(-opened[:, chosen].mean(0), kind="stable")]]


def _about_rows(widths: Sequence[int]) -> str:
    """What the rows of the heatmaps are, of gates with so many units."""
    most = max(widths)
    order = "the most open at the top; the strip above is the mean of all units."
    if len(widths) > 1:
        order += " Each gate has its own order, so the rows of two gates are not the same units."
    if most <= UNITS:
        return f"Each row is a unit, {order}"
    return f"Each row is a unit: the {UNITS} of {most:,} that vary most along the text, {order}"


def _draw_gate(axes: Axes, opened: Matrix, steps: int) -> AxesImage:
    """Shades of [T, H], units from top to bottom; many steps are averaged to what the pixels can show."""
    interpolation = "nearest" if steps <= 8 * LABELLED else "antialiased"
    axes.grid(False)
    axes.set_yticks([])
    axes.tick_params(bottom=False)
    axes.spines[["top", "right"]].set_visible(True)
    return axes.imshow(
        opened.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation=interpolation, rasterized=True
    )


def _write_text(axes: Axes, labels: Sequence[str]) -> None:
    """The text below the lowest heatmap, or only positions where it is too long."""
    if len(labels) > 2 * LABELLED:
        axes.tick_params(bottom=True)
        axes.set_xlabel("position in the text (symbols)")
        return
    upright = all(len(label) == 1 for label in labels)
    shown = [printable(visible(label), LONGEST_LABEL) for label in labels]
    axes.set_xticks(range(len(labels)), shown, rotation=0 if upright else 90, fontsize=LABEL_SIZE)
    axes.set_xlabel("text read, from left to right")


def visible(symbol: str) -> str:
    """Replace spaces, line ends and tabs by signs that can be seen."""
    return symbol.replace(" ", "\u2423").replace("\n", "\u21b5").replace("\t", "\u2192")
