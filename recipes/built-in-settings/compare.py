"""One training part: the built-in settings, then settings by hand, each in the time that the former took
(and a quarter more).

Usage: python compare.py FOLDER POINT [SETTINGS ...]

SETTINGS are names of settings by hand in points.py; by default all of that kind of data are tried.
Appends lines to FOLDER/results.jsonl, and skips what stands there.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from itertools import islice
from pathlib import Path
from typing import Any

from points import BY_HAND, POINTS, Point

import seqtool
from seqtool.text.annotation import Columns
from seqtool.text.columns import format_jsonl, read_sentences

BUILT_IN = "built-in"
SLACK = 1.25  # of the time of the built-in settings: other work on a shared machine must not decide


def main(folder: Path, name: str, wanted: list[str]) -> None:
    """Train and score what has no result yet."""
    folder.mkdir(parents=True, exist_ok=True)
    results, point = folder / "results.jsonl", POINTS[name]
    done = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    seen = {row["settings"]: row for row in done if row["point"] == name}
    train = part_of(point, folder / name)
    for settings, typed in {BUILT_IN: (), **BY_HAND[point.kind]}.items():
        if settings in seen or (typed and wanted and settings not in wanted):
            continue
        limit = limits_of(seen[BUILT_IN]) if typed else []
        output = folder / name / settings.replace(" ", "-").replace(",", "")
        row = {"point": name, "settings": settings, **scored(point, train, output, [*typed, *limit])}
        seen[settings] = row
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def limits_of(own: dict[str, Any]) -> list[str]:
    """The time and the passes over the data that settings by hand may take: those of the built-in ones."""
    epochs = [f"training.epochs={own['epochs']}"] if "epochs" in own else []
    return [f"training.max_minutes={SLACK * own['minutes']:.2f}", *epochs]


def scored(point: Point, train: list[Path], output: Path, typed: list[str]) -> dict[str, Any]:
    """Train with seed 1 and score; test is what there is beside dev."""
    files: dict[str, Any] = {"train": train if len(train) > 1 else train[0]}
    if point.dev:
        files["dev"] = paths_of(point, point.dev)
    more = ['data.columns=["source","target","features"]'] if point.kind == "inflection" else []
    started, busy = time.time(), time.process_time()
    run = seqtool.train(
        task=point.task, files=files, overrides=["seed=1", *more, *typed], output=output, overwrite=True
    )
    minutes, cpu = (time.time() - started) / 60, (time.process_time() - busy) / 60
    row: dict[str, Any] = {
        "dev": run.result.metrics[point.metric],
        "updates": run.result.steps,
        "minutes": round(minutes, 2),
        "cpu_minutes": round(cpu, 2),  # much less than the minutes: other work has slowed the run
    }
    if point.kind == "text":  # whose passes follow from the data only without a time limit
        row["epochs"] = tomllib.loads((run.path / "recipe.toml").read_text())["training"]["epochs"]
    if point.test:
        found = seqtool.evaluate(run.path, paths_of(point, point.test), bootstrap=0)
        row["test"] = float(found.scores[point.metric].value)
    return row


def paths_of(point: Point, names: tuple[str, ...]) -> Any:
    """One file below $SEQTOOL_DATA, or several."""
    paths = [Path(os.environ["SEQTOOL_DATA"]) / point.folder / name for name in names]
    return paths if len(paths) > 1 else paths[0]


def part_of(point: Point, folder: Path) -> list[Path]:
    """The files of the training part, written to the folder if it is not the whole."""
    names = [Path(os.environ["SEQTOOL_DATA"]) / point.folder / name for name in point.train]
    if not point.first and not point.every:
        return names
    folder.mkdir(parents=True, exist_ok=True)
    if point.kind == "tagger":
        sentences = islice(read_sentences(names[0], Columns().detect(names[0])), point.first)
        (folder / "train.jsonl").write_text("".join(format_jsonl(s.tokens, s.tags) for s in sentences))
        return [folder / "train.jsonl"]
    if point.kind == "text":
        (folder / "train.txt").write_text(names[0].read_text(encoding="utf-8")[: point.first])
        return [folder / "train.txt"]
    for path in names:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / path.name).write_text("".join(lines[point.every - 1 :: point.every]), encoding="utf-8")
    return [folder / path.name for path in names]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
