"""The program as a user meets it: a process with streams and an exit code."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from seqtool.cli import app


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def environment(**variables: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SEQTOOL_")}
    return {**inherited, "OMP_NUM_THREADS": "1", "TERM": "dumb", **variables}


def seqtool(*arguments: object, folder: Path, stdin: str | bytes = b"", **variables: str) -> Outcome:
    """Run a command in a folder; text streams are taken and given as UTF-8, byte for byte."""
    done = subprocess.run(
        [sys.executable, "-m", "seqtool", *map(str, arguments)],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        cwd=folder,
        env=environment(**variables),
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def inside(*arguments: object, folder: Path, stdin: str = "", **variables: str) -> Outcome:
    """The same without a process of its own: no import to wait for, so it suits long tables of cases."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment(**variables), clear=True),
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            app.main(list(map(str, arguments)))
        except SystemExit as leaving:
            code = leaving.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def on_a_terminal(*arguments: object, folder: Path) -> str:
    """What a command shows on a terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "seqtool", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment(COLUMNS="120"),
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux: the other side has closed
        pass
    os.close(ours)
    process.communicate(timeout=60)
    return shown.decode()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
