"""Continuing: resuming an interrupted run, and fine-tuning another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import InterruptedRunError, SettingsError, UsageError
from seqtool.tagging.settings import TaggerSettings
from seqtool.training.checkpoint import Checkpoints
from tests.listeners import Listener, StopAt
from tests.tagging.tiny_tagger import (
    LEARN,
    SENTENCES,
    Row,
    as_parts_of_speech,
    assert_equal_weights,
    train_tiny,
    weights_of,
)

# --- resuming ---


RESUMED: dict[str, Any] = {
    "model": {"characters": "cnn", "dropout": 0.3, "word_dropout": 0.3, "singleton_dropout": 0.3},
    "training": {
        "epochs": 4,
        "lowercase": 0.5,
        "mention_replacement": 0.5,
        "crop": 0.5,
        "word_prediction": 0.1,
        "average": "ema",
        "average_decay": 0.9,
        "checkpoint_every": 1,
    },
}


def last_state(folder: Path) -> dict[str, Any]:
    newest = Checkpoints(folder / "run" / "state").load_newest()
    assert newest is not None
    return newest.tensors


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = train_tiny(tmp_path / "whole", **RESUMED)
    expected = last_state(tmp_path / "whole")
    for step in (1, whole.result.steps // 2, whole.result.steps - 1):
        folder = tmp_path / f"stopped-{step}"
        with pytest.raises(InterruptedRunError):
            train_tiny(folder, **RESUMED, options={"reporter": StopAt(step)})
        torch.manual_seed(99)
        run = train_tiny(folder, **RESUMED, options={"resume": True})
        assert run.result.metrics == whole.result.metrics
        assert_equal_weights(weights_of(run), weights_of(whole))
        assert_equal_weights(last_state(folder), expected)


def test_resuming_with_other_settings_is_refused_with_the_difference(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    with pytest.raises(UsageError, match=r"hidden"):
        train_tiny(tmp_path, model={"hidden": 9}, options={"resume": True})


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    with pytest.raises(UsageError, match="data"):
        train_tiny(tmp_path, SENTENCES[:9], options={"resume": True})


def test_a_setting_without_effect_is_refused_in_a_new_run_and_may_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"feature_embedding": 4}
    with pytest.raises(
        SettingsError, match=r"model.feature_embedding = 4 has no effect without data.feature"
    ):
        train_tiny(tmp_path, model=model)
    with monkeypatch.context() as patch:
        patch.setattr(TaggerSettings, "without_effect", lambda self, new_model: [])
        train_tiny(tmp_path, model=model)
    train_tiny(tmp_path, model=model, options={"resume": True})


# --- fine-tuning ---


def test_fine_tuning_keeps_vocabularies_and_starts_from_the_weights(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "first", training=LEARN)
    listener = Listener()
    more: list[list[Row]] = [[("Kyoto", "B-LOC"), ("is", "O"), ("far", "O")]] * 2
    tuned = train_tiny(
        tmp_path / "second",
        more,
        training={"epochs": 20},
        options={"initial": tmp_path / "first" / "run", "reporter": listener},
    )
    assert tuned.model.vocabularies.to_texts() == first.model.vocabularies.to_texts()
    assert "kyoto" not in tuned.model.vocabularies.words
    assert tuned.model.tag([["Kyoto", "is", "far"]]) == [["B-LOC", "O", "O"]]
    fresh = Listener()
    train_tiny(tmp_path / "third", more, training={"epochs": 1}, options={"reporter": fresh})
    assert listener.losses[0] != fresh.losses[0]


def test_fine_tuning_for_no_time_changes_nothing(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "first", training=LEARN)
    tuned = train_tiny(
        tmp_path / "second",
        training={"learning_rate": 1e-30, "epochs": 1},
        options={"initial": tmp_path / "first" / "run"},
    )
    assert_equal_weights(weights_of(tuned), weights_of(first))


def test_fine_tuning_refuses_another_kind_of_tags(tmp_path: Path) -> None:
    train_tiny(tmp_path / "first", as_parts_of_speech(), "pos")
    with pytest.raises(SettingsError, match="another kind of tags"):
        train_tiny(tmp_path / "second", options={"initial": tmp_path / "first" / "run"})
