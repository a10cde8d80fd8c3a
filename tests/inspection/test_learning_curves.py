"""Learning curves of one run and of several."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from seqtool.inspection import learning_curves
from seqtool.inspection.canvas import picture
from seqtool.inspection.learning_curves import compared_runs, training_curves


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keeps the figures that are drawn after they were saved."""
    kept: list[Figure] = []

    @contextlib.contextmanager
    def keep(*arguments: Any) -> Any:
        with picture(*arguments) as figure:
            kept.append(figure)
            yield figure

    monkeypatch.setattr(learning_curves, "picture", keep)
    return kept


def evaluation(step: int, improved: bool = False, **metrics: float) -> dict[str, Any]:
    return {"event": "evaluation", "step": step, "metrics": metrics, "improved": improved}


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_show_every_step_in_order_and_the_later_of_a_repeated_one(
    drawn: list[Figure], tmp_path: Path
) -> None:
    events = [
        {"event": "train", "step": 2, "loss": 9.0, "unit": "token"},
        {"event": "train", "step": 1, "loss": 5.0, "unit": "token"},
        {"event": "train", "step": 2, "loss": 3.0, "unit": "token"},
        {"event": "train", "step": 3, "loss": float("nan"), "unit": "token"},
        evaluation(2, True, accuracy=0.9, f1=0.4),
        evaluation(4, accuracy=0.8, f1=0.3),
    ]
    training_curves(events, tmp_path / "c.svg")
    upper, lower = drawn[0].axes
    assert upper.lines[0].get_xydata().tolist() == [[1, 5.0], [2, 3.0]]
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("loss (nats per token)", "F1")
    assert lower.get_xlabel() == "updates"
    assert lower.lines[0].get_xydata().tolist() == [[2, 0.4], [4, 0.3]]
    assert legend(lower) == ["best checkpoint: 0.4 at step 2"]


def test_the_checkpoint_that_the_run_kept_is_marked_also_where_the_metric_stays_at_zero(
    drawn: list[Figure], tmp_path: Path
) -> None:
    events = [evaluation(13, True, bleu=0.0), evaluation(169, True, bleu=0.0), evaluation(182, bleu=0.0)]
    training_curves(events, tmp_path / "c.svg")
    assert legend(drawn[0].axes[1]) == ["best checkpoint: 0 at step 169"]


def test_of_another_metric_the_value_at_the_kept_checkpoint_is_marked(
    drawn: list[Figure], tmp_path: Path
) -> None:
    events = [evaluation(1, True, bleu=9.0, exact_match=0.1), evaluation(2, True, bleu=8.0, exact_match=0.2)]
    training_curves(events, tmp_path / "c.svg", "bleu")
    assert legend(drawn[0].axes[1]) == ["best checkpoint: 8 at step 2"]


def test_without_a_note_of_the_run_the_best_perplexity_is_the_lowest(
    drawn: list[Figure], tmp_path: Path
) -> None:
    events = [evaluation(step, perplexity=value) for step, value in ((1, 9.0), (2, 4.0), (3, 5.0))]
    training_curves(events, tmp_path / "c.svg")
    assert legend(drawn[0].axes[1]) == ["best checkpoint: 4 at step 2"]


def test_a_named_metric_is_the_one_shown(drawn: list[Figure], tmp_path: Path) -> None:
    training_curves([evaluation(1, f1=0.1, loss=2.0)], tmp_path / "c.svg", metric="loss")
    (axes,) = drawn[0].axes  # once, with the training loss
    assert axes.get_ylabel() == "loss"
    assert legend(axes)[-2:] == ["dev", "best checkpoint: 2 at step 1"]


def test_runs_are_named_shortly_and_different_data_are_noted(drawn: list[Figure], tmp_path: Path) -> None:
    runs = {"runs/ner/a": [(1.0, 0.5), (2.0, 0.6)], "/old/runs/ner/b": [(2.0, 0.4)]}
    compared_runs(runs, tmp_path / "c.svg", metric="f1", against="updates", note="different dev data")
    (axes,) = drawn[0].axes
    assert legend(axes) == ["a", "b"]
    assert axes.get_title(loc="left") == "Dev F1 of 2 runs\ndifferent dev data"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "dev F1")
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[1, 0.5], [2, 0.6]], [[2, 0.4]]]


@pytest.mark.parametrize("evaluations", [1, 30, 31])
def test_few_evaluations_are_marked(drawn: list[Figure], tmp_path: Path, evaluations: int) -> None:
    points = [(float(step), 0.5) for step in range(evaluations)]
    compared_runs({"a": points}, tmp_path / "c.svg", metric="f1", against="updates")
    assert drawn[0].axes[0].lines[0].get_marker() == ("o" if evaluations <= 30 else "None")
