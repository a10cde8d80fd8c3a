"""How finished or running trainings went, from their run folders."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import DataError, UsageError
from seqtool.files import storage_errors
from seqtool.settings import read_toml

Metrics = dict[str, float]


class Course(NamedTuple):
    """The evaluations of one run, in order; a step that came twice (a resumed run) counts once."""

    task: str
    steps: list[int]
    seconds: list[float]
    metrics: list[Metrics]


def course_of(run: Path) -> Course:
    """Read `metrics.jsonl`.

    Raises:
        UsageError: no run folder, or nothing evaluated yet.
        SettingsError: its recipe is not TOML.
        DataError: a line that is not what a run writes.
        StorageError: the file cannot be read.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise UsageError(f"{run}: no run folder with a metrics.jsonl")
    with storage_errors(path):
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    found: dict[int, tuple[float, Metrics]] = {}
    for number, line in enumerate(lines, 1):
        event = _event(line, f"{path}:{number}")
        if event.get("event") == "evaluation":
            found[int(event["step"])] = (float(event["seconds"]), dict(event["metrics"]))
    if not found:
        raise UsageError(f"{run}: no evaluation yet")
    steps = sorted(found)
    task = str(read_toml(run / "recipe.toml").get("task"))
    return Course(task, steps, [found[step][0] for step in steps], [found[step][1] for step in steps])


def _event(line: str, place: str) -> dict[str, Any]:
    try:
        event = json.loads(line)
        if not isinstance(event, dict):
            raise TypeError
        if event.get("event") == "evaluation":
            finite = [math.isfinite(event[name]) for name in ("step", "seconds")]
            if not all(finite) or not isinstance(event["metrics"], dict):
                raise TypeError
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{place}: not an event of a training") from error
    return event


def common_metric(courses: Sequence[Course], asked: str | None, usual: Sequence[str]) -> str:
    """A metric that all courses have.

    Args:
        courses: At least one.
        asked: Its name; None = the first of the usual ones.
        usual: In the order of preference.

    Raises:
        UsageError: there is none, or the runs are of different tasks, whose figures say nothing about
            each other.
    """
    tasks = sorted({course.task for course in courses})
    if len(tasks) > 1:
        raise UsageError(f"runs of {' and '.join(tasks)}: figures of different tasks cannot be compared")
    shared = set.intersection(*({name for each in course.metrics for name in each} for course in courses))
    if asked is None:
        asked = next((name for name in usual if name in shared), None)
    if asked is None or asked not in shared:
        known = ", ".join(sorted(shared)) or "none"
        wanted = "no metric" if asked is None else f"no metric {asked}"
        raise UsageError(f"{wanted} that all these runs have; there are {known}")
    return asked
