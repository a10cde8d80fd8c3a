"""Every bundled recipe is complete and short, and ner-tiny's data is what its generator writes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from seqtool.settings import validate
from seqtool.tasks import TASKS

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/recipe.toml"))
SCRIPTS = sorted([*RECIPES.rglob("*.sh"), RECIPES.parent / "tests" / "run.sh"])
TINY = RECIPES / "ner-tiny"
SPLITS = ("train", "dev", "test")


def files_of(named: str | list[str]) -> list[str]:
    """One file, or source and target."""
    return [named] if isinstance(named, str) else named


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("ner_tiny_generate", TINY / "generate.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def splits(generator):
    return generator.generate()


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_named_after_its_folder(name):
    tables = tomllib.loads((RECIPES / name / "recipe.toml").read_text(encoding="utf-8"))
    assert tables["name"] == name
    assert tables["task"] in {"ner", "pos", "translate", "lm"}
    assert {"data", "model", "training"} <= tables.keys()
    assert (RECIPES / name / "RESULTS.md").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_data_is_beside_the_recipe_or_local_and_perhaps_on_the_hub(name):
    data = tomllib.loads((RECIPES / name / "recipe.toml").read_text(encoding="utf-8"))["data"]
    if "installed" in data:
        assert data.keys().isdisjoint({*SPLITS, "local", "hub"})
    elif "local" in data:
        assert data["local"].keys() in ({"folder", *SPLITS}, {"folder", "train"})
        assert "train" in data["local"]
        assert "hub" not in data or data["hub"]["files"].keys() == {"train", "validation", "test"}
    else:
        assert all((RECIPES / name / file).is_file() for split in SPLITS for file in files_of(data[split]))


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_only_settings_that_exist(name):
    tables = tomllib.loads((RECIPES / name / "recipe.toml").read_text(encoding="utf-8"))
    assert validate(TASKS[tables["task"]]().settings, tables, name).name == name


@pytest.mark.real
@pytest.mark.parametrize("name", NAMES)
def test_local_files_of_a_recipe_are_there(name):
    data = tomllib.loads((RECIPES / name / "recipe.toml").read_text(encoding="utf-8"))["data"]
    root = Path(os.environ.get("SEQTOOL_DATA", RECIPES.parents[1] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip("no real data: set SEQTOOL_DATA")
    if "local" in data:
        local = data["local"]
        named = [local[split] for split in SPLITS if split in local]
        files = [root / local["folder"] / file for each in named for file in files_of(each)]
        assert all(file.is_file() for file in files)


@pytest.mark.parametrize("name", NAMES)
def test_run_script_is_short_and_can_be_run(name):
    script = RECIPES / name / "run.sh"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 15
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_script_is_valid_shell(script):
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_committed_data_is_what_the_generator_writes(tmp_path):
    """In a separate process with another hash seed: nothing may depend on the order of a set."""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-W", "error", TINY / "generate.py", tmp_path]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    for split in SPLITS:
        assert (tmp_path / f"{split}.conll").read_bytes() == (TINY / f"{split}.conll").read_bytes()


def test_another_seed_gives_other_sentences(generator, splits):
    assert generator.generate(generator.SEED + 1)["test"] != splits["test"]


def test_sizes_and_no_sentence_is_shared(splits):
    assert {split: len(sentences) for split, sentences in splits.items()} == {
        "train": 1500,
        "dev": 300,
        "test": 300,
    }
    texts = [" ".join(token.text for token in tokens).lower() for split in SPLITS for tokens in splits[split]]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_most_names_are_not_in_training(generator, splits, split):
    assert 0.80 < generator.unseen(splits["train"], splits[split]) < 1


@pytest.mark.parametrize("split", SPLITS)
def test_every_sequence_is_valid_iob2_with_two_columns(split):
    previous = "O"
    for line in (TINY / f"{split}.conll").read_text(encoding="utf-8").split("\n"):
        assert re.fullmatch(r"|[^\s]+\t(O|[BI]-(PER|LOC|ORG|PROD))", line)
        tag = line.split("\t")[1] if line else "O"
        assert tag[:2] != "I-" or previous[1:] == tag[1:]
        previous = tag


@pytest.mark.parametrize("split", SPLITS)
def test_every_type_and_every_difficulty_occurs(splits, split):
    sentences = splits[split]
    tags = [token.tag for tokens in sentences for token in tokens]
    assert min(tags.count(f"B-{kind}") for kind in ("PER", "LOC", "ORG", "PROD")) >= 40
    texts = [" ".join(token.text for token in tokens) for tokens in sentences]
    assert sum(text == text.lower() for text in texts) >= 10
    assert sum(text == text.upper() for text in texts) >= 3
    assert sum(all(token.tag == "O" for token in tokens) for tokens in sentences) >= 20
    inside = [tokens[i].text for tokens in sentences for i in range(1, len(tokens)) if tokens[i].tag == "O"]
    assert sum(word[0].isupper() for word in inside) >= 30
    assert any('"' in text and "(" in text for text in texts)


def test_one_word_is_a_name_of_several_types(splits):
    kinds: dict[str, set[str]] = {}
    for tokens in splits["train"]:
        for token in tokens:
            kinds.setdefault(token.text, set()).add(token.tag)
    assert sum(len({tag for tag in tags if tag.startswith("B-")}) >= 3 for tags in kinds.values()) >= 10
