from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqtool.errors import BusyError, StorageError, UsageError
from seqtool.files import Lock
from seqtool.training.run_folder import RunFolder, find_latest


def create(path: Path | None, root: Path = Path("runs"), **options: bool) -> RunFolder:
    return RunFolder.create(path, task="ner", name="wnut17", root=root, **options)


def fill(run: RunFolder) -> RunFolder:
    run.recipe.write_text("task = 'ner'")
    run.state.mkdir()
    run.append_event({"event": "old"})
    run.model.mkdir()
    run.close()
    return run


def test_a_taken_name_gets_the_next_number(tmp_path: Path):
    names = [fill(create(None, tmp_path)).path for _ in range(3)]
    assert names == [tmp_path / "ner" / name for name in ("wnut17", "wnut17-2", "wnut17-3")]


def test_resuming_without_a_folder_takes_the_last_of_the_name(tmp_path: Path):
    with create(None, tmp_path, resume=True) as run:
        assert run.path.name == "wnut17"
    for _ in range(2):
        fill(create(None, tmp_path))
    with create(None, tmp_path, resume=True) as run:
        assert run.path.name == "wnut17-2"


def test_overwriting_without_a_folder_takes_the_name_itself(tmp_path: Path):
    fill(create(None, tmp_path))
    with create(None, tmp_path, overwrite=True) as run:
        assert run.path.name == "wnut17"


def test_a_folder_that_holds_a_run_is_refused_unchanged(tmp_path: Path):
    run = fill(create(tmp_path / "run"))
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with pytest.raises(UsageError, match=r"holds a run already; continue it with --resume, replace it with"):
        create(tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_resume_and_overwrite_open_it_unchanged(tmp_path: Path, option: str):
    run = fill(create(tmp_path / "run"))
    with create(tmp_path / "run", **{option: True}) as again:
        assert again.recipe.read_text() == "task = 'ner'"
        assert again.metrics.read_text() == '{"event": "old"}\n'
    assert run.model.is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from seqtool.training.run_folder import RunFolder
run = RunFolder.create(Path(sys.argv[1]), task="ner", name="x", resume=True)
run.recipe_text = "task = 'pos'"
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
run.write_recipe() if sys.argv[2] == "recipe" else run.write_manifest({})
"""


@pytest.mark.parametrize(("option", "written"), [("resume", "recipe"), ("overwrite", "manifest")])
def test_what_a_kill_left_of_a_write_is_removed_by_who_opens_the_run_next(
    tmp_path: Path, option: str, written: str
):
    run = fill(create(tmp_path / "run"))
    mine = run.path / ".recipe.toml.mine.tmp"
    mine.touch()
    subprocess.run([sys.executable, "-c", KILLED, run.path, written], check=False)
    assert len(list(run.path.glob(".*.tmp"))) == 2
    with pytest.raises(UsageError):
        create(run.path)  # refused: nothing is touched
    assert len(list(run.path.glob(".*.tmp"))) == 2
    with create(run.path, **{option: True}):
        assert list(run.path.glob(".*.tmp")) == [mine]
        assert run.recipe.read_text() == "task = 'ner'"


def test_clearing_keeps_model_recipe_and_what_is_not_ours(tmp_path: Path):
    run = fill(create(tmp_path / "run"))
    run.plots.mkdir()
    (run.path / "notes.txt").write_text("mine")
    run.clear_training()
    assert sorted(path.name for path in run.path.iterdir()) == ["model", "notes.txt", "recipe.toml"]


def test_a_folder_with_other_things_can_be_used_and_keeps_them(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    fill(create(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_that_never_wrote_anything_leaves_no_folder(tmp_path: Path):
    create(tmp_path / "run").close()
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    create(tmp_path / "mine").close()
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_file_is_not_a_folder(tmp_path: Path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(UsageError, match=r"run: is a file; give a folder"):
        create(tmp_path / "run")


@pytest.mark.parametrize("name", ["a/b", "..", ""])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str):
    with pytest.raises(UsageError, match="the name of a run names its folder"):
        RunFolder.create(None, task="ner", name=name, root=tmp_path)


@pytest.mark.parametrize("function", ["mkdir", "open"])
def test_an_unwritable_folder_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(StorageError, match=r"run.*: Permission denied"):
        create(tmp_path / "run")


HOLD = """
import sys, time
from pathlib import Path
from seqtool.training.run_folder import RunFolder
run = RunFolder.create(Path(sys.argv[1]), task="ner", name="x")
run.append_event({"event": "first"})
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_stale_lock_does_not_block(tmp_path: Path):
    path = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "ready\n"
    for option in ("resume", "overwrite"):
        with pytest.raises(BusyError, match=r"run: another run is at work in this folder") as caught:
            create(path, **{option: True})
        assert caught.value.exit_code == 8
    holder.kill()
    holder.communicate()
    assert (path / ".lock").exists()
    with create(path, resume=True) as run:
        assert run.metrics.read_text() == '{"event": "first"}\n'
    assert not (path / ".lock").exists()


def test_two_runs_of_one_name_at_a_time_get_two_folders(tmp_path: Path):
    with create(None, tmp_path) as first, create(None, tmp_path) as second:
        assert (first.path.name, second.path.name) == ("wnut17", "wnut17-2")


def test_a_lock_file_removed_before_it_could_be_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lock, calls, flock = Lock(tmp_path / ".lock"), [], fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:  # the last holder releases it between our open and our lock
            (tmp_path / ".lock").unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert lock.acquire()
    assert len(calls) == 2
    assert not Lock(tmp_path / ".lock").acquire()
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_events_are_lines_that_can_be_cut_back(tmp_path: Path):
    with create(tmp_path / "run") as run:
        run.append_event({"event": "a", "text": "naïve\n"})
        size = run.events_size()
        run.append_event({"event": "b"})
        run.truncate_events(size)
        assert run.metrics.read_text(encoding="utf-8") == '{"event": "a", "text": "naïve\\n"}\n'
        run.truncate_events(10_000)
        assert run.events_size() == size
        with pytest.raises(ValueError, match="not JSON compliant"):
            run.append_event({"loss": float("nan")})
        assert run.events_size() == size


def test_latest_names_the_newest_finished_run(tmp_path: Path):
    assert find_latest("ner", root=tmp_path) is None
    for expected in ("wnut17", "wnut17-2"):
        run = fill(create(None, tmp_path))
        run.mark_finished(task="ner", root=tmp_path)
        assert find_latest("ner", root=tmp_path) == tmp_path / "ner" / expected
    outside = fill(create(tmp_path / "elsewhere"))
    outside.mark_finished(task="ner", root=tmp_path)
    assert find_latest("ner", root=tmp_path) == tmp_path / "ner" / "wnut17-2"


@pytest.mark.parametrize("text", ["gone", "../../etc", "", ".", "/etc"])
def test_a_latest_file_that_names_no_run_is_ignored(tmp_path: Path, text: str):
    (tmp_path / "ner").mkdir()
    (tmp_path / "ner" / "latest").write_text(text)
    assert find_latest("ner", root=tmp_path) is None


def test_only_the_holder_writes(tmp_path: Path):
    with create(tmp_path / "run") as run:
        assert run.writes
        assert not RunFolder(run.path).writes
    assert not run.writes
