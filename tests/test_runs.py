"""A run of several jobs: language models on raw text, then the tagger that reads with them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from seqtool import api
from seqtool.errors import InterruptedRunError, SettingsError
from seqtool.resolution import settings_of_run
from seqtool.stages import tagging
from seqtool.stages.whole import Whole
from seqtool.training import loop
from seqtool.training.learning_curves import learning_curve
from seqtool.training.run_folder import RunFolder
from tests.listeners import Listener, interrupt_after
from tests.tagging.tiny_tagger import SENTENCES, assert_equal_weights, tables, weights_of, write_columns

RAW = "Ada Lovelace met Grace Hopper in Paris.\nThey didn't agree.\n\nHopper lives in London.\n" * 6
SMALL = {"hidden": 8, "embedding": 4}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe with raw text, whose language models are tiny and have two epochs."""
    from seqtool.lm import defaults
    from seqtool.training.defaults import Choice

    chosen = {"model.hidden": 8, "training.batch_tokens": 256, "training.epochs": 2}
    monkeypatch.setattr(defaults, "choose", lambda settings, data: Choice(chosen, "tests"))
    from seqtool.tasks import TASKS

    spec = dataclasses.replace(TASKS["lm"](), choose=lambda settings, data: Choice(chosen, "tests"))
    monkeypatch.setitem(TASKS, "lm", lambda: spec)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text(RAW)
    (tmp_path / "more.jsonl").write_text('{"tokens": ["Grace", "sleeps"]}\n')
    found = tables(write_columns(tmp_path / "t.conll"))
    found["data"]["text"] = [str(tmp_path / "raw"), str(tmp_path / "more.jsonl")]
    return found


def test_language_models_of_both_directions_are_trained_first(tmp_path: Path, recipe: dict[str, Any]) -> None:
    heard = Listener()
    run = api.train(recipe, output=tmp_path / "run", reporter=heard)
    stage = tmp_path / "run" / "language-models"
    lines = (stage / "text.txt").read_text().split("\n")
    assert lines[: len(run.model.vocabularies.tags)][0] == " ".join(token for token, _ in SENTENCES[0])
    assert "They did n't agree ." in lines and lines[-2] == "Grace sleeps"
    for reader, kind in zip(run.model.readers, tagging.KINDS, strict=True):
        made = api.load_language_model(stage / kind.name)
        assert reader.description.direction == made.description.data.direction == kind.direction
        assert made.symbols.codec.kind == kind.unit
        assert_equal_weights(made.network.state_dict(), reader.network.state_dict())
        assert not list((stage / kind.name / "state").glob("*.safetensors"))
    assert any("a language model of words that reads backward" in line for line in heard.messages)


def test_the_recipe_of_the_run_repeats_it(tmp_path: Path, recipe: dict[str, Any]) -> None:
    first = api.train(recipe, output=tmp_path / "run")
    again = api.train(tmp_path / "run" / "recipe.toml", output=tmp_path / "again")
    assert_equal_weights(weights_of(first), weights_of(again))


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("stop", [1, 20, 33])
def test_a_run_resumes_in_the_job_where_it_was_interrupted(
    tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stop: int, rounds: int
) -> None:
    recipe["training"] |= {"self_training": rounds, "max_steps": 4}
    whole = api.train(recipe, output=tmp_path / "whole")
    with monkeypatch.context() as patched:
        interrupt_after(stop, patched, tmp_path)
        with pytest.raises(InterruptedRunError):
            api.train(recipe, output=tmp_path / "parts")
    resumed = api.train(tmp_path / "parts" / "recipe.toml", output=tmp_path / "parts", resume=True)
    assert_equal_weights(weights_of(whole), weights_of(resumed))


def test_an_interruption_of_a_language_model_is_one_of_the_whole_run(
    tmp_path: Path, recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **options: Any) -> Any:
        raise InterruptedRunError("interrupted", 2, tmp_path / "run" / "language-models" / "forward")

    monkeypatch.setattr(loop, "update", interrupted)
    with pytest.raises(InterruptedRunError) as caught:
        api.train(recipe, output=tmp_path / "run")
    assert caught.value.run == tmp_path / "run"


def test_a_finished_run_trains_no_language_model_again(tmp_path: Path, recipe: dict[str, Any]) -> None:
    api.train(recipe, output=tmp_path / "run", overrides=["training.max_steps=2"])
    weights = tmp_path / "run" / "language-models" / "forward" / "model" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    api.train(recipe, output=tmp_path / "run", overrides=["training.max_steps=4"], resume=True)
    assert weights.stat().st_mtime_ns == before
    api.train(recipe, output=tmp_path / "run", overwrite=True)
    assert weights.stat().st_mtime_ns > before


def test_an_estimate_counts_every_job(tmp_path: Path, recipe: dict[str, Any]) -> None:
    settings = api.resolve_settings("ner", recipe)
    found = api.estimate(settings)
    alone = {**recipe, "data": {key: value for key, value in recipe["data"].items() if key != "text"}}
    assert (
        found.minutes > 0 and found.parameters > api.estimate(api.resolve_settings("ner", alone)).parameters
    )
    assert any("5 other models on the text first" in fact for fact in found.facts)
    assert not (tmp_path / "run").exists()


def test_raw_text_is_refused_where_it_has_no_effect(tmp_path: Path, recipe: dict[str, Any]) -> None:
    api.train(recipe, output=tmp_path / "run")
    with pytest.raises(SettingsError, match="--text trains language models for a new tagger"):
        api.train(recipe, output=tmp_path / "more", initial=tmp_path / "run")
    del recipe["data"]["text"]
    with pytest.raises(SettingsError, match=r"text_minutes = 3.0 has no effect without data.text"):
        api.train(recipe, output=tmp_path / "other", overrides=["training.text_minutes=3"])


def test_a_teacher_that_is_better_than_its_pupil_is_named(tmp_path: Path, recipe: dict[str, Any]) -> None:
    recipe["training"] |= {"self_training": 1, "max_steps": 2}
    run = api.train(recipe, output=tmp_path / "run")
    teacher, _ = learning_curve(tmp_path / "run" / "rounds" / "1").best("f1", lower=False)
    folder = RunFolder(tmp_path / "run")
    whole = Whole(settings_of_run(tmp_path / "run"), None, folder, Listener(), resume=False)
    found = {
        own: tagging.remarks(whole, run.result._replace(metrics={"f1": own}))
        for own in (teacher, teacher - 0.25)
    }
    assert found[teacher] == []
    (line,) = found[teacher - 0.25]
    assert line.startswith("the teacher is better on dev (f1 ") and line.endswith(
        str(folder.path / "rounds" / "1")
    )
