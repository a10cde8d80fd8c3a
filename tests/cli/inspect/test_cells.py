"""`seqtool inspect cells`, `gradients` and `memory`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seqtool.nn.cell_names import CELL_NAMES
from seqtool.nn.cells import CELLS
from tests.cli.conftest import TinyModel
from tests.cli.running import Inside, refused

PNG = b"\x89PNG"


def table(text: bytes) -> list[list[str]]:
    return [line.split("\t") for line in text.decode().splitlines()]


def test_the_family_is_listed(inside: Inside):
    headings, *rows = table(inside("inspect", "cells", "--hidden", 20, "--inputs", 10).out)
    assert headings == ["cell", "width", "parameters", "source", "what it is", "equations"]
    assert [row[0] for row in rows] == list(CELL_NAMES)
    for name, width, count, source, what, equations in rows:
        assert int(width) == 20
        expected = CELLS[name].parameter_count(10, 20)
        assert int(count) == (20 * 30 if name == "echo_state" else expected)
        assert what.endswith(".") and source.partition(" ")[0] not in what
        assert "h_t = " in equations or name in ("projected_lstm", "multiplicative_lstm", "mogrifier_lstm"), (
            name
        )
        assert not equations.endswith((".", ";")) and ";;" not in equations, name
        assert re.fullmatch(r"[A-Z]\w+( et al\.| and [A-Z]\w+)? \d{4}", source), name


def test_widths_for_one_size_are_listed(inside: Inside):
    words = ("inspect", "cells", "lstm", "rnn", "--parameters", 5000, "--inputs", 8, "--layers", 2)
    _, *rows = table(inside(*words).out)
    assert [row[0] for row in rows] == ["lstm", "rnn"]
    assert all(4500 < int(row[2]) <= 5000 for row in rows)
    assert int(rows[1][1]) > int(rows[0][1])


def test_gradients_are_told_and_drawn(inside: Inside, tmp_path: Path):
    outcome = inside("inspect", "gradients", "irnn", "--length", 6, "--hidden", 8, "-o", "g.png")
    headings, row = table(outcome.out)
    assert headings == ["gradient norm at distance", "0", "1", "2", "5"]
    assert row[0] == "irnn"
    assert float(row[1]) == 1.0
    assert "picture in g.png" in outcome.err
    assert (tmp_path / "g.png").read_bytes().startswith(PNG)


def test_gradients_before_and_after_training_on_a_problem(inside: Inside):
    words = ("gru", "--problem", "adding", "--length", 6, "--hidden", 8, "--updates", 3, "--layers", 2)
    outcome = inside("inspect", "gradients", *words)
    assert [row[0] for row in table(outcome.out)[1:]] == ["gru, untrained", "gru, trained"]
    assert "after 3 updates, 0.1667 by guessing" in outcome.err


def test_gradients_of_language_models(inside: Inside, lm: TinyModel):
    outcome = inside("inspect", "gradients", "-m", lm.run, "--length", 7)
    (row,) = table(outcome.out)[1:]
    assert row[0].endswith("run")
    assert all(float(each) > 0 for each in row[1:])


def test_memory_is_compared_at_one_size(inside: Inside, tmp_path: Path):
    words = ("gru", "mingru", "--length", 6, "--updates", 20, "--parameters", 800, "-o", "m.svg")
    outcome = inside("inspect", "memory", *words)
    headings, *rows = table(outcome.out)
    assert headings == ["cell", "width", "parameters", "loss", "updates to half of guessing", "seconds"]
    assert [row[0] for row in rows] == ["gru", "mingru"]
    assert all(600 < int(row[2]) <= 800 for row in rows)
    assert "The adding problem over 6 steps" in (tmp_path / "m.svg").read_text()
    assert inside("inspect", "memory", "rnn", "--problem", "copying", *words[2:-2]).code == 0


@pytest.mark.parametrize("command", ["cells", "gradients", "memory"])
def test_what_is_no_cell_is_refused_with_the_nearest_name(inside: Inside, command: str):
    refused(inside("inspect", command, "lstn"), 2, f"inspect {command}", "no cell 'lstn'", "'lstm'")


def test_pictures_that_cannot_be_are_refused(inside: Inside, tiny: TinyModel):
    words = ("inspect", "gradients", "rnn", "--length", 3, "--hidden", 2)
    refused(inside(*words, "-o", "g.gif"), 2, "inspect gradients", "g.gif: a picture cannot be saved as .gif")
    refused(inside(*words, "-m", "absent"), 2, "inspect gradients", "absent: no such model")
    refused(inside("inspect", "gradients", "-m", tiny.run), 4, "inspect gradients", "ner", "lm")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnn", "--updates", 9), "--updates has no effect without --problem; leave it out"),
        (("-m", "run", "--hidden", 9), "--hidden has no effect without CELL"),
        (("-m", "run", "--layers", 2), "--layers has no effect without CELL"),
        (("-m", "run", "--problem", "adding", "--updates", 9), "--problem has no effect without CELL"),
    ],
)
def test_options_of_gradients_that_would_be_ignored_are_refused(
    inside: Inside, words: tuple[object, ...], message: str
):
    refused(inside("inspect", "gradients", *words), 2, "inspect gradients", message)
