"""`seqtool tag` as a running process: pipes that pause, readers that leave, terminals, signals."""

from __future__ import annotations

import os
import pty
import signal
import statistics
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import COMMAND, Inside, assert_error, environment, shell, start

LINE = b"Ada lives in New York .\n"
ANSWER = b"Ada\tB-PER\nlives\tO\nin\tO\nNew\tB-LOC\nYork\tI-LOC\n.\tO\n\n"
HOSTILE = "Ada \x1b]0;owned\x07\x1b[2J lives in \u202ekroY\n"
NOBODY_WAITS = 10.0  # seconds; an answer within this time cannot have waited for the producer


@pytest.fixture
def tagging(tiny: Tiny, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running `seqtool tag` whose input stays open."""
    process = start("tag", "-m", tiny.run, cwd=tmp_path)
    yield process
    process.kill()
    process.communicate()


def ask(process: subprocess.Popen[bytes], text: bytes) -> bytes:
    """The answer up to a blank line, read before anything else is written."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text)
    process.stdin.flush()
    answer = b""
    while not answer.endswith(b"\n\n") and answer != b"\n":
        answer += process.stdout.readline()
    return answer


def test_each_line_is_answered_before_the_next_is_written(
    tagging: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
):
    assert ask(tagging, LINE) == ANSWER
    assert ask(tagging, b"\n") == b"\n"
    times = []
    for _ in range(40):
        started = time.perf_counter()
        assert ask(tagging, LINE) == ANSWER
        times.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f"\n`seqtool tag`, line to answer once warm: median {1000 * statistics.median(times):.1f} ms")
    assert tagging.stdin is not None
    tagging.stdin.write(b"Ada")  # no line end: there may be no answer yet
    tagging.stdin.flush()
    tagging.stdin.write(b" lives in New York .")
    out, err = tagging.communicate(timeout=60)  # the end of the input completes the line
    assert out == ANSWER
    assert err.startswith(b"43 sentences, 252 tokens, ")
    assert tagging.returncode == 0


def test_head_ends_quietly(tiny: Tiny, tmp_path: Path):
    many = f"yes '{LINE.decode().strip()}' | head -n 100000"
    outcome = shell(f"{many} | $seqtool tag -m {tiny.run} | head -1; echo ${{PIPESTATUS[2]}}", cwd=tmp_path)
    assert (outcome.out, outcome.err) == (b"Ada\tB-PER\n0\n", "")


def test_a_full_disk_is_noticed_while_the_producer_pauses(tiny: Tiny, tmp_path: Path):
    with open("/dev/full", "wb") as full, start("tag", "-m", tiny.run, cwd=tmp_path, stdout=full) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(LINE)
        process.stdin.flush()
        assert process.wait(timeout=60) == 5  # the input is still open
        assert process.stderr.read() == b"seqtool tag: error: No space left on device\n"


def test_an_interrupt_ends_at_once_while_the_producer_pauses(tagging: subprocess.Popen[bytes]):
    assert ask(tagging, LINE) == ANSWER
    tagging.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert tagging.wait(timeout=60) == 130  # the input is still open
    assert time.monotonic() - started < NOBODY_WAITS
    assert tagging.stderr is not None
    assert tagging.stderr.read() == b""


def test_columns_are_answered_at_their_blank_line_and_a_bad_byte_where_it_stands(tiny: Tiny, tmp_path: Path):
    rows, answer = b"Ada\nlives\n\n", b"Ada\tB-PER\nlives\tO\n\n"
    with start("tag", "-m", tiny.run, "--input-format", "conll", cwd=tmp_path) as process:
        for _ in range(2):
            assert ask(process, rows) == answer
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(rows + b"\xff\n" + rows)
        process.stdin.flush()
        assert process.wait(timeout=60) == 3  # the input is still open
        assert process.stdout.read() == answer
        error = process.stderr.read().decode()
    assert error.startswith("seqtool tag: error: standard input:10: not UTF-8 at byte 33 (0xff)")
    assert error.count("\n") == 1


def on_a_terminal(*arguments: object, cwd: Path, **env: str) -> tuple[int, str]:
    """Exit code, and everything that a terminal of 100 columns shows of both streams."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", **env),
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other side has closed
        pass
    finally:
        os.close(ours)
    return process.wait(timeout=60), shown.decode().replace("\r\n", "\n")


def test_escapes_in_data_are_raw_in_a_pipe_and_harmless_on_a_terminal(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    (tmp_path / "in.txt").write_text(HOSTILE)
    words = ("tag", "in.txt", "-m", tiny.run, "--format", "inline")
    out = inside(*words).out
    assert b"\x1b" in out
    assert b"\x07" in out
    code, shown = on_a_terminal(*words, cwd=tmp_path)
    assert code == 0
    assert "\\x1b" in shown
    assert "\\x07" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_training_redraws_on_a_terminal_and_gives_it_back(tiny: Tiny, tmp_path: Path):
    name = "t\x1b[2J.conll"
    (tmp_path / name).write_bytes(tiny.train.read_bytes())
    words = ("train", "ner", "--train", name, *tiny_settings(), "--epochs", 2, "-o", "r\x1b[31m")
    code, shown = on_a_terminal(*words, cwd=tmp_path)
    assert code == 0
    assert "\x1b[?25l" in shown  # the cursor is hidden,
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # and shown again
    assert "2/2" in shown
    assert "t\\x1b[2J.conll" in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith("r\\x1b[31m\nnext: seqtool tag -m 'r\\x1b[31m' < sentences.txt\n")


def test_colour_only_on_a_terminal_that_wants_it(tmp_path: Path):
    words = ("tag", "--kbset")
    assert "\x1b[1;31merror" in on_a_terminal(*words, cwd=tmp_path)[1]
    for switch, env in (("--no-color", {}), ("--debug", {"NO_COLOR": "1"})):
        code, shown = on_a_terminal(*words, switch, cwd=tmp_path, **env)
        assert code == 2
        assert "[31m" not in shown
        assert "seqtool tag:" in shown
    assert_error(shell("TERM=xterm-256color $seqtool tag --kbset", cwd=tmp_path), 2, "tag", "--kbset")


@pytest.mark.slow
def test_a_long_stream_takes_bounded_memory(tiny: Tiny, tmp_path: Path):
    # 60 MB of one-word lines of a megabyte each, faster than they are tagged.
    script = (
        "import resource, subprocess, sys;"
        f"command = [*{list(COMMAND)!r}, 'tag', '-m', {str(tiny.run)!r}];"
        "code = subprocess.call(command, stdout=subprocess.DEVNULL);"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    (tmp_path / "measure.py").write_text(script)
    few, many = (
        shell(
            f"for i in $(seq {lines}); do head -c 999999 /dev/zero | tr '\\0' x; echo; done"
            f" | {sys.executable} measure.py",
            cwd=tmp_path,
        ).out.split()
        for lines in (2, 60)
    )
    assert few[0] == many[0] == b"0"
    assert int(many[1]) < int(few[1]) + 40  # megabytes
