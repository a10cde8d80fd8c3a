from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from seqtool.evaluation.report import Evaluation, Rival
from seqtool.evaluation.score import Score, higher_is_better, ratio_score
from seqtool.evaluation.significance import bootstrap_interval, paired_bootstrap


class Plain(Evaluation):
    """An evaluation with two metrics, one of which is tested."""

    @property
    def compared(self) -> tuple[str, ...]:
        return ("accuracy",)

    def errors(self) -> Iterator[dict[str, Any]]:
        return iter(())

    def details(self) -> dict[str, Any]:
        return {"own": 1}


def scores(right: list[int]) -> dict[str, Score]:
    total = [2] * len(right)
    wrong = [2 - each for each in right]
    return {
        "accuracy": ratio_score("accuracy", right, total, signature="a"),
        "loss": ratio_score("loss", wrong, total, signature="l", unit="nats"),
    }


OWN, OTHER = scores([2, 1, 2, 0, 2]), scores([1, 1, 0, 0, 2])


def test_intervals_and_tests_are_those_of_the_scores() -> None:
    found = Plain(model="a", data="d", scores=OWN, bootstrap=50, rival=Rival("b", OTHER))
    assert found.intervals == {name: bootstrap_interval(s, seed=1, samples=50) for name, s in OWN.items()}
    assert [name for name, _ in found.comparisons] == ["accuracy", "accuracy"]
    expected = paired_bootstrap(OWN["accuracy"], OTHER["accuracy"], seed=1, samples=1000)
    assert found.comparisons[0].test == expected
    assert found.against == "b"


def test_its_representation_is_short() -> None:
    found = Plain(model="a", data="d", scores=OWN, bootstrap=0)
    assert repr(found) == "Plain(model='a', data='d', accuracy=0.7000, loss=0.3000)"


def test_json_has_one_shape_with_what_the_task_adds() -> None:
    value = Plain(model="a", data="d", scores=OWN, bootstrap=50, rival=Rival("b", OTHER)).as_dict()
    assert list(value) == ["model", "data", "metrics", "signatures", "intervals", "own", "against"]
    assert value["metrics"] == {"accuracy": 0.7, "loss": 0.3}
    assert value["signatures"] == {"accuracy": "a", "loss": "l"}
    assert value["intervals"]["loss"].keys() == {"low", "high", "level"}
    assert (value["against"]["model"], value["against"]["difference"]) == ("b", "a minus b")
    assert value["against"]["tests"][0].keys() == {"metric", "method", "difference", "p"}
    assert value["against"]["tests"][0]["difference"] == pytest.approx(0.3)


def test_without_resamples_or_a_rival_there_are_no_intervals_and_no_tests() -> None:
    found = Plain(model="a", data="d", scores=OWN, bootstrap=0)
    assert (found.intervals, found.comparisons, found.against) == ({}, (), None)
    assert "against" not in found.as_dict()


def test_intervals_need_as_many_items_as_the_task_says() -> None:
    class Few(Plain):
        FEWEST = 6

    assert Few(model="a", data="d", scores=OWN).intervals == {}


def test_a_score_knows_what_is_better() -> None:
    assert [score.higher_is_better for score in OWN.values()] == [True, False]
    assert not any(map(higher_is_better, ("ter", "perplexity", "bits_per_byte", "nats_per_character")))
    assert all(map(higher_is_better, ("bleu", "f1", "exact_match", "copy_recall")))


def test_scores_of_each_sentence() -> None:
    assert OWN["accuracy"].of_each().tolist() == [1.0, 0.5, 1.0, 0.0, 1.0]
