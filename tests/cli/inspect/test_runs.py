"""`seqtool inspect curves`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, TinyModel, TinyTranslator
from tests.cli.running import Inside, refused


def table(text: bytes) -> list[list[str]]:
    return [line.split("\t") for line in text.decode().splitlines()]


def test_trainings_stand_side_by_side_the_best_first(
    inside: Inside, lm: TinyModel, tiny: Tiny, tmp_path: Path
):
    worse = shutil.copytree(lm.run, tmp_path / "worse")
    events = [json.loads(line) for line in (worse / "metrics.jsonl").read_text().splitlines()]
    for event in events:
        if event["event"] == "evaluation":
            event["metrics"]["nats_per_character"] += 1.0
    (worse / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    outcome = inside("inspect", "curves", worse, lm.run, "-o", "c.svg")
    headings, *rows = table(outcome.out)
    assert headings == ["run", "best dev nats_per_character", "at step", "steps", "minutes"]
    assert [row[0] for row in rows] == [str(lm.run), str(worse)]
    assert float(rows[1][1]) - float(rows[0][1]) == pytest.approx(1.0, abs=1e-3)
    assert "picture in c.svg" in outcome.err
    assert "dev nats per character" in (tmp_path / "c.svg").read_text()
    assert "different dev data" not in outcome.err + (tmp_path / "c.svg").read_text()
    words = ("--metric", "f1", "--against", "minutes", "-o", "d.png")
    headings, row = table(inside("inspect", "curves", tiny.run, *words).out)
    assert headings[1] == "best dev f1"
    assert float(row[1]) == 1.0


@pytest.mark.parametrize(("select", "shown"), [("exact_match", "exact_match"), ("loss", "bleu")])
def test_runs_are_compared_by_what_chose_their_weights(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path, select: str, shown: str
):
    run = shutil.copytree(pairs.run, tmp_path / "run")
    recipe, count = re.subn(r"(?m)^select = .*$", f'select = "{select}"', (run / "recipe.toml").read_text())
    assert count == 1
    (run / "recipe.toml").write_text(recipe)
    headings, _ = table(inside("inspect", "curves", run).out)
    assert headings[1] == f"best dev {shown}"


def test_runs_on_different_data_are_shown_with_a_warning(inside: Inside, lm: TinyModel, tmp_path: Path):
    other = shutil.copytree(lm.run, tmp_path / "other")
    facts = json.loads((other / "manifest.json").read_text())
    facts["data"]["dev"]["sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(facts))
    outcome = inside("inspect", "curves", lm.run, other, "-o", "c.svg")
    assert outcome.code == 0
    assert "warning: these runs were evaluated on different dev data" in outcome.err
    assert "evaluated on different dev data: scores cannot be compared" in (tmp_path / "c.svg").read_text()


def test_what_cannot_be_compared_is_refused(inside: Inside, lm: TinyModel, tiny: Tiny):
    command = ("inspect", "curves")
    refused(inside(*command, "absent"), 2, "inspect curves", "absent: not a run folder")
    refused(inside(*command, lm.run, "--metric", "f1"), 2, "inspect curves", "--metric f1: no metric")
    message = "runs of lm and ner: scores of different tasks cannot be compared"
    refused(inside(*command, lm.run, tiny.run), 2, "inspect curves", message)
    refused(
        inside(*command, lm.run, "-o", "x.gif"), 2, "inspect curves", "name a file that ends in .png or .svg"
    )
    assert inside(*command).code == 2
