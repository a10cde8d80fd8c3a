"""The state of a finished run: its size is said, and it can be deleted."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, contents, interrupted, refused

SETTINGS = tiny_settings("training.batch_tokens=30", "training.schedule=constant", "training.warmup_steps=0")


def words(tiny: Tiny, *more: object) -> list[object]:
    files = ("--train", tiny.train, "--dev", tiny.dev, "-o", "run")
    return ["train", "ner", *files, *SETTINGS, "--epochs", 2, *more]


def checkpoint_bytes(run: Path) -> int:
    return sum(file.stat().st_size for file in run.glob("state/step-*"))


def test_the_state_of_a_finished_run_is_deleted_with_the_command_that_training_names(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    trained = inside(*words(tiny))
    size = checkpoint_bytes(tmp_path / "run")
    said = f"run/state: {size / 1e6:,.1f} MB of checkpoints, needed only to train longer with --resume; "
    assert f"{said}delete them with: seqtool model prune-state run" in trained.err
    model = contents(tmp_path / "run/model")
    assert inside("model", "prune-state", "run").out == f"run/state: {size / 1e6:,.1f} MB freed\n".encode()
    assert checkpoint_bytes(tmp_path / "run") == 0
    assert contents(tmp_path / "run/model") == model
    again = inside("model", "prune-state", "run", "--json")
    assert (again.code, json.loads(again.out)) == (0, {"path": "run", "freed_bytes": 0})


def test_no_keep_state_deletes_it_at_the_end_of_training(inside: Inside, tiny: Tiny, tmp_path: Path):
    trained = inside(*words(tiny, "--no-keep-state"))
    assert (trained.code, trained.out) == (0, b"run\n")
    assert "run/state: deleted, " in trained.err
    assert checkpoint_bytes(tmp_path / "run") == 0


def test_a_run_without_its_state_is_not_resumed_but_replaced(inside: Inside, tiny: Tiny, tmp_path: Path):
    inside(*words(tiny, "--no-keep-state"))
    before = contents(tmp_path)
    outcome = inside(*words(tiny, "--resume", "--epochs", 3))
    refused(outcome, 2, "train ner", "run: this run is finished and its state was deleted", "--overwrite")
    assert contents(tmp_path) == before
    assert inside(*words(tiny, "--overwrite")).out == b"run\n"
    assert inside(*words(tiny, "--resume", "--epochs", 3)).code == 0


@pytest.mark.parametrize("more", [["--resume", "--epochs", 9], ["--overwrite", "--epochs", 9]])
def test_a_run_that_trains_again_is_not_finished(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[object]
):
    inside(*words(tiny))

    def interrupt(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("seqtool.cli.training_display.LineReporter.step", interrupt)
        interrupted(inside(*words(tiny, *more)), signal.SIGINT, "train ner", "--resume -o run")
    states = contents(tmp_path / "run/state")
    refused(
        inside("model", "prune-state", "run"),
        2,
        "model prune-state",
        "this run is not finished, and its state is needed to finish it: seqtool train ner --resume -o run",
    )
    assert contents(tmp_path / "run/state") == states


def test_what_is_no_run_is_refused(inside: Inside, tmp_path: Path):
    (tmp_path / "other").mkdir()
    for name in ("other", "missing"):
        refused(inside("model", "prune-state", name), 2, "model prune-state", f"{name}: not a run folder")
