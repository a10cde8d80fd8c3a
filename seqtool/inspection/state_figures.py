"""Pictures of the states and the gates of a layer along a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from seqtool.inspection.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, picture, printable

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)
LABELLED = 60  # points with a label beside them, symbols under a heatmap
OTHERS = "others"
USUAL, FARTHEST = 0.98, 3.0  # so many times as far away as this share of the points: not in the picture
MARGIN = 0.05  # around them, of their extent
PERPLEXITY = 30.0  # of t-SNE, where there are enough points

Matrix = NDArray[np.float64]


def projected(states: Matrix, method: Literal["pca", "tsne"], *, seed: int = 0) -> tuple[Matrix, str]:
    """States [T, D] on a plane, [T, 2], and how.

    Args:
        states: At least 3.
        method: Principal components (Hotelling 1933) or t-SNE (van der Maaten and Hinton 2008).
        seed: Of t-SNE.
    """
    from sklearn.decomposition import PCA  # type: ignore[import-untyped]
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]

    if method == "pca":
        model = PCA(2)
        points = model.fit_transform(states)
        shares = ", ".join(f"{share:.0%}" for share in model.explained_variance_ratio_)
        return points, f"principal components ({shares} of the variance)"
    perplexity = min(PERPLEXITY, (len(states) - 1) / 3)
    model = TSNE(2, perplexity=perplexity, init="pca", random_state=seed)
    return model.fit_transform(states), f"t-SNE, perplexity {perplexity:.3g}"


def state_figure(
    points: Matrix, labels: Sequence[str], groups: Sequence[str], path: Path, *, title: str
) -> None:
    """States as points, coloured by group, a few with what was read there.

    Args:
        points: [T, 2].
        labels: [T].
        groups: [T].
        path: Where to save, .png or .svg.
        title: Stands above.
    """
    ranked = sorted(set(groups), key=lambda name: (-groups.count(name), name))
    shown = ranked if len(ranked) <= len(COLOURS) else ranked[: len(COLOURS) - 1]
    merged = [name if name in shown else OTHERS for name in groups]
    with picture(path, 7.0, 5.5) as figure:
        axes = figure.add_subplot()
        for name, colour in zip(dict.fromkeys([*shown, *merged]), COLOURS, strict=False):
            chosen = points[[group == name for group in merged]]
            label = printable(name)
            axes.scatter(chosen[:, 0], chosen[:, 1], s=14, color=colour, label=label, linewidths=0)
        for place in range(0, len(labels), -(-len(labels) // LABELLED)):
            axes.annotate(
                printable(visible(labels[place]), 12),
                points[place],
                xytext=(2, 2),
                textcoords="offset points",
                fontsize=6.5,
                color="#444444",
            )
        axes.set_xticks([])
        axes.set_yticks([])
        outside = _limit(axes, points)
        axes.set_title(f"{title}, {outside} farther out" if outside else title)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _limit(axes: Axes, points: Matrix) -> int:
    """Leave out of sight the few points that would press the others together; how many there are."""
    apart = np.abs(points - np.median(points, 0))
    near = (apart <= FARTHEST * np.quantile(apart, USUAL, 0)).all(1)
    low, high = points[near].min(0), points[near].max(0)
    if near.all() or (low == high).any():  # those near may all be on one spot
        return 0
    margin = MARGIN * (high - low)
    axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
    return int((~near).sum())


def gate_figure(gates: Mapping[str, Matrix], labels: Sequence[str], path: Path, *, title: str) -> None:
    """A heatmap a gate: units down, from the most to the least open, the text across; dark is open.

    Args:
        gates: By name, in [0, 1], [T, H] each.
        labels: What was read, [T].
        path: Where to save, .png or .svg.
        title: Stands above.
    """
    width = min(max(4.0, 0.14 * len(labels) + 1.5), 16.0)
    with picture(path, width, 1.0 + 1.7 * len(gates)) as figure:
        for number, (name, opened) in enumerate(gates.items(), 1):
            axes = figure.add_subplot(len(gates), 1, number)
            order = np.argsort(-opened.mean(0))
            image = axes.imshow(
                opened[:, order].T, aspect="auto", cmap="cividis_r", vmin=0, vmax=1, interpolation="nearest"
            )
            axes.grid(False)
            axes.set_yticks([])
            axes.set_ylabel(name)
            _write_text(axes, labels)
            if number == 1:
                axes.set_title(title)
        label = "open (a unit a line, the most open on top)"
        figure.colorbar(image, ax=figure.axes, label=label, shrink=0.6)


def _write_text(axes: Axes, labels: Sequence[str]) -> None:
    if len(labels) > 2 * LABELLED:
        axes.set_xlabel("steps")
        return
    upright = all(len(label) == 1 for label in labels)
    axes.set_xticks(
        range(len(labels)),
        [printable(visible(label), 12) for label in labels],
        rotation=0 if upright else 90,
        fontsize=6.5,
    )


def visible(symbol: str) -> str:
    """Spaces and line ends as signs."""
    return symbol.replace(" ", "\u2423").replace("\n", "\u21b5").replace("\t", "\u2192")
