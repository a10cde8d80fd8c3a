"""`seqtool translate` as a running process: pipes that pause, readers that leave, full disks."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import TinyTranslator
from tests.cli.program import answer
from tests.cli.running import assert_error, shell, start
from tests.translation.tiny_pairs import TEXTS

LINE, ANSWER = (f"{side}\n".encode() for side in TEXTS[2])


@pytest.fixture
def translating(pairs: TinyTranslator, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running `seqtool translate` whose input stays open."""
    process = start("translate", "-m", pairs.run, cwd=tmp_path)
    yield process
    process.kill()
    process.communicate()


def test_each_line_is_answered_before_the_next_is_written(translating: subprocess.Popen[bytes]) -> None:
    for _ in range(3):
        assert answer(translating, LINE) == ANSWER
        assert answer(translating, b"\n") == b"\n"
    out, err = translating.communicate(LINE.strip(), timeout=60)  # the end completes the line
    assert (out, translating.returncode) == (ANSWER, 0)
    assert err.startswith(b"7 lines, 12 symbols, ")


def test_an_interrupt_ends_at_once_while_the_producer_pauses(translating: subprocess.Popen[bytes]) -> None:
    assert answer(translating, LINE) == ANSWER
    translating.send_signal(signal.SIGINT)
    assert translating.wait(timeout=10) == 130  # the input is still open
    assert translating.stderr is not None
    assert translating.stderr.read() == b""


def test_head_ends_quietly(pairs: TinyTranslator, tmp_path: Path) -> None:
    many = f"yes '{LINE.decode().strip()}' | head -n 20000"
    script = f"{many} | $seqtool translate -m {pairs.run} | head -1; echo ${{PIPESTATUS[2]}}"
    outcome = shell(script, cwd=tmp_path)
    assert (outcome.out, outcome.err) == (ANSWER + b"0\n", "")


def test_closed_and_full_streams_are_5(pairs: TinyTranslator, tmp_path: Path) -> None:
    command = f"$seqtool translate -m {pairs.run}"
    assert_error(shell(f"{command} >&-", cwd=tmp_path), 5, "translate", "standard output is closed")
    with open("/dev/full", "wb") as full:
        process = start("translate", "-m", pairs.run, cwd=tmp_path, stdout=full)
        with process:
            assert process.stdin is not None and process.stderr is not None
            process.stdin.write(LINE)
            process.stdin.flush()
            assert process.wait(timeout=60) == 5  # the input is still open
            assert process.stderr.read() == b"seqtool translate: error: No space left on device\n"
