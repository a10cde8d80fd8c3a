"""Settings that were not given are chosen from the data, told, recorded, and never chosen again."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from seqtool import api
from seqtool.errors import SettingsError
from seqtool.resolution import completed, resolve_settings
from seqtool.settings_guide import describe_settings
from seqtool.tasks import TASKS
from seqtool.training.defaults import Choice
from tests.listeners import Listener
from tests.tagging.tiny_tagger import tables, write_columns

CHOSEN = ("batch_tokens", "epochs")


def recipe(folder: Path, **training: Any) -> dict[str, Any]:
    """A recipe for ten sentences, which leaves open what is not in `training`."""
    found = tables(write_columns(folder / "t.conll"))
    found["training"] = {key: value for key, value in found["training"].items() if key not in CHOSEN}
    found["training"] |= {"max_steps": 3, **training}
    return found


def recorded(run: Path) -> dict[str, Any]:
    return tomllib.loads((run / "recipe.toml").read_text())["training"]  # type: ignore[no-any-return]


def test_what_is_chosen_is_told_and_stands_in_the_recipe_of_the_run(tmp_path: Path) -> None:
    heard = Listener()
    api.train(recipe(tmp_path), output=tmp_path / "run", reporter=heard)
    (line,) = (line for line in heard.messages if line.startswith("chosen for 10 sentences, "))
    written = recorded(tmp_path / "run")
    assert all(f"{name} {written[name]}" in line for name in CHOSEN)


def test_given_values_stay_and_auto_counts_as_not_given(tmp_path: Path) -> None:
    given = {"batch_tokens": 16, "epochs": "auto"}
    heard = Listener()
    api.train(recipe(tmp_path, **given), output=tmp_path / "run", reporter=heard)
    (line,) = (line for line in heard.messages if line.startswith("chosen for"))
    assert "batch_tokens" not in line and "epochs" in line
    assert recorded(tmp_path / "run")["batch_tokens"] == 16


def test_auto_is_refused_where_nothing_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"training\.accumulation: expected a whole number"):
        api.train(recipe(tmp_path, accumulation="auto"), output=tmp_path / "run")


def test_the_recipe_of_a_run_repeats_it(tmp_path: Path) -> None:
    first = api.train(recipe(tmp_path), output=tmp_path / "a")
    heard = Listener()
    second = api.train(tmp_path / "a" / "recipe.toml", output=tmp_path / "b", reporter=heard)
    assert not any(line.startswith("chosen for") for line in heard.messages)
    for name, weight in first.model.network.state_dict().items():
        assert weight.equal(second.model.network.state_dict()[name])


def test_a_resumed_run_keeps_what_was_chosen_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api.train(recipe(tmp_path), output=tmp_path / "run")
    before = recorded(tmp_path / "run")
    other = Choice({f"training.{name}": 7 for name in CHOSEN}, "something else")
    monkeypatch.setattr("seqtool.tagging.defaults.choose", lambda settings, data: other)
    TASKS["ner"].cache_clear()  # type: ignore[attr-defined]
    try:
        api.train(recipe(tmp_path, max_steps=5), output=tmp_path / "run", resume=True)
    finally:
        TASKS["ner"].cache_clear()  # type: ignore[attr-defined]
    after = recorded(tmp_path / "run")
    assert {name: after[name] for name in CHOSEN} == {name: before[name] for name in CHOSEN}
    assert after["max_steps"] == 5


def test_a_run_from_before_a_setting_existed_goes_on_without_it(tmp_path: Path) -> None:
    given = recipe(tmp_path, batch_tokens=16, epochs=2, evaluate_every=1)
    del given["model"]["lexical_dropout"]
    settings = resolve_settings("ner", given)
    old = tmp_path / "recipe.toml"
    lines = api.recipe_text(settings).splitlines(keepends=True)
    old.write_text("".join(line for line in lines if not line.startswith("lexical =")))
    data = TASKS["ner"]().load_data(settings)
    assert not completed(settings, data, old)[0].model.lexical
    assert completed(settings, data)[0].model.lexical


def test_the_guide_says_which_settings_are_chosen() -> None:
    for task, spec in TASKS.items():
        found = {each.key: each for each in describe_settings(spec().settings, "", spec().automatic)}
        assert set(spec().automatic) <= found.keys(), task
        for key in spec().automatic:
            assert found[key].default == "auto" and found[key].values.endswith(" or auto")
