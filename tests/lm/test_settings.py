"""Which settings of a language model fit together, and which would have no effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import SettingsError, UsageError
from seqtool.lm.settings import (
    DATA_READERS,
    TRAINING_READERS,
    VOCABULARY_READERS,
    DataSettings,
    LanguageModelSettings,
    LanguageModelTraining,
    ModelSettings,
    VocabularySettings,
)
from seqtool.resolution import recipe_text, require_files, resolve_settings
from seqtool.settings import Settings, read_toml, validate
from seqtool.text import data_files
from seqtool.text.hub import TextHubSettings
from seqtool.training.settings import READERS

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Readers = Mapping[str, tuple[str, tuple[str, ...]]]

# For each setting that only some choices use: a value that is not its default.
OTHER: dict[str, Any] = {
    "dev_share": 0.2,
    "test_share": 0.2,
    "rows": 7,
    "size": 100,
    "model_type": "bpe",
    "min_count": 2,
    "byte_fallback": True,
    "curriculum_share": 0.9,
    "momentum": 0.5,
    "beta1": 0.5,
    "beta2": 0.5,
    "epsilon": 1e-3,
    "warmup_steps": 7,
    "decay_factor": 0.1,
    "decay_steps": 7,
    "plateau_patience": 7,
    "final_fraction": 0.5,
    "rise_fraction": 0.5,
    "average_decay": 0.5,
    "average_patience": 7,
}


def tables(**sections: Any) -> dict[str, Any]:
    return {"task": "lm", "name": "n", "data": {"train": "a.txt"}, **sections}


def settings_of(**sections: Any) -> LanguageModelSettings:
    return validate(LanguageModelSettings, tables(**sections), "settings")


def test_defaults_are_valid_and_a_recipe_of_them_says_the_same() -> None:
    settings = settings_of()
    assert settings.task == "lm"
    assert (settings.training.average, settings.data.documents, settings.vocabulary.kind) == (
        "ema",
        "stream",
        "character",
    )
    for kind in (VocabularySettings, ModelSettings, LanguageModelTraining):
        assert validate(kind, kind().model_dump(by_alias=True), "again") == kind()


def test_the_recipe_of_a_run_gives_its_settings_back(tmp_path: Path) -> None:
    settings = settings_of(
        data={"train": ["a", "b"], "documents": "line", "dev_share": 0.2},
        training={"curriculum": "length", "curriculum_share": 0.3, "average": "asgd"},
        model={"adaptive": True, "cutoffs": [3, 9]},
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(settings))
    assert validate(LanguageModelSettings, read_toml(path), "recipe") == settings


# --- nothing is accepted and ignored ---


CASES = [
    (DataSettings, DATA_READERS),
    (VocabularySettings, VOCABULARY_READERS),
    (LanguageModelTraining, {**READERS, **TRAINING_READERS}),
]


def choices_of(kind: type[Settings], name: str) -> tuple[str, ...]:
    return tuple(kind.model_fields[name].annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize(("kind", "readers"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_setting_that_the_choice_beside_it_does_not_read_is_refused(
    kind: type[Settings], readers: Readers
) -> None:
    for name, (choice, readable) in readers.items():
        assert set(readable) < set(choices_of(kind, choice))
        assert OTHER[name] != kind.model_fields[name].default
        for value in choices_of(kind, choice):
            given = {choice: value, name: OTHER[name]}
            if value in readable:
                assert getattr(validate(kind, given, "settings"), name) == OTHER[name]
                continue
            with pytest.raises(SettingsError) as caught:
                validate(kind, given, "settings")
            assert f"{name} = {OTHER[name]} has no effect with {choice} = {value!r}" in str(caught.value)
            assert str(caught.value).endswith("leave it out")


# Settings that no part of the program reads, repeated here independently of the program's tables.
IGNORED: list[tuple[type[Settings], dict[str, Any]]] = [
    (DataSettings, {"split": "90-10", "dev_share": 0.2}),
    (DataSettings, {"split": "80-10-10", "dev_share": 0.2}),
    (DataSettings, {"split": "90-10", "test_share": 0.2}),
    (DataSettings, {"split": "80-10-10", "test_share": 0.2}),
    (DataSettings, {"split": "contiguous", "rows": 7}),
    (DataSettings, {"split": "90-10", "rows": 7}),
    (VocabularySettings, {"kind": "character", "size": 100}),
    (VocabularySettings, {"kind": "byte", "size": 100}),
    (VocabularySettings, {"kind": "word", "model_type": "bpe"}),
    (VocabularySettings, {"kind": "byte", "min_count": 2}),
    (VocabularySettings, {"kind": "sentencepiece", "min_count": 2}),
    (VocabularySettings, {"kind": "byte", "byte_fallback": True}),
    (VocabularySettings, {"kind": "word", "byte_fallback": True}),
    (LanguageModelTraining, {"curriculum": "none", "curriculum_share": 0.9}),
    (LanguageModelTraining, {"average": "ema", "average_patience": 7}),
    (LanguageModelTraining, {"average": "asgd", "average_decay": 0.5}),
]


@pytest.mark.parametrize(
    ("kind", "given"), IGNORED, ids=lambda each: str(each) if isinstance(each, dict) else ""
)
def test_what_would_be_ignored_is_refused(kind: type[Settings], given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="has no effect with"):
        validate(kind, given, "settings")


def test_all_that_has_no_effect_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        validate(VocabularySettings, {"kind": "byte", "size": 9, "min_count": 2}, "settings")
    assert "size = 9" in str(caught.value)
    assert "min_count = 2" in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"dev": "b"}}, "data: dev needs train: name the training text as well"),
        ({"data": {"train": "a", "dev_share": 0.5, "test_share": 0.5}}, "leave nothing to train on"),
        ({"data": {"train": "a", "dev_share": 0.0}}, "data.dev_share: expected more than 0"),
        ({"data": {"train": "a", "test_share": 1.0}}, "data.test_share: expected less than 1"),
        ({"data": {"train": []}}, "data.train: expected at least 1 values"),
        ({"data": {"train": 3}}, "data.train: expected text or a list"),
        (
            {"data": {"train": "a", "split": "interleaved", "documents": "line"}},
            "split = 'interleaved' needs documents = 'stream', found 'line'",
        ),
        (
            {"vocabulary": {"kind": "sentencepiece", "size": 0}},
            "size = 0: sentencepiece needs the number of subwords",
        ),
        ({"model": {"residual": True, "layers": 1}}, "residual has no effect with one layer"),
        ({"model": {"tied": True, "embedding": 0}}, "tied needs embeddings: set embedding, or leave it out"),
        ({"model": {"tied": True, "adaptive": True}}, "choose one"),
        ({"model": {"cutoffs": [2]}}, "cutoffs has no effect without adaptive"),
        ({"model": {"adaptive": True, "cutoffs": [5, 2]}}, "cutoffs = [5, 2]: expected ascending numbers"),
        ({"model": {"adaptive": True, "cutoffs": [2, 2]}}, "cutoffs = [2, 2]: expected ascending numbers"),
        ({"model": {"cell": "lstn"}}, "model.cell: expected 'rnn', 'irnn', 'lstm', 'lstm_no_forget', "),
        (
            {"model": {"cell": "qrnn", "weight_drop": 0.5}},
            "weight_drop does not go with cell = 'qrnn', which has no recurrent weights; leave it out",
        ),
        (
            {"model": {"cell": "echo_state", "weight_drop": 0.5}},
            "weight_drop does not go with cell = 'echo_state', which learns no recurrent weights",
        ),
        (
            {"model": {"cell": "echo_state", "learned_start": True}},
            "learned_start does not go with cell = 'echo_state', which lets no gradient through",
        ),
        (
            {"model": {"embedding": 0, "input_noise": 0.1}},
            "input_noise need embeddings: set embedding, or leave them out",
        ),
        (
            {"model": {"adaptive": True}, "training": {"label_smoothing": 0.1}},
            "training.label_smoothing does not go with model.adaptive; leave it out",
        ),
        (
            {"model": {"embedding": 0}, "training": {"adversarial": 0.1}},
            "training.adversarial perturbs embeddings: set model.embedding, or leave it out",
        ),
        (
            {"model": {"cell": "echo_state"}, "training": {"slowness_penalty": 0.1}},
            "norm_penalty do not go with model.cell = 'echo_state', whose states are not learned",
        ),
        ({"model": {"locked": False, "dropout": 0.0}}, "locked = false has no effect without dropout"),
        ({"training": {"decay_embeddings": True}}, "decay_embeddings needs weight_decay"),
        (
            {"model": {"cell": "echo_state"}, "training": {"adversarial": 0.1}},
            "training.adversarial does not go with model.cell = 'echo_state'",
        ),
        (
            {"model": {"dropout": 0.0}, "training": {"r_drop": 1.0}},
            "training.r_drop compares two passes with different dropout masks, and this model has no dropout",
        ),
        ({"training": {"r_drop": 1.0, "adversarial": 0.1}}, "each make a second pass: choose one"),
        ({"model": {"weight_drop": 1.0}}, "model.weight_drop: expected less than 1"),
        ({"model": {"droput": 0.1}}, "did you mean 'model.dropout'?"),
        (
            {"training": {"curriculum": "rarity"}},
            "training.curriculum orders documents: set data.documents to file, paragraph or line",
        ),
        (
            {"data": {"train": "a", "documents": "line"}, "training": {"window_jitter": 0.1}},
            "training.window_jitter has no effect with data.documents = 'line'; leave it out",
        ),
        (
            {"training": {"window": 65, "batch_tokens": 64}},
            "training.batch_tokens is less than training.window: raise it",
        ),
        (
            {"model": {"cell": "irnn", "weight_drop": 0.1}},
            "model.weight_drop scales the identity matrix of model.cell = 'irnn' by 1 / (1 - p)",
        ),
        (
            {"model": {"cell": "batchnorm_lstm"}, "training": {"window": 64, "batch_tokens": 255}},
            "training.batch_tokens / training.window = 3 parallel rows, and model.cell = 'batch",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_does_not_fit_together_is_said(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(**sections)
    assert message in str(caught.value)


def test_a_hub_data_set_without_a_named_dev_split_has_none() -> None:
    """Also after a recipe, which names every setting, was written and read again."""
    hub = {"id": "owner/name", "revision": COMMIT}
    settings = settings_of(data={"hub": hub})
    assert settings.data.hub == TextHubSettings(id="owner/name", revision=COMMIT)
    assert settings.data.hub.dev is None
    stored = settings.model_dump(mode="json", exclude_none=True, by_alias=True)
    again = validate(LanguageModelSettings, stored, "recipe")
    assert again == settings
    assert again.data.hub is not None
    assert again.data.hub.dev is None


# --- from recipe and files to settings ---


def test_files_folders_and_lists_of_files_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "one.txt").write_text("one\n")
    found = resolve_settings("lm", files={"train": ["books", "one.txt"], "dev": "one.txt", "test": None})
    assert found.data.train == [str(tmp_path / "books"), str(tmp_path / "one.txt")]
    assert (found.data.dev, found.data.test) == (str(tmp_path / "one.txt"), None)
    require_files(found)


def test_paths_of_a_recipe_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "recipe.toml").write_text('task = "lm"\nname = "x"\n[data]\ntrain = ["a.txt", "more"]\n')
    monkeypatch.chdir(tmp_path)
    found = resolve_settings("lm", folder / "recipe.toml", overrides=["model.hidden=7", "data.dev=d.txt"])
    assert found.data.train == [str(folder / "a.txt"), str(folder / "more")]
    assert found.model.hidden == 7


def test_files_replace_the_data_of_a_recipe_and_keep_how_it_is_read(tmp_path: Path) -> None:
    recipe = tables(data={"hub": {"id": "owner/name", "revision": COMMIT}, "lowercase": True})
    found = resolve_settings("lm", recipe, files={"train": tmp_path / "x.txt"})
    assert (found.data.hub, found.data.train, found.data.lowercase) == (None, str(tmp_path / "x.txt"), True)


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        require_files(resolve_settings("lm", files={"train": [tmp_path / "nothing.txt"]}))


def test_local_files_go_before_the_hub_where_their_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = {"folder": "shakespeare", "train": "input.txt", "test": ["more.txt"]}
    data = DataSettings(
        local=validate(DataSettings, {"local": local}, "x").local,
        hub=TextHubSettings(id="owner/name", revision=COMMIT),
    )
    monkeypatch.setenv("SEQTOOL_DATA", str(tmp_path))
    assert data_files.locate(data, tmp_path).hub is not None
    (tmp_path / "shakespeare").mkdir()
    found = data_files.locate(data, tmp_path)
    assert found.train == str(tmp_path / "shakespeare" / "input.txt")
    assert (found.dev, found.hub, found.local) == (None, None, None)
    assert found.test == [str(tmp_path / "shakespeare" / "more.txt")]
