"""`seqtool evaluate`: figures, pictures, comparisons, thresholds."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tiny, corpus, tiny_settings
from tests.cli.running import Inside, assert_error, contents, refused

PNG = b"\x89PNG\r\n\x1a\n"
# Two of the three entities can be found; the third is of a type that the model has never seen.
HARD = "Ada\tB-PER\nlives\tO\nin\tO\nTurin\tB-LOC\n.\tO\n\nAcme\tB-ORG\nlives\tO\n\n"


def figures(inside: Inside, *words: object) -> Any:
    outcome = inside("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def hard(tmp_path: Path) -> str:
    (tmp_path / "hard.conll").write_text(HARD)
    return "hard.conll"


def test_a_part_of_the_recipe_beside_a_file_is_2(inside: Inside, tiny: Tiny) -> None:
    refused(inside("evaluate", tiny.dev, "-m", tiny.run, "--part", "dev"), 2, "evaluate", "--part dev")


def test_data_that_the_model_was_trained_on_is_a_warning(inside: Inside, tiny: Tiny, tmp_path: Path) -> None:
    copy = tmp_path / "copy.conll"
    copy.write_bytes(tiny.train.read_bytes())
    warned = "copy.conll: the model was trained on this data, so the scores say nothing about other data"
    for model in (tiny.run, tiny.model):
        assert warned in inside("evaluate", "copy.conll", "-m", model).err
    for words in ((tiny.dev,), ("--part", "train")):
        assert "trained on" not in inside("evaluate", *words, "-m", tiny.run).err


def test_kinds_of_error_explain_themselves(inside: Inside, tiny: Tiny, hard: str):
    text = inside("evaluate", hard, "-m", tiny.run).out.decode()
    assert re.search(
        r"errors by kind: correct \d+, type \d+, boundary \d+, type and boundary \d+, missed", text
    )


def test_json_is_one_object_with_all_figures(inside: Inside, tiny: Tiny):
    value = figures(inside, "-m", tiny.run)
    assert value["model"] == str(tiny.run)
    assert value["data"] == str(tiny.dev)  # the test part of the run's recipe
    assert value["metrics"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "accuracy": 1.0}
    assert set(value["signatures"]) == set(value["metrics"]) == set(value["intervals"])
    assert value["by_type"]["PER"]["support"] == 8
    assert value["intervals"]["f1"] == {"low": 1.0, "high": 1.0, "level": 0.95}
    assert figures(inside, "-m", tiny.run, "--bootstrap", 0)["intervals"] == {}


def test_the_table_says_the_same(inside: Inside, tiny: Tiny, hard: str):
    outcome = inside("evaluate", hard, "-m", tiny.run)
    text = outcome.out.decode()
    value = figures(inside, hard, "-m", tiny.run)
    assert outcome.code == 0
    assert text.startswith(f"{tiny.run} on hard.conll\nmetric\tvalue\t95 % interval\tsignature\n")
    for name, figure in value["metrics"].items():
        assert f"\n{name}\t{figure:.4f}\t" in text
    assert "\n\nby type\ntype\tprecision\t" in text
    assert "\x1b" not in text
    warning = "warning: hard.conll: tags that the model does not have; each counts as an error: B-ORG (1)\n"
    assert outcome.err == warning
    assert value["metrics"]["recall"] < 1


def test_parts_of_the_run_can_be_named(inside: Inside, tiny: Tiny):
    assert figures(inside, "-m", tiny.run, "--part", "train")["sentences"] == 20
    assert figures(inside, "-m", tiny.run, "--part", "dev")["sentences"] == 8
    outcome = inside("evaluate", "-m", tiny.model, "--part", "dev", "--json")
    assert json.loads(outcome.out)["sentences"] == 8


def test_a_copied_model_is_complete_but_has_no_data_of_its_own(inside: Inside, tiny: Tiny, tmp_path: Path):
    copy = tmp_path / "anywhere"
    copy.mkdir()
    for path in tiny.model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert figures(inside, tiny.dev, "-m", copy)["metrics"]["f1"] == 1.0
    refused(inside("evaluate", "-m", copy), 2, "evaluate", f"name the data: seqtool evaluate FILE -m {copy}")


def test_min_that_is_not_met_is_9_after_the_figures(inside: Inside, tiny: Tiny, hard: str):
    words = ("evaluate", hard, "-m", tiny.run, "--json")
    reached = figures(inside, hard, "-m", tiny.run)["metrics"]
    assert inside(*words, "--min", f"f1={reached['f1']}", "--min", "accuracy=0").code == 0
    outcome = inside(*words, "--min", "f1=0.99", "--min", "recall=1", "--min", "accuracy=0.1")
    assert json.loads(outcome.out)["metrics"] == reached
    line = assert_error(
        outcome, 9, "evaluate", f"--min is not met: f1 = {reached['f1']:.4f} < 0.99; recall = "
    )
    assert "accuracy" not in line
    refused(
        inside(*words, "--min", "recal=0"),
        2,
        "evaluate",
        "--min recal: no such metric; the metrics are precision, recall, f1, accuracy; did you mean 'recall'",
    )
    refused(
        inside(*words, "--min", "F1=0"), 2, "evaluate", "--min F1: no such metric; ", "did you mean 'f1'?"
    )


def test_against_compares_two_models_on_the_same_sentences(inside: Inside, tiny: Tiny, tmp_path: Path):
    words = ("--train", tiny.train, "--dev", tiny.dev, *tiny_settings(), "--epochs", 1, "-o", "poor")
    assert inside("train", "ner", *words, "--set", "model.lexical=false").code == 0
    (tmp_path / "many.conll").write_text(corpus(60, seed=5))
    value = figures(inside, "many.conll", "-m", tiny.run, "--against", "poor")
    assert value["against"]["model"] == "poor"
    tests = value["against"]["tests"]
    assert len(tests) == 2
    for test in tests:
        assert test["metric"] == "f1"
        assert test["difference"] > 0.5
        assert test["p"] < 0.01
    own = figures(inside, "many.conll", "-m", tiny.run, "--against", tiny.run)["against"]["tests"]
    assert all(test["difference"] == 0 and test["p"] > 0.9 for test in own)
    text = inside("evaluate", "many.conll", "-m", tiny.run, "--against", "poor").out.decode()
    assert len(re.findall(r"minus f1 of poor: \+0\.\d{4}; .*run is better \(p = 0\.0\d+, ", text)) == 2
    refused(inside("evaluate", "-m", tiny.run, "--against", "absent"), 2, "evaluate", "absent: no such model")


def test_the_threshold_of_a_target_precision_holds_in_tag(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "many.conll").write_text(corpus(30, seed=5).replace("lives", "Edsger"))
    value = figures(inside, "many.conll", "-m", tiny.run, "--target-precision", 0.9)
    found = value["target_precision"]
    assert value["metrics"]["precision"] < 0.9 <= found["precision"]
    words = (
        "tag",
        "many.conll",
        "--input-format",
        "conll",
        "--format",
        "jsonl",
        "--confidence",
        "-m",
        tiny.run,
    )
    kept = inside(*words, "--min-confidence", found["min_confidence"]).out.decode()
    spans = sum(len(json.loads(line)["entities"]) for line in kept.splitlines())
    assert round(spans * found["precision"]) == round(found["recall"] * 60)
    text = inside("evaluate", "many.conll", "-m", tiny.run, "--target-precision", 0.9).out.decode()
    assert f"--min-confidence {found['min_confidence']:.4f} gives precision {found['precision']:.4f}" in text
    assert f"on this data and keeps {spans} of the " in text
    assert "; it is the lowest confidence at which precision is at least 0.9\n" in text


def test_a_target_that_cannot_be_reached_is_said(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "wrong.conll").write_text("Ada\tB-LOC\n\nTurin\tB-PER\n\n")
    words = ("wrong.conll", "-m", tiny.run, "--target-precision", 0.9)
    assert figures(inside, *words)["target_precision"]["min_confidence"] is None
    assert "no --min-confidence reaches precision 0.9 on this data" in inside("evaluate", *words).out.decode()


def test_plots_are_pictures(inside: Inside, tiny: Tiny, hard: str, tmp_path: Path):
    outcome = inside("evaluate", hard, "-m", tiny.run, "--plots", "new/pictures")
    assert outcome.code == 0
    assert "pictures in new/pictures" in outcome.err
    found = sorted((tmp_path / "new/pictures").iterdir())
    names = ["by_type.png", "confusion.png", "errors.png", "reliability.png", "thresholds.png"]
    assert [path.name for path in found] == names
    for path in found:
        content = path.read_bytes()
        assert content.startswith(PNG)
        assert len(content) > 2000
    (tmp_path / "file").touch()
    outcome = inside("evaluate", hard, "-m", tiny.run, "--plots", "file")
    assert_error(outcome, 5, "evaluate", "file: exists already and is not a folder")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("", 3, "d.conll: no sentences"),
        ("Ada\nlives\n\n", 3, "d.conll:1: no tags"),
        ("Ada\tB-PER\nlives\n\n", 3, "d.conll:2: 1 column, expected 2"),
        (None, 2, "d.conll: no such file"),
    ],
)
def test_bad_data_is_an_error_with_its_place(
    inside: Inside, tiny: Tiny, tmp_path: Path, content: str | None, code: int, message: str
):
    if content is not None:
        (tmp_path / "d.conll").write_text(content)
    before = contents(tmp_path)
    refused(inside("evaluate", "d.conll", "-m", tiny.run), code, "evaluate", message)
    assert contents(tmp_path) == before


def test_other_schemes_of_the_data_give_the_same_figures(inside: Inside, tiny: Tiny, tmp_path: Path):
    bilou = "Ada\tU-PER\nlives\tO\n\nAlan\tB-PER\nTuring\tL-PER\n\n"
    (tmp_path / "d.conll").write_text(bilou)
    (tmp_path / "e.conll").write_text(bilou.replace("U-", "B-").replace("L-", "I-"))
    expected = figures(inside, "e.conll", "-m", tiny.run)["metrics"]
    assert figures(inside, "d.conll", "-m", tiny.run)["metrics"] == expected
    assert figures(inside, "d.conll", "-m", tiny.run, "--scheme", "bilou")["metrics"] == expected
    (tmp_path / "f.conll").write_text("Ada\tI-PER\nlives\tO\n\n")
    words = ("evaluate", "f.conll", "-m", tiny.run, "--scheme", "iob2")
    refused(inside(*words, "--strict"), 3, "evaluate", "f.conll:1: invalid iob2 sequence", "--repair")
    refused(inside(*words, "--strict", "--repair"), 2, "evaluate", "leave one of them out")
    outcome = inside(*words, "--repair")
    assert outcome.code == 0
    assert "1 tag repaired to valid iob2 sequences" in outcome.err


def test_markup_and_escapes_in_labels_are_text(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "[red]d.conll").write_text("Ada\tB-[bold]\x1b[31m\nlives\tO\n\n")
    text = inside("evaluate", "[red]d.conll", "-m", tiny.run).out.decode()
    assert "on [red]d.conll" in text
    assert "\n[bold]\x1b[31m\t" in text  # raw in a pipe: only a terminal needs protection


def test_figures_do_not_depend_on_the_batches(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "many.conll").write_text(corpus(60, seed=6).replace("lives", "Edsger"))
    first, second = (
        figures(inside, "many.conll", "-m", tiny.run, "--batch-tokens", budget) for budget in (1, 4096)
    )
    assert first["metrics"] == second["metrics"]
    assert first["by_type"] == second["by_type"]


# --- a file of predictions, wrong examples ---


@pytest.mark.parametrize("form", [("conll",), ("conll", "--confidence"), ("jsonl",), ("inline",)])
def test_what_tag_writes_scores_as_its_model_does(
    inside: Inside, tiny: Tiny, hard: str, tmp_path: Path, form: tuple[str, ...]
):
    tagged = inside("tag", hard, "--input-format", "conll", "-m", tiny.run, "--format", *form)
    (tmp_path / "found").write_bytes(tagged.out)
    value = figures(inside, hard, "--predictions", "found")
    own = figures(inside, hard, "-m", tiny.run)
    assert (value["model"], value["data"]) == ("found", hard)
    for key in ("metrics", "intervals", "by_type", "errors", "confusion"):
        assert value[key] == own[key]
    text = inside("evaluate", hard, "--predictions", "found", "--against", hard).out.decode()
    assert f"minus f1 of {hard}: -" in text


def test_predictions_of_parts_of_speech_and_pairs_are_told_by_their_data(inside: Inside, tmp_path: Path):
    (tmp_path / "pos").write_text("Ada\tPROPN\nlives\tVERB\n\n")
    assert set(figures(inside, "pos", "--predictions", "pos")["metrics"]) == {"accuracy"}
    (tmp_path / "ner").write_text(HARD)
    assert set(figures(inside, "ner", "--predictions", "ner")["metrics"]) >= {"f1"}
    assert set(figures(inside, "ner", "--predictions", "ner", "--task", "pos")["metrics"]) == {"accuracy"}
    (tmp_path / "s").write_text("the engine\nyes\n")
    (tmp_path / "t").write_text("die Maschine\nja\n")
    (tmp_path / "p.tsv").write_text("the engine\tdie Maschine\nyes\tja\n")
    (tmp_path / "p.csv").write_text("the engine,die Maschine\nyes,ja\n")
    (tmp_path / "l.csv").write_text("nr,en,de\n1,the engine,die Maschine\n2,yes,ja\n")
    (tmp_path / "x.csv").write_text("1,die Maschine,the engine\n2,ja,yes\n")
    (tmp_path / "o").write_text("die Maschine\nnein\n")
    named = (("l.csv", "--languages", "en,de"), ("x.csv", "--columns", "-,target,source"))
    for files in (("s", "t"), ("p.tsv",), ("p.csv",), *named):
        found = figures(inside, *files, "--predictions", "o", "--ter", "--errors", "e.jsonl", "--overwrite")
        assert (found["metrics"]["exact_match"], found["model"]) == (0.5, "o")
        assert found["metrics"]["ter"] > 0
        (row,) = map(json.loads, Path("e.jsonl").read_text().splitlines())
        assert (row["source"], row["gold"], row["predicted"]) == ("yes", "ja", "nein")
        assert row["line"] == (3 if "l.csv" in files else 2)
    words = ("evaluate", "x.csv", "--predictions", "o", "--columns")
    refused(inside(*words, "-,target"), 2, "evaluate", "--columns -,target: expected source")
    refused(inside(*words[:4], "--languages", "en"), 2, "evaluate", "--languages en: expected two keys")


def test_a_source_without_its_target_shows_what_data_is(inside: Inside, tmp_path: Path):
    (tmp_path / "s").write_text("the engine stops at the station at nine\nyes it does\n")
    (tmp_path / "o").write_text("die Maschine\nja\n")
    refused(
        inside("evaluate", "s", "--predictions", "o"),
        3,
        "evaluate",
        "two files, SRC TGT, or with one file of pairs: seqtool evaluate SRC TGT --predictions FILE",
    )
    refused(
        inside("evaluate", "s", "--predictions", "o", "--task", "translate"),
        3,
        "evaluate",
        "s:1: 1 column, expected 2; check that a tab stands between source, target, or give two files, SRC",
    )


def test_contradictions_about_predictions_are_2(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "gold").write_text("Ada\tB-PER\n\n")
    words = ("evaluate", "gold", "--predictions", "gold")
    refused(inside(*words, "-m", tiny.run), 2, "evaluate", "-m has no effect with --predictions")
    refused(inside(*words, "--device", "cpu"), 2, "evaluate", "--device has no effect with --predictions")
    refused(inside(*words[:1], *words[2:]), 2, "evaluate", "seqtool evaluate GOLD --predictions FILE")
    refused(inside(*words, "--ter"), 2, "evaluate", "--ter is for translators only, and gold is of a tagger")
    refused(
        inside("evaluate", "-m", tiny.run, "--task", "ner"),
        2,
        "evaluate",
        "--task goes with --predictions only",
    )
    refused(inside("evaluate", "gold", "--predictions", "absent"), 2, "evaluate", "absent: no such file")
    (tmp_path / "other").write_text("Eve\tB-PER\n\n")
    refused(
        inside("evaluate", "gold", "--predictions", "other"),
        3,
        "evaluate",
        "other:1: token 1 is 'Eve', but 'Ada' in gold:1; tag the same file",
    )


def test_wrong_examples_are_written_whole_beside_the_figures(
    inside: Inside, tiny: Tiny, hard: str, tmp_path: Path
):
    outcome = inside("evaluate", hard, "-m", tiny.run, "--errors", "errors.jsonl")
    assert outcome.code == 0
    rows = [json.loads(line) for line in Path("errors.jsonl").read_text().splitlines()]
    assert f"errors: {len(rows)} example" in outcome.err
    kinds = figures(inside, hard, "-m", tiny.run)["errors"]
    assert sum(len(row["errors"]) for row in rows) == sum(kinds.values()) - kinds["correct"]
    assert {row["line"] for row in rows} <= {1, 7}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--errors", "no/e.jsonl"), "no/e.jsonl: there is no folder no; make it with: mkdir -p no"),
        (("--errors", "."), ".: is a folder; expected a file to write"),
        (("--errors", "mine"), "mine: exists already; replace it with --overwrite, or give another name"),
        (("--errors", "hard.conll", "--overwrite"), "--errors hard.conll: is one of the files to evaluate"),
        (
            ("--overwrite",),
            "--overwrite replaces the file of --errors, which is not given; add --errors FILE",
        ),
    ],
)
def test_errors_overwrite_nothing_that_is_not_meant(
    inside: Inside, tiny: Tiny, hard: str, tmp_path: Path, words: tuple[str, ...], message: str
):
    (tmp_path / "mine").write_text("mine\n")
    before = contents(tmp_path)
    refused(inside("evaluate", hard, "-m", tiny.run, *words), 2, "evaluate", message)
    assert contents(tmp_path) == before


def test_errors_replace_a_file_on_request_but_never_the_data_of_the_recipe(
    inside: Inside, tiny: Tiny, hard: str, tmp_path: Path
):
    (tmp_path / "mine").write_text("mine\n")
    words = ("evaluate", "-m", tiny.run, "--overwrite", "--errors")
    assert inside(*words[:1], hard, *words[1:], "mine").code == 0
    assert json.loads((tmp_path / "mine").read_text().splitlines()[0])["errors"]
    before = tiny.dev.read_bytes()
    refused(inside(*words, tiny.dev), 2, "evaluate", f"--errors {tiny.dev}: is one of the files to evaluate")
    assert tiny.dev.read_bytes() == before


def test_what_is_read_more_than_once_cannot_be_a_pipe(inside: Inside, tiny: Tiny, hard: str, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    message = "a pipe can be read only once, and this evaluation reads its files more than once; save it as"
    for name in ("-", "pipe"):
        for words in ((name, "-m", tiny.run), (name, "--predictions", hard), (hard, "--predictions", name)):
            refused(inside("evaluate", *words, stdin=HARD.encode()), 2, "evaluate", message)


def test_options_of_entities_are_refused_where_tags_have_no_scheme(inside: Inside, tmp_path: Path):
    (tmp_path / "pos").write_text("the\tDET\ncat\tNOUN\n\n")
    words = ("evaluate", "pos", "--predictions", "pos")
    for option in (("--scheme", "iob2"), ("--repair",), ("--strict",)):
        done = inside(*words, *option)
        refused(
            done, 2, "evaluate", f"{option[0]} is for tags of entities", "leave it out, or add --task ner"
        )
    refused(inside(*words, "--batch-tokens", 9), 2, "evaluate", "--batch-tokens has no effect with --predict")


def test_metrics_of_min_are_checked_before_the_data_is_read(inside: Inside, tiny: Tiny, tmp_path: Path):
    (tmp_path / "broken").write_text("not annotated\n")
    refused(
        inside("evaluate", "broken", "-m", tiny.run, "--min", "bleu=3"),
        2,
        "evaluate",
        "--min bleu: no such metric; the metrics are precision, recall, f1, accuracy",
    )
