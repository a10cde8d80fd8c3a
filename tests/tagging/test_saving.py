"""A model folder gives the same model bit for bit, or a readable error."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import ModelError, UsageError
from seqtool.models.folder import load_model_folder, save_model_folder
from seqtool.tagging import prediction
from seqtool.tagging.model import Tagger
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.columns import TaggedSentence
from tests.tagging.tiny_tagger import (
    as_parts_of_speech,
    model_with_columns,
    random_sentences,
    tiny_data,
    untrained,
    with_bias,
    with_columns,
)


def assert_same_model(first: TaggerModel, second: TaggerModel, sentences: Sequence[TaggedSentence]) -> None:
    assert second.description.to_config() == first.description.to_config()
    assert second.description.task == first.description.task
    assert second.training_entities == first.training_entities
    assert second.predict(sentences, confidence=True, kbest=2) == first.predict(
        sentences, confidence=True, kbest=2
    )
    for one, other in zip(first.score_batches(sentences), second.score_batches(sentences), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"characters": "rnn", "layers": 2},
        {"characters": "cnn", "cell": "gru"},
        {"output": "softmax", "word_embedding": 0, "characters": "cnn"},
    ],
    ids=str,
)
def test_a_saved_model_is_the_same_bit_for_bit_wherever_it_is_moved(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = with_bias(untrained(model=settings), 0.5)
    model.training_entities = {("PER", "Ada Lovelace"), ("LOC", 'a "b"\u2028\\')}
    model.save(tmp_path / "model", card="a card")
    sentences = random_sentences(30)
    assert_same_model(model, TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32"), sentences)
    (tmp_path / "else where").mkdir()
    shutil.move(tmp_path / "model", tmp_path / "else where" / "m")
    moved = TaggerModel.load(tmp_path / "else where" / "m", device="cpu", precision="fp32")
    assert_same_model(model, moved, sentences)


def test_extra_columns_travel_with_the_model(tmp_path: Path) -> None:
    model = model_with_columns()
    model.save(tmp_path / "model", card="")
    loaded = TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32")
    assert [column.symbols for column in loaded.vocabularies.features] == [
        column.symbols for column in model.vocabularies.features
    ]
    assert_same_model(model, loaded, with_columns(random_sentences(20)))


def test_parts_of_speech_travel_too(tmp_path: Path) -> None:
    model = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    model.save(tmp_path / "model", card="")
    loaded = TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32")
    assert loaded.scheme is None
    assert_same_model(model, loaded, random_sentences(20))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entity_bias": "much"}, "damaged or foreign"),
        ({"scheme": "iob9"}, "scheme: expected 'iob1'"),
        ({"model": {"hidden": 8, "cell": "transformer"}}, "model.cell|cell"),
        ({"vocabulary": {"lowercase": 1}}, "lowercase"),
        ({"columns": {"tag_column": "last"}}, "tag_column"),
    ],
)
def test_a_config_that_makes_no_sense_is_a_model_error(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        reload_changed(tmp_path, change)


@pytest.mark.parametrize("missing", ["name", "model", "vocabulary", "scheme", "columns", "entity_bias"])
def test_a_config_that_lacks_something_is_a_model_error(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ModelError, match="damaged or foreign"):
        reload_changed(tmp_path, {missing: None}, drop=True)


@pytest.mark.parametrize(
    "change",
    [{"hidden": 9}, {"hidden": 10**9}, {"layers": 10**9}, {"cell": "gru"}, {"characters": "rnn"}],
    ids=str,
)
def test_a_network_that_does_not_fit_the_weights_is_a_model_error(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    model = untrained()
    with pytest.raises(ModelError):
        reload_changed(tmp_path, {"model": {**model.description.to_config()["model"], **change}})


def test_a_network_that_does_not_fit_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def build(*arguments: Any) -> Tagger:
        devices.append(torch.get_default_device().type)
        return Tagger(*arguments)

    monkeypatch.setattr(prediction, "Tagger", build)
    settings = untrained().description.to_config()["model"]
    with pytest.raises(ModelError, match="shape"):
        reload_changed(tmp_path, {"model": {**settings, "hidden": 9}})
    assert devices == ["meta"]


def reload_changed(folder: Path, change: dict[str, Any], *, drop: bool = False) -> TaggerModel:
    """Save a model, rewrite its folder with another config (and valid digests), and load it."""
    untrained().save(folder / "m", card="")
    held = load_model_folder(folder / "m", task=("ner",))
    config = {key: value for key, value in held.config.items() if not (drop and key in change)}
    config |= {} if drop else change
    save_model_folder(
        folder / "changed", task="ner", config=config, tensors=held.tensors, texts=held.texts, card=""
    )
    return TaggerModel.load(folder / "changed", device="cpu")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "m", task="lm", config={}, tensors={}, texts={}, card="")
    with pytest.raises(ModelError, match="lm"):
        TaggerModel.load(tmp_path / "m", device="cpu")


def test_no_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        TaggerModel.load(tmp_path / "nothing", device="cpu")


def test_the_config_is_plain_json_with_the_layout_of_the_columns(tmp_path: Path) -> None:
    untrained(data={"feature_columns": [], "tag_column": 4}).save(tmp_path / "m", card="")
    config = load_model_folder(tmp_path / "m", task=("ner",)).config
    assert config["columns"] == {
        "token_column": None,
        "tag_column": 4,
        "feature_columns": [],
        "partial": None,
        "tag_names": [],
        "misaligned": "align",
    }
    assert str(tmp_path) not in str(config)
