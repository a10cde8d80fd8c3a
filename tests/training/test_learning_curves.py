"""Learning curves read back from run folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.training.learning_curves import (
    DevData,
    LearningCurve,
    common_metric,
    learning_curve,
    same_dev_data,
)


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
    curve = learning_curve(write(tmp_path / "run", *events))
    assert curve[:4] == ("ner", [2, 4], [4.0, 8.0], [{"f1": 0.3}, {"f1": 0.2}])
    assert curve.kept is None
    assert curve.points("f1") == [(2, 0.3), (4, 0.2)]
    assert curve.points("f1", in_minutes=True) == [(4 / 60, 0.3), (8 / 60, 0.2)]


def test_what_is_no_run_or_has_nothing_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"absent: not a run folder"):
        learning_curve(tmp_path / "absent")
    with pytest.raises(UsageError, match="run: no evaluation yet"):
        learning_curve(write(tmp_path / "run", {"event": "train", "step": 1, "loss": 3.0}))


def test_a_metric_that_was_not_finite_is_left_out(tmp_path: Path):
    event = {**evaluation(2, f1=0.1), "metrics": {"f1": 0.1, "loss": None}}
    assert learning_curve(write(tmp_path / "run", event)).metrics == [{"f1": 0.1}]


def test_bytes_that_are_no_text_are_bad_data_with_their_line(tmp_path: Path):
    run = write(tmp_path / "run", evaluation(2, f1=0.1))
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"event": "\xff"}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not an event that a training run writes"):
        learning_curve(run)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"event": "evaluation", "step": 1}',
        '{"event": "evaluation", "step": "x", "seconds": 1, "metrics": {}}',
        '{"event": "evaluation", "step": 1, "seconds": 1, "metrics": 3}',
        '{"event": "evaluation", "step": 1, "seconds": 1, "metrics": {"f1": "high"}}',
        '{"event": "evaluation", "step": 1e300, "seconds": 1, "metrics": {}}',
        '{"event": "evaluation", "step": 1' + "0" * 400 + ', "seconds": 1, "metrics": {}}',
        '{"event": "evaluation", "step": 1, "seconds": 1' + "0" * 400 + ', "metrics": {}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_line_is_bad_data_with_its_number(tmp_path: Path, line: str):
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not an event that a training run writes"):
        learning_curve(write(tmp_path / "run", evaluation(1, f1=0.5), line))


def test_a_metric_is_one_that_all_have():
    kinds: list[dict[str, float]] = [{"loss": 1.0, "f1": 0.5}, {"loss": 2.0, "bleu": 3.0}]
    curves = [LearningCurve("ner", [1], [1.0], [metrics]) for metrics in kinds]
    assert common_metric(curves, None, ("f1", "loss")) == "loss"
    assert common_metric(curves, "loss", ()) == "loss"
    for asked in ("f1", "nothing", None):
        wanted = "no metric" if asked is None else f"--metric {asked}: no metric"
        with pytest.raises(UsageError, match=f"{wanted} that all these runs recorded; they share loss"):
            common_metric(curves, asked, ("bleu",))


def test_runs_of_different_tasks_are_not_compared():
    curves = [LearningCurve(task, [1], [1.0], [{"loss": 1.0}]) for task in ("pos", "lm", "pos")]
    with pytest.raises(UsageError, match="runs of lm and pos: scores of different tasks cannot be compared"):
        common_metric(curves, "loss", ())


def test_of_equal_values_the_best_is_the_checkpoint_that_the_run_kept(tmp_path: Path):
    events = [
        {**evaluation(step, bleu=0.0, loss=loss), "improved": improved}
        for step, loss, improved in ((13, 3.0, True), (169, 2.0, True), (182, 2.5, False))
    ]
    curve = learning_curve(write(tmp_path / "run", *events))
    assert curve.kept == 169
    assert curve.best("bleu", lower=False) == (0.0, 169)
    assert curve.best("loss", lower=True) == (2.0, 169)
    assert curve.best("loss", lower=False) == (3.0, 13)


def test_runs_on_the_same_dev_data_are_told_from_others(tmp_path: Path):
    def finished(name: str, digest: str, train: str = "t.conll") -> LearningCurve:
        folder = write(tmp_path / name, evaluation(1, f1=0.5))
        (folder / "recipe.toml").write_text(
            f'task = "ner"\n[data]\ntrain = "{train}"\ndev = "{name}.conll"\n'
        )
        part = {"source": name, "sha256": digest, "sentences": 3}
        (folder / "manifest.json").write_text(json.dumps({"data": {"dev": part}}))
        return learning_curve(folder)

    a, copy_of_a, b = finished("a", "1"), finished("copy", "1", "other.conll"), finished("b", "2")
    assert same_dev_data([a, copy_of_a])
    assert not same_dev_data([a, b])
    running = a._replace(dev=DevData(a.dev.settings, ""))
    assert same_dev_data([a, running])
    assert not same_dev_data([running, b])
