"""`tests.cli.running` for text: UTF-8 in and out, in a given folder, with environment variables."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli import running


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def seqtool(*arguments: object, folder: Path, stdin: str = "", **variables: str) -> Outcome:
    """Run a command in its own process."""
    done = running.run(*arguments, cwd=folder, stdin=stdin.encode(), env=variables)
    return Outcome(done.code, done.out.decode(), done.err)


def inside(*arguments: object, folder: Path, stdin: str = "", **variables: str) -> Outcome:
    """Run a command in this process; nothing has to be imported again, so it suits long tables of cases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(os, "fsync", os.fstat)
        for name in running.PERSONAL:
            patch.delenv(name, raising=False)
        for name, value in variables.items():
            patch.setenv(name, value)
        done = running.Inside(patch)(*arguments, stdin=stdin.encode())
    return Outcome(done.code, done.out.decode(), done.err)


def on_a_terminal(*arguments: object, folder: Path, both: bool = False, **variables: str) -> str:
    """What a command shows on a terminal, which is standard output or `both` streams."""
    ours, theirs = os.openpty()
    process = running.start(
        *arguments,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs if both else subprocess.PIPE,
        env={"COLUMNS": "120", "TERM": "dumb", **variables},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux: the other side has closed
        pass
    os.close(ours)
    process.communicate(timeout=running.TIMEOUT)
    return shown.decode()


def answer(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """The line that a running command answers to some input while its input stays open."""
    assert process.stdin is not None and process.stdout is not None
    silence = threading.Timer(20, process.kill)
    silence.start()
    process.stdin.write(text)
    process.stdin.flush()
    line = process.stdout.readline()
    silence.cancel()
    return line


def cells(table: str) -> set[tuple[str, ...]]:
    """The rows of tables that were printed to a pipe."""
    return {tuple(line.split("\t")) for line in table.splitlines()}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
