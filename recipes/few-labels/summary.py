"""The results of the curves as a Markdown table (standard output) and a picture, FOLDER/curves.png.

Usage: python summary.py FOLDER

Figures are means and sample standard deviations over the seeds. If there is FOLDER/active.jsonl, active
learning gets a table and a picture of its own, FOLDER/active.png.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot

SYSTEMS = ("feature CRF", "labels only", "with raw text")
SENTENCES = {("ncbi", "all"): 5424, ("ewt", "all"): 12544, ("wnut17", "all"): 3394}
TITLES = {"ncbi": "NCBI-disease, F1", "ewt": "English-EWT, UPOS accuracy", "wnut17": "WNUT17, F1"}


def main(folder: Path) -> None:
    """Read the results, print the table and draw the picture."""
    scores: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    minutes: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for line in (folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        size = SENTENCES.get((row["corpus"], row["size"])) or int(row["size"])
        key = row["corpus"], size, row["system"]
        scores[key].append(row.get("f1", row.get("accuracy")))
        minutes[key].append(row["cpu_minutes"])
    corpora = [name for name in TITLES if any(key[0] == name for key in scores)]
    for corpus in corpora:
        print(f"\n| {TITLES[corpus]}: sentences | " + " | ".join(SYSTEMS) + " |")
        print("|---" * (1 + len(SYSTEMS)) + "|")
        for size in sorted({key[1] for key in scores if key[0] == corpus}):
            points = [(corpus, size, system) for system in SYSTEMS]
            cells = [cell(scores.get(point, []), minutes.get(point, [])) for point in points]
            print(f"| {size:,} | " + " | ".join(cells) + " |")
    draw(corpora, scores, folder / "curves.png")
    if (folder / "active.jsonl").exists():
        rows = [json.loads(line) for line in (folder / "active.jsonl").read_text().splitlines()]
        show_active(rows, folder / "active.png")


def show_active(rows: list[dict[str, Any]], path: Path) -> None:
    """Print what each way of choosing sentences reaches, by the tokens annotated, and draw it."""
    print("\n| chosen by | sentences | tokens annotated | score |")
    print("|---|---|---|---|")
    figure, axis = pyplot.subplots(figsize=(6, 3.8))
    for strategy in dict.fromkeys(row["strategy"] for row in rows):
        own = [row for row in rows if row["strategy"] == strategy]
        points = [(100 * row["share"], row.get("f1", row.get("accuracy"))) for row in own]
        for row, (share, score) in zip(own, points, strict=True):
            print(f"| {strategy} | {row['sentences']:,} | {share:.1f} % | {score:.1f} |")
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=strategy)
    axis.set(xlabel="tokens annotated, % of the training part", ylabel="score on test")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def cell(values: list[float], minutes: list[float]) -> str:
    """Mean, deviation and CPU minutes of one point."""
    if not values:
        return "-"
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{deviation} ({mean(minutes):.1f} min)"


def draw(corpora: list[str], scores: dict[tuple[str, int, str], list[float]], path: Path) -> None:
    """A curve for each system, one panel for each corpus."""
    figure, axes = pyplot.subplots(1, len(corpora), figsize=(5 * len(corpora), 3.8), squeeze=False)
    for axis, corpus in zip(axes[0], corpora, strict=True):
        for system in SYSTEMS:
            sizes = sorted(key[1] for key in scores if key[0] == corpus and key[2] == system)
            means = [mean(scores[corpus, size, system]) for size in sizes]
            axis.plot(sizes, means, marker="o", label=system)
        axis.set_xscale("log")
        marks = sorted({key[1] for key in scores if key[0] == corpus})
        axis.set_xticks(marks, [f"{size:,}" for size in marks])
        axis.minorticks_off()
        axis.set(title=TITLES[corpus], xlabel="annotated sentences")
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
