"""`seqtool inspect curves`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Tiny, TinyModel
from tests.cli.running import Inside, refused


def table(text: bytes) -> list[list[str]]:
    return [line.split("\t") for line in text.decode().splitlines()]


def test_trainings_stand_side_by_side_the_best_first(
    inside: Inside, lm: TinyModel, tiny: Tiny, tmp_path: Path
):
    outcome = inside("inspect", "curves", lm.run, tiny.run, "-o", "c.svg")
    headings, *rows = table(outcome.out)
    assert headings == ["run", "best dev loss", "at step", "steps", "minutes"]
    assert sorted(row[0] for row in rows) == sorted([str(lm.run), str(tiny.run)])
    assert float(rows[0][1]) <= float(rows[1][1])
    assert "picture in c.svg" in outcome.err
    assert "dev loss" in (tmp_path / "c.svg").read_text()
    words = ("--metric", "f1", "--against", "minutes", "-o", "d.png")
    headings, row = table(inside("inspect", "curves", tiny.run, *words).out)
    assert headings[1] == "best dev f1"
    assert float(row[1]) == 1.0


def test_what_cannot_be_compared_is_refused(inside: Inside, lm: TinyModel, tiny: Tiny):
    command = ("inspect", "curves")
    refused(inside(*command, "absent"), 2, "inspect curves", "absent: no run folder")
    refused(inside(*command, lm.run, tiny.run, "--metric", "f1"), 2, "inspect curves", "no metric f1")
    refused(inside(*command, lm.run, "-o", "x.gif"), 2, "inspect curves", "expected .png or .svg")
    assert inside(*command).code == 2
