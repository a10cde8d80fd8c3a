"""Settings of a tagger that are chosen from its training part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqtool.settings import validate
from seqtool.settings_keys import put
from seqtool.tagging.data import TaggingData
from seqtool.tagging.defaults import AUTOMATIC, FEW, LEXICAL, MANY, OF_FEW, SELF_TRAINING, choose
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import fine_tuning_settings
from tests.tagging.tiny_tagger import as_parts_of_speech, tiny_data, tiny_settings, untrained


def much(data: TaggingData, tokens: int = FEW) -> TaggingData:
    """The same sentences so often that they have more than so many tokens, by default more than a few."""
    train = data.parts["train"]
    times = tokens // sum(len(sentence.tokens) for sentence in train.sentences) + 1
    return replace(data, parts={**data.parts, "train": replace(train, sentences=train.sentences * times)})


@pytest.mark.parametrize(
    ("task", "sections", "expected"),
    [
        ("pos", {}, OF_FEW),
        ("ner", {}, {}),
        ("pos", {"model": {"layers": 2}}, {}),
        ("pos", {"model": {"document_hidden": 4}}, {}),
        ("pos", {"data": {"text": ["raw"]}}, {SELF_TRAINING: 1}),
        ("ner", {"data": {"text": ["raw"]}}, {SELF_TRAINING: 1}),
        ("ner", {"data": {"text": ["raw"]}, "training": {"teachers": ["x"]}}, {}),
        ("pos", {"model": {"language_models": ["x"]}}, {}),
    ],
)
def test_few_labels_have_settings_of_their_own(
    task: str, sections: dict[str, Any], expected: dict[str, Any]
) -> None:
    data = tiny_data(as_parts_of_speech(), scheme=None) if task == "pos" else tiny_data()
    settings = tiny_settings(task=task, **sections)
    chosen = choose(settings, data).values
    assert chosen.keys() <= set(AUTOMATIC)
    ours = (SELF_TRAINING, *OF_FEW)
    assert {key: value for key, value in chosen.items() if key in ours} == expected
    assert not choose(settings, much(data)).values.keys() & set(ours)
    tables = settings.model_dump(exclude_unset=True, by_alias=True)
    for key, value in expected.items():
        tables = put(tables, key, value)
    tiny_settings(task=task, **{name: tables[name] for name in ("model", "training", "data")})


def test_entities_are_found_without_lexical_features_where_there_is_much_to_learn_from() -> None:
    few, many = tiny_data(), much(tiny_data(), MANY)
    assert choose(bare("ner"), many).values[LEXICAL] is False
    assert LEXICAL not in choose(bare("ner"), few).values
    assert LEXICAL not in choose(bare("ner", model={"lexical_dropout": 0.5}), many).values
    assert LEXICAL not in choose(bare("ner", training={"lexical_l2": 0.5}), many).values
    assert LEXICAL not in choose(bare("pos"), many).values


@pytest.mark.parametrize("given", [{}, {"crop": 0.2}])
def test_fine_tuning_does_as_it_is_told(given: dict[str, float]) -> None:
    base = untrained(tiny_data(as_parts_of_speech(), scheme=None), "pos")
    settings = tiny_settings(Path("t"), "pos", training=given)
    found = fine_tuning_settings(settings, base).training
    assert (found.crop, found.word_prediction) == (given.get("crop", 0.0), 0.0)
    assert {"crop", "word_prediction"} <= found.model_fields_set


def test_sentences_that_are_cropped_are_read_for_longer() -> None:
    data = much(tiny_data(as_parts_of_speech(), scheme=None), 12_000)
    epochs = {
        crop: choose(bare("pos", training={} if crop is None else {"crop": crop}), data).values[
            "training.epochs"
        ]
        for crop in (None, 0.3, 0.0)
    }
    assert epochs[None] == epochs[0.3] > epochs[0.0]


def bare(task: str, **sections: Any) -> TaggerSettings:
    """Settings in which nothing but this is given."""
    return validate(TaggerSettings, {"task": task, "name": "t", "data": {"train": "t"}, **sections}, "t")
