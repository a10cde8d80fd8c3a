"""What every command has in common: help, versions, switches, closed streams, exit codes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import torch

from seqtool.cli import app
from tests.cli.conftest import Tiny
from tests.cli.running import Inside, assert_error, refused, run, shell, start

ESCAPE = b"\x1b["


def commands(inside: Inside, *parents: str) -> list[tuple[str, ...]]:
    """Every command and group, read from the help itself."""
    words = inside(*parents, "-h").out.decode().partition("\nCommands:\n")[2].partition("\nExamples:")[0]
    names = re.findall(r"^  (\w[\w-]*)", words, re.MULTILINE)
    return [parents, *(deeper for name in names for deeper in commands(inside, *parents, name))]


def test_every_command_explains_itself_on_stdout(inside: Inside):
    found = commands(inside)
    assert {(), ("tag",), ("evaluate",), ("train", "ner"), ("train", "pos"), ("recipes", "run")} <= set(found)
    for words in found:
        short, long = inside(*words, "-h"), inside(*words, "--help")
        assert short == long
        assert (short.code, short.err) == (0, "")
        assert short.out.decode().lstrip().startswith(f"Usage: {' '.join(['seqtool', *words])} ")
        assert ESCAPE not in short.out


@pytest.mark.parametrize("words", [(), ("train",)])
def test_a_group_without_a_command_shows_its_help_and_is_an_error(inside: Inside, words: tuple[str, ...]):
    outcome = inside(*words)
    assert (outcome.code, outcome.out) == (2, b"")
    assert outcome.err == inside(*words, "-h").out.decode()


def test_version_names_seqtool_python_torch_and_device(inside: Inside):
    outcome = inside("--version")
    assert re.fullmatch(r"seqtool \d\S*, Python 3\.\S+, torch \S+, (cpu|cuda\S*|mps)\n", outcome.out.decode())
    assert (outcome.code, outcome.err) == (0, "")


def test_the_module_and_the_script_are_one_program(inside: Inside, tmp_path: Path):
    script = Path(sys.executable).with_name("seqtool")
    expected = inside("tag", "-h").out.decode()
    assert run("tag", "-h", cwd=tmp_path).out.decode() == expected
    if script.exists():
        assert shell(f"{script} tag -h", cwd=tmp_path).out.decode() == expected


@pytest.mark.parametrize(
    ("words", "command", "expected"),
    [
        (["evaluat"], "", "no such command: evaluat; did you mean `seqtool evaluate`? See `seqtool -h`"),
        (["train", "nre"], "train", "no such command: nre; did you mean `seqtool train ner`? See"),
        (["tag", "--kbset", "1"], "tag", "--kbset"),
        (["tag", "--format", "xml"], "tag", "'xml' is not one of 'conll', 'jsonl', 'doccano'"),
        (["tag", "--kbest", "-1"], "tag", "expected at least 0 (given '-1')"),
        (["tag", "--min-confidence", "nan"], "tag", "--min-confidence"),
        (["tag", "--min-confidence", "1.5"], "tag", "expected at most 1 (given '1.5')"),
        (["tag", "--batch-tokens", "0"], "tag", "expected at least 1 (given '0')"),
        (["tag", "--threads", "-1"], "tag", "expected at least 0 (given '-1')"),
        (["lm", "score", "a", "b"], "lm score", "unexpected extra argument"),
        (
            ["tag", "--kbest", "2", "--format", "inline"],
            "tag",
            "--kbest cannot be written with --format inline",
        ),
        (
            ["train", "ner", "--epochs", "many"],
            "train ner",
            "Invalid value for '--epochs': expected a whole number (given 'many'); see",
        ),
        (["train", "ner", "--epochs"], "train ner", "--epochs"),
        (["train", "ner", "--seeds", "0"], "train ner", "expected at least 1 (given '0')"),
        (["train", "ner", "--resume", "--overwrite"], "train ner", "leave one of them out"),
        (["train", "ner", "--dev", "d.conll"], "train ner", "--dev needs --train"),
        (["train", "ner", "ner-tiny", "--test", "d.conll"], "train ner", "--set data.test=FILE"),
        (["train", "ner", "--track", "paper"], "train ner", "--track paper: expected --track tensorboard"),
        (["train", "pos", "--scheme", "iob2"], "train pos", "--scheme"),
        (["evaluate", "-m", "x", "--min", "f1"], "evaluate", "expected METRIC=X, as in --min f1=0.8"),
        (["evaluate", "-m", "x", "--min", "f1=high"], "evaluate", "--min f1=high"),
        (["evaluate", "-m", "x", "--min", "f1=nan"], "evaluate", "--min f1=nan"),
        (["evaluate", "-m", "x", "--scheme", "iob3"], "evaluate", "'iob3' is not one of"),
        (["evaluate", "-m", "x", "--target-precision", "0"], "evaluate", "more than 0, at most 1"),
        (["evaluate", "-m", "x", "--bootstrap", "-1"], "evaluate", "expected at least 0 (given '-1')"),
    ],
)
def test_a_mistyped_line_is_one_line_of_error(inside: Inside, words: list[str], command: str, expected: str):
    refused(inside(*words), 2, command, expected)


def test_quiet_leaves_results_and_errors(inside: Inside, tiny: Tiny):
    loud = inside("tag", "-m", tiny.run, stdin=b"Ada lives .\n")
    quiet = inside("tag", "--quiet", "-m", tiny.run, stdin=b"Ada lives .\n")
    assert loud.err
    assert quiet == (0, loud.out, "")
    assert inside("--quiet", "tag", "-m", tiny.run, stdin=b"Ada lives .\n") == quiet
    outcome = inside("train", "ner", "--train", tiny.train, "--epochs", 1, "--quiet")
    assert outcome == (0, b"runs/ner/custom\n", "")
    refused(inside("tag", "--quiet", "-m", "absent"), 2, "tag", "absent: no such model")


def test_debug_adds_the_traceback(inside: Inside):
    outcome = inside("tag", "-m", "absent", "--debug")
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last):\n")
    assert outcome.err.splitlines()[-1].startswith("seqtool tag: error: absent: no such model")


def test_a_switch_after_the_double_dash_is_an_argument(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "--quiet").write_text("Ada\n")
    outcome = inside("tag", "-m", tiny.run, "--", "--quiet")
    assert outcome.out.startswith(b"Ada\t")
    assert "1 sentence," in outcome.err


def test_a_bug_is_one_apologetic_line(inside: Inside, monkeypatch: pytest.MonkeyPatch):
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr("seqtool.cli.tag.find_taggers", fail)
    refused(inside("tag"), 1, "tag", "a bug in seqtool: ZeroDivisionError: by nought", "--debug")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
)
def test_running_out_of_memory_says_what_to_change(
    inside: Inside, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("seqtool.tagging.prediction.TaggerModel.predict", fail)
    refused(inside("tag", "-m", tiny.run, stdin=b"Ada\n"), 7, "tag", "out of memory; lower --batch-tokens")
    refused(inside("evaluate", "-m", tiny.run), 7, "evaluate", "out of memory; lower --batch-tokens")


def test_an_interrupt_outside_training_ends_with_130(inside: Inside, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seqtool.cli.tag.find_taggers", interrupt)
    assert inside("tag") == (130, b"", "")


@pytest.mark.parametrize("command", ["tag -m {run} text.txt", "recipes list"])
def test_a_reader_that_has_gone_is_no_error(tiny: Tiny, tmp_path: Path, command: str):
    (tmp_path / "text.txt").write_text("Ada lives .\n")
    words = command.format(run=tiny.run)
    # The reader of the pipe has ended long before the command writes.
    outcome = shell(f"$seqtool --quiet {words} | true; echo ${{PIPESTATUS[0]}}", cwd=tmp_path)
    assert (outcome.out, outcome.err) == (b"0\n", "")


def test_closed_and_full_streams(tiny: Tiny, tmp_path: Path):
    tag = f"$seqtool tag -m {tiny.run}"
    assert_error(shell(f"{tag} >&-", cwd=tmp_path), 5, "tag", "standard output is closed")
    assert_error(shell(f"{tag} <&-", cwd=tmp_path), 5, "tag", "standard input is closed")
    assert shell("$seqtool recipes list >/dev/full", cwd=tmp_path).code == 5
    # Only results matter: messages on stderr may be lost.
    copy = "$seqtool recipes copy ner-tiny"
    assert shell(f"{copy} one 2>&-", cwd=tmp_path) == (0, b"one/recipe.toml\n", "")
    assert shell(f"{copy} two 2>/dev/full", cwd=tmp_path) == (0, b"two/recipe.toml\n", "")
    reader, writer = os.pipe()
    os.close(reader)
    with start("recipes", "copy", "ner-tiny", "three", cwd=tmp_path, stderr=writer) as process:
        os.close(writer)
        assert process.communicate(timeout=60)[0] == b"three/recipe.toml\n"
    assert process.returncode == 0


def test_training_with_closed_output_is_refused_before_it_begins(tiny: Tiny, tmp_path: Path):
    outcome = shell(f"$seqtool train ner --train {tiny.train} >&-", cwd=tmp_path)
    assert_error(outcome, 5, "train ner", "standard output is closed")
    assert list(tmp_path.iterdir()) == []


def test_results_are_utf8_whatever_the_locale(tmp_path: Path):
    outcome = run("recipes", "copy", "ner-tiny", "ž中🙂", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert outcome[:2] == (0, "ž中🙂/recipe.toml\n".encode())
    assert "ž中🙂" in outcome.err


def test_a_file_name_that_is_not_utf8_is_printed_as_it_is(inside: Inside, tiny: Tiny, tmp_path: Path):
    name = b"caf\xe9"
    outcome = inside("train", "ner", "--train", tiny.train, "--epochs", 1, "-o", os.fsdecode(name))
    assert (outcome.code, outcome.out) == (0, name + b"\n")
    assert (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)) / "model").is_dir()


def test_streams_that_are_closed_are_not_taken_by_files(tmp_path: Path):
    # A file opened while descriptor 2 is free would get that number, and with it the warnings of libraries.
    script = (
        "import os; from seqtool.cli.app import _prepare_streams; os.close(2); _prepare_streams();"
        "print(os.open('new', os.O_CREAT | os.O_WRONLY) > 2)"
    )
    assert shell(f'{sys.executable} -c "{script}"', cwd=tmp_path).out == b"True\n"
    assert app.app.info.name == "seqtool"
