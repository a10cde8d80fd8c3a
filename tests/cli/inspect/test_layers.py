"""`seqtool inspect states` and `gates`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, TinyModel, TinyTranslator
from tests.cli.running import Inside, refused

PNG = b"\x89PNG"


def table(text: bytes) -> list[list[str]]:
    return [line.split("\t") for line in text.decode().splitlines()]


def test_units_of_a_language_model_along_a_text(inside: Inside, lm: TinyModel, tmp_path: Path):
    outcome = inside("inspect", "states", "-m", lm.run, "-o", "s.png", stdin=b"the cat\n")
    headings, *rows = table(outcome.out)
    assert headings[0] == "symbol"
    assert len(headings) == 4
    assert "".join(row[0] for row in rows) == "the cat"
    assert all(-1 <= float(each) <= 1 for row in rows for each in row[1:])
    assert (tmp_path / "s.png").read_bytes().startswith(PNG)
    chosen = inside("inspect", "states", "-m", lm.run, "--unit", 3, stdin=b"the cat\n")
    assert table(chosen.out)[0] == ["symbol", "unit 3"]


def test_gates_of_every_task(
    inside: Inside, lm: TinyModel, tiny: Tiny, pairs: TinyTranslator, tmp_path: Path
):
    for model in (lm.run, tiny.run):
        headings, *rows = table(inside("inspect", "gates", "-m", model, stdin=b"the cat sat\n").out)
        assert headings == ["gate", "mean", "below 0.1", "above 0.9", "where it is open"]
        assert [row[0] for row in rows] == ["input gate", "forget gate", "output gate"]
        assert all(0 <= float(each) <= 1 for row in rows for each in row[1:4])
        assert [row[4].split()[0] for row in rows] == ["writes", "keeps", "shows"]
    outcome = inside("inspect", "gates", "-m", pairs.run, "-o", "g.svg", stdin=b"the engine\n")
    assert outcome.code == 0
    assert b"<svg" in (tmp_path / "g.svg").read_bytes()


def test_states_of_a_tagger_and_of_a_translator_over_the_first_line(
    inside: Inside, tiny: Tiny, pairs: TinyTranslator, tmp_path: Path
):
    outcome = inside("inspect", "states", "-m", tiny.run, "-o", "t.png", stdin=b"\nAda met Bob.\nNo more\n")
    assert [row[0] for row in table(outcome.out)[1:]] == ["Ada", "met", "Bob", "."]
    outcome = inside(
        "inspect", "states", "-m", pairs.run, "--method", "tsne", "-o", "p.png", stdin=b"the engine\n"
    )
    assert outcome.code in (0, 3)  # a line of few symbols may be too short for a plane
    assert b"engine" in outcome.out


@pytest.mark.parametrize("command", ["states", "gates"])
def test_what_cannot_be_shown_is_refused(inside: Inside, lm: TinyModel, tiny: Tiny, command: str):
    words = ("inspect", command, "-m", lm.run)
    refused(
        inside(*words, "--layer", 9, stdin=b"the\n"),
        2,
        f"inspect {command}",
        "--layer 9: the model has 1 layer; give --layer 1",
    )
    zero_width = "\u200b\n".encode()
    refused(inside("inspect", command, "-m", tiny.run, stdin=zero_width), 3, f"inspect {command}", "no token")
    refused(inside(*words, stdin=b"\n"), 3, f"inspect {command}", "standard input: no text")
    refused(
        inside(*words, "-o", "x.gif", stdin=b"the\n"),
        2,
        f"inspect {command}",
        "name a file that ends in .png or .svg",
    )
    no_folder = inside(*words, "-o", "absent/x.png", stdin=b"the\n")
    refused(no_folder, 2, f"inspect {command}", "absent/x.png: there is no folder absent")
    refused(inside(*words, "absent"), 2, f"inspect {command}", "absent: no such file")


def test_a_plane_of_two_states_is_refused_before_anything_is_shown(inside: Inside, lm: TinyModel):
    outcome = inside("inspect", "states", "-m", lm.run, "-o", "x.png", stdin=b"th\n")
    refused(outcome, 3, "inspect states", "the text has 2 symbols, and -o needs at least 3")
    assert not outcome.out


def test_characters_that_the_model_does_not_know_are_read(inside: Inside, lm: TinyModel):
    rows = table(inside("inspect", "states", "-m", lm.run, stdin="the 漢\n".encode()).out)[1:]
    assert "".join(row[0] for row in rows) == "the <unk>"


def test_units_that_are_not_there_are_refused(inside: Inside, lm: TinyModel):
    outcome = inside("inspect", "states", "-m", lm.run, "--unit", 99, stdin=b"the\n")
    refused(outcome, 2, "inspect states", "--unit 99: the layer has 32 units; give a number from 0 to 31")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("states", "--method", "pca"), "--method has no effect without -o FILE; leave it out"),
        (("attention", "--picture", "svg"), "--picture has no effect without -o DIR; leave it out"),
        (("curves", "run", "--against", "minutes"), "--against has no effect without -o FILE; leave it out"),
    ],
)
def test_options_of_a_picture_are_refused_without_one(inside: Inside, words: tuple[str, ...], message: str):
    refused(inside("inspect", *words), 2, f"inspect {words[0]}", message)
