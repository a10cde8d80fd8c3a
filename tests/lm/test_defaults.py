"""Settings of a language model that are chosen from the size of its text."""

from __future__ import annotations

from typing import Any

import pytest

from seqtool.lm.data import Part, TextData
from seqtool.lm.defaults import AUTOMATIC, choose
from seqtool.lm.settings import LanguageModelSettings
from seqtool.settings import validate
from seqtool.training.defaults import LIMIT


def text_of(size: int) -> TextData:
    return TextData({"train": Part("train", ("a" * size,), "t", "whole")})


def settings(**tables: Any) -> LanguageModelSettings:
    return validate(LanguageModelSettings, {"name": "n", "data": {"train": "t"}, **tables}, "t")


@pytest.mark.parametrize("size", [0, 100, 10_000, 60_000, 1_000_000, 5_000_000])
def test_what_is_chosen_is_valid(size: int) -> None:
    values = choose(settings(), text_of(size)).values
    assert values.keys() == set(AUTOMATIC) - ({LIMIT} if size <= 1_000_000 else set())
    tables: dict[str, dict[str, Any]] = {"model": {}, "training": {}}
    for key, value in values.items():
        table, _, name = key.partition(".")
        tables[table][name] = value
    settings(**tables)


def test_little_text_gets_small_batches_more_passes_and_more_dropout() -> None:
    small, large = (choose(settings(), text_of(size)).values for size in (50_000, 1_000_000))
    assert small["training.batch_tokens"] < large["training.batch_tokens"]
    assert small["training.epochs"] > large["training.epochs"]
    assert small["model.dropout"] > large["model.dropout"]


def test_given_settings_decide_what_can_be_chosen() -> None:
    wide = choose(settings(training={"window": 300}), text_of(10_000)).values
    assert wide["training.batch_tokens"] == 1200
    assert "training.epochs" not in choose(settings(training={"max_minutes": 2.0}), text_of(10_000)).values
    one_hot = choose(settings(model={"embedding": 0}), text_of(10_000)).values
    assert "model.embedding_dropout" not in one_hot
