"""The descriptions of the settings of every task."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from seqtool.settings import MOST_COUNT, MOST_FACTOR, Settings
from seqtool.settings_guide import describe_settings
from seqtool.settings_keys import default_values, dotted
from seqtool.tasks import TASKS


class Inner(Settings):
    share: float = Field(0.5, gt=0, le=1, description="A share.")
    weights: dict[str, float] = Field({}, description="By name.")


class Outer(Settings):
    kind: Literal["a", "b"] = Field("a", description="Of two kinds.")
    count: int = Field(3, ge=1, description="How many.")
    file: str | list[str] | None = Field(None, description="A file, or several.")
    inner: Inner = Inner()
    other: Inner | None = Field(None, description="Another one.")
    on: bool = Field(False, description="Whether.")


class Needing(Settings):
    inner: Inner
    name: str = Field(description="It has to be given.")


def test_a_setting_has_its_key_its_default_its_values_and_what_it_means():
    assert [tuple(each) for each in describe_settings(Outer)] == [
        ("kind", '"a"', "a | b", "Of two kinds."),
        ("count", "3", "whole number ≥ 1", "How many."),
        ("file", "", "text or list of text", "A file, or several."),
        ("inner.share", "0.5", "number > 0 and ≤ 1", "A share."),
        ("inner.weights", "{}", "table (each value: number)", "By name."),
        ("other.share", "0.5", "number > 0 and ≤ 1", "A share."),
        ("other.weights", "{}", "table (each value: number)", "By name."),
        ("on", "false", "true | false", "Whether."),
    ]


class Sized(Settings):
    scale: float = Field(1.0, ge=-MOST_FACTOR, le=MOST_FACTOR, description="Any.")
    steps: int = Field(1, ge=0, le=MOST_COUNT, description="Many.")


def test_limits_that_no_real_value_reaches_are_not_shown():
    assert [each.values for each in describe_settings(Sized)] == ["number", "whole number ≥ 0"]


def test_what_is_required_is_so_only_in_its_table():
    found = {each.key: each.default for each in describe_settings(TASKS["lm"]().settings)}
    assert found["data.local.folder"] == "(required in data.local)"
    assert found["data.hub.id"] == "(required in data.hub)"
    assert found["name"] == '"custom"'


def test_a_word_may_stand_in_the_key_or_in_the_meaning():
    assert [each.key for each in describe_settings(Outer, "SHARE")] == ["inner.share", "other.share"]
    assert [each.key for each in describe_settings(Outer, "of two")] == ["kind"]
    assert describe_settings(Outer, "nowhere") == []


@pytest.mark.parametrize("task", TASKS)
def test_every_setting_of_every_task_is_described(task: str):
    found = describe_settings(TASKS[task]().settings)
    keys = [each.key for each in found]
    assert len(keys) == len(set(keys)) > 90
    assert {"model.cell", "model.zoneout", "training.r_drop", "data.train"} <= set(keys)
    assert [each.key for each in found if not each.meaning.endswith(".") or not each.values] == []


def test_defaults_are_those_of_what_may_be_left_out():
    inner = {"inner.share": 0.5, "inner.weights": {}}
    other = {"other.share": 0.5, "other.weights": {}}
    assert default_values(Outer) == {**dotted(Outer().model_dump(mode="json")), **other}
    assert default_values(Needing) == inner


@pytest.mark.parametrize("task", TASKS)
def test_defaults_of_a_task_are_what_its_settings_have(task: str):
    kind = TASKS[task]().settings
    data = {"train": ["a", "b"]} if task == "translate" else {}
    some = kind.model_validate({"task": task, "name": "x", "data": data})
    defaults = default_values(kind)
    found = dotted(some.model_dump(mode="json", by_alias=True))
    given = {"name", "task", "data.train"}
    assert {key: defaults[key] for key in found.keys() - given} == {
        key: value for key, value in found.items() if key not in given
    }
    assert {"seed", "training.epochs", "data.hub.train"} <= defaults.keys()
