from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqtool import files
from seqtool.errors import ModelError, StorageError
from seqtool.files import (
    Lock,
    digest,
    parse_json,
    read_json,
    safe_name,
    storage_errors,
    sync_folder,
    write_durably,
    write_json,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- durable writes ---


def test_a_file_is_made_and_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_durably(path, b"one")
    write_durably(path, b"")
    assert path.read_bytes() == b""
    write_durably(path, b"\0\xff" * 100_000)
    assert path.read_bytes() == b"\0\xff" * 100_000
    assert names_in(tmp_path) == ["x"]


@pytest.mark.parametrize("call", ["write", "fsync", "chmod", "replace"])
def test_whatever_fails_the_old_file_stays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    if call == "write":
        monkeypatch.setattr(os, "fdopen", fail)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"/x: No space left on device$"):
        write_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["x"]


def test_an_interruption_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_durably(tmp_path / "x", b"new")
    assert names_in(tmp_path) == []


def test_content_and_folder_reach_the_disk_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "content")
        fsync(descriptor)

    def noted_replace(source: str, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_durably(tmp_path / "x", b"new")
    assert calls == ["content", "rename", "folder"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask_which_stays(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_durably(tmp_path / "x", b"")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none/x: No such file or directory$"):
        write_durably(tmp_path / "none" / "x", b"")


def test_errors_other_than_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError


def test_a_folder_can_be_synced(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


# --- JSON ---


def test_json_survives_with_every_kind_of_value(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, 'ü\u2028\n"\\'], "b": {}, "": -0.0}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert "ü" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_what_is_not_json_is_not_written(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", value)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "duplicate key 'a'"),
        (b'[{"x": {"y": 1, "y": 1}}]', "duplicate key 'y'"),
        (b"[NaN]", "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b"[1e999]", "1e999 is out of the range of floating-point numbers"),
        (b'{"a": -1e400}', "-1e400 is out of the range"),
        (b"\xff\xfe", "utf-8"),
        (b"", "damaged or foreign"),
        (b'{"a": 1', "damaged or foreign"),
        (b"{'a': 1}", "damaged or foreign"),
        (b"1 2", "damaged or foreign"),
        (b"[" * 100_000, "damaged or foreign"),
        (b"9" * 10_000, "damaged or foreign"),
    ],
)
def test_json_that_is_not_strict_is_a_model_error_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        parse_json(raw, "config.json")
    assert str(caught.value).startswith("config.json: ")


def test_numbers_within_range_are_read_exactly() -> None:
    assert parse_json(b"[1e308, -1.5, 1e-400, 0.1]", "x") == [1e308, -1.5, 0.0, 0.1]


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"[]")
    os.truncate(path, files.JSON_LIMIT + 1)  # sparse: takes no room on the disk

    def never(_: Path) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(Path, "read_bytes", never)
    with pytest.raises(ModelError, match="larger than"):
        read_json(path)


def test_a_missing_file_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(StorageError, match="No such file"):
        digest(tmp_path / "x.json")


def test_the_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 1_000_000)
    known = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True)
    assert digest(tmp_path / "x") == known.stdout.split()[0]


# --- names ---


@pytest.mark.parametrize("name", ["a", "config.json", "a b", "ü", "a..b", "-x"])
def test_a_plain_file_name_is_safe(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "a\0b", "a/", "/"]
)
def test_a_name_that_could_point_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="is not a plain file name"):
        safe_name(name)


# --- locks ---

HOLDER = """
import sys
from pathlib import Path
from seqtool.files import Lock
lock = Lock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def test_a_lock_is_exclusive_until_it_is_released(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire()
    second.release()  # not held: nothing happens
    assert not second.acquire()
    first.release()
    assert names_in(tmp_path) == []
    assert second.acquire()
    second.release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert not Lock(path).acquire()
    holder.kill()
    holder.communicate()
    assert path.exists()  # what a crash leaves behind blocks nobody
    lock = Lock(path)
    assert lock.acquire()
    lock.release()


def test_a_lock_in_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        Lock(tmp_path / "none" / "lock").acquire()


def test_written_json_ends_with_a_line_feed(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {})
    assert (tmp_path / "x.json").read_bytes() == json.dumps({}).encode() + b"\n"
