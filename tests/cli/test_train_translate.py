"""`seqtool train translate`: from files and recipes to a run folder; errors name where they are."""

from __future__ import annotations

import gzip
import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import TinyTranslator, translator_words
from tests.cli.running import Inside, Outcome, contents, refused
from tests.translation.tiny_pairs import TEXTS

QUICK = (*translator_words(), "--epochs", 1)


def train(inside: Inside, pairs: TinyTranslator, *words: object) -> Outcome:
    """One epoch on the ten pairs."""
    return inside("train", "translate", "--train", pairs.source, pairs.target, *QUICK, *words)


def test_a_run_prints_its_path_and_tells_its_story_on_stderr(pairs: TinyTranslator) -> None:
    assert pairs.training.out == b"run\n"
    story = pairs.training.err
    assert "train: 10 sentence pairs, " in story
    assert re.search(r"^vocabulary: \d+ source and \d+ target symbols \(word\)$", story, re.MULTILINE)
    assert "\ndev is scored by greedy search; `evaluate` and `translate` use beam " in story
    assert "only about 135 updates in all" in story
    assert re.search(r"exact_match 1\.0000", story)
    assert "\x1b" not in story and "\r" not in story
    names = {path.name for path in pairs.run.iterdir()}
    assert names == {"recipe.toml", "manifest.json", "metrics.jsonl", "model", "state", "plots"}
    assert list(pairs.run.rglob(".*")) == []
    manifest = json.loads((pairs.run / "manifest.json").read_text())
    assert manifest["task"] == "translate"
    assert manifest["data"]["train"]["sentences"] == 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--train", "n.src", "-o", "run"),
            "--train n.src -o: expected two files, SRC TGT; one file of pairs",
        ),
        (("--train", "a", "b", "--dev", "n.src", "--epochs", 3), "--dev n.src --epochs: expected two files"),
        (("--train", "a", "b", "--test", "n.src", "--json", "x", "y"), "--test n.src --json: expected two"),
    ],
    ids=str,
)
def test_an_option_is_not_the_second_of_two_files(
    inside: Inside, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    refused(inside("train", "translate", *words), 2, "train translate", message)
    assert list(tmp_path.iterdir()) == []


def test_every_layout_of_the_data_gives_the_same_model(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    rows = [{"source": s, "target": t} for s, t in TEXTS]
    (tmp_path / "t.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in TEXTS))
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.gz").write_bytes(gzip.compress(pairs.text))
    (tmp_path / "t.gz").write_bytes(gzip.compress(pairs.answer))
    files: dict[str, tuple[object, ...]] = {
        "lines": ("--train", pairs.source, pairs.target),
        "table": ("--train-file", "t.tsv"),
        "json": ("--train-file", "t.jsonl"),
        "gz": ("--train", "s.gz", "t.gz"),
    }
    for name, words in files.items():
        assert inside("train", "translate", *words, *QUICK, "-o", name).code == 0
    models = {name: (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in files}
    assert len(set(models.values())) == 1


@pytest.mark.parametrize(
    ("source", "target", "words", "message"),
    [
        ("a\nb\nc\n", "a\nb\n", (), ("3", "2")),
        ("a\n", "a\nb\n", (), ("1", "2")),
        ("a\n\n", "a\nb\n", (), ("s:2: the source is empty", "--set data.empty=drop")),
        ("a\nb\n", "\nb\n", (), ("t:1: the target is empty",)),
        ("", "", (), ("no sentence pairs",)),
        ("\n\n", "\n\n", ("--set", "data.empty=drop"), ("no sentence pairs",)),
        (
            "a b c\n" * 4,
            "a\n" * 4,
            ("--set", "data.max_length=2"),
            ("no training pair is left: ", "(data.max_length); raise data.max_length"),
        ),
    ],
    ids=["longer", "shorter", "empty source", "empty target", "nothing", "all dropped", "too long"],
)
def test_bad_pairs_are_3_and_leave_nothing(
    inside: Inside, tmp_path: Path, source: str, target: str, words: tuple[str, ...], message: tuple[str, ...]
) -> None:
    (tmp_path / "s").write_text(source)
    (tmp_path / "t").write_text(target)
    before = contents(tmp_path)
    outcome = inside("train", "translate", "--train", "s", "t", *translator_words(), *words, "-o", "x")
    refused(outcome, 3, "train translate", *message)
    assert not (tmp_path / "x" / "model").exists()
    assert {name: found for name, found in contents(tmp_path).items() if name in before} == before


def test_empty_sides_are_dropped_and_counted_if_asked_for(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a\n\nb\nc\n")
    (tmp_path / "t").write_text("a\nb\n \nc\n")
    words = ("--train", "s", "t", *QUICK, "--set", "data.empty=drop", "-o", "x")
    outcome = inside("train", "translate", *words)
    assert outcome.code == 0
    assert "train: 2 pairs with an empty side left out" in outcome.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\na\n", "t.tsv:2: 1 column, expected 2"),
        (b"a\tb\na\tb\tc\n", "t.tsv:2: 3 columns, expected 2"),
        (b"a\tb\n\xff\tb\n", "t.tsv:2: not UTF-8 at byte"),
    ],
)
def test_a_table_that_is_none_is_3_with_its_line(
    inside: Inside, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "t.tsv").write_bytes(content)
    outcome = inside("train", "translate", "--train-file", "t.tsv", *QUICK)
    refused(outcome, 3, "train translate", message)


def test_all_wrong_settings_are_named_at_once_with_the_nearest(inside: Inside, tmp_path: Path) -> None:
    wrong = ("model.coppy=true", "model.decoder=conditionl", "training.epochs=0", "vocabulary.kind=words")
    words = [word for setting in wrong for word in ("--set", setting)]
    refused(
        inside("train", "translate", *words),
        2,
        "train translate",
        "model.coppy: unknown key; did you mean 'model.copy'?",
        "did you mean 'conditional'?",
        "training.epochs: expected at least 1 (given 0)",
        "did you mean 'word'?",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--set", "model.coverage=true", "--set", "model.decoder=parallel"),
            "coverage needs attention = 'additive'",
        ),
        (("--set", "model.attention=none"), "attention = 'none' needs decoder = 'parallel'"),
        (("--set", "model.heads=2", "--set", "model.attention=dot"), "heads needs attention = 'additive'"),
        (("--set", "training.coverage_loss=1", "--set", "model.coverage=false"), "needs model.coverage"),
        (("--set", "model.tied=all", "--set", "vocabulary.shared=false"), "needs vocabulary.shared = true"),
        (
            ("--set", "vocabulary.kind=sentencepiece", "--set", "vocabulary.min_count=2"),
            "min_count = 2 has no",
        ),
        (
            ("--set", "vocabulary.sampling=0.1", "--set", "vocabulary.kind=word"),
            "sampling = 0.1 has no effect",
        ),
        (("--set", "training.teacher_forcing.steps=5"), "steps = 5 has no effect with schedule = 'constant'"),
        (("--set", "training.samples=5"), "samples = 5 has no effect with objective = 'mle'"),
        (
            ("--set", "training.objective=mrt", "--set", "training.label_smoothing=0.2"),
            "label_smoothing has no effect with objective = 'mrt' and mle_weight = 0",
        ),
        (("--set", "training.objective=mrt"), "with --init-from MODEL (with --resume too)"),
        (("--set", "training.objective=mrt", "--dry-run"), "name it with --init-from MODEL"),
        (("--set", "decoding.beam=0"), "decoding.beam"),
        (("--lr", "nan"), "--lr: expected a finite number"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_2(
    inside: Inside, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = inside("train", "translate", "--train", "s", "t", *words)
    refused(outcome, 2, "train translate", message)
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_named_once(inside: Inside, pairs: TinyTranslator) -> None:
    both = ("--train", pairs.source, pairs.target, "--train-file", "t.tsv")
    message = "--train and --train-file both name the train data"
    refused(inside("train", "translate", *both), 2, "train translate", message)
    dev = ("--dev", pairs.source, pairs.target)
    refused(inside("train", "translate", *dev), 2, "train translate", "--dev needs --train")
    missing = ("--train", pairs.source, "absent")
    refused(inside("train", "translate", *missing), 2, "train translate", "absent: no such file")


def test_a_dry_run_prints_a_recipe_that_can_be_trained(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    outcome = train(inside, pairs, "--dry-run", "-o", "x")
    assert outcome.code == 0
    assert list(tmp_path.iterdir()) == []
    text = outcome.out.decode()
    assert re.search(r"^# [\d,]+ parameters, about [\d,]+ MB of memory, about ", text, re.MULTILINE)
    assert tomllib.loads(text)["model"]["copy"] is True
    (tmp_path / "r.toml").write_text(text)
    assert train(inside, pairs, "-o", "direct").code == 0
    assert inside("train", "translate", "r.toml", "-o", "again").code == 0
    first, second = (
        (tmp_path / name / "model/model.safetensors").read_bytes() for name in ("direct", "again")
    )
    assert first == second


def test_a_finished_run_is_not_overwritten_and_can_be_resumed(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    assert train(inside, pairs, "-o", "x").code == 0
    before = contents(tmp_path)
    refused(train(inside, pairs, "-o", "x"), 2, "train translate", "x: holds a run already")
    assert contents(tmp_path) == before
    outcome = train(inside, pairs, "-o", "x", "--resume")
    assert outcome.code == 0
    assert contents(tmp_path)["x/model/model.safetensors"] == before["x/model/model.safetensors"]
    refused(
        train(inside, pairs, "-o", "x", "--resume", "--set", "model.hidden=9"), 2, "train translate", "hidden"
    )


def test_fine_tuning_from_the_command_line(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("yes .\tja ja\n" * 4)
    words = ("--train-file", "t.tsv", "--epochs", 1, "--set", "training.average=none", "-o", "tuned")
    assert inside("train", "translate", *words, "--init-from", pairs.run).code == 0
    recipe = tomllib.loads((tmp_path / "tuned" / "recipe.toml").read_text())
    assert recipe["model"]["copy"] is True
    assert recipe["vocabulary"]["kind"] == "word"
    names = [f"model/{name}.vocabulary" for name in ("source", "target")]
    assert all((tmp_path / "tuned" / name).read_bytes() == (pairs.run / name).read_bytes() for name in names)
    refused(
        inside("train", "translate", *words[:-1], "y", "--init-from", pairs.run, "--set", "model.hidden=8"),
        2,
        "train translate",
        "--init-from keeps network and vocabulary; leave out: model.hidden = 8, the model has 16",
    )


def test_tuning_on_whole_outputs_from_the_command_line(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    """A dry run of fine-tuning, then runs with two seeds, one of which is resumed."""
    shared = ("--train", pairs.source, pairs.target, "--epochs", 1, "--batch-tokens", 200)
    asked = ("objective=mrt", "reward=chrf", "samples=3", "average=none", "select=chrf")
    words = (*shared, *(word for each in asked for word in ("--set", f"training.{each}")))
    words = (*words, "--init-from", pairs.run)
    dry = inside("train", "translate", *words, "--dry-run", "-o", "x")
    assert dry.code == 0
    assert list(tmp_path.iterdir()) == []
    recipe = tomllib.loads(dry.out.decode())
    assert (recipe["model"]["hidden"], recipe["vocabulary"]["kind"]) == (16, "word")
    info = json.loads(inside("model", "info", "-m", pairs.run, "--json").out)
    assert f"# {info['parameters']:,} parameters" in dry.out.decode()
    outcome = inside("train", "translate", *words, "--seeds", 2, "-o", "x", "--json")
    assert outcome.code == 0
    runs = json.loads(outcome.out)["runs"]
    assert [run["path"] for run in runs] == ["x/seed1", "x/seed2"]
    folder = tmp_path / "x" / "seed1"
    assert tomllib.loads((folder / "recipe.toml").read_text())["training"]["objective"] == "mrt"
    again = inside("train", "translate", *words, "--resume", "-o", folder)  # the run's name may differ
    assert again.code == 0
    assert "already finished" in again.err
    resumed = inside(
        "train", "translate", folder / "recipe.toml", "--init-from", pairs.run, "--resume", "-o", folder
    )
    assert resumed.code == 0
    refused(
        inside("train", "translate", folder / "recipe.toml", "--resume", "-o", folder),
        2,
        "train translate",
        "training.objective = 'mrt' fine-tunes a trained model; name it with --init-from MODEL",
    )


def test_seeds_give_mean_and_spread(inside: Inside, pairs: TinyTranslator) -> None:
    outcome = train(inside, pairs, "--seeds", 2, "-o", "both", "--json")
    summary = json.loads(outcome.out)
    assert [run["path"] for run in summary["runs"]] == ["both/seed1", "both/seed2"]
    assert (
        set(summary["mean"]) == set(summary["standard_deviation"]) >= {"loss", "bleu", "chrf", "exact_match"}
    )


SHORT = [
    ("the green car", "la auto vert"),
    ("the old tree", "la arbre vieux"),
    ("the red dog", "la chien rouge"),
]


def test_dev_references_of_three_words_are_selected_by_chrf_and_not_by_bleu(
    inside: Inside, tmp_path: Path
) -> None:
    for side, name in enumerate(("p.en", "p.fr")):
        (tmp_path / name).write_text("".join(pair[side] + "\n" for pair in SHORT * 12))
    files = [word for part in ("--train", "--dev") for word in (part, "p.en", "p.fr")]
    words = ("train", "translate", *files, *translator_words("training.select=bleu"), "--lr", 0.03)
    done = inside(
        *words, "--epochs", 20, "--batch-tokens", 64, "--set", "training.evaluate_every=0", "-o", "run"
    )
    assert done.code == 0, done.err
    assert "the best checkpoint is selected by chrF, not by BLEU" in done.err
    assert "; best chrf " in done.err
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = [event["metrics"] for event in events if event["event"] == "evaluation"]
    best = [event["metrics"] for event in events if event["event"] == "evaluation" and event["improved"]][-1]
    assert best["chrf"] == max(score["chrf"] for score in scores) > 0
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"{best['chrf']:.4f}" in card


def test_one_file_after_train_names_the_option_for_one_file(inside: Inside) -> None:
    done = inside("train", "translate", "--train", "pairs.tsv")
    refused(done, 2, "train translate", "--train pairs.tsv: expected two files", "--train-file pairs.tsv")
    done = inside("train", "translate", "--train", "pairs.tsv", "--epochs", 3)
    refused(done, 2, "train translate", "expected two files", "--train-file pairs.tsv")


def test_csv_and_tmx_train_as_the_same_pairs_in_two_files_do(pairs: TinyTranslator, inside: Inside) -> None:
    csv = "".join(f'"{source}","{target}"\n' for source, target in TEXTS)
    Path("p.csv").write_text("en,de\n" + csv)
    units = "".join(
        f'<tu><tuv xml:lang="en"><seg>{source}</seg></tuv><tuv xml:lang="de"><seg>{target}</seg></tuv></tu>\n'
        for source, target in TEXTS
    )
    Path("p.tmx").write_text(f'<tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>')
    assert train(inside, pairs, "-o", "two").code == 0
    for name in ("p.csv", "p.tmx"):
        words = ("--train-file", name, "--set", 'data.languages=["en","de"]')
        done = inside("train", "translate", *words, *QUICK, "-o", name.replace(".", "-"))
        assert done.code == 0, done.err
        weights = Path(name.replace(".", "-"), "model", "model.safetensors").read_bytes()
        assert weights == Path("two", "model", "model.safetensors").read_bytes()


def test_columns_and_languages_are_options_and_settings(inside: Inside) -> None:
    Path("p.csv").write_text("id,english,french\n1,Go.,Va !\n2,Hi there.,Salut !\n")
    words = ("train", "translate", "--train-file", "p.csv", *QUICK, "--dry-run")
    done = inside(*words, "--languages", "english,french")
    assert b'languages = [\n    "english",\n    "french",\n]' in done.out, done.err
    done = inside(*words, "--columns", "-,source,target")
    assert b'columns = [\n    "-",\n    "source",\n    "target",\n]' in done.out, done.err
    done = inside(*words, "--set", "data.languages=english,french")
    refused(
        done,
        2,
        "train translate",
        """data.languages: expected a list, as in --set 'data.languages=["english","french"]' (given""",
    )


def test_three_columns_of_pairs_name_the_setting(inside: Inside) -> None:
    Path("p.tsv").write_text("1\ta\tb\n2\tc\td\n")
    done = inside("train", "translate", "--train-file", "p.tsv", *QUICK)
    refused(done, 3, "train translate", "p.tsv:1: 3 columns, expected 2", "--columns -,source,target ")
    columns = ("--columns", "-,source,target")
    assert inside("train", "translate", "--train-file", "p.tsv", *QUICK, *columns, "-o", "run").code == 0


def test_a_student_learns_from_the_teachers_that_are_named(inside: Inside, pairs: TinyTranslator) -> None:
    both = ("--teacher", pairs.run, "--teacher", pairs.poor, "--set", "training.distillation=both")
    outcome = train(inside, pairs, *both, "-o", "student")
    assert outcome.code == 0, outcome.err
    assert f"also learned from {pairs.run} and {pairs.poor}: " in outcome.err
    recorded = tomllib.loads(Path("student/recipe.toml").read_text())["training"]
    assert recorded["teachers"] == [str(pairs.run), str(pairs.poor)]
    refused(train(inside, pairs, "--teacher", "absent"), 2, "train translate", "absent: no such model")
    other = ("--teacher", pairs.run, "--set", "vocabulary.kind=character", "-o", "other")
    refused(train(inside, pairs, *other), 2, "train translate", "a student has its teacher's vocabulary")
