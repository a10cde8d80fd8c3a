"""`seqtool train --resume`: after signals, a crash, a full disk, with other settings."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, Outcome, assert_error, contents, interrupted, refused, shell, start
from tests.training.faults import WRITES, Faults, disk_full, inject

# About five updates per epoch, with dropout, so that every kind of state matters.
SETTINGS = tiny_settings(
    "model.dropout=0.3",
    "training.batch_tokens=30",
    "training.evaluate_every=20",
    "training.schedule=constant",
    "training.warmup_steps=0",  # a default warm-up would depend on the length of the run
)
LONG = ("--epochs", 80)
SHORT = ("--epochs", 12)


def words(tiny: Tiny, output: str, *more: object) -> list[object]:
    """A run that can be repeated bit for bit."""
    files = ("--train", tiny.train, "--dev", tiny.dev, "-o", output)
    return ["train", "ner", *files, *SETTINGS, "--threads", 1, *more]


def trace(run: Path) -> tuple[bytes, list[object]]:
    """The weights, and the events without their times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    events = [{**json.loads(line), "seconds": 0} for line in lines]
    return (run / "model" / "model.safetensors").read_bytes(), events


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[bytes, list[object]]]:
    """The result of an uninterrupted run of a given length."""
    found = {}
    folder = tmp_path_factory.mktemp("whole")

    def of(inside: Inside, length: tuple[object, ...]) -> tuple[bytes, list[object]]:
        if length not in found:
            output = folder / str(len(found))
            assert inside(*words(tiny, str(output), *length)).code == 0
            found[length] = trace(output)
        return found[length]

    return of


def started(tiny: Tiny, tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process in the middle of its run that has written a checkpoint."""
    process = start(*words(tiny, "run", *LONG), cwd=tmp_path)
    while not list(tmp_path.glob("run/state/step-*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_goes_on_to_the_very_same_model(
    inside: Inside, tiny: Tiny, tmp_path: Path, number: signal.Signals, whole: Callable[..., object]
):
    process = started(tiny, tmp_path)
    busy = inside(*words(tiny, "run", *LONG, "--resume"))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    refused(busy, 8, "train ner", "run: another run is at work in this folder")
    outcome = Outcome(process.returncode, out, err.decode())
    if number == signal.SIGKILL:
        assert (outcome.code, out) == (-signal.SIGKILL, b"")
        assert (tmp_path / "run/.lock").exists()  # and blocks nobody
    else:
        command = "; the state is saved; continue with: seqtool train ner --resume -o run"
        assert interrupted(outcome, number, "train ner", "after step").endswith(command)
    assert not (tmp_path / "run/model").exists()
    refused(
        inside("model", "prune-state", "run"), 2, "model prune-state", "seqtool train ner --resume -o run"
    )
    refused(inside("tag", "-m", "run", stdin=b"Ada\n"), 2, "tag", "this run has no model yet", "--resume")
    resumed = inside("train", "ner", "--resume", "-o", "run")
    assert (resumed.code, resumed.out) == (0, b"run\n")
    assert "from " in resumed.err
    assert trace(tmp_path / "run") == whole(inside, LONG)


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
@pytest.mark.parametrize("where", ["seqtool.api.train", "seqtool.training.job.fit"])
def test_an_interrupt_before_the_first_update_says_that_nothing_was_saved(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, quiet: list[str]
):
    def interrupt(*arguments: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(where, interrupt)
    expected = "interrupted before the first update; nothing was saved"
    interrupted(inside(*words(tiny, "run", *SHORT, *quiet)), signal.SIGINT, "train ner", expected)
    outcome = inside("recipes", "run", "ner-tiny", "-o", "run", *quiet)
    interrupted(outcome, signal.SIGINT, "recipes run", expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_an_interrupt_after_training_does_not_say_that_nothing_was_saved(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: list[str]
):
    def interrupt(run: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("seqtool.cli.train._draw_curves", interrupt)
    outcome = inside(*words(tiny, "run", *SHORT, *quiet))
    interrupted(outcome, signal.SIGINT, "train ner", "the last checkpoint was saved", "command and --resume")
    assert (tmp_path / "run/model").is_dir()


def test_an_interrupt_while_the_program_is_still_loading_ends_with_130(tiny: Tiny, tmp_path: Path):
    """Python raises the signal again where the last `exec` (a dataclass, for instance) ended with it."""
    (tmp_path / "program.py").write_text(
        "import signal, seqtool.cli.app as app, seqtool.api as api\n"
        "def load(*words, **more): app.console.say('loads'); exec('signal.raise_signal(signal.SIGINT)')\n"
        "api.resolve_settings = load\n"
        "app.main(['train', 'ner'])\n"
    )
    outcome = shell(f"exec {sys.executable} -m program", cwd=tmp_path)
    interrupted(outcome, signal.SIGINT, "train ner", "before the first update; nothing was saved")


def test_resuming_without_a_checkpoint_starts_afresh(
    inside: Inside, tiny: Tiny, tmp_path: Path, whole: Callable[..., object]
):
    outcome = inside(*words(tiny, "run", *SHORT, "--resume"))
    assert outcome.out == b"run\n"
    assert "there is no run to resume" in outcome.err
    assert trace(tmp_path / "run") == whole(inside, SHORT)


def test_a_run_is_continued_by_its_folder_alone(
    inside: Inside, tiny: Tiny, tmp_path: Path, whole: Callable[..., object]
):
    inside(*words(tiny, "run", "--epochs", 8))
    outcome = inside("train", "ner", "--resume", "-o", "run", *SHORT)
    assert (outcome.code, outcome.out) == (0, b"run\n")
    assert "there is no run to resume" not in outcome.err
    assert trace(tmp_path / "run")[0] == whole(inside, SHORT)[0]  # type: ignore[index]
    refused(inside("train", "pos", "--resume", "-o", "run"), 2, "train pos", "a recipe for task 'ner'")
    refused(inside("train", "ner", "--resume", "-o", "rnu"), 2, "train ner", "rnu: there is no run to resume")
    assert not (tmp_path / "rnu").exists()


def test_a_run_that_is_another_one_altogether_is_told_in_a_few_differences(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    inside(*words(tiny, "run", "--epochs", 2))
    message = refused(
        inside("train", "ner", "ner-tiny", "--resume", "-o", "run"), 2, "train ner", "more; only"
    )
    assert len(message) < 1000


def test_resuming_a_finished_run_prints_its_path_and_changes_no_weight(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    inside(*words(tiny, "run", *SHORT))
    before = trace(tmp_path / "run")
    states = contents(tmp_path / "run/state")
    outcome = inside(*words(tiny, "run", *SHORT, "--resume"))
    assert (outcome.code, outcome.out) == (0, b"run\n")
    assert trace(tmp_path / "run") == before
    assert contents(tmp_path / "run/state") == states
    assert "run: already finished by training.epochs = 12; to train longer, raise --epochs\n" in outcome.err
    assert "nothing was left to train; best f1 " in outcome.err
    assert "finished after" not in outcome.err


def test_a_limit_that_did_not_end_the_run_may_be_raised_and_changes_nothing(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    inside(*words(tiny, "run", *SHORT, "--max-steps", 5))
    raised = inside("train", "ner", "--resume", "-o", "run", "--epochs", 90)
    assert "run: already finished by training.max_steps = 5; to train longer, raise --max-steps" in raised.err
    patient = ("--set", "training.patience=1", "--lr", 1e-9)
    inside(*words(tiny, "idle", *SHORT, *patient, "--set", "training.evaluate_every=1"))
    raised = inside("train", "ner", "--resume", "-o", "idle", "--epochs", 90)
    assert "idle: already finished by early stopping (training.patience = 1); to train longer" in raised.err
    assert "raise it with --set training.patience=2, or switch it off" in raised.err


def test_a_bare_resume_names_the_newest_unfinished_run(inside: Inside, tiny: Tiny, tmp_path: Path):
    bare = ("train", "ner", "--resume")
    refused(inside(*bare), 2, "train ner", "there is no unfinished run under runs/ner/", "--resume -o RUN")
    inside(*words(tiny, "runs/ner/done", "--epochs", 2))
    refused(inside(*bare), 2, "train ner", "there is no unfinished run under runs/ner/")
    inside(*words(tiny, "runs/ner/mine", "--epochs", 2))
    (tmp_path / "runs/ner/mine/state/finished").unlink()
    refused(inside(*bare), 2, "train ner", "is runs/ner/mine: seqtool train ner --resume -o runs/ner/mine")
    assert sorted(path.name for path in (tmp_path / "runs/ner").glob("*/")) == ["done", "mine"]


def test_resuming_without_a_folder_takes_the_last_run_of_the_name(inside: Inside, tiny: Tiny, tmp_path: Path):
    plain = [word for word in words(tiny, "run", *SHORT) if word not in ("-o", "run")]
    assert [inside(*plain).out for _ in range(2)] == [b"runs/ner/custom\n", b"runs/ner/custom-2\n"]
    first = contents(tmp_path / "runs/ner/custom")
    assert inside(*plain, "--resume", "--epochs", 13).out == b"runs/ner/custom-2\n"
    assert contents(tmp_path / "runs/ner/custom") == first


def test_raised_epochs_train_longer(inside: Inside, tiny: Tiny, tmp_path: Path, whole: Callable[..., object]):
    inside(*words(tiny, "run", "--epochs", 8))
    outcome = inside(*words(tiny, "run", *SHORT, "--resume"))
    assert (outcome.code, outcome.out) == (0, b"run\n")
    # A constant learning rate does not know how long the run was meant to be.
    assert trace(tmp_path / "run")[0] == whole(inside, SHORT)[0]  # type: ignore[index]
    assert "epochs = 12" in (tmp_path / "run/recipe.toml").read_text()


def test_other_settings_or_data_are_2_with_every_difference(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "t.conll").write_bytes(tiny.train.read_bytes())
    run = ["train", "ner", "--train", "t.conll", *SETTINGS, "-o", "run"]
    assert inside(*run, "--epochs", 2).code == 0
    before = contents(tmp_path / "run")
    changes = ("--lr", 0.25, "--seed", 9, "--set", "model.hidden=9", "--epochs", 5)
    refused(
        inside(*run, *changes, "--resume"),
        2,
        "train ner",
        "run: this run was begun with other data or settings; to continue it, leave them out: "
        "seqtool train ner --resume -o run, or start again with --overwrite (model.hidden was 8, is 9; ",
        "seed was 1, is 9",
        "training.learning_rate was",
        "is 0.25",
        "only epochs, max_steps, max_minutes, patience may change",
    )
    (tmp_path / "t.conll").write_text(tiny.train.read_text().replace("Turin", "Tunis"))
    changed = refused(inside(*run, "--epochs", 5, "--resume"), 2, "train ner")
    assert re.search(
        "run: the content of its data has changed since this run was begun; restore the old files, or start "
        r"again with --overwrite \(content of data\.dev was \w{12}, is \w{12}; content of data.train was",
        changed,
    ), changed
    assert contents(tmp_path / "run") == before


def test_a_damaged_checkpoint_is_passed_over_and_all_damaged_is_4(
    inside: Inside, tiny: Tiny, tmp_path: Path, whole: Callable[..., object]
):
    inside(*words(tiny, "run", "--epochs", 8))
    newest, *older = sorted((tmp_path / "run/state").glob("*.safetensors"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-1] + b"\0")
    outcome = inside(*words(tiny, "run", *SHORT, "--resume"))
    assert outcome.code == 0
    assert "cannot be used" in outcome.err
    assert trace(tmp_path / "run")[0] == whole(inside, SHORT)[0]  # type: ignore[index]
    for path in (tmp_path / "run/state").glob("*.safetensors"):
        path.write_bytes(b"")
    before = contents(tmp_path / "run")
    outcome = inside(*words(tiny, "run", "--epochs", 14, "--resume"))
    assert outcome.out == b""
    assert_error(outcome, 4, "train ner", "every checkpoint is damaged; start again with --overwrite")
    assert contents(tmp_path / "run") == before
    assert older


@pytest.mark.parametrize("calls", [0, 1, 5, 7])
def test_a_full_disk_is_5_and_leaves_what_was_saved(
    inside: Inside,
    tiny: Tiny,
    tmp_path: Path,
    calls: int,
    whole: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
):
    expected = whole(inside, SHORT)
    left = iter(range(calls))  # what still succeeds once a checkpoint is there

    def fill() -> None:
        if list(tmp_path.glob("run/state/*.json")) and next(left, None) is None:
            disk_full()

    with monkeypatch.context() as patch:
        inject(patch, Faults(1, fill, lasting=True), WRITES)
        outcome = inside(*words(tiny, "run", *SHORT))
    refused(outcome, 5, "train ner", "run/state/step-", "No space left on device")
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []
    assert len(list((tmp_path / "run/state").glob("*.json"))) == 1
    assert inside(*words(tiny, "run", *SHORT, "--resume")).code == 0
    assert trace(tmp_path / "run") == expected


def test_overwriting_and_a_crash_before_the_first_save_leave_the_old_model(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    inside(*words(tiny, "run", *SHORT))
    model = contents(tmp_path / "run/model")

    def interrupt(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr("seqtool.cli.training_display.LineReporter.step", interrupt)
        outcome = inside(*words(tiny, "run", *SHORT, "--overwrite", "--seed", 2))
    interrupted(outcome, signal.SIGINT, "train ner", "interrupted after step 1")
    assert contents(tmp_path / "run/model") == model
    assert "seed = 2" in (tmp_path / "run/recipe.toml").read_text()
    assert inside(*words(tiny, "run", *SHORT, "--seed", 2, "--resume")).code == 0
    assert contents(tmp_path / "run/model") != model
