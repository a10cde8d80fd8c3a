"""Summarise the results of run.sh in a Markdown table (standard output) and a picture, FOLDER/cells.png.

Usage: python table.py FOLDER CELL...

Reads one run folder per training, FOLDER/CELL/RATE-SEED (metrics.jsonl and recipe.toml; test.json where the
learning rate is the best on dev), and FOLDER/CELL/PROBLEM-SEED.tsv. Figures are means and sample standard
deviations over the seeds.
"""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot

GUESSING = {"adding": 1 / 6, "copying": 2.0794}


class Row(NamedTuple):
    """One cell at its best learning rate; each list has one figure per seed."""

    cell: str
    width: int
    rate: float
    dev: list[float]  # nats per character
    test: list[float]
    minutes: list[float]
    problems: dict[str, list[float]]


def row_of(folder: Path) -> Row:
    """The results in the folder of one cell."""
    runs = sorted(file.parent for file in folder.glob("*/test.json"))
    if not runs:
        raise SystemExit(f"{folder}: no finished run")
    recipe = tomllib.loads((runs[0] / "recipe.toml").read_text(encoding="utf-8"))
    evaluations = [evaluations_of(run) for run in runs]
    tests = [json.loads((run / "test.json").read_text(encoding="utf-8")) for run in runs]
    return Row(
        folder.name,
        recipe["model"]["hidden"],
        recipe["training"]["learning_rate"],
        [min(each["metrics"]["nats_per_character"] for each in run) for run in evaluations],
        [test["metrics"]["nats_per_character"] for test in tests],
        [run[-1]["seconds"] / 60 for run in evaluations],
        {problem: losses_of(folder.glob(f"{problem}-*.tsv")) for problem in GUESSING},
    )


def evaluations_of(run: Path) -> list[dict]:
    """The evaluations on dev during a run, in order."""
    events = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [event for event in events if event["event"] == "evaluation"]


def losses_of(tables: Iterable[Path]) -> list[float]:
    """Final losses of the runs that did not diverge."""
    return [loss for loss in map(loss_in, tables) if isfinite(loss)]


def loss_in(table: Path) -> float:
    """The final loss in a table of `seqtool inspect memory` for one cell; NaN where the run diverged."""
    with table.open(encoding="utf-8") as lines:
        return float(next(csv.DictReader(lines, delimiter="\t"))["loss"])


def standard_deviation(values: list[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def shown(values: list[float], digits: int) -> str:
    """Mean and standard deviation, as in 1.234 ± 0.005, and the number of runs where some diverged."""
    if not values:
        return "diverged"
    text = f"{mean(values):.{digits}f}"
    text += f" ± {standard_deviation(values):.{digits}f}" if len(values) > 1 else ""
    return text if len(values) == 3 else f"{text} (n = {len(values)})"


def draw(path: Path, rows: list[Row]) -> None:
    """One panel per task with one line per cell, the best language model on top."""
    panels = {"tiny Shakespeare, dev, nats per character": [row.dev for row in rows]}
    for problem, guessing in GUESSING.items():
        panels[f"{problem}, loss ({guessing:.3g} by guessing)"] = [row.problems[problem] for row in rows]
    figure, axes = pyplot.subplots(1, len(panels), sharey=True, figsize=(12, 6), layout="constrained")
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        axis.errorbar(
            [mean(seeds) if seeds else float("nan") for seeds in values],
            [row.cell for row in rows],
            xerr=[standard_deviation(seeds) for seeds in values],
            fmt="o",
        )
        axis.set_title(title, fontsize=10)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(alpha=0.3)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)


def main(folder: Path, cells: list[str]) -> None:
    """Print the table and draw the picture."""
    rows = sorted((row_of(folder / cell) for cell in cells), key=lambda row: mean(row.dev))
    print("| cell | width | rate | dev | test | minutes | adding | copying |\n" + "|---" * 8 + "|")
    for row in rows:
        figures = [shown(row.dev, 3), shown(row.test, 3), f"{mean(row.minutes):.1f}"]
        figures += [shown(losses, 4) for losses in row.problems.values()]
        print(f"| `{row.cell}` | {row.width} | {row.rate} | " + " | ".join(figures) + " |")
    draw(folder / "cells.png", rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
