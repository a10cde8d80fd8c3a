"""Trainings read back from their run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.training.learning_curves import Course, common_metric, course_of


def evaluation(step: int, **metrics: float) -> dict[str, Any]:
    return {"event": "evaluation", "step": step, "seconds": 2.0 * step, "metrics": metrics}


def write(folder: Path, *events: Any) -> Path:
    folder.mkdir(exist_ok=True)
    text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in events)
    (folder / "metrics.jsonl").write_text(text)
    (folder / "recipe.toml").write_text('task = "ner"\n')
    return folder


def test_evaluations_are_read_in_order_and_the_later_of_two_counts(tmp_path: Path):
    train = {"event": "train", "step": 1, "loss": 3.0}
    events = (train, evaluation(2, f1=0.1), evaluation(4, f1=0.2), evaluation(2, f1=0.3), train)
    course = course_of(write(tmp_path / "run", *events))
    assert course == Course("ner", [2, 4], [4.0, 8.0], [{"f1": 0.3}, {"f1": 0.2}])


def test_what_is_no_run_or_has_nothing_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent: no run folder with a metrics\.jsonl"):
        course_of(tmp_path / "absent")
    with pytest.raises(UsageError, match="run: no evaluation yet"):
        course_of(write(tmp_path / "run", {"event": "train", "step": 1, "loss": 3.0}))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"event": "evaluation", "step": 1}',
        '{"event": "evaluation", "step": "x", "seconds": 1, "metrics": {}}',
        '{"event": "evaluation", "step": 1, "seconds": 1, "metrics": 3}',
    ],
)
def test_a_damaged_line_is_bad_data_with_its_number(tmp_path: Path, line: str):
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not an event of a training"):
        course_of(write(tmp_path / "run", evaluation(1, f1=0.5), line))


def test_a_metric_is_one_that_all_have():
    kinds: list[dict[str, float]] = [{"loss": 1.0, "f1": 0.5}, {"loss": 2.0, "bleu": 3.0}]
    courses = [Course("ner", [1], [1.0], [metrics]) for metrics in kinds]
    assert common_metric(courses, None, ("f1", "loss")) == "loss"
    assert common_metric(courses, "loss", ()) == "loss"
    for asked in ("f1", "nothing", None):
        wanted = "no metric" if asked is None else f"no metric {asked}"
        with pytest.raises(UsageError, match=f"{wanted} that all these runs have; there are loss"):
            common_metric(courses, asked, ("bleu",))


def test_runs_of_different_tasks_are_not_compared():
    courses = [Course(task, [1], [1.0], [{"loss": 1.0}]) for task in ("pos", "lm", "pos")]
    with pytest.raises(UsageError, match="runs of lm and pos: figures of different tasks cannot be compared"):
        common_metric(courses, "loss", ())
