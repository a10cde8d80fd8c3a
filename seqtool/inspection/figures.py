"""Pictures of an evaluation, one function per picture: numbers in, a PNG or SVG file out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from seqtool.evaluation.calibration import ReliabilityBin, Threshold
from seqtool.evaluation.span_errors import KINDS
from seqtool.inspection.canvas import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    picture,
    plain_axes,
    printable,
    say_empty,
    whole_numbers,
)

KIND_COLOURS = {
    "correct": GREEN,
    "type": ORANGE,
    "boundary": SKY,
    "both": PURPLE,
    "missed": BLUE,
    "spurious": RED,
}
KIND_NAMES = {
    "correct": "correct",
    "type": "right boundary, wrong type",
    "boundary": "right type, wrong boundary",
    "both": "wrong type and boundary",
    "missed": "missed (gold only)",
    "spurious": "spurious (predicted only)",
}
ANNOTATED = 20  # labels of the largest matrix in which a number in each cell can be read
PIECES = 60  # of a text above which a running mean is drawn over them


Floats = NDArray[np.float64]


class TypeFigures(Protocol):
    """What `scores_by_type` shows for each type."""

    @property
    def precision(self) -> float:
        """A fraction, 0-1."""

    @property
    def recall(self) -> float:
        """A fraction, 0-1."""

    @property
    def f1(self) -> float:
        """A fraction, 0-1."""

    @property
    def support(self) -> int:
        """Number of gold items."""


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> None:
    """Draw which label (column) the tokens of each gold label (row) were given, as shares of the row.

    With up to 20 labels, the count is written into each cell that is not empty.

    Args:
        labels: Names of rows and columns, [K].
        counts: Number of tokens, gold label by predicted label, [K, K].
        path: Where to save, .png or .svg.
    """
    table = np.asarray(counts, dtype=np.float64).reshape(len(labels), len(labels))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 2.6 + max(2.2, (0.58 if len(labels) <= ANNOTATED else 0.26) * len(labels))
    with picture(path, side + 0.9, side) as figure:
        figure.set_layout_engine("compressed")  # the matrix stays square
        axes = figure.subplots()
        plain_axes(axes)
        written = len(labels) <= ANNOTATED
        axes.set_title("Confusion matrix (numbers = tokens)" if written else "Confusion matrix of tokens")
        if not labels:
            say_empty(axes, "no tokens")
            return
        # Shaded by the square root, so that 2 errors in 100 are seen beside a full diagonal.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=PercentFormatter(1, decimals=0))
        bar.outline.set_visible(False)
        bar.set_label("share of the gold label's tokens: dark = more")
        names = [printable(label) for label in labels]
        steep = max(map(len, names)) > 4 or len(names) > ANNOTATED
        axes.set_xticks(range(len(names)), names, rotation=90 if steep else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("gold label")
        # White lines between the cells, so that rows and columns can be followed by eye.
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white" if written else "#EEEEEE", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        if written:
            _write_counts(axes, table, shares)


def reliability_diagram(bins: Sequence[ReliabilityBin], expected_error: float, path: Path) -> None:
    """Draw the share of correct predictions against their confidence; calibrated bars end on the diagonal.

    Args:
        bins: Bins of `calibration`.
        expected_error: Expected calibration error, a fraction.
        path: Where to save, .png or .svg.
    """
    full = [row for row in bins if row.count]
    middles = [(row.low + row.high) / 2 for row in full]
    widths = [0.92 * (row.high - row.low) for row in full]
    with picture(path, 5.4, 6.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.set_title(f"Reliability (expected calibration error {expected_error:.3f})")
        upper.bar(middles, [row.accuracy for row in full], widths, color=SKY, label="share correct")
        upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="perfectly calibrated")
        upper.plot(
            [row.confidence for row in full],
            [row.accuracy for row in full],
            "o",
            color=RED,
            markersize=5,
            clip_on=False,
            label="mean confidence of the bin",
        )
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share of correct predictions")
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
        lower.bar(middles, [row.count for row in full], widths, color=GREY)
        lower.set_xlabel("confidence of the prediction")
        lower.set_ylabel("predictions")
        lower.yaxis.set_major_locator(whole_numbers(4))


def confidence_threshold_curve(curve: Sequence[Threshold], path: Path) -> None:
    """Draw precision and recall when predictions below a confidence threshold are dropped.

    Args:
        curve: Rows of `threshold_curve`, from the highest threshold to the lowest.
        path: Where to save, .png or .svg.
    """
    with picture(path, 6.2, 4.2) as figure:
        axes = figure.subplots()
        axes.set_title("Precision and recall by confidence threshold")
        label = "confidence threshold (predictions below it are dropped)"
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=label, ylabel="precision, recall (fraction)")
        if not curve:
            say_empty(axes, "no predictions")
            return
        # Between two confidences that occur nothing changes, hence steps.
        thresholds = [row.threshold for row in curve]
        for name, colour, style in (("precision", BLUE, "-"), ("recall", ORANGE, "--")):
            values = [getattr(row, name) for row in curve]
            axes.step(thresholds, values, where="post", color=colour, linestyle=style, label=name)
        figure.legend(loc="outside lower center", ncols=2)


def errors_by_kind(counts: Mapping[str, int], path: Path) -> None:
    """Draw how many spans fall into each class of `match_spans`, with their share.

    Args:
        counts: Result of `count_kinds`.
        path: Where to save, .png or .svg.
    """
    values = [counts[kind] for kind in KINDS]
    total = max(1, sum(values))
    with picture(path, 7.0, 3.2) as figure:
        axes = figure.subplots()
        axes.set_title("Correct spans and kinds of error")
        bars = axes.barh(
            [KIND_NAMES[kind] for kind in KINDS], values, color=[KIND_COLOURS[kind] for kind in KINDS]
        )
        axes.bar_label(bars, [f"{value:,}  ({value / total:.1%})" for value in values], padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.28)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(whole_numbers(6))
        axes.set_xlabel("number of spans (share of all)")


def scores_by_type(by_type: Mapping[str, TypeFigures], path: Path) -> None:
    """Draw F1 of each type as a bar, with precision and recall as marks on it, the most frequent type first.

    Precision stands in the upper half of the bar and recall in the lower half: equal values hide neither.

    Args:
        by_type: `TaggingReport.by_type`.
        path: Where to save, .png or .svg.
    """
    rows = sorted(by_type.items(), key=lambda item: (-item[1].support, item[0]))
    places = np.arange(len(rows))
    with picture(path, 7.0, 1.7 + 0.36 * max(2, len(rows))) as figure:
        axes = figure.subplots()
        axes.set_title("Scores by type")
        if not rows:
            say_empty(axes, "no types")
            return
        axes.barh(places, [row.f1 for _, row in rows], height=0.72, color=SKY, alpha=0.55, label="F1")
        for name, above, marker, colour in (("precision", 0.18, "v", BLUE), ("recall", -0.18, "^", RED)):
            values = [getattr(row, name) for _, row in rows]
            axes.plot(
                values,
                places - above,
                marker,
                color=colour,
                markersize=5,
                label=name,
                clip_on=False,
                zorder=3,
            )
        axes.set_yticks(places, [f"{printable(name)}  ({row.support:,})" for name, row in rows])
        axes.set(
            xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6), xlabel="score (in brackets: number of gold items)"
        )
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=3)


def scores_by_length(
    rows: Sequence[tuple[str, float, int]], path: Path, metric: str = "bleu", unit: str = "words"
) -> None:
    """Draw a score for each range of lengths, with the number of sentences in each.

    Args:
        rows: Label, score and number of sentences of each range, from short to long.
        path: Where to save, .png or .svg.
        metric: Name of the score: bleu, 0-100, or exact_match, 0-1.
        unit: What the lengths are counted in.
    """
    name = {"bleu": "BLEU"}.get(metric, metric.replace("_", " "))
    top, digits = (100, 1) if metric == "bleu" else (1, 2)
    with picture(path, 1.6 + 0.9 * max(len(rows), 4), 4.0) as figure:
        axes = figure.subplots()
        axes.set_title(f"{name} by length of the source")
        if not rows:
            say_empty(axes, "no sentences")
            return
        bars = axes.bar(range(len(rows)), [score for _, score, _ in rows], 0.7, color=BLUE)
        axes.bar_label(
            bars, [f"{score:.{digits}f}\nn = {count:,}" for _, score, count in rows], padding=2, fontsize=8
        )
        axes.set_xticks(range(len(rows)), [label for label, _, _ in rows])
        axes.grid(False, axis="x")
        highest = 1.2 * max(score for _, score, _ in rows) + top / 100
        axes.set(xlim=(-0.6, max(len(rows), 4) - 0.4), ylim=(0, highest))
        axes.set(xlabel=f"{unit} in the source (n = number of sentences)", ylabel=f"{name} (0-{top})")


def cost_along_text(
    blocks: Sequence[tuple[float, float]], beside: Mapping[str, float], path: Path, title: str
) -> None:
    """Draw bits per character of a language model from the beginning of a text to its end.

    Args:
        blocks: Number of characters and nats of consecutive pieces of the text.
        beside: Nats per character of baselines on the whole text, drawn as horizontal lines.
        path: Where to save, .png or .svg.
        title: Model, text and protocol.
    """
    with picture(path, 10.0, 4.0) as figure:
        axes = figure.subplots()
        axes.set_title(f"Bits per character along the text\n{printable(title, 110)}", fontsize=9.5)
        axes.set(xlabel="characters read", ylabel="bits per character (lower is better)")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        sizes = np.array([size for size, _ in blocks])
        if not sizes.sum():
            say_empty(axes, "no text")
            return
        bits = np.array([nats for _, nats in blocks]) / np.log(2)
        _draw_pieces(axes, sizes, bits)
        whole = bits.sum() / sizes.sum()
        axes.axhline(whole, color=RED, linewidth=1.0, label=f"this model, whole text: {whole:.3f}")
        for (name, nats), colour in zip(beside.items(), (ORANGE, GREEN), strict=False):
            label = f"{name}: {nats / np.log(2):.3f}"
            axes.axhline(nats / np.log(2), color=colour, linestyle="--", linewidth=1.0, label=label)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _draw_pieces(axes: Axes, sizes: Floats, bits: Floats) -> None:
    """Bits per character of each piece, and a running mean where there are many pieces."""
    ends = np.cumsum(sizes)
    many = len(bits) > PIECES
    steps = axes.stairs(bits / sizes, [0, *ends], baseline=None, color=BLUE, label="this model, each piece")
    steps.set(linewidth=1.0, alpha=0.35 if many else 1.0)
    if not many:
        return
    width = len(bits) // 20
    mean = np.convolve(bits, np.ones(width), "valid") / np.convolve(sizes, np.ones(width), "valid")
    first = (width - 1) // 2
    label = f"this model, running mean of {width} pieces"
    middles = ends - sizes / 2
    axes.plot(middles[first : first + len(mean)], mean, color=BLUE, label=label)


def _write_counts(axes: Axes, table: Floats, shares: Floats) -> None:
    """Numbers of tokens in the cells that are not empty, in a colour that is read on their shade."""
    for row, column in np.argwhere(table > 0):
        count = int(table[row, column])
        text = f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k"
        colour = "white" if shares[row, column] > 0.3 else "#222222"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
