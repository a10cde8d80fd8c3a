"""Learning curves of finished or running trainings, read from their run folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import DataError, UsageError
from seqtool.files import read_json, storage_errors
from seqtool.settings import read_toml

MOST_STEPS = 2**53  # a picture has no place for more

Metrics = dict[str, float]


class DevData(NamedTuple):
    """What identifies the dev data of a run."""

    settings: str  # as its recipe names the data, JSON
    digest: str  # digest and size as its manifest has them, JSON; empty while the run is not finished


class LearningCurve(NamedTuple):
    """The evaluations of one run, in order; a step that occurs twice (a resumed run) counts once."""

    task: str
    steps: list[int]  # updates before each evaluation
    seconds: list[float]  # since the first update
    metrics: list[Metrics]
    kept: int | None = None  # step of the checkpoint that the run kept, the last that was an improvement
    dev: DevData = DevData("", "")
    select: str = ""  # metric that the recipe names to choose the best weights by; empty = that of the task

    def best(self, name: str, *, lower: bool) -> tuple[float, int]:
        """The best value of a metric and its step; of equal values the one of the kept checkpoint.

        Args:
            name: A metric that at least one evaluation has.
            lower: Whether lower is better.
        """
        values = {s: each[name] for s, each in zip(self.steps, self.metrics, strict=True) if name in each}
        best = min(values.values()) if lower else max(values.values())
        steps = [step for step, value in values.items() if value == best]
        return best, self.kept if self.kept in steps else steps[0]

    def points(self, name: str, *, in_minutes: bool = False) -> list[tuple[float, float]]:
        """Step (or minutes since the first update) and value of every evaluation that has the metric."""
        across = [seconds / 60 for seconds in self.seconds] if in_minutes else self.steps
        rows = zip(across, self.metrics, strict=True)
        return [(place, metrics[name]) for place, metrics in rows if name in metrics]


def learning_curve(run: Path) -> LearningCurve:
    """Read `metrics.jsonl` of a run folder.

    Raises:
        UsageError: not a run folder, or nothing evaluated yet.
        SettingsError: its recipe is not TOML.
        DataError: a line that a run does not write.
        StorageError: the file cannot be read.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise UsageError(f"{run}: not a run folder: it has no metrics.jsonl")
    with storage_errors(path):
        lines = path.read_bytes().rstrip(b"\n").split(b"\n")
    found: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        event = _event(line, f"{path}:{number}")
        if event.get("event") == "evaluation":
            found[int(event["step"])] = event
    if not found:
        raise UsageError(f"{run}: no evaluation yet; try again once the run has evaluated on dev")
    steps = sorted(found)
    recipe = read_toml(run / "recipe.toml")
    return LearningCurve(
        str(recipe.get("task")),
        steps,
        [float(found[step]["seconds"]) for step in steps],
        [_finite(found[step]["metrics"]) for step in steps],
        max((step for step in steps if found[step].get("improved")), default=None),
        _dev_data(run, recipe),
        str(recipe.get("training", {}).get("select", "")),
    )


def same_dev_data(curves: Sequence[LearningCurve]) -> bool:
    """Whether all runs were evaluated on the same dev data, so that their scores can be compared."""
    if all(curve.dev.digest for curve in curves):
        return len({curve.dev.digest for curve in curves}) == 1
    return len({curve.dev.settings for curve in curves}) == 1


def _dev_data(run: Path, recipe: Mapping[str, Any]) -> DevData:
    data = recipe.get("data", {})
    # Without a dev file, dev is held out from the training data.
    settings = json.dumps(data.get("dev", data), sort_keys=True, default=str)
    path, part = run / "manifest.json", None
    if path.is_file():
        part = read_json(path).get("data", {}).get("dev")
    if not part:
        return DevData(settings, "")
    facts = {name: value for name, value in part.items() if name != "source"}
    return DevData(settings, json.dumps(facts, sort_keys=True))


def _finite(metrics: Mapping[str, float | None]) -> Metrics:
    """The metrics that are numbers: a run writes null for one that is not finite."""
    return {name: float(x) for name, x in metrics.items() if x is not None and math.isfinite(x)}


def _event(line: bytes, place: str) -> dict[str, Any]:
    try:
        event = json.loads(line.decode("utf-8"))
        if not isinstance(event, dict):
            raise TypeError
        if event.get("event") == "evaluation":
            if not math.isfinite(event["seconds"]) or not 0 <= int(event["step"]) < MOST_STEPS:
                raise TypeError
            _finite(event["metrics"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{place}: not an event that a training run writes") from error
    return event


def common_metric(curves: Sequence[LearningCurve], asked: str | None, usual: Sequence[str]) -> str:
    """A metric that all learning curves have.

    Args:
        curves: At least one.
        asked: Name of the metric; None = the first of the usual ones.
        usual: Names in order of preference.

    Raises:
        UsageError: there is no such metric, or the runs are of different tasks, whose scores cannot be
            compared.
    """
    tasks = sorted({curve.task for curve in curves})
    if len(tasks) > 1:
        raise UsageError(
            f"runs of {' and '.join(tasks)}: scores of different tasks cannot be compared; "
            "give runs of one task"
        )
    shared = set.intersection(*({name for each in curve.metrics for name in each} for curve in curves))
    if asked is None:
        asked = next((name for name in usual if name in shared), None)
    if asked is None or asked not in shared:
        known = ", ".join(sorted(shared)) or "none"
        wanted = "no metric" if asked is None else f"--metric {asked}: no metric"
        raise UsageError(f"{wanted} that all these runs recorded; they share {known}")
    return asked
