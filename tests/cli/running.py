"""The command line as a black box: arguments and bytes in, exit code and bytes out."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple
from unittest import mock

import pytest

from seqtool.cli import app

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "seqtool")
TIMEOUT = 120  # seconds; only a command that hangs takes so long
# Settings of the tester's own shell must not reach the program under test.
PERSONAL = (
    "SEQTOOL_MODEL",
    "SEQTOOL_DATA",
    "NO_COLOR",
    "FORCE_COLOR",
    "TERM",
    "COLUMNS",
    "PYTHONIOENCODING",
    "PYTHONUNBUFFERED",
)


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in PERSONAL}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **changes}


def start(
    *arguments: object,
    cwd: Path,
    stdin: int | IO[Any] | None = subprocess.PIPE,
    stdout: int | IO[Any] | None = subprocess.PIPE,
    stderr: int | IO[Any] | None = subprocess.PIPE,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process, which the caller ends."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(**(env or {})),
    )


def run(*arguments: object, cwd: Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Outcome:
    """Run a process to its end."""
    with start(*arguments, cwd=cwd, env=env) as process:
        out, err = process.communicate(stdin, timeout=TIMEOUT)
    return Outcome(process.returncode, out, err.decode())


def shell(script: str, *, cwd: Path, env: Mapping[str, str] | None = None) -> Outcome:
    """Run a bash script in which `$seqtool` is the command."""
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=cwd,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(seqtool=" ".join(COMMAND), **(env or {})),
    )
    return Outcome(done.returncode, done.stdout, done.stderr.decode())


class Inside:
    """Runs commands in this process, which is faster where a separate process would prove nothing more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def __call__(self, *arguments: object, stdin: bytes = b"") -> Outcome:
        out, err = io.BytesIO(), io.BytesIO()
        # A command may set variables for its own process, which later processes must not inherit.
        with mock.patch.dict(os.environ), self._patch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", write_through=True))
            patch.setattr(os, "_exit", sys.exit)
            with pytest.raises(SystemExit) as leaving:
                app.main([*map(str, arguments)])
            code = leaving.value.code
            return Outcome(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue().decode())


def assert_error(outcome: Outcome, code: int, command: str, *words: str) -> str:
    """Check for exit code `code` and a single line on stderr that contains `words`; return that line."""
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    errors = [line for line in lines if ": error: " in line]
    assert errors == lines[-1:], outcome
    assert errors[0].startswith(f"seqtool {command}: error: ".replace("seqtool :", "seqtool:")), errors[0]
    for word in words:
        assert word in errors[0], errors[0]
    return errors[0]


def refused(outcome: Outcome, code: int, command: str, *words: str) -> str:
    """Like `assert_error`, and nothing on stdout."""
    assert outcome.out == b""
    return assert_error(outcome, code, command, *words)


def interrupted(outcome: Outcome, number: int, command: str, *words: str) -> str:
    """The command was ended by a signal, and its last line is not an error and holds `words`; that line."""
    assert (outcome.code, outcome.out) == (128 + number, b""), outcome
    assert "Traceback" not in outcome.err and "error" not in outcome.err, outcome
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"seqtool {command}: interrupted"), last
    for word in words:
        assert word in last, last
    return last


def contents(folder: Path) -> dict[str, str]:
    """Every file (with its digest) and every folder below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }
