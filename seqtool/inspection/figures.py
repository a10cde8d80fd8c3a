"""Pictures of training and of errors, each one function: data in, a PNG or SVG file out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

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
)

LOWER_IS_BETTER = ("bits_per_character", "nats_per_character", "perplexity", "loss")
MAIN_METRICS = ("f1", "bleu", "exact_match", "chrf", "bits_per_character", "perplexity", "accuracy")
METRIC_NAMES = {"f1": "F1", "bleu": "BLEU", "chrf": "chrF"}
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
    "type": "wrong type, right place",
    "boundary": "right type, wrong boundary",
    "both": "wrong type and boundary",
    "missed": "missed",
    "spurious": "spurious",
}
ANNOTATED = 20  # the largest matrix in which a number in each cell can be read


class TypeFigures(Protocol):
    """What `scores_by_type` shows of a type."""

    @property
    def precision(self) -> float:
        """Fraction."""

    @property
    def recall(self) -> float:
        """Fraction."""

    @property
    def f1(self) -> float:
        """Fraction."""

    @property
    def support(self) -> int:
        """Number of gold items."""


def training_curves(events: Iterable[Mapping[str, Any]], path: Path, metric: str | None = None) -> None:
    """Training loss above, the dev metric below, both against the step.

    Args:
        events: Objects of metrics.jsonl: `{"event": "train", "step", "loss"}` and
            `{"event": "evaluation", "step", "metrics": {name: number}}`; others are skipped.
            Of a step that appears twice (a resumed run) the later event counts.
        path: Where to save, .png or .svg.
        metric: Name of the dev metric; by default the task's main one.
    """
    train: dict[int, float] = {}
    dev: dict[int, Mapping[str, float]] = {}
    for event in events:
        if event.get("event") == "train":
            train[int(event["step"])] = event["loss"]
        elif event.get("event") == "evaluation":
            dev[int(event["step"])] = event["metrics"]
    name = metric or _main_metric(dev.values())
    with picture(path, 7.0, 5.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.set_title("Training loss")
        upper.set_ylabel("loss")
        _draw_loss(upper, _series(train), _series({s: m["loss"] for s, m in dev.items() if "loss" in m}))
        title = METRIC_NAMES.get(name, printable(name.replace("_", " ")))
        lower.set_title(f"Dev {title}")
        lower.set_ylabel(title)
        lower.set_xlabel("step")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        _draw_metric(lower, _series({s: m[name] for s, m in dev.items() if name in m}), name)


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], path: Path) -> None:
    """Which label (column) the tokens of each gold label (row) were given, as shares of the row.

    Up to 20 labels each cell that is not empty has its count written in it.

    Args:
        labels: Names of rows and columns, [K].
        counts: Tokens, [K, K].
        path: Where to save, .png or .svg.
    """
    table = np.asarray(counts, dtype=np.float64).reshape(len(labels), len(labels))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 2.6 + max(2.2, (0.58 if len(labels) <= ANNOTATED else 0.26) * len(labels))
    with picture(path, side + 0.9, side) as figure:
        figure.set_layout_engine("compressed")  # the matrix stays square
        axes = figure.subplots()
        plain_axes(axes)
        axes.set_title("Confusion of tokens")
        if not labels:
            say_empty(axes, "no tokens")
            return
        # By the square root: an error of two in a hundred has to be seen beside a full diagonal.
        image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, format=PercentFormatter(1, decimals=0))
        bar.outline.set_visible(False)
        bar.set_label("share of the gold label")
        names = [printable(label) for label in labels]
        steep = max(map(len, names)) > 4 or len(names) > ANNOTATED
        axes.set_xticks(range(len(names)), names, rotation=90 if steep else 0)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("predicted")
        axes.set_ylabel("gold")
        # White lines between the cells, so that rows and columns can be followed by eye.
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white" if len(names) <= ANNOTATED else "#EEEEEE", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
        if len(labels) <= ANNOTATED:
            _write_counts(axes, table, shares)


def reliability_diagram(bins: Sequence[ReliabilityBin], expected_error: float, path: Path) -> None:
    """Share that is correct against stated confidence; bars on the diagonal are honest.

    Args:
        bins: From `calibration`.
        expected_error: Expected calibration error, fraction.
        path: Where to save, .png or .svg.
    """
    full = [row for row in bins if row.count]
    middles = [(row.low + row.high) / 2 for row in full]
    widths = [0.92 * (row.high - row.low) for row in full]
    with picture(path, 5.4, 6.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.set_title(f"Calibration: expected error {expected_error:.3f}")
        upper.bar(middles, [row.accuracy for row in full], widths, color=SKY, label="share correct")
        upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="perfectly calibrated")
        upper.plot(
            [row.confidence for row in full],
            [row.accuracy for row in full],
            "o",
            color=RED,
            markersize=5,
            label="mean confidence of the bin",
        )
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share correct")
        upper.legend(loc="upper left")
        lower.bar(middles, [row.count for row in full], widths, color=GREY)
        lower.set_xlabel("confidence")
        lower.set_ylabel("predictions")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def confidence_threshold_curve(curve: Sequence[Threshold], path: Path) -> None:
    """Precision and recall of what is left when less confident predictions are dropped.

    Args:
        curve: From `threshold_curve`.
        path: Where to save, .png or .svg.
    """
    with picture(path, 6.2, 4.2) as figure:
        axes = figure.subplots()
        axes.set_title("What a confidence threshold keeps")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="least confidence kept", ylabel="fraction")
        if not curve:
            say_empty(axes, "no predictions")
            return
        # A threshold holds down to the next lower confidence, hence steps.
        thresholds = [row.threshold for row in curve]
        for name, colour, style in (("precision", BLUE, "-"), ("recall", ORANGE, "--")):
            values = [getattr(row, name) for row in curve]
            axes.step(thresholds, values, where="post", color=colour, linestyle=style, label=name)
        axes.legend(loc="lower left")


def errors_by_kind(counts: Mapping[str, int], path: Path) -> None:
    """How many spans fall in each class of `match_spans`, with its share.

    Args:
        counts: From `count_kinds`.
        path: Where to save, .png or .svg.
    """
    values = [counts[kind] for kind in KINDS]
    total = max(1, sum(values))
    with picture(path, 7.0, 3.2) as figure:
        axes = figure.subplots()
        axes.set_title("Spans by kind of error")
        bars = axes.barh(
            [KIND_NAMES[kind] for kind in KINDS], values, color=[KIND_COLOURS[kind] for kind in KINDS]
        )
        axes.bar_label(bars, [f"{value:,}  ({value / total:.1%})" for value in values], padding=4)
        axes.invert_yaxis()
        axes.margins(x=0.28)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("spans")


def scores_by_type(by_type: Mapping[str, TypeFigures], path: Path) -> None:
    """F1 of each type as a bar, precision and recall as marks on it, most frequent type first.

    Args:
        by_type: `TaggingReport.by_type`.
        path: Where to save, .png or .svg.
    """
    rows = sorted(by_type.items(), key=lambda item: (-item[1].support, item[0]))
    places = range(len(rows))
    with picture(path, 7.0, 1.7 + 0.3 * max(2, len(rows))) as figure:
        axes = figure.subplots()
        axes.set_title("Scores by type")
        if not rows:
            say_empty(axes, "no types")
            return
        axes.barh(places, [row.f1 for _, row in rows], height=0.66, color=SKY, label="F1")
        axes.plot(
            [row.precision for _, row in rows], places, ">", color=BLUE, markersize=6, label="precision"
        )
        axes.plot([row.recall for _, row in rows], places, "D", color=RED, markersize=5, label="recall")
        axes.set_yticks(places, [f"{printable(name)}  ({row.support:,})" for name, row in rows])
        axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="fraction (in brackets: gold items)")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower center", ncols=3)


def scores_by_length(rows: Sequence[tuple[str, float, int]], path: Path, name: str = "BLEU") -> None:
    """A score for each range of lengths, with how many sentences each has.

    Args:
        rows: Label, score (0-100) and sentences, in rising order.
        path: Where to save, .png or .svg.
        name: Of the score.
    """
    with picture(path, 1.6 + 0.9 * max(len(rows), 4), 4.0) as figure:
        axes = figure.subplots()
        axes.set_title(f"{name} by length of the source")
        if not rows:
            say_empty(axes, "no sentences")
            return
        bars = axes.bar(range(len(rows)), [score for _, score, _ in rows], 0.7, color=BLUE)
        axes.bar_label(
            bars, [f"{score:.1f}\nn = {count:,}" for _, score, count in rows], padding=2, fontsize=8
        )
        axes.set_xticks(range(len(rows)), [label for label, _, _ in rows])
        axes.set(xlabel="words", ylabel=name, ylim=(0, 1.25 * max(score for _, score, _ in rows) + 1))


def cost_along_text(
    blocks: Sequence[tuple[float, float]], beside: Mapping[str, float], path: Path, title: str
) -> None:
    """Bits a character of a language model from the beginning of a text to its end.

    Args:
        blocks: Characters and nats of pieces that follow one another.
        beside: Nats a character of other models on the whole text, drawn as level lines.
        path: Where to save, .png or .svg.
        title: Which model, text and protocol.
    """
    with picture(path, 10.0, 4.0) as figure:
        axes = figure.subplots()
        axes.set_title(title, fontsize=9)
        sizes = np.array([size for size, _ in blocks])
        if not sizes.sum():
            say_empty(axes, "no text")
            return
        bits = np.array([nats for _, nats in blocks]) / np.log(2)
        middles = np.cumsum(sizes) - sizes / 2
        many = len(bits) > 60
        axes.step(
            middles,
            bits / sizes,
            where="mid",
            color=BLUE,
            alpha=0.35 if many else 1.0,
            linewidth=1.0,
            label="pieces",
        )
        if many:
            width = len(bits) // 20
            mean = np.convolve(bits, np.ones(width), "valid") / np.convolve(sizes, np.ones(width), "valid")
            begin = (width - 1) // 2
            axes.plot(middles[begin : begin + len(mean)], mean, color=BLUE, label=f"mean of {width} pieces")
        axes.axhline(bits.sum() / sizes.sum(), color=RED, linewidth=1.0, label="whole text")
        for (name, nats), colour in zip(beside.items(), (ORANGE, GREEN), strict=False):
            axes.axhline(nats / np.log(2), color=colour, linestyle="--", linewidth=1.0, label=name)
        axes.set(xlabel="characters read", ylabel="bits a character")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


def _main_metric(evaluations: Iterable[Mapping[str, float]]) -> str:
    """The first of the main metrics that was recorded, else whatever else was, else `metric`."""
    names = [name for metrics in evaluations for name in metrics]
    return next((name for name in (*MAIN_METRICS, *names) if name in names), "metric")


def _series(points: Mapping[int, float | None]) -> tuple[list[int], list[float]]:
    """Steps in order with their finite values."""
    pairs = [(s, float(v)) for s, v in sorted(points.items()) if v is not None and math.isfinite(v)]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _draw_loss(axes: Axes, train: tuple[list[int], list[float]], dev: tuple[list[int], list[float]]) -> None:
    steps, losses = train
    if not steps and not dev[0]:
        say_empty(axes, "no training step recorded yet")
        return
    many = len(steps) > 60
    if many:
        width = len(steps) // 30
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8)
        middle = (width - 1) // 2
        axes.plot(
            steps[middle : middle + len(smooth)], smooth, color=BLUE, label=f"train, mean of {width} records"
        )
    else:
        axes.plot(steps, losses, color=BLUE, label="train", marker="." if len(steps) < 30 else None)
    if dev[0]:
        axes.plot(*dev, color=ORANGE, marker="o", markersize=3.5, label="dev")
    axes.legend(loc="upper right")


def _draw_metric(axes: Axes, series: tuple[list[int], list[float]], name: str) -> None:
    steps, values = series
    if not steps:
        say_empty(axes, "no evaluation recorded yet")
        return
    axes.plot(steps, values, color=GREEN, marker="o", markersize=3.5)
    best = int(np.argmin(values) if name in LOWER_IS_BETTER else np.argmax(values))
    label = f"best: {values[best]:.4g} at step {steps[best]:,}"
    axes.plot(steps[best], values[best], "o", color=RED, markersize=7, label=label)
    axes.legend()


def _write_counts(axes: Axes, table: np.ndarray[Any, Any], shares: np.ndarray[Any, Any]) -> None:
    for row, column in np.argwhere(table > 0):
        count = int(table[row, column])
        text = f"{count:,}" if count < 100_000 else f"{count / 1000:,.0f}k"
        colour = "white" if shares[row, column] > 0.3 else "#222222"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
