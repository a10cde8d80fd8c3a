"""`seqtool recipes` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqtool.bundled import bundled_root, recipe_names
from tests.cli.program import inside, seqtool, tree

RECIPES = bundled_root() / "recipes"


def test_list_has_one_line_a_recipe(tmp_path):
    done = seqtool("recipes", "list", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.out.splitlines()[1:]]
    assert [row[0] for row in rows] == recipe_names()
    tiny = next(line for line in done.out.splitlines() if line.startswith("ner-tiny"))
    assert tiny.split()[1] == "ner" and tiny.rstrip().endswith("bundled")


def test_list_as_json_has_the_first_comment_and_the_source_of_the_data(tmp_path):
    found = {
        facts["name"]: facts for facts in json.loads(inside("recipes", "list", "--json", folder=tmp_path).out)
    }
    first = (RECIPES / "ner-wnut17" / "recipe.toml").read_text().splitlines()[0]
    assert found["ner-wnut17"] == {
        "name": "ner-wnut17",
        "task": "ner",
        "summary": first.removeprefix("# "),
        "data": "$SEQTOOL_DATA/wnut17, else hub leondz/wnut_17",
    }


def test_show_prints_the_recipe_byte_for_byte(tmp_path):
    done = inside("recipes", "show", "pos-ewt", folder=tmp_path)
    assert (done.code, done.out) == (0, (RECIPES / "pos-ewt" / "recipe.toml").read_text())


def test_copy_brings_the_data_along(tmp_path):
    done = inside("recipes", "copy", "ner-tiny", folder=tmp_path)
    assert (done.code, done.out) == (0, "ner-tiny/recipe.toml\n")
    assert "seqtool train ner ner-tiny/recipe.toml" in done.err
    expected = tree(RECIPES / "ner-tiny")
    assert tree(tmp_path / "ner-tiny") == {k: v for k, v in expected.items() if "__pycache__" not in k}
    assert (
        inside("recipes", "copy", "ner-tiny", "deep/er/mine", folder=tmp_path).out
        == "deep/er/mine/recipe.toml\n"
    )
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["mine"]


@pytest.mark.parametrize("what", ["file", "folder", "dangling link"])
def test_copy_never_overwrites(tmp_path, what):
    taken = tmp_path / "taken"
    if what == "file":
        taken.write_text("mine")
    elif what == "folder":
        taken.mkdir()
    else:
        taken.symlink_to("nowhere")
    done = inside("recipes", "copy", "ner-tiny", "taken", folder=tmp_path)
    assert done.code == 2
    remedy = "name another folder: seqtool recipes copy ner-tiny FOLDER"
    assert done.err == f"seqtool recipes copy: error: taken: exists already; {remedy}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    assert what != "folder" or not list(taken.iterdir())


def test_settings_are_a_line_each_with_default_values_and_meaning(tmp_path):
    done = inside("recipes", "settings", "lm", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    heading, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert heading == ["setting", "default", "values", "meaning"]
    found = {key: rest for key, *rest in rows}
    assert found["training.label_smoothing"][:2] == ["0.0", "number ≥ 0 and < 1"]
    assert found["model.dropout"][:2] == ["auto", "number ≥ 0 and < 1 or auto"]  # chosen from the text
    assert found["training.average"][:2] == ['"ema"', "none | ema | asgd"]
    assert "exclusive" not in done.out and all(len(rest) == 3 for rest in found.values())


def test_settings_can_be_searched_and_read_by_programs(tmp_path):
    found = json.loads(inside("recipes", "settings", "ner", "Zoneout", "--json", folder=tmp_path).out)
    assert [each["key"] for each in found] == ["model.zoneout", "model.zoneout_hidden"]
    assert found[0].keys() == {"key", "default", "values", "meaning"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nre",), "nre: expected one of ner, pos, translate, lm; did you mean 'ner'?"),
        (
            ("lm", "zzz"),
            "zzz: no setting of lm has this in its key or meaning; see: seqtool recipes settings lm",
        ),
    ],
)
def test_settings_that_are_not_there_are_said(tmp_path, words, message):
    done = inside("recipes", "settings", *words, folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"seqtool recipes settings: error: {message}\n"


@pytest.mark.parametrize("command", ["show", "copy", "run"])
def test_an_unknown_recipe_names_the_nearest(tmp_path, command):
    done = inside("recipes", command, "ner-tinny", folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"seqtool recipes {command}: error: ner-tinny: no bundled recipe of that name; "
        "did you mean 'ner-tiny'?\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_run_trains_the_recipe_as_train_does(tmp_path):
    settings = ("--set", "training.max_steps=1", "--set", "model.hidden=4", "--set", "device=cpu")
    ours = inside("recipes", "run", "ner-tiny", "--dry-run", *settings, folder=tmp_path)
    theirs = inside("train", "ner", "ner-tiny", "--dry-run", *settings, folder=tmp_path)
    assert ours.code == theirs.code == 0, ours.err

    def resolved(text: str) -> str:
        return text[: text.index("\n# ")]  # without the estimate of the time, which is measured

    assert resolved(ours.out) == resolved(theirs.out) and "max_steps = 1" in ours.out


@pytest.mark.slow
def test_run_makes_a_model(tmp_path: Path):
    settings = ("--set", "training.max_steps=1", "--set", "model.hidden=4", "--set", "device=cpu")
    done = seqtool("recipes", "run", "ner-tiny", "-o", "run", *settings, folder=tmp_path)
    assert (done.code, done.out) == (0, "run\n"), done.err
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
