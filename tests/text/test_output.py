"""Output files that are either complete or absent."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from seqtool.errors import StorageError, UsageError
from seqtool.text.output import open_durably, require_free
from seqtool.text.splitting import split_file
from tests.training.faults import WRITES, Faults, disk_full, inject


def write(path: Path) -> None:
    with open_durably(path) as file:
        file.write(b"first ")
        file.write(b"second")


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch, before):
    path = tmp_path / "result"
    for call in itertools.count(1):
        if before is not None:
            path.write_bytes(before)
        faults = Faults(call, disk_full)
        with monkeypatch.context() as patch:
            inject(patch, faults, WRITES)
            if call > 20:
                pytest.fail("it never gets through")
            with contextlib.suppress(StorageError):
                write(path)
        found = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        if not faults.reached:
            assert (found, call) == ({"result": b"first second"}, 6)
            return
        assert found in ({} if before is None else {"result": before}, {"result": b"first second"})
        path.unlink(missing_ok=True)


def test_an_error_of_the_writer_leaves_nothing(tmp_path):
    def interrupted() -> None:
        with open_durably(tmp_path / "result") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"first second"


def test_permissions_follow_the_umask(tmp_path):
    (tmp_path / "plain").touch()
    write(tmp_path / "result")
    assert (tmp_path / "result").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_only_a_free_place_in_a_folder_is_accepted(tmp_path):
    (tmp_path / "taken").touch()
    for path, message in (
        ("taken", "exists already"),
        (".", "is a folder"),
        ("no/x", "there is no folder .*/no; make it with: mkdir -p "),
    ):
        with pytest.raises(UsageError, match=message):
            require_free(tmp_path / path, overwrite=False)
    require_free(tmp_path / "taken", overwrite=True)
    require_free(tmp_path / "free", overwrite=False)
    require_free(Path("/dev/null"), overwrite=False)


def test_a_full_disk_leaves_no_half_of_a_split(tmp_path, monkeypatch):
    source, folder = tmp_path / "all.conll", tmp_path / "parts"
    source.write_text("".join(f"w{n}\tO\n\n" for n in range(10)))
    folder.mkdir()
    for name in ("train", "dev", "test"):
        (folder / f"{name}.conll").write_text("old\tO\n\n")
    for call in (1, 2, 3):  # the writes; all of them come before any file takes its place
        with monkeypatch.context() as patch:
            inject(patch, Faults(call, disk_full), WRITES)
            with pytest.raises(StorageError, match=r"conll: No space left on device"):
                split_file(source, folder, overwrite=True)
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            f"{name}.conll": "old\tO\n\n" for name in ("train", "dev", "test")
        }
