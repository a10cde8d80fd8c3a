"""Settings chosen from the data: how the length of training follows its size."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from seqtool.training.defaults import FIRST_MODEL, LIMIT, PACE, Choice, Pace, paced
from seqtool.training.settings import TrainingSettings

PLAN = Pace(
    batches=50, batch_tokens=(128, 1024), updates=1000, base=10_000, growth=0.4, epochs=(4, 60), step=3.0
)


def chosen(tokens: int, dev: int = 1000, **given: Any) -> dict[str, Any]:
    values = paced(TrainingSettings(**given), PLAN, tokens, dev)
    return {key.rpartition(".")[2]: value for key, value in values.items()}


def updates(tokens: int, values: dict[str, Any]) -> float:
    return math.ceil(tokens / values["batch_tokens"]) * float(values["epochs"])


def test_updates_grow_with_the_data_but_more_slowly() -> None:
    sizes = [2000, 10_000, 50_000, 200_000]
    found = [updates(size, chosen(size)) for size in sizes]
    assert found == sorted(found) and found[0] < found[-1]
    for (size, few), (larger, more) in pairwise(zip(sizes, found, strict=True)):
        assert more / few < larger / size
    assert found[1] == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("size", [1, 50, 3000, 10**9])
def test_values_stay_within_their_bounds(size: int) -> None:
    values = chosen(size)
    assert 128 <= values["batch_tokens"] <= 1024 and 4 <= values["epochs"] <= 60
    assert values.get("evaluate_every", 1) >= 1


def test_given_values_decide_the_others() -> None:
    free, wide = chosen(50_000), chosen(50_000, batch_tokens=4096)
    assert wide["batch_tokens"] == 4096 and wide["epochs"] > free["epochs"]
    assert chosen(50_000, accumulation=4)["epochs"] > free["epochs"]


def test_time_limits_what_would_take_long_and_nothing_else_limits() -> None:
    """50,000 tokens are read `epochs` times."""
    plan, passes = PLAN, chosen(50_000)["epochs"]
    for most, limited in ((50_000 * passes, False), (50_000 * passes - 1, True)):
        bounded = replace(plan, most=most)
        values = paced(TrainingSettings(), bounded, 50_000, 200_000)
        assert values.get(LIMIT) == (FIRST_MODEL if limited else None)
        assert ("training.evaluate_every" in values) != limited  # the clock says when
        for given in ({"epochs": 100}, {"max_steps": 10**6}, {"max_minutes": 0.0}):
            assert LIMIT not in paced(TrainingSettings(**given), bounded, 50_000, 1000)


def test_a_limit_is_said_in_advance_and_how_to_get_more() -> None:
    lines = Choice({}, "9 pairs").reasons({"training.epochs": 8, LIMIT: 15.0})
    assert lines[0] == "chosen for 9 pairs: epochs 8, max_minutes 15"
    assert "a first model after at most 15 minutes; " in lines[1] and "--max-minutes 60" in lines[1]


def test_dev_is_scored_within_a_share_of_the_time_and_ten_times_in_a_long_run() -> None:
    assert "evaluate_every" not in chosen(50_000, dev=500)  # each epoch
    large = chosen(50_000, dev=200_000)
    each = 50_000 / large["batch_tokens"]
    assert large["evaluate_every"] > 2 * each
    assert each * large["epochs"] / large["evaluate_every"] >= 9
    long = chosen(10**9, dev=500)
    assert long["evaluate_every"] < 10**9 / long["batch_tokens"]  # an epoch
    assert chosen(50_000, dev=200_000, max_steps=100)["evaluate_every"] == 200


def test_with_a_time_limit_evaluations_follow_the_clock() -> None:
    assert "evaluate_every" not in chosen(50_000, max_minutes=3.0)


def test_the_reason_names_what_was_chosen() -> None:
    choice = Choice(dict(zip(PACE, (256, 30, 5), strict=False)), "500 sentences")
    assert choice.reasons({"training.epochs": 30, "model.dropout": 0.5, "model.lexical": True}) == (
        "chosen for 500 sentences: epochs 30, dropout 0.5, lexical true",
    )
    assert choice.reasons({}) == ()
