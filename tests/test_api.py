from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import seqtool
from seqtool import api
from seqtool.bundled import recipe_names, recipe_path
from seqtool.errors import BusyError, DataError, SettingsError, UsageError
from seqtool.files import Lock, read_json
from seqtool.lm import assessment as lm_assessment
from seqtool.models.tensors import read_tensors
from seqtool.tagging import assessment as tagging_assessment
from tests.listeners import Listener
from tests.tagging.tiny_tagger import (
    SENTENCES,
    tables,
    tiny_settings,
    tokens_of,
    write_columns,
)


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in, without the user's variables, and nobody waits for the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQTOOL_DATA", raising=False)
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    return tables(write_columns(tmp_path / "train.conll"))


# --- public names ---


def test_the_public_names_are_these() -> None:
    assert seqtool.__all__ == ["__version__", "evaluate", "load", "train"]
    assert dir(seqtool) == seqtool.__all__
    assert seqtool.evaluate is api.evaluate
    assert seqtool.load is api.load
    assert seqtool.train is api.train
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        _ = seqtool.trian


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, seqtool; sys.exit('torch' in sys.modules)"
    root = str(Path(__file__).parents[1])
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": root}).returncode == 0
    )


# --- settings ---


def test_precedence_is_default_recipe_overrides_flags(recipe: dict[str, Any]) -> None:
    overrides = ["model.hidden=9", "training.epochs=7", "model.cell=gru"]
    settings = api.resolve_settings(
        "ner", recipe, overrides=overrides, flags={"training.epochs": 5, "seed": None}
    )
    assert settings.model.dropout == 0.0  # the recipe's
    assert (settings.model.hidden, settings.model.cell) == (9, "gru")
    assert settings.training.epochs == 5
    assert settings.seed == 1  # a flag that was not given changes nothing
    assert settings.training.clip_norm == 5.0  # nobody's but the built-in default


def test_paths_of_a_recipe_are_relative_to_its_file_and_others_to_here(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "r.toml").write_text(
        'task = "ner"\nname = "r"\n[data]\ntrain = "t.conll"\ntest = "../u.conll"\n'
        '[vocabulary]\npretrained = "v.txt"\n'
    )
    settings = api.resolve_settings("ner", Path("there") / "r.toml", overrides=["data.dev=d.conll"])
    assert settings.data.train == str(tmp_path / "there" / "t.conll")
    assert settings.data.test == str(tmp_path / "u.conll")
    assert settings.data.dev == str(tmp_path / "d.conll")
    assert settings.vocabulary.pretrained == str(tmp_path / "there" / "v.txt")


def test_files_replace_the_data_of_a_recipe_but_not_how_it_is_laid_out(recipe: dict[str, Any]) -> None:
    recipe["data"] |= {"test": "old.conll", "scheme": "bilou"}
    settings = api.resolve_settings("ner", recipe, files={"train": "new.conll", "dev": None})
    assert settings.data.train == str(Path.cwd() / "new.conll")
    assert (settings.data.dev, settings.data.test) == (None, None)
    assert settings.data.scheme == "bilou"


def test_files_without_a_recipe_use_built_in_settings_and_not_the_tiny_recipe() -> None:
    settings = api.resolve_settings("ner", files={"train": "t.conll"})
    assert settings.name == "custom"
    assert settings.model == type(settings.model)()
    assert api.resolve_settings("ner").name == api.TASKS["ner"]().default_recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_bundled_recipe_resolves_and_survives_as_toml(name: str) -> None:
    task = tomllib.loads(recipe_path(name).read_text(encoding="utf-8"))["task"]
    settings = api.resolve_settings(task, name)
    assert settings.name == name
    again = api.resolve_settings(task, tomllib.loads(api.recipe_text(settings)))
    assert again == settings


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        ("ner-tinny", r"ner-tinny: no bundled recipe of that name, .*; did you mean 'ner-tiny'\?"),
        ("none.toml", "none.toml: no such recipe file"),
    ],
)
def test_a_recipe_that_does_not_exist_is_a_usage_error(recipe: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        api.resolve_settings("ner", recipe)


def test_a_recipe_of_another_task_is_refused(recipe: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="a recipe for task 'ner', not 'pos'"):
        api.resolve_settings("pos", recipe)
    with pytest.raises(SettingsError, match="task = 'pos', but `seqtool train ner` was typed"):
        api.resolve_settings("ner", recipe, overrides=["task=pos"])


def test_a_recipe_without_a_task_needs_one(recipe: dict[str, Any]) -> None:
    del recipe["task"]
    with pytest.raises(SettingsError, match="task None, expected one of ner, pos"):
        api.train(recipe)


@pytest.mark.parametrize("wrong", [{"data": 3}, {"model": []}, {"training": "x"}], ids=str)
def test_a_value_in_the_place_of_a_table_is_a_settings_error(
    recipe: dict[str, Any], wrong: dict[str, Any]
) -> None:
    (name,) = wrong
    with pytest.raises(SettingsError, match=rf"{name}: "):
        api.resolve_settings("ner", {**recipe, **wrong}, flags={"seed": 2})


def test_the_tables_that_were_given_stay_as_they_were(recipe: dict[str, Any]) -> None:
    before = json.dumps(recipe)
    api.resolve_settings("ner", recipe, overrides=["model.hidden=3"], flags={"training.epochs": 1})
    assert json.dumps(recipe) == before


# --- training ---


def test_a_run_leaves_what_repeats_it(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["data"] = {"train": "train.conll"}  # relative: the resolved recipe must not be
    run = api.train(recipe)
    assert run.path == Path("runs/ner/tiny")
    assert sorted(path.name for path in run.path.iterdir()) == [
        "manifest.json",
        "metrics.jsonl",
        "model",
        "recipe.toml",
        "state",
    ]
    stored = tomllib.loads((run.path / "recipe.toml").read_text())
    assert stored["data"]["train"] == str(tmp_path / "train.conll")
    again = api.train(run.path / "recipe.toml", output="again")
    first, second = (read_tensors(path / "model" / "model.safetensors") for path in (run.path, again.path))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def test_the_manifest_says_what_was_done(recipe: dict[str, Any]) -> None:
    run = api.train(recipe, output="r")
    manifest = read_json(run.path / "manifest.json")
    assert manifest["task"] == "ner"
    assert manifest["versions"]["seqtool"] == seqtool.__version__
    assert manifest["machine"]["device"] == "cpu"
    assert manifest["data"]["train"]["sentences"] == len(SENTENCES)
    assert len(manifest["data"]["train"]["sha256"]) == 64
    assert manifest["best"]["f1"] == run.result.metrics["f1"]
    assert manifest["stopped_by"] == "epochs"


def test_a_run_can_be_trained_from_complete_settings(tmp_path: Path, recipe: dict[str, Any]) -> None:
    run = api.train(tiny_settings(tmp_path / "train.conll"), output="r")
    assert run.result.steps > 0


@pytest.mark.parametrize(
    ("name", "value"), [("task", "pos"), ("files", {"dev": "d.conll"}), ("overrides", ["seed=7"])]
)
def test_what_would_change_complete_settings_is_refused(tmp_path, name, value):
    with pytest.raises(UsageError, match=f"^{name} changes a recipe, and complete settings are given; "):
        api.train(tiny_settings(tmp_path / "train.conll"), **{name: value})


def test_a_recipe_or_a_task_is_needed():
    with pytest.raises(UsageError, match=r'^nothing to train: name a recipe, or give task="ner"'):
        api.train()


def test_names_are_taken_in_turn_and_a_named_folder_is_not_taken_twice(recipe: dict[str, Any]) -> None:
    paths = [api.train(recipe).path for _ in range(3)]
    assert paths == [Path("runs/ner") / name for name in ("tiny", "tiny-2", "tiny-3")]
    assert api.latest_model(["ner", "pos"]) == Path("runs/ner/tiny-3")
    assert api.latest_model(["pos"]) is None
    with pytest.raises(UsageError, match="holds a run already"):
        api.train(recipe, output="runs/ner/tiny")
    assert api.train(recipe, output="runs/ner/tiny", overwrite=True).path == Path("runs/ner/tiny")


def test_a_run_in_use_is_busy_and_unharmed(recipe: dict[str, Any]) -> None:
    run = api.train(recipe, output="r")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    lock = Lock(run.path / ".lock")
    assert lock.acquire()
    with pytest.raises(BusyError, match="another run is at work"):
        api.train(recipe, output="r", overwrite=True)
    lock.release()
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("key", ["train", "dev", "test"])
def test_a_missing_file_is_said_before_a_folder_is_made(recipe: dict[str, Any], key: str) -> None:
    recipe["data"][key] = "none.conll"
    with pytest.raises(UsageError, match=r"none\.conll: no such file"):
        api.train(recipe, output="r")
    assert not Path("r").exists()


def test_a_folder_in_the_place_of_a_file_is_said(recipe: dict[str, Any]) -> None:
    recipe["data"]["dev"] = "."
    with pytest.raises(UsageError, match="is a folder; expected a file"):
        api.train(recipe, output="r")


def test_bad_data_leaves_no_folder(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("a O\nb\n\n")
    with pytest.raises(DataError):
        api.train(recipe, output="r")
    assert not Path("r").exists()


def test_resuming_a_finished_run_trains_no_more_unless_there_is_more_to_do(recipe: dict[str, Any]) -> None:
    first = api.train(recipe, output="r")
    listener = Listener()
    again = api.train(recipe, output="r", resume=True, reporter=listener)
    assert listener.losses == []
    assert again.result.steps == first.result.steps
    longer = api.train(recipe, overrides=["training.epochs=5"], output="r", resume=True, reporter=listener)
    assert longer.result.steps > first.result.steps
    assert len(listener.losses) == longer.result.steps - first.result.steps


def test_a_listener_hears_the_facts_of_the_data(recipe: dict[str, Any]) -> None:
    listener = Listener()
    run = api.train(recipe, output="r", reporter=listener)
    assert any(text.startswith(f"train: {len(SENTENCES)} sentences") for text in listener.messages)
    assert len(listener.losses) == run.result.steps
    assert len(listener.evaluations) == 3


# --- using a model ---


def test_a_model_is_found_in_its_run_and_by_itself(recipe: dict[str, Any]) -> None:
    run = api.train(recipe, output="r")
    wanted = run.model.tag(tokens_of())
    for path in ("r", "r/model", Path("r")):
        assert seqtool.load(path, device="cpu", precision="fp32").tag(tokens_of()) == wanted


def test_evaluation_uses_the_data_of_the_recipe_or_a_file(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["data"]["test"] = str(write_columns(tmp_path / "test.conll", SENTENCES[:3]))
    run = api.train(recipe, output="r")
    for model in ("r", "r/model"):
        assert seqtool.evaluate(model, bootstrap=0, device="cpu").report.sentences == 3
    assert seqtool.evaluate("r", part="dev", bootstrap=0, device="cpu").report.sentences == 10
    found = seqtool.evaluate("r", tmp_path / "train.conll", bootstrap=0, device="cpu", precision="fp32")
    assert found.report.scores["f1"].value == pytest.approx(run.result.metrics["f1"])


def test_a_model_without_its_run_needs_data(recipe: dict[str, Any]) -> None:
    api.train(recipe, output="r")
    Path("r/model").rename("alone")
    with pytest.raises(UsageError, match="no recipe beside the model; name the data"):
        seqtool.evaluate("alone", device="cpu")


def test_evaluation_against_another_model_compares(recipe: dict[str, Any]) -> None:
    api.train(recipe, output="r")
    found = seqtool.evaluate("r", part="dev", against="r/model", bootstrap=10, device="cpu")
    assert found.against == "r/model"
    assert [test.difference for _, test in found.comparisons] == [0.0, 0.0]


def test_options_of_an_evaluation_are_those_of_the_task(recipe: dict[str, Any]) -> None:
    api.train(recipe, output="r")
    options = tagging_assessment.EvaluationOptions(target_precision=0.01)
    found = seqtool.evaluate("r", part="dev", bootstrap=0, options=options, device="cpu")
    assert found.as_dict()["target_precision"]["wanted"] == 0.01
    wrong = "expected seqtool.tagging.assessment.EvaluationOptions, found EvaluationOptions"
    with pytest.raises(UsageError, match=f"options: {wrong}"):
        seqtool.evaluate("r", part="dev", options=lm_assessment.EvaluationOptions())
    with pytest.raises(UsageError, match="part 'tset': expected train, dev, test"):
        seqtool.evaluate("r", part="tset")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wing", "files"),
    [("ner", ["dev.conll"]), ("translate", ["dev.en", "dev.out"]), ("lm", ["dev.txt"])],
)
def test_every_task_is_evaluated_by_one_call(wing: str, files: list[str]) -> None:
    golden = Path(__file__).parent / "golden"
    stored = json.loads((golden / "outputs" / f"{wing}-evaluate.json").read_text())
    data = [golden / "data" / name for name in files]
    found = seqtool.evaluate(golden / wing / "finished", data, bootstrap=0, device="cpu", precision="fp32")
    values = {name: score.value for name, score in found.scores.items()}
    assert values == pytest.approx(stored["metrics"], rel=1e-5)


def test_predictions_are_of_taggers_and_translators() -> None:
    with pytest.raises(UsageError, match="a model for 'lm' makes no predictions that could be scored"):
        api.evaluate_predictions("p", "d", task="lm")


def test_an_estimate_writes_nothing(recipe: dict[str, Any]) -> None:
    found = api.estimate(api.resolve_settings("ner", recipe))
    assert found.parameters > 100
    assert os.listdir() == ["train.conll"]


# --- several processes ---

TRAIN = """
import sys
from seqtool import api
run = api.train(sys.argv[1], output="together")
print(run.result.steps, run.result.metrics["f1"])
"""


def test_two_processes_train_one_model_in_one_folder(recipe: dict[str, Any], tmp_path: Path) -> None:
    """Run as under torchrun: one process writes the folder, both compute batches."""
    recipe["training"] |= {"batch_tokens": 8}
    settings = api.resolve_settings("ner", recipe)
    Path("r.toml").write_text(api.recipe_text(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, "r.toml"],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "OMP_NUM_THREADS": "1",
                "WORLD_SIZE": "2",
                "RANK": str(number),
                "LOCAL_RANK": str(number),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] != ""
    alone = api.train(settings, output="alone")
    steps = int(outputs[0][0].split()[0])
    assert steps < alone.result.steps <= 2 * steps
    assert api.load("together", device="cpu").tag(tokens_of())


def test_a_translator_computes_as_its_model_needs_unless_a_precision_is_named() -> None:
    from seqtool.translation.prediction import TranslatorModel

    cpu = torch.device("cpu")
    assert TranslatorModel.precision_for("auto", cpu) is None
    assert TranslatorModel.precision_for("bf16", cpu) == torch.bfloat16


def test_what_set_asked_for_is_not_blamed_on_the_recipe() -> None:
    both = r"recipe\.toml with --set model\.cell, model\.zoneout_hidden: model: zoneout_hidden does"
    with pytest.raises(SettingsError, match=both):
        api.resolve_settings(
            "lm", "lm-tiny", overrides=["model.cell=gru", "seed=3", "model.zoneout_hidden=0.1"]
        )
    without_place = ["training.r_drop=1", "model.dropout=0"]
    with pytest.raises(
        SettingsError, match=r"recipe\.toml with --set training\.r_drop, model\.dropout: train"
    ):
        api.resolve_settings("lm", "lm-tiny", overrides=without_place)
    several = ["model.hiden = 3", "training.epochs=0"]
    message = (
        r"^--set model.hiden: unknown key; did you mean 'model.hidden'\?; --set training.epochs: expected"
    )
    with pytest.raises(SettingsError, match=message):
        api.resolve_settings("ner", "ner-tiny", overrides=several)
    with pytest.raises(
        SettingsError, match=r"^--set model.hiden: unknown key; did you mean 'model.hidden'\?$"
    ):
        api.resolve_settings("ner", "ner-tiny", overrides=iter(["model.hiden=3"]))
