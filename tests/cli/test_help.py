"""Help of every command: panels, the order of use, two examples that work as typed, a terminal or a pipe."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from seqtool.cli import app
from seqtool.cli.help import PANELS, SHORT
from tests.cli.program import on_a_terminal
from tests.cli.running import Inside

PROGRAM: Any = typer.main.get_command(app.app)


def every_command(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The program, its groups and their commands, by the words that name them."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from every_command(inner, *words, name)


COMMANDS = dict(every_command(PROGRAM))
every = pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("seqtool", *words)))


def examples(text: str) -> list[str]:
    """The lines after the heading of the examples, at the end of a help text."""
    return [line.strip() for line in text.partition("\nExamples:\n")[2].splitlines()]


def calls(example: str) -> list[list[str]]:
    """What follows `seqtool` in each command of a pipeline."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word == "|":
            found.append([])
        elif word == ">":
            next(lexer)
        else:
            found[-1].append(word)
    return [words[1:] for words in found if words[0] == "seqtool"]


def parse(words: list[str]) -> None:
    """Parse a command line as `seqtool` does, without running it."""
    command = PROGRAM
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    assert not hasattr(command, "commands"), "a group without a command"
    command.make_context(command.name, list(words))


@every
def test_the_help_ends_with_two_examples_that_parse(inside: Inside, words: tuple[str, ...]) -> None:
    found = examples(inside(*words, "-h").out.decode())
    assert len(found) == 2
    for example in found:
        assert len(example) <= 78
        assert any(tuple(call[: len(words)]) == words for call in calls(example)), example
        for call in calls(example):
            parse(call)


def test_an_example_with_a_misspelt_option_would_not_parse() -> None:
    with pytest.raises(app.ParserError, match="--tempreature"):
        parse(["lm", "sample", "--tempreature", "1"])


@every
def test_every_argument_and_option_is_explained_in_sentences(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        text = parameter.help or ""
        assert text.endswith("."), parameter.name
        assert not text[0].islower() or text.split()[0].endswith(":"), text


@every
def test_a_long_list_of_options_is_in_panels(words: tuple[str, ...]) -> None:
    panels = [each.rich_help_panel for each in COMMANDS[words].params if each.param_type_name == "option"]
    if words and len(panels) > SHORT:
        assert set(panels) <= set(PANELS)
    elif words:
        assert set(panels) <= {None}


def test_commands_stand_in_the_order_of_use(inside: Inside) -> None:
    listed = inside("-h").out.decode().partition("\nCommands:\n")[2].partition("\n\n")[0].splitlines()
    names = [line.split()[0] for line in listed if not line.startswith("   ")]
    assert names == list(app.COMMANDS)
    assert set(names) == set(PROGRAM.commands)


def test_panels_stand_in_one_order_everywhere(inside: Inside) -> None:
    for words in (("train", "ner"), ("translate",), ("evaluate",), ("lm", "sample")):
        lines = inside(*words, "-h").out.decode().splitlines()
        headings = [line.removesuffix(":") for line in lines if line.removesuffix(":") in PANELS]
        assert headings == [panel for panel in PANELS if panel in headings]
        assert {"Output", "Hardware"} <= set(headings)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_panels_and_loses_no_square_brackets(columns: int, tmp_path: Path) -> None:
    shown = on_a_terminal(
        "translate", "-h", folder=tmp_path, both=True, TERM="xterm", COLUMNS=str(columns), NO_COLOR=""
    )
    assert "\x1b[" in shown
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert max(map(len, shown.splitlines())) <= columns
    for panel in ("Data", "Model", "Decoding", "Output", "Hardware"):
        assert f"─ {panel} ─" in shown
    assert "under [decoding], unless" in shown


@pytest.mark.parametrize(
    ("switches", "variables"),
    [
        ((), {"TERM": "xterm", "NO_COLOR": "1"}),
        ((), {"TERM": "dumb"}),
        (("--no-color",), {"TERM": "xterm"}),
    ],
    ids=["NO_COLOR", "TERM", "--no-color"],
)
def test_help_without_colours_is_the_plain_text_of_a_pipe(
    inside: Inside, switches: tuple[str, ...], variables: dict[str, str], tmp_path: Path
) -> None:
    shown = on_a_terminal(
        "lm", "sample", "-h", *switches, folder=tmp_path, both=True, COLUMNS="80", **variables
    )
    assert shown.replace("\r\n", "\n") == inside("lm", "sample", "-h").out.decode()
    assert "─" not in shown
