"""A tagger that reads sentences with language models: exact, self-contained, and they stay as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import SettingsError, UsageError
from seqtool.lm.reading import SentenceReader
from seqtool.tagging import readings
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.readings import Readings
from seqtool.tagging.train import build_model
from seqtool.text.columns import TaggedSentence
from tests.lm import tiny
from tests.tagging.tiny_tagger import (
    CPU,
    SENTENCES,
    assert_equal_weights,
    double,
    random_sentences,
    tables,
    tiny_data,
    tiny_settings,
    weights_of,
    write_columns,
)

TEXT = "".join(" ".join(token for token, _ in rows) + "\n" for rows in SENTENCES)


def language_model(direction: str, seed: int = 1) -> tiny.LanguageModel:
    text = TEXT if direction == "forward" else TEXT[::-1]
    return tiny.untrained(text, data={"direction": direction, "documents": "line"}, seed=seed)


def tagger(**model: Any) -> TaggerModel:
    torch.manual_seed(4)
    readers = [SentenceReader.of(language_model(direction)) for direction in ("forward", "backward")]
    return double(build_model(tiny_settings(model=model), tiny_data(), CPU, readers))


def saved_pair(folder: Path) -> list[str]:
    for direction in ("forward", "backward"):
        language_model(direction).save(folder / direction, card="")
    return [str(folder / "forward"), str(folder / "backward")]


def recipe(folder: Path, **model: Any) -> dict[str, Any]:
    found = tables(write_columns(folder / "t.conll"))
    found["model"] = {**found.get("model", {}), **model}
    return found


@pytest.mark.parametrize("projection", [0, 5])
def test_what_the_language_models_find_reaches_the_scores(projection: int) -> None:
    model = tagger(language_model_projection=projection)
    sentence = [TaggedSentence(("Ada", "lives", "in", "Paris"))]
    ((_, before, _),) = model.score_batches(sentence)
    with torch.no_grad():
        model.readers[1].network.stack.layers[0].kernel.weight_hh_l0.add_(0.5)
    ((_, after, _),) = model.score_batches(sentence)
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("batch_tokens", [1, 20, 4096])
def test_scores_and_confidences_do_not_depend_on_the_batch(batch_tokens: int) -> None:
    model = tagger()
    sentences = random_sentences(40)
    together = model.predict(sentences, confidence=True, batch_tokens=batch_tokens)
    for sentence, found in zip(sentences, together, strict=True):
        (alone,) = model.predict([sentence], confidence=True)
        assert alone.tags == found.tags
        assert alone.token_confidence == pytest.approx(found.token_confidence, abs=1e-9)


def test_kept_states_are_those_computed_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sentences = tagger(), random_sentences(10)
    kept = Readings(model.readers, sentences, keep=True)
    afresh = Readings(model.readers, sentences, keep=False)
    monkeypatch.setattr(readings, "KEPT", 100)
    too_large = Readings(model.readers, sentences, keep=True)
    assert kept._states is not None and afresh._states is None and too_large._states is None
    for part in ([0, 3, 9], [5], list(range(10))):
        expected = kept.batch(part)
        for other in (afresh, too_large):
            torch.testing.assert_close(other.batch(part), expected, rtol=0, atol=1e-12)
        lengths = [len(sentences[i].tokens) for i in part]
        assert all(bool((row[length:] == 0).all()) for row, length in zip(expected, lengths, strict=True))


def test_the_model_folder_needs_neither_the_language_models_nor_their_paths(tmp_path: Path) -> None:
    paths = saved_pair(tmp_path)
    run = api.train(recipe(tmp_path, language_models=paths), output=tmp_path / "run")
    shutil.rmtree(tmp_path / "forward")
    shutil.rmtree(tmp_path / "backward")
    loaded = TaggerModel.load(tmp_path / "run", precision="fp32")
    for one, other in zip(loaded.readers, run.model.readers, strict=True):
        assert one.digest == other.digest and one.description == other.description
    sentences = random_sentences(5)
    same = TaggerModel.predict(loaded, sentences, confidence=True)
    assert same == run.model.predict(sentences, confidence=True)
    config = (tmp_path / "run" / "model" / "config.json").read_text()
    assert str(tmp_path) not in config
    assert [each["direction"] for each in json.loads(config)["config"]["readers"]] == ["forward", "backward"]


@pytest.mark.parametrize("augmented", [{}, {"mention_replacement": 0.5}])
def test_training_leaves_language_models_alone_and_resumes_bit_for_bit(
    tmp_path: Path, augmented: dict[str, float]
) -> None:
    paths = saved_pair(tmp_path)
    settings = recipe(tmp_path, language_models=paths)
    same_rate = {"schedule": "constant", "warmup_steps": 0}
    settings["training"] |= {"checkpoint_every": 3, **same_rate, **augmented}
    whole = api.train(settings, output=tmp_path / "whole", overrides=["training.max_steps=8"])
    api.train(settings, output=tmp_path / "parts", overrides=["training.max_steps=3"])
    parts = api.train(settings, output=tmp_path / "parts", overrides=["training.max_steps=8"], resume=True)
    assert_equal_weights(weights_of(whole), weights_of(parts))
    for reader, path in zip(whole.model.readers, paths, strict=True):
        before = tiny.LanguageModel.load(Path(path)).network.state_dict()
        assert_equal_weights(reader.network.state_dict(), before)


def test_a_run_is_not_resumed_with_other_language_models(tmp_path: Path) -> None:
    settings = recipe(tmp_path, language_models=saved_pair(tmp_path))
    api.train(settings, output=tmp_path / "run", overrides=["training.max_steps=2"])
    language_model("forward", seed=2).save(tmp_path / "forward", card="")
    with pytest.raises(UsageError, match="language model 1"):
        api.train(settings, output=tmp_path / "run", overrides=["training.max_steps=4"], resume=True)


def test_a_tagger_that_reads_with_language_models_is_fine_tuned_with_them(tmp_path: Path) -> None:
    api.train(recipe(tmp_path, language_models=saved_pair(tmp_path)), output=tmp_path / "run")
    more = api.train(recipe(tmp_path), output=tmp_path / "more", initial=tmp_path / "run")
    assert len(more.model.readers) == len(more.model.description.readers) == 2


def test_settings_of_language_models_have_no_effect_without_any(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"language_model_projection = 5 has no effect without"):
        api.train(recipe(tmp_path, language_model_projection=5), output=tmp_path / "run")


def test_a_tagger_is_no_language_model(tmp_path: Path) -> None:
    api.train(recipe(tmp_path), output=tmp_path / "run")
    with pytest.raises(Exception, match="a model for ner, expected one for lm"):
        api.train(recipe(tmp_path, language_models=[str(tmp_path / "run")]), output=tmp_path / "other")
