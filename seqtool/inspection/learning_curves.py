"""Learning curves: the loss and the dev metric of one run, and the dev metric of several runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from seqtool.evaluation.score import higher_is_better
from seqtool.inspection.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    add_legend,
    line_style,
    picture,
    printable,
    say_empty,
    short_names,
    whole_numbers,
)

MAIN_METRICS = ("f1", "bleu", "exact_match", "chrf", "bits_per_character", "perplexity", "accuracy")
METRIC_NAMES = {"f1": "F1", "bleu": "BLEU", "chrf": "chrF"}
MARKED = 30  # points of a line up to which each has a mark
SMOOTHED = 60  # records of the training loss above which a running mean is drawn over them


def training_curves(events: Iterable[Mapping[str, Any]], path: Path, metric: str | None = None) -> None:
    """Draw the training loss above and the dev metric below, both against the number of updates.

    The checkpoint that the run kept, its last evaluation with `"improved": true`, is marked.

    Args:
        events: Objects of metrics.jsonl: `{"event": "train", "step", "loss", "unit"}` and
            `{"event": "evaluation", "step", "metrics": {name: number}, "improved"}`; others are skipped.
            Where a step occurs twice (a resumed run), the later event counts.
        path: Where to save, .png or .svg.
        metric: Name of the dev metric; by default the main metric of the task.
    """
    train: dict[int, float] = {}
    dev: dict[int, Mapping[str, float]] = {}
    improved: dict[int, bool] = {}
    unit = ""
    for event in events:
        if event.get("event") == "train":
            train[int(event["step"])] = event["loss"]
            unit = event.get("unit", unit)
        elif event.get("event") == "evaluation":
            dev[int(event["step"])] = event["metrics"]
            improved[int(event["step"])] = bool(event.get("improved"))
    name = metric or _main_metric(dev.values())
    kept = max((step for step, better in improved.items() if better), default=None)
    losses = _series({step: metrics["loss"] for step, metrics in dev.items() if "loss" in metrics})
    if name == "loss" and losses[0]:
        _only_loss(_series(train), losses, kept, unit, path)
        return
    with picture(path, 7.0, 5.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.set_title("Loss")
        upper.set_ylabel(_loss_label(unit))
        _draw_loss(upper, _series(train), losses)
        lower.set_title(f"Dev {metric_name(name)}")
        lower.set_ylabel(metric_name(name))
        lower.set_xlabel("updates")
        lower.xaxis.set_major_locator(whole_numbers())
        _draw_metric(lower, _series({s: m[name] for s, m in dev.items() if name in m}), name, kept)


def _only_loss(
    train: tuple[list[int], list[float]],
    dev: tuple[list[int], list[float]],
    kept: int | None,
    unit: str,
    path: Path,
) -> None:
    """Draw the loss alone, for a run whose dev metric it is, with a mark at the kept checkpoint."""
    with picture(path, 7.0, 3.8) as figure:
        axes = figure.subplots()
        axes.set_title("Loss")
        axes.set_ylabel(_loss_label(unit))
        axes.set_xlabel("updates")
        axes.xaxis.set_major_locator(whole_numbers())
        _draw_loss(axes, train, dev)
        _mark_kept(axes, dev, "loss", kept)
        axes.legend(loc="upper right")


def _loss_label(unit: str) -> str:
    return f"loss (nats per {printable(unit)})" if unit else "loss"


def compared_runs(
    runs: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
    *,
    metric: str,
    against: str,
    note: str = "",
) -> None:
    """Draw a dev metric of several runs in one picture.

    Args:
        runs: Where each evaluation took place and its value, by the path of the run, the best run first.
        path: Where to save, .png or .svg.
        metric: Name of the metric.
        against: What the horizontal axis counts, for instance `updates`.
        note: A remark added to the title.
    """
    with picture(path, 7.5, 4.6) as figure:
        axes = figure.add_subplot()
        labels = short_names(list(runs))
        for number, (run, points) in enumerate(runs.items()):
            across, values = zip(*points, strict=True)
            marker = "o" if len(points) <= MARKED else None
            axes.plot(across, values, marker=marker, markersize=4, label=labels[run], **line_style(number))
        axes.set_xlabel(against)
        if against == "updates":
            axes.xaxis.set_major_locator(whole_numbers())
        axes.set_ylabel(f"dev {metric_name(metric)}")
        axes.set_title(
            f"Dev {metric_name(metric)} of {len(runs)} runs" if len(runs) > 1 else "Learning curve"
        )
        if note:
            axes.set_title(f"{axes.get_title(loc='left')}\n{note}", fontsize=9.5)
        add_legend(axes, len(runs), title="run, best first" if len(runs) > 1 else "run")


def metric_name(name: str) -> str:
    """A metric's name as it is written in text.

    >>> metric_name("f1"), metric_name("bits_per_character")
    ('F1', 'bits per character')
    """
    return METRIC_NAMES.get(name, printable(name.replace("_", " ")))


def _main_metric(evaluations: Iterable[Mapping[str, float]]) -> str:
    """The first of the main metrics that was recorded, otherwise any that was, otherwise `metric`."""
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
    if len(steps) > SMOOTHED:
        width = len(steps) // 30
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps, losses, color=BLUE, alpha=0.25, linewidth=0.8, label="training, each record")
        middle = (width - 1) // 2
        within = steps[middle : middle + len(smooth)]
        axes.plot(within, smooth, color=BLUE, label=f"training, running mean of {width} records")
    else:
        axes.plot(steps, losses, color=BLUE, label="training", marker="." if len(steps) <= MARKED else None)
    if dev[0]:
        axes.plot(*dev, color=ORANGE, marker="o", markersize=3.5, label="dev")
    axes.legend(loc="upper right")


def _draw_metric(axes: Axes, series: tuple[list[int], list[float]], name: str, kept: int | None) -> None:
    """The metric, with a mark at step `kept`, or at the best value where no step is known to be kept."""
    steps, values = series
    if not steps:
        say_empty(axes, "no evaluation recorded yet")
        return
    axes.plot(steps, values, color=GREEN, marker="o", markersize=3.5)
    _mark_kept(axes, series, name, kept)
    axes.legend()


def _mark_kept(axes: Axes, series: tuple[list[int], list[float]], name: str, kept: int | None) -> None:
    """Mark the checkpoint that was kept, or the best value where no step is known to be kept."""
    steps, values = series
    best = int(np.argmax(values) if higher_is_better(name) else np.argmin(values))
    marked = steps.index(kept) if kept in steps else best
    label = f"best checkpoint: {values[marked]:.4g} at step {steps[marked]:,}"
    axes.plot(steps[marked], values[marked], "o", color=RED, markersize=7, label=label)
