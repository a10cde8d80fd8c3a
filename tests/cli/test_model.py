"""`seqtool model` from outside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from seqtool.files import digest, write_json
from seqtool.models.folder import save_model_folder
from seqtool.text.vocabulary import Vocabulary
from tests.cli.program import cells, inside, on_a_terminal, seqtool, tree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder `run` with a small model."""
    save_model_folder(
        tmp_path / "run" / "model",
        task="ner",
        config={"name": "small", "scheme": "iob2", "model": {"cell": "gru", "hidden": 3}},
        tensors={
            "forms.words.weight": torch.zeros(5, 4),
            "encoder.layers.0.weight": torch.zeros(2, 3),
            "encoder.layers.1.weight": torch.zeros(7),
            "crf.transitions": torch.zeros(2, 2),
            "crf.allowed": torch.ones(2, 2, dtype=torch.bool),
        },
        texts={
            "words.txt": Vocabulary(["<unk>", "a", "b", "c", "d"]).to_text(),
            "tags.txt": Vocabulary(["O", "B-X"]).to_text(),
            "entities.jsonl": '["X", "a b"]\n',
        },
        card="# small\n",
    )
    manifest = {
        "best": {"step": 12, "f1": 0.25},
        "data": {"train": {"source": "t.conll", "sha256": "ab", "sentences": 9}},
    }
    write_json(tmp_path / "run" / "manifest.json", manifest)
    return tmp_path


def test_info_says_all_about_a_model(folder):
    done = inside("model", "info", "run", "--json", folder=folder)
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    model = folder / "run" / "model"
    assert (facts["path"], facts["task"], facts["name"]) == ("run/model", "ner", "small")
    assert facts["settings"] == {"scheme": "iob2", "model": {"cell": "gru", "hidden": 3}}
    # Tensors that are not learned, such as the table of allowed transitions, are not parameters.
    assert facts["parts"] == {"crf": 4, "encoder.layers": 13, "forms.words": 20}
    assert facts["parameters"] == 37
    assert (facts["vocabularies"], facts["tags"]) == ({"tags.txt": 2, "words.txt": 5}, ["O", "B-X"])
    assert facts["size"] == sum(file.stat().st_size for file in model.iterdir())
    assert {name: entry["sha256"] for name, entry in facts["files"].items()} == {
        file.name: digest(file) for file in model.iterdir()
    }
    assert (facts["dev"], facts["data"]["train"]["sentences"]) == ({"f1": 0.25}, 9)


def test_info_shows_tables(folder):
    done = seqtool("model", "info", "-m", "run/model", folder=folder)
    assert (done.code, done.err) == (0, "")
    expected = {("task", "ner"), ("dev f1", "0.2500"), ("all", "37"), ("model.hidden", "3")}
    assert expected <= cells(done.out)
    assert done.out.startswith("run/model\ntask\tner\nname\tsmall\n")
    assert "\n\nparameters\n" in done.out and ("forms.words", "20") in cells(done.out)


def test_tables_are_drawn_on_a_terminal_only(folder):
    shown = on_a_terminal("model", "info", "run", folder=folder)
    assert "│ task" in shown
    assert "\t" not in shown
    text = seqtool("model", "info", "run", folder=folder).out
    assert text.isascii() and "  " not in text and not re.search(r"[ \t]$", text, re.MULTILINE)


def test_a_cell_in_a_pipe_is_one_field(folder):
    (folder / "run").rename(folder / "a\tb\nc")
    text = inside("model", "info", "a\tb\nc", folder=folder).out
    assert text.startswith("a\\tb\\nc/model\ntask\tner\n")


def test_a_model_that_was_moved_has_no_run(folder):
    (folder / "run" / "model").rename(folder / "model")
    (folder / "manifest.json").write_text("[not ours")
    facts = json.loads(inside("model", "info", "model", "--json", folder=folder).out)
    assert (facts["dev"], facts["data"], facts["parameters"]) == ({}, {}, 37)


def test_verify_names_every_file(folder):
    done = inside("model", "verify", "run", folder=folder)
    names = sorted(file.name for file in (folder / "run" / "model").iterdir() if file.name != "manifest.json")
    assert (done.code, done.out) == (0, "".join(f"{name}: as recorded\n" for name in names))
    assert done.err == f"run/model: intact, {len(names)} files\n"
    done = inside("model", "verify", "run", "--json", folder=folder)
    assert json.loads(done.out) == {"path": "run/model", "verified": names}


@pytest.mark.parametrize(
    "name", ["README.md", "config.json", "model.safetensors", "words.txt", "entities.jsonl"]
)
@pytest.mark.parametrize("damage", ["flipped bit", "cut", "removed"])
def test_verify_finds_any_damage(folder, name, damage):
    path = folder / "run" / "model" / name
    content = path.read_bytes()
    changed = content[:-1] + (b"" if damage == "cut" else bytes([content[-1] ^ 1]))
    path.unlink() if damage == "removed" else path.write_bytes(changed)
    done = inside("model", "verify", "run", folder=folder)
    assert (done.code, done.out) == (4, "")
    assert name in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("none",), 2, "none: no such model"),
        (("run", "-m", "run"), 2, "two models were named, run and -m run; leave one of them out"),
        (("file.pt",), 4, "file.pt: is a file; give a model folder"),
        (("empty",), 4, "empty: neither a model folder"),
        ((), 2, "no model: name one with -m MODEL, or train one with `seqtool train ner`"),
    ],
)
def test_what_is_no_model_is_refused(folder, command, arguments, code, message):
    (folder / "file.pt").write_bytes(b"\x80\x04")
    (folder / "empty").mkdir()
    before = tree(folder)
    done = inside("model", command, *arguments, folder=folder)
    assert (done.code, done.out) == (code, "")
    assert message in done.err and len(done.err.splitlines()) == 1
    assert tree(folder) == before


def test_the_model_may_come_from_the_environment(folder):
    done = inside("model", "verify", folder=folder, SEQTOOL_MODEL=str(folder / "run"))
    assert done.code == 0
    assert done.err.startswith(f"model: {folder / 'run'} (from $SEQTOOL_MODEL)\n")


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize("task", ["ner", "pos", "translate", "lm"])
def test_the_newest_finished_run_of_any_task_is_the_default(folder, command, task):
    (folder / "runs" / task).mkdir(parents=True)
    (folder / "run").rename(folder / "runs" / task / "mine")
    (folder / "runs" / task / "latest").write_text("mine\n")
    done = inside("model", command, folder=folder)
    assert done.err.startswith(f"model: runs/{task}/mine (the newest run)\n"), done.err


def test_an_ensemble_of_strangers_is_refused(folder):
    for name in ("a", "b"):
        shutil.copytree(folder / "run", folder / name)
    (folder / "there").mkdir()
    for words, message in (
        (("run", "-o", "x"), "1 model given; an ensemble needs at least two"),
        (("run", "none", "-o", "x"), "none: no such model"),
        (("a", "b", "-o", "there"), "there: exists already; give another folder with -o"),
    ):
        done = inside("model", "ensemble", *words, folder=folder)
        assert (done.code, done.out) == (2, "") and message in done.err
    assert not (folder / "x").exists()
