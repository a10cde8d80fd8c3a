"""What run.sh left behind as one table (Markdown, on standard output) and one picture.

python table.py FOLDER, with FOLDER/CELL-RATE for each training (metrics.jsonl, recipe.toml, test.json)
and FOLDER/adding.tsv, FOLDER/copying.tsv; the picture is FOLDER/cells.png. Of each cell the rate counts
that is best on dev.
"""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot

GUESSING = {"adding": 1 / 6, "copying": 2.0794}


class Training(NamedTuple):
    """One cell with one learning rate."""

    cell: str
    rate: float
    width: int
    dev: float  # nats a character
    test: float
    minutes: float


def training_of(run: Path) -> Training:
    """What a run folder says."""
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    evaluations = [event for event in events if event["event"] == "evaluation"]
    test = json.loads((run / "test.json").read_text(encoding="utf-8"))["metrics"]["nats_per_character"]
    return Training(
        recipe["model"]["cell"],
        recipe["training"]["learning_rate"],
        recipe["model"]["hidden"],
        min(event["metrics"]["nats_per_character"] for event in evaluations),
        test,
        evaluations[-1]["seconds"] / 60,
    )


def losses_of(table: Path) -> dict[str, float]:
    """Cell to loss at the end of `seqtool inspect memory`."""
    with table.open(encoding="utf-8") as lines:
        return {row["cell"]: float(row["loss"]) for row in csv.DictReader(lines, delimiter="\t")}


def draw(path: Path, best: list[Training], memory: dict[str, dict[str, float]]) -> None:
    """A row a cell, the best language model on top; a panel a task."""
    panels = {"tiny Shakespeare, dev, nats a character": {each.cell: each.dev for each in best}}
    panels |= {
        f"{problem}, loss ({GUESSING[problem]:.3g} by guessing)": memory[problem] for problem in memory
    }
    figure, axes = pyplot.subplots(1, len(panels), sharey=True, figsize=(12, 6), layout="constrained")
    cells = [each.cell for each in reversed(best)]
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        axis.scatter([values[cell] for cell in cells], cells)
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main(folder: Path) -> None:
    """Print and draw."""
    trainings = sorted((training_of(file.parent) for file in folder.glob("*/test.json")), key=lambda t: t.dev)
    best = list({each.cell: each for each in reversed(trainings)}.values())[::-1]
    memory = {problem: losses_of(folder / f"{problem}.tsv") for problem in GUESSING}
    # Cells may be named: those of the last run count.
    best = [each for each in best if all(each.cell in losses for losses in memory.values())]
    print("| cell | width | rate | dev | test | minutes | adding | copying |\n" + "|---" * 8 + "|")
    for each in sorted(best, key=lambda t: t.dev):
        losses = [f"{memory[problem][each.cell]:.4f}" for problem in GUESSING]
        figures = [
            each.width,
            each.rate,
            f"{each.dev:.3f}",
            f"{each.test:.3f}",
            f"{each.minutes:.1f}",
            *losses,
        ]
        print("| `" + each.cell + "` | " + " | ".join(map(str, figures)) + " |")
    draw(folder / "cells.png", sorted(best, key=lambda t: t.dev), memory)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
