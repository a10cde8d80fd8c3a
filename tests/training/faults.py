"""A disk that fails, or a process that dies, at the n-th system call of a save."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest

WRITES = ("fsync", "replace", "rename")  # together with write(), the calls that a full disk can refuse
OTHERS = ("unlink", "rmdir", "mkdir", "chmod", "open")
DIED = 99


class Faults:
    """Counts the calls to the file system; the n-th one fails, or ends the process."""

    def __init__(self, at: int, act: Callable[[], None], *, lasting: bool = False) -> None:
        self.at = at
        self.act = act
        self.lasting = lasting  # whether every later call fails, too
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at or (self.lasting and self.calls > self.at):
            self.act()

    @property
    def reached(self) -> bool:
        return self.calls >= self.at


class _HalfWriter:
    """A file whose writes may stop halfway."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults

    def write(self, content: bytes) -> int:
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        self._faults()
        return int(self._file.write(content[len(content) // 2 :]))

    def __enter__(self) -> _HalfWriter:
        return self

    def __exit__(self, *details: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def inject(monkeypatch: pytest.MonkeyPatch, faults: Faults, names: tuple[str, ...]) -> None:
    """Route the named functions of `os`, and writes to files opened by `os.fdopen`, through `faults`."""
    for name in names:
        monkeypatch.setattr(os, name, _guarded(getattr(os, name), faults))
    fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", lambda *args, **options: _HalfWriter(fdopen(*args, **options), faults))


def _guarded(function: Callable[..., Any], faults: Faults) -> Callable[..., Any]:
    def guarded(*args: Any, **options: Any) -> Any:
        faults()
        return function(*args, **options)

    return guarded


def disk_full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def die() -> None:
    os._exit(DIED)


def run_and_die_at(call: int, action: Callable[[], None]) -> bool:
    """Run `action` in a child process that dies at a system call; returns whether it got that far."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns about other threads; they are idle here
        child = os.fork()
    if child == 0:
        try:
            faults = Faults(call, die)
            inject(pytest.MonkeyPatch(), faults, WRITES + OTHERS)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, DIED), "the action itself failed"
    return status == DIED
