from __future__ import annotations

from typing import Any

import pytest

from seqtool.errors import SettingsError
from seqtool.settings import Settings, validate
from seqtool.tagging.settings import TaggerSettings

BASE: dict[str, Any] = {"task": "ner", "name": "x", "data": {"train": "t.conll"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": "pos", "data": {"scheme": "iob2"}},
            "data.scheme = \"iob2\" has no effect with task = 'pos'",
        ),
        ({"task": "pos", "data": {"repair": True}}, "data.repair = true has no effect with task = 'pos'"),
        ({"task": "pos", "data": {"strict": True}}, "data.strict = true has no effect with task = 'pos'"),
        (
            {"model": {"feature_embedding": 4}},
            "model.feature_embedding = 4 has no effect without data.feature_columns; leave it out",
        ),
        (
            {"model": {"word_embedding": 0}, "vocabulary": {"min_count": 2}},
            "vocabulary.min_count = 2 has no effect with model.word_embedding = 0; leave it out",
        ),
        (
            {"model": {"word_embedding": 0}, "vocabulary": {"lowercase": False}},
            "vocabulary.lowercase = false has no effect with model.word_embedding = 0",
        ),
    ],
    ids=str,
)
def test_settings_without_effect_are_refused_in_a_new_run_alone(
    changes: dict[str, Any], message: str
) -> None:
    data = {**BASE["data"], **changes.get("data", {})}
    settings = validate(TaggerSettings, {**BASE, **changes, "data": data}, "settings")
    (found,) = settings.without_effect(new_model=True)
    assert found.startswith(message) and found.endswith("; leave it out")
    if "data" not in changes:  # the tables model and vocabulary are those of the model to fine-tune
        assert settings.without_effect(new_model=False) == []
    assert validate(TaggerSettings, BASE, "settings").without_effect(new_model=True) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"model": {"word_embedding": 0, "characters": "none"}},
            "model.word_embedding = 0 and model.characters = 'none' leave no input",
        ),
        (
            {"model": {"type_dropout": 0.1, "word_embedding": 0}},
            "type_dropout has no effect without word embeddings",
        ),
        (
            {"model": {"word_dropout": 0.1, "word_embedding": 0}},
            "word_dropout has no effect without word embeddings",
        ),
        ({"model": {"residual": True}}, "residual has no effect with one layer; leave it out"),
        (
            {"task": "pos", "training": {"mention_replacement": 0.1}},
            "mention_replacement is for task = 'ner'; leave it out",
        ),
        (
            {"model": {"layers": 2}, "training": {"word_prediction": 0.1}},
            "word_prediction: a second layer tells the encoder which word comes next; leave it out",
        ),
        (
            {"model": {"language_models": ["a"]}, "training": {"word_prediction": 0.1}},
            "word_prediction: a language model of the other direction tells the encoder",
        ),
        ({"task": "pos", "decoding": {"entity_bias": 1.0}}, "entity_bias is for task = 'ner'; leave it out"),
        (
            {"vocabulary": {"freeze_pretrained": True}},
            "freeze_pretrained needs a file of word vectors: set vocabulary.pretrained",
        ),
        ({"data": {"dev": "d.conll"}}, "dev needs train: name the training file as well"),
        ({"training": {"momentum": 0.9}}, "momentum = 0.9 has no effect with optimizer = 'adamw'"),
        ({"name": "../x"}, "name: "),
        ({"name": ""}, "name: "),
        ({"model": {"character_widths": []}}, "model.character_widths: "),
        ({"model": {"character_widths": [2, 0]}}, "model.character_widths.1: "),
        ({"model": {"dropout": 1.0}}, "model.dropout: "),
        ({"training": {"class_weights": {"PER": -1.0}}}, "training.class_weights.PER: "),
        ({"decoding": {"entity_bias": float("inf")}}, "decoding.entity_bias"),
        ({"data": {"train": "t", "scheme": "iob"}}, "data.scheme: "),
        ({"task": "lm"}, "task: expected 'ner' or 'pos'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        validate(TaggerSettings, {**BASE, **changes}, "recipe.toml")
    assert reason in str(caught.value)
    assert str(caught.value).startswith("recipe.toml: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"word_embedding": 0, "characters": "cnn"}},
        {"model": {"output": "softmax"}, "training": {"label_smoothing": 0.1}},
        {"training": {"label_smoothing": 0.1}},
        {"model": {"cell": "gru", "layers": 2, "dilation": 2, "highway": True, "chrono": 10}},
        {"task": "pos", "decoding": {"entity_bias": 0.0}},
        {"task": "pos", "training": {"lowercase": 0.2}},
        {"decoding": {"entity_bias": 2}},
        {"vocabulary": {"freeze_pretrained": True, "pretrained": "v.txt"}},
    ],
    ids=str,
)
def test_settings_that_make_sense_are_accepted(changes: dict[str, Any]) -> None:
    found = validate(TaggerSettings, {**BASE, **changes}, "recipe.toml")
    assert found.model_dump(exclude_unset=True, by_alias=True) == {**BASE, **changes}


def test_settings_survive_as_plain_values() -> None:
    settings = validate(TaggerSettings, {**BASE, "training": {"class_weights": {"PER": 2}}}, "x")
    assert validate(TaggerSettings, settings.model_dump(mode="json"), "x") == settings


def every_field(kind: type[Settings], prefix: str = "") -> list[tuple[str, Any]]:
    fields = []
    for name, field in kind.model_fields.items():
        fields.append((f"{prefix}{name}", field))
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            fields += every_field(field.annotation, f"{prefix}{name}.")
    return fields


def test_every_setting_is_described_for_the_help_text() -> None:
    fields = every_field(TaggerSettings)
    assert len(fields) > 60
    tables = {"data", "vocabulary", "model", "training", "decoding"}
    assert [name for name, field in fields if not field.description and name not in tables] == []
