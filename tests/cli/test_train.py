"""`seqtool train`: settings, run folders, what is printed and what is left on disk."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.cli import training_display
from seqtool.files import Lock
from seqtool.tagging import defaults as tagging_defaults
from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, Outcome, contents, refused

QUICK = (*tiny_settings(), "--epochs", 1)


def train(inside: Inside, tiny: Tiny, *words: object) -> Outcome:
    """One epoch on the tiny corpus."""
    return inside("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *QUICK, *words)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def test_a_run_prints_its_path_and_tells_its_story_on_stderr(tiny: Tiny):
    assert tiny.training.out == b"run\n"
    assert "next: seqtool tag -m run < sentences.txt" in tiny.training.err
    story = tiny.training.err
    assert f"train: 20 sentences, 115 tokens, {tiny.train}" in story
    assert "tags: iob2" in story
    assert "parameters, at most 60 updates" in story
    assert len(re.findall(r"^epoch \d+, step \d+, train loss .* f1 1.0000", story, re.MULTILINE)) == 1
    assert "\x1b" not in story
    assert "\r" not in story


def test_a_run_folder_holds_what_it_should(tiny: Tiny):
    assert {"recipe.toml", "manifest.json", "metrics.jsonl", "model", "state", "plots"} == {
        path.name for path in tiny.run.iterdir()
    }
    assert (tiny.run / "plots" / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    manifest = json.loads((tiny.run / "manifest.json").read_text())
    assert manifest["task"] == "ner"
    assert manifest["data"]["train"]["sentences"] == 20
    assert re.fullmatch("[0-9a-f]{64}", manifest["data"]["dev"]["sha256"])
    assert set(manifest["versions"]) == {"seqtool", "python", "torch"}
    events = [json.loads(line) for line in (tiny.run / "metrics.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "evaluation"
    recipe = tomllib.loads((tiny.run / "recipe.toml").read_text())
    assert recipe["data"]["train"] == str(tiny.train)
    assert (tiny.run / "model" / "README.md").read_text().startswith("# run\n")
    hidden = list(tiny.run.rglob(".*"))
    assert hidden == []  # neither a lock nor a temporary file


def test_a_run_is_named_after_its_folder_unless_it_has_a_name(inside: Inside, tiny: Tiny):
    words = ("train", "ner", "--train", tiny.train, "--dry-run")
    for more, name in (
        (("-o", "runs/mine"), "mine"),
        (("-o", "runs/my run"), "custom"),
        (("-o", "runs/mine", "--set", "name=other"), "other"),
        ((), "custom"),
    ):
        assert f'name = "{name}"' in inside(*words, *more).out.decode()


def test_time_that_ran_out_too_early_is_reported(inside: Inside, tiny: Tiny):
    """The only evaluation is the best and the last one."""
    done = train(inside, tiny, "--epochs", 900, "--max-minutes", "0.0001", "-o", "short")
    line = (
        "dev was still improving: train longer with: seqtool train ner --resume -o short --max-minutes 0.0002"
    )
    assert line in done.err.splitlines()
    done = train(inside, tiny, "--epochs", 900, "--max-minutes", "0.0001", "-o", "gone", "--no-keep-state")
    assert "still improving" not in done.err


def test_runs_get_the_next_free_name(inside: Inside, tiny: Tiny, tmp_path: Path):
    for name in ("custom", "custom-2", "custom-3"):
        assert train(inside, tiny).out == f"runs/ner/{name}\n".encode()
        assert (tmp_path / "runs/ner/latest").read_text() == f"{name}\n"
    assert train(inside, tiny, "--set", "name=other").out == b"runs/ner/other\n"
    # Another run is at work under the next name: the one after it is used.
    (tmp_path / "runs/ner/custom-4").mkdir()
    lock = Lock(tmp_path / "runs/ner/custom-4/.lock")
    assert lock.acquire()
    assert train(inside, tiny).out == b"runs/ner/custom-5\n"
    lock.release()


def test_a_folder_that_holds_a_run_is_refused_and_untouched(inside: Inside, tiny: Tiny, tmp_path: Path):
    assert train(inside, tiny, "-o", "mine").out == b"mine\n"
    before = contents(tmp_path)
    for words in ((), ("--dry-run",)):
        refused(
            train(inside, tiny, "-o", "mine", *words), 2, "train ner", "mine: holds a run already", "--resume"
        )
    assert contents(tmp_path) == before
    (tmp_path / "file").touch()
    refused(
        train(inside, tiny, "-o", "file"),
        2,
        "train ner",
        "file: is a file; give a folder for the run with -o",
    )


def test_overwrite_replaces_a_run_but_not_for_bad_data(inside: Inside, tiny: Tiny, tmp_path: Path):
    train(inside, tiny, "-o", "mine", "--seed", 1)
    before = contents(tmp_path / "mine")
    (tmp_path / "bad.conll").write_text("Ada\tB-PER\nlives\n")
    outcome = inside("train", "ner", "--train", "bad.conll", *QUICK, "-o", "mine", "--overwrite")
    assert outcome.code == 3
    assert contents(tmp_path / "mine") == before
    assert train(inside, tiny, "-o", "mine", "--seed", 2, "--overwrite").out == b"mine\n"
    after = contents(tmp_path / "mine")
    assert after.keys() == before.keys()
    assert after["model/model.safetensors"] != before["model/model.safetensors"]
    events = (tmp_path / "mine/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["train", "evaluation"]


def test_a_folder_in_use_is_8_and_a_stale_lock_is_nothing(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    lock = Lock(tmp_path / "mine" / ".lock")
    assert lock.acquire()
    for words in ((), ("--resume",), ("--overwrite",)):
        refused(
            train(inside, tiny, "-o", "mine", *words), 8, "train ner", "another run is at work in this folder"
        )
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [".lock"]
    lock.release()
    (tmp_path / "mine" / ".lock").write_text("left by a crash")
    assert train(inside, tiny, "-o", "mine").code == 0


def test_a_folder_that_cannot_be_written_is_5_before_the_data_is_read(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("seqtool.tagging.data.read_file", lambda *arguments: pytest.fail("data was read"))
    refused(train(inside, tiny, "-o", "mine"), 5, "train ner", "mine: Permission denied")
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_settings_are_named_at_once_with_the_nearest(inside: Inside, tmp_path: Path):
    wrong = (
        "model.hiden=3",
        "model.cell=lstn",
        "training.epochs=0",
        "model.dropout=2",
        "seed=one",
        "modle.x=1",
    )
    words = [word for setting in wrong for word in ("--set", setting)]
    refused(
        inside("train", "ner", *words),
        2,
        "train ner",
        "model.hiden: unknown key; did you mean 'model.hidden'?",
        "model.cell: expected 'rnn', 'irnn', 'lstm', ",
        "'echo_state' (given 'lstn'); did you mean 'lstm'?",
        "training.epochs: expected at least 1 (given 0)",
        "model.dropout: expected less than 1 (given 2)",
        "seed: expected a whole number (given 'one')",
        "modle: unknown key; did you mean 'model'?",
    )
    refused(
        inside("train", "ner", "--set", "hidden", "--set", "seed.x=1", "--set", "=3"),
        2,
        "train ner",
        "--set hidden: expected KEY=VALUE",
        "--set seed.x: seed is a value, not a table",
        "--set =3: expected KEY=VALUE",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--scheme", "iob3"),
            "--scheme: expected 'auto', 'iob1', 'iob2', 'iobes', 'bilou', 'bmes' or 'io'",
        ),
        (("--lr", "0"), "--lr: expected more than 0"),
        (("--lr", "nan"), "--lr: expected a finite number"),
        (("--max-minutes", "-1"), "--max-minutes: expected at least 0"),
        (("--batch-tokens", "0"), "--batch-tokens: expected"),
        (("--seed", "-1"), "--seed: expected at least 0"),
        (("--precision", "fp8"), "--precision: expected"),
        (("--device", "gpu"), "--device gpu: expected auto, cpu, cuda, cuda:N or mps"),
        (("--precision", "fp16", "--device", "cpu"), "fp16 needs a CUDA device"),
        (("--set", "name=../x"), "name: expected text that matches"),
        (("--set", f"model.hidden={'[' * 2000}"), "--set model.hidden: tables or lists nested more than 50"),
        (("--set", f"model.hidden={'9' * 5000}"), "--set model.hidden: a whole number beyond 64 bits"),
        (("--set", r'data.train="a\u0000b"'), "--set data.train: expected text without a NUL character"),
        (("--set", "task=pos"), "task = 'pos', but `seqtool train ner` was typed"),
        (("--set", "model.word_embedding=0", "--set", "model.characters=none"), "leave no input"),
        (("--set", "training.momentum=0.9"), "momentum = 0.9 has no effect with optimizer = 'adamw'"),
    ],
)
def test_a_value_that_does_not_hold_is_2(
    inside: Inside, tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
):
    refused(inside("train", "ner", *words), 2, "train ner", message)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_a_name_a_file_or_a_run(inside: Inside, tiny: Tiny, tmp_path: Path):
    refused(
        inside("train", "ner", "ner-tini"), 2, "train ner", "no bundled recipe of that name", "'ner-tiny'"
    )
    refused(inside("train", "ner", "absent.toml"), 2, "train ner", "absent.toml: no such recipe file")
    refused(
        inside("train", "pos", "ner-tiny"),
        2,
        "train pos",
        "a recipe for task 'ner', not 'pos'; use seqtool train ner",
    )
    for text, message in (
        ("task = ner", "my.toml: Invalid value (at line 1"),
        ("seed = 1\nseed = 2\n", "my.toml: Cannot overwrite a value (at line 2"),
        (
            'task = "ner"\nname = "x"\ncolour = 1\n[data]\ntrain = 3',
            "colour: unknown key; data.train: expected text",
        ),
        ("data = 3", "my.toml: data: expected a table"),
    ):
        (tmp_path / "my.toml").write_text(text)
        line = refused(inside("train", "ner", "my.toml"), 2, "train ner")
        assert all(part in line for part in message.split("; ")), line
    assert [path.name for path in tmp_path.iterdir()] == ["my.toml"]


def test_paths_in_a_recipe_are_relative_to_it_and_others_to_the_working_folder(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    (tmp_path / "recipes").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "recipes" / f"{name}.conll").write_bytes(tiny.train.read_bytes())
    (tmp_path / "here.conll").write_bytes(tiny.dev.read_bytes())
    recipe = tmp_path / "recipes" / "my.toml"
    recipe.write_text('task = "ner"\nname = "my"\n[data]\ntrain = "train.conll"\ndev = "dev.conll"\n')
    assert inside("train", "ner", "recipes/my.toml", *QUICK).out == b"runs/ner/my\n"
    data = tomllib.loads((tmp_path / "runs/ner/my/recipe.toml").read_text())["data"]
    assert (data["train"], data["dev"]) == tuple(
        str(recipe.with_name(n)) for n in ("train.conll", "dev.conll")
    )
    outcome = inside("train", "ner", "recipes/my.toml", *QUICK, "--set", "data.dev=here.conll", "-o", "2")
    assert f"dev: 8 sentences, 47 tokens, {tmp_path / 'here.conll'}" in outcome.err
    # Files on the command line replace all data of the recipe.
    outcome = inside("train", "ner", "recipes/my.toml", *QUICK, "--train", "here.conll", "-o", "3")
    assert "no dev file: the last 1 of the training sentences are held out for it" in outcome.err


def test_precedence_is_default_recipe_set_flag(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "my.toml").write_text(
        f'task = "ner"\nname = "my"\nseed = 5\n[data]\ntrain = "{tiny.train}"\n[training]\nepochs = 7\n'
        "learning_rate = 0.5\n"
    )
    words = ("--set", "training.epochs=8", "--set", "training.learning_rate=0.25", "--epochs", 9, "--dry-run")
    settings = tomllib.loads(inside("train", "ner", "my.toml", *words).out.decode())
    assert (settings["seed"], settings["training"]["learning_rate"], settings["training"]["epochs"]) == (
        5,
        0.25,
        9,
    )
    assert settings["training"]["beta1"] == 0.9


def test_a_dry_run_prints_a_recipe_that_trains_and_writes_nothing(inside: Inside, tiny: Tiny, tmp_path: Path):
    outcome = train(inside, tiny, "--dry-run")
    assert outcome.code == 0
    assert list(tmp_path.iterdir()) == []
    settings = tomllib.loads(outcome.out.decode())
    assert settings["training"]["epochs"] == 1
    assert re.fullmatch(
        r"# [\d,]+ parameters, about [\d,]+ MB of memory, about \d+\.\d minutes for 1 update here",
        outcome.out.decode().splitlines()[-1],
    )
    assert "train: 20 sentences" in outcome.err
    (tmp_path / "dry.toml").write_bytes(outcome.out)
    assert inside("train", "ner", "dry.toml", "-o", "dry").out == b"dry\n"
    train(inside, tiny, "-o", "direct")
    assert weights(tmp_path / "dry") == weights(tmp_path / "direct")


def test_a_dry_run_is_one_json_object_where_asked_for(inside: Inside, tiny: Tiny):
    found = json.loads(train(inside, tiny, "--dry-run", "--json").out)
    assert found["recipe"]["training"]["epochs"] == found["steps"] == 1
    assert found["parameters"] > 0 and found["megabytes"] > 0 and found["minutes"] >= 0


def test_the_recipe_of_a_run_repeats_it(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train(inside, tiny, "-o", "first", "--seed", 3)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert inside("train", "ner", "../first/recipe.toml", "-o", "again").code == 0
    assert weights(tmp_path / "elsewhere/again") == weights(tmp_path / "first")
    assert inside("train", "ner", tmp_path / "first", "-o", "third").code == 0
    assert weights(tmp_path / "elsewhere/third") == weights(tmp_path / "first")


def test_json_is_a_summary_on_stdout(inside: Inside, tiny: Tiny):
    value = json.loads(train(inside, tiny, "--json").out)
    assert value["path"] == "runs/ner/custom"
    assert value["stopped_by"] == "epochs"
    assert set(value["dev"]) >= {"f1", "precision", "recall", "accuracy"}


def test_several_seeds_give_mean_and_spread(inside: Inside, tiny: Tiny, tmp_path: Path):
    outcome = train(inside, tiny, "--seeds", 2, "--seed", 4, "-o", "many")
    assert outcome.out == b"many/seed4\nmany/seed5\n"
    assert re.search(r"dev f1: \d\.\d{4} ± \d\.\d{4} \(mean, standard deviation, 2 runs\)", outcome.err)
    seeds = [tomllib.loads((tmp_path / f"many/seed{n}/recipe.toml").read_text())["seed"] for n in (4, 5)]
    assert seeds == [4, 5]
    value = json.loads(train(inside, tiny, "--seeds", 2, "--json").out)
    assert [run["path"] for run in value["runs"]] == ["runs/ner/custom-seed1", "runs/ner/custom-seed2"]
    both = [run["dev"]["accuracy"] for run in value["runs"]]
    assert value["mean"]["accuracy"] == pytest.approx(sum(both) / 2)
    assert value["standard_deviation"]["accuracy"] == pytest.approx(abs(both[0] - both[1]) / 2**0.5)


def test_an_ensemble_of_several_seeds_is_a_run_of_its_own(inside: Inside, tiny: Tiny, tmp_path: Path):
    words = ("--seeds", 2, "--ensemble", "-o", "runs/ner/many", "--test", tiny.dev)
    value = json.loads(train(inside, tiny, *words, "--json").out)
    assert value["ensemble"]["path"] == "runs/ner/many"
    assert len(value["runs"]) == 2
    outcome = inside("evaluate", "-m", "runs/ner/many", "--json", "--bootstrap", 0)
    scores = json.loads(outcome.out)["metrics"]
    assert value["ensemble"]["dev"].items() <= scores.items()  # test is dev here
    assert {"f1", "accuracy"} <= set(value["ensemble"]["dev"])
    members = [word for n in (1, 2) for word in ("-m", f"runs/ner/many/seed{n}")]
    tags = inside("tag", *members, "--confidence", stdin=b"Ada has lunch\n")
    assert inside("tag", "--confidence", stdin=b"Ada has lunch\n").out == tags.out  # it is the newest run
    manifest = json.loads((tmp_path / "runs/ner/many/manifest.json").read_text())
    assert manifest["seed"] == [1, 2] and manifest["best"] == value["ensemble"]["dev"]
    again = train(inside, tiny, *words)
    assert again.code == 2 and "holds a run already" in again.err
    resumed = train(inside, tiny, *words, "--resume")
    assert resumed.out == b"runs/ner/many\n"
    assert re.search(r"dev f1: .* 2 runs\); ensemble: \d\.\d{4}", resumed.err)
    assert "next: seqtool tag -m runs/ner/many " in resumed.err


def test_an_ensemble_is_not_resumed_or_pruned_as_one_run(inside: Inside, tiny: Tiny, tmp_path: Path):
    train(inside, tiny, "--seeds", 2, "--ensemble", "-o", "both")
    before = contents(tmp_path / "both")
    for words, command in (
        (("train", "ner", "--resume", "-o", "both"), "train ner"),
        (("model", "prune-state", "both"), "model prune-state"),
    ):
        refused(inside(*words), 2, command, "both: an ensemble", "such as both/seed1")
    outcome = inside("train", "ner", "--resume", "--seeds", 2, "--ensemble", "-o", "both")
    refused(outcome, 2, "train ner", "repeat the command with its recipe or files", "--resume -o both/seed1")
    outcome = inside("model", "ensemble", "both", "both/seed1", "-o", "x")
    refused(outcome, 2, "model ensemble", "both/model/1 and both/seed1 are the same model")
    assert contents(tmp_path / "both") == before
    assert "ensemble\t2 models" in inside("model", "info", "both").out.decode()


def test_an_ensemble_of_language_models_is_refused_before_training(inside: Inside, tmp_path: Path):
    outcome = inside("train", "lm", "lm-tiny", "--seeds", 2, "--ensemble", "-o", "x")
    refused(outcome, 2, "train lm", "--ensemble: language models are not averaged; leave it out")
    assert not (tmp_path / "x").exists()


def test_an_ensemble_needs_several_runs_and_a_folder(inside: Inside, tiny: Tiny):
    for words, message in (
        (("-o", "x"), "--ensemble needs several runs; add --seeds 5"),
        (("--seeds", 2), "--ensemble needs a folder for the runs and their ensemble; add -o RUN"),
    ):
        refused(train(inside, tiny, "--ensemble", *words), 2, "train ner", message)


def test_a_limit_that_was_chosen_is_doubled_in_the_command_that_goes_on(
    inside: Inside, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tagging_defaults, "OF_TAGGERS", replace(tagging_defaults.OF_TAGGERS, most=1))
    monkeypatch.setattr("seqtool.training.defaults.FIRST_MODEL", 0.01)
    monkeypatch.setattr("seqtool.cli.train._was_improving", lambda run: True)
    outcome = inside("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *tiny_settings(), "-o", "x")
    assert outcome.code == 0, outcome.err
    assert "a first model after at most 0.01 minutes; " in outcome.err
    assert "train longer with: seqtool train ner --resume -o x --max-minutes 0.02\n" in outcome.err


def test_fine_tuning_starts_from_a_model(inside: Inside, tiny: Tiny, tmp_path: Path):
    outcome = train(inside, tiny, "--init-from", tiny.run, "--lr", 1e-6, "-o", "tuned")
    assert outcome.code == 0, outcome.err
    assert "f1 1.0000" in outcome.err  # what one epoch from scratch does not reach
    vocabulary = [(run / "model" / "words.txt").read_bytes() for run in (tiny.run, tmp_path / "tuned")]
    assert vocabulary[0] == vocabulary[1]
    before = contents(tmp_path)
    refused(train(inside, tiny, "--init-from", "absent", "-o", "x"), 2, "train ner", "absent: no such model")
    assert contents(tmp_path) == before


def test_a_model_to_fine_tune_gets_the_new_types_of_the_training_file(
    inside: Inside, tiny: Tiny, tmp_path: Path
):
    (tmp_path / "new.conll").write_text("Ada\tB-PER\nis\tO\n\nAcme\tB-ORG\n\nhere\tO\n\n" * 4)
    files = ("--train", "new.conll", "--dev", "new.conll")
    words = (*files, "--init-from", tiny.run, "-o", "x", "--epochs", 30, "--batch-tokens", 8)
    outcome = inside("train", "ner", *words)
    assert "1 new entity type: ORG; the model grows from 9 to 13 tags" in outcome.err
    assert inside("tag", "-m", "x", stdin=b"Acme\n").out == b"Acme\tB-ORG\n\n"


def test_limits_end_a_run(inside: Inside, tiny: Tiny):
    def reason(*words: object) -> Any:
        return json.loads(train(inside, tiny, "--batch-tokens", 30, "--epochs", 50, "--json", *words).out)

    assert reason("--max-steps", 3)["stopped_by"] == "max_steps"
    assert reason("--max-minutes", 0.0001)["stopped_by"] == "max_minutes"
    assert reason("--set", "training.patience=1", "--lr", 1e-12)["stopped_by"] == "patience"


def test_a_diverging_run_is_6_and_keeps_its_checkpoint(inside: Inside, tiny: Tiny, tmp_path: Path):
    steep = ("optimizer=sgd", "clip_norm=0.0", "schedule=constant", "warmup_steps=0", "average=none")
    settings = [word for setting in steep for word in ("--set", f"training.{setting}")]
    words = (*settings, "--lr", 1e39, "--epochs", 9, "-o", "wild")
    line = refused(
        train(inside, tiny, *words), 6, "train ner", "lower learning rate, for example --lr 1e+38 --overwrite"
    )
    assert re.search(r"step 2, epoch 2: the loss of batch 1 of the epoch is (nan|inf); .* as before", line)
    assert not (tmp_path / "wild/model").exists()
    before = contents(tmp_path / "wild/state")
    assert "step-000001.json" in before
    assert train(inside, tiny, *words, "--resume").code == 6
    assert contents(tmp_path / "wild/state") == before


def test_a_batch_that_does_not_fit_is_7_with_its_shape(
    inside: Inside, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("seqtool.tagging.model.Tagger.loss_of", fail)
    outcome = train(inside, tiny, "-o", "run")
    refused(
        outcome,
        7,
        "train ner",
        "step 1, epoch 1: not enough memory for a batch (",
        "mask [20, ",
        "lower --batch-tokens",
    )


def test_curves_for_tensorboard_on_request(inside: Inside, tiny: Tiny, tmp_path: Path):
    pytest.importorskip("torch.utils.tensorboard")
    (tmp_path / "bad.conll").write_text("Ada\n")
    words = ("--track", "tensorboard", "-o", "run")
    assert inside("train", "ner", "--train", "bad.conll", *words).code == 3
    assert not (tmp_path / "run").exists()
    assert train(inside, tiny, *words).code == 0
    assert [path.name.split(".")[0] for path in (tmp_path / "run/tensorboard").iterdir()] == ["events"]


def test_without_a_recipe_the_bundled_one_is_trained(inside: Inside, tmp_path: Path):
    settings = tomllib.loads(inside("train", "ner", "--dry-run", *QUICK).out.decode())
    assert settings["name"] == "ner-tiny"
    assert Path(settings["data"]["train"]).is_file()
    assert list(tmp_path.iterdir()) == []


def test_one_of_a_thing_is_in_the_singular(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(training_display, "say", said.append)
    monkeypatch.setattr("seqtool.cli.console.note_training", lambda: None)
    training_display.LineReporter().started(1, 0, 1)
    training_display.LineReporter().started(2000, 5, 3000)
    assert said == ["1 parameter, at most 1 update", "3,000 parameters, at most 2,000 updates, from 5"]
