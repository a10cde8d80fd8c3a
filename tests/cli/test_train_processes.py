"""`seqtool train` as torchrun starts it: several processes, only one of which prints."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli import running
from tests.cli.conftest import Tiny, tiny_settings


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_results_and_messages_are_printed_once(tiny: Tiny, tmp_path: Path, options: tuple[str, ...]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command: tuple[Any, ...] = (
        "train",
        "ner",
        "--train",
        tiny.train,
        "--dev",
        tiny.dev,
        *tiny_settings("training.epochs=2"),
    )
    processes = [
        running.start(
            *command,
            *("-o", "run", "--device", "cpu", *options),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": "2",
                "RANK": str(number),
                "LOCAL_RANK": str(number),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
        )
        for number in range(2)
    ]
    (out, err), (silent, mute) = (process.communicate(timeout=running.TIMEOUT) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], (err, mute)
    assert (silent, mute) == (b"", b"")
    assert b'task = "ner"' in out if options else out == b"run\n"
    assert b"dev: " in err
