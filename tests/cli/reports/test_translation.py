"""`seqtool evaluate` with translators, `inspect attention`, `model average` and `model info` of them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import seqtool
from seqtool.translation import prediction
from tests.cli.conftest import Tiny, TinyTranslator, translator_words
from tests.cli.running import Inside, assert_error, contents, refused
from tests.translation.tiny_pairs import TEXTS, untrained

COMPARED = ["bleu", "bleu", "chrf", "chrf", "exact_match", "exact_match"]
LEAST = {"bleu": 20, "chrf": 20, "exact_match": 0.2}
PNG = b"\x89PNG\r\n\x1a\n"
METRICS = {"bleu", "bleu_lowercase", "chrf", "exact_match", "copy_precision", "copy_recall"}


def figures(inside: Inside, *words: object) -> Any:
    outcome = inside("evaluate", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


# --- evaluate ---


def test_json_is_one_object_with_all_figures(inside: Inside, pairs: TinyTranslator) -> None:
    value = figures(inside, "-m", pairs.run)
    assert value["model"] == str(pairs.run)
    assert value["data"] == f"{pairs.source} and {pairs.target}"  # the test part of the run's recipe
    assert set(value["metrics"]) == set(value["signatures"]) == set(value["intervals"]) == METRICS
    assert value["metrics"]["bleu"] == pytest.approx(100)
    assert value["metrics"]["exact_match"] == 1.0
    assert "tok:13a" in value["signatures"]["bleu"]
    assert value["intervals"]["exact_match"] == {"low": 1.0, "high": 1.0, "level": 0.95}
    assert [(row["label"], row["sentences"]) for row in value["by_length"]] == [("1-6", 10)]
    assert value["search"] == "beam 2, length penalty average 1, fp32"
    assert figures(inside, "-m", pairs.run, "--bootstrap", 0)["intervals"] == {}
    more = figures(inside, "-m", pairs.run, "--ter", "--beam", 1)
    assert set(more["metrics"]) == METRICS | {"ter"}
    assert (more["metrics"]["ter"], more["search"]) == (0.0, "greedy search, fp32")


def test_the_tables_say_the_same(inside: Inside, pairs: TinyTranslator) -> None:
    outcome = inside("evaluate", pairs.source, pairs.target, "-m", pairs.poor)
    value = figures(inside, pairs.source, pairs.target, "-m", pairs.poor)
    text = outcome.out.decode()
    assert outcome.code == 0
    assert text.startswith(f"{pairs.poor} on {pairs.source} and {pairs.target}\nmetric\tvalue\t")
    for name, metric in value["metrics"].items():
        assert f"\n{name}\t{metric:.4f}\t" in text, text
    assert "\n\nby length\nwords of the source\tsentences\tbleu\n1-6\t10\t" in text
    assert "outputs by beam 2, length penalty average 1, fp32\n" in text
    assert "\x1b" not in text


def test_data_may_be_two_files_a_table_or_a_part_of_the_recipe(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    (tmp_path / "t.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in TEXTS))
    for words in (("t.tsv",), (pairs.source, pairs.target), ("--part", "train"), ("--part", "dev")):
        assert figures(inside, *words, "-m", pairs.run, "--bootstrap", 0)["metrics"]["exact_match"] == 1.0
    shutil.copytree(pairs.run / "model", tmp_path / "alone")
    refused(inside("evaluate", "-m", "alone"), 2, "evaluate", "name the data")


def test_min_that_is_not_met_is_9_after_the_figures(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("evaluate", "-m", pairs.poor, "--json", "--bootstrap", 0)
    assert inside("evaluate", "-m", pairs.run, "--min", "bleu=99.9", "--min", "exact_match=1").code == 0
    outcome = inside(*command, "--min", "bleu=90", "--min", "chrf=0")
    assert set(json.loads(outcome.out)["metrics"]) == METRICS
    line = assert_error(outcome, 9, "evaluate", "--min is not met: bleu = ", " < 90")
    assert "chrf" not in line
    message = "--min belu: no such metric; the metrics are "
    refused(inside(*command, "--min", "belu=1"), 2, "evaluate", message)


def test_against_compares_two_models_on_the_same_pairs(inside: Inside, pairs: TinyTranslator) -> None:
    value = figures(inside, "-m", pairs.run, "--against", pairs.poor)["against"]
    assert value["model"] == str(pairs.poor)
    assert value["difference"] == f"{pairs.run} minus {pairs.poor}"
    assert [test["metric"] for test in value["tests"]] == COMPARED
    assert all(test["difference"] > LEAST[test["metric"]] and test["p"] < 0.05 for test in value["tests"])
    own = figures(inside, "-m", pairs.run, "--against", pairs.run)["against"]["tests"]
    assert all(test["difference"] == 0 and test["p"] > 0.9 for test in own)
    text = inside("evaluate", "-m", pairs.run, "--against", pairs.poor).out.decode()
    assert f"\nbleu of {pairs.run} minus bleu of {pairs.poor}: +" in text
    assert re.search(r"^outputs of both models by beam \d+, .*, fp32$", text, re.MULTILINE)
    assert (
        len(re.findall(r"minus (bleu|chrf|exact_match) of .*poor: \+.*run is better \(p = 0\.0", text)) == 6
    )


def test_both_models_of_a_comparison_compute_alike(
    pairs: TinyTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """auto is int8 for a large model and fp32 for a small one; the first model decides for both."""
    monkeypatch.setattr(prediction, "multiplies_int8", lambda device: True)
    monkeypatch.setattr(prediction, "WORTH_INT8", 1)
    found: list[torch.dtype] = []
    load = prediction.TranslatorModel.load.__func__

    def noted(cls: type, *arguments: Any, **options: Any) -> prediction.TranslatorModel:
        model = load(cls, *arguments, **options)
        found.append(model.precision)
        monkeypatch.setattr(prediction, "WORTH_INT8", 2**40)
        return model

    monkeypatch.setattr(prediction.TranslatorModel, "load", classmethod(noted))
    result = seqtool.evaluate(
        pairs.run, [pairs.source, pairs.target], against=pairs.poor, device="cpu", bootstrap=0
    )
    assert found == [torch.int8, torch.int8]
    assert result.search.endswith(", int8")


def test_plots_are_pictures(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    outcome = inside("evaluate", "-m", pairs.run, "--plots", "pictures", "--bootstrap", 0)
    assert outcome.code == 0
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["by_length.png"]
    assert (tmp_path / "pictures" / "by_length.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("source", "target", "code", "message"),
    [
        ("", "", 3, "no sentence pairs"),
        ("a\nb\n", "a\n", 3, "2"),
        ("a\n", None, 2, "t: no such file"),
    ],
)
def test_bad_data_is_an_error_with_its_place(
    inside: Inside,
    pairs: TinyTranslator,
    tmp_path: Path,
    source: str,
    target: str | None,
    code: int,
    message: str,
) -> None:
    (tmp_path / "s").write_text(source)
    if target is not None:
        (tmp_path / "t").write_text(target)
    before = contents(tmp_path)
    refused(inside("evaluate", "s", "t", "-m", pairs.run), code, "evaluate", message)
    assert contents(tmp_path) == before


def test_options_of_another_task_are_refused(inside: Inside, pairs: TinyTranslator, tiny: Tiny) -> None:
    for words in (("--scheme", "iob2"), ("--repair",), ("--target-precision", 0.9)):
        refused(inside("evaluate", "-m", pairs.run, *words), 2, "evaluate", f"{words[0]} is for taggers only")
    for more in (("--beam", 2), ("--ter",)):
        refused(
            inside("evaluate", "-m", tiny.run, *more), 2, "evaluate", f"{more[0]} is for translators only"
        )
    refused(
        inside("evaluate", "a", "b", "-m", tiny.run),
        2,
        "evaluate",
        "a tagger is evaluated on one annotated file; leave out the second file",
    )
    refused(inside("evaluate", "-m", pairs.run, "--against", tiny.run), 4, "evaluate", "ner", "translate")


# --- inspect attention ---


def test_attention_is_shown_and_drawn_for_each_line(
    inside: Inside, pairs: TinyTranslator, tmp_path: Path
) -> None:
    text = f"{TEXTS[2][0]}\n\n{TEXTS[7][0]}\n".encode()
    outcome = inside("inspect", "attention", "-m", pairs.run, "-o", "pictures", stdin=text)
    shown = outcome.out.decode()
    assert outcome.code == 0
    assert "pictures in pictures" in outcome.err
    assert shown.count("coverage│") == shown.count("p(gen)") == 2  # nothing for the blank line
    first = shown.split("\n\n")[0]
    for symbol in (*TEXTS[2][0].split(), *TEXTS[2][1].split()):
        assert symbol in first
    assert "\x1b" not in shown
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["1.png", "3.png"]
    assert all(path.read_bytes().startswith(PNG) for path in (tmp_path / "pictures").iterdir())
    svg = ("inspect", "attention", "-m", pairs.run, "-o", "svg", "--picture", "svg")
    assert inside(*svg, stdin=b"yes\n").code == 0
    assert b"<svg" in (tmp_path / "svg" / "1.svg").read_bytes()


def test_a_given_target_is_shown_in_place_of_the_models_own(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("inspect", "attention", "-m", pairs.run)
    given = inside(*command, "--given", stdin=b"yes\tMaschine stand\n").out.decode()
    assert "Maschine" in given and "stand" in given
    own = inside(*command, stdin=b"yes\n").out.decode()
    assert "Maschine" not in own and "ja" in own


def test_a_given_line_without_a_tab_has_no_target(inside: Inside, pairs: TinyTranslator) -> None:
    command = ("inspect", "attention", "-m", pairs.run, "--given")
    outcome = inside(*command, stdin=b"yes\tja\n\nyes\n")
    assert_error(
        outcome, 3, "inspect attention", "standard input:3: no tab; ", "each line is SOURCE TAB TARGET"
    )
    assert inside(*command, stdin=b"yes\t\n").code == 0


def test_a_picture_names_its_sentence(
    inside: Inside, pairs: TinyTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []

    def draw(*_: object, title: str, **__: object) -> None:
        titles.append(title)

    monkeypatch.setattr("seqtool.inspection.attention.attention_figure", draw)
    inside("inspect", "attention", "-m", pairs.run, "-o", "pictures", stdin=b"yes\n")
    inside("translate", "-m", pairs.run, "--attention", "pictures", stdin=b"the engine\n")
    assert [title.partition(": ")[2] for title in titles] == ["yes", "the engine"]
    assert titles[0].startswith("Attention (log probability -")


def test_what_cannot_be_inspected_is_refused(
    inside: Inside, pairs: TinyTranslator, tiny: Tiny, tmp_path: Path
) -> None:
    command = ("inspect", "attention")
    refused(inside(*command, "-m", tiny.run), 4, "inspect attention", "ner", "translate")
    refused(inside(*command), 2, "inspect attention", "`seqtool train translate`")
    refused(inside(*command, "absent", "-m", pairs.run), 2, "inspect attention", "absent: no such file")
    (tmp_path / "file").touch()
    words = ("-m", pairs.run, "-o", "file")
    refused(
        inside(*command, *words, stdin=b"yes\n"),
        5,
        "inspect attention",
        "file: exists already and is not a folder",
    )
    assert inside(*command, "-m", pairs.run)[:2] == (0, b"")


def test_a_model_without_attention_has_nothing_to_draw_or_to_align_by(inside: Inside, tmp_path: Path) -> None:
    model = untrained(model={"attention": "none", "decoder": "parallel", "copy": False, "coverage": False})
    model.save(tmp_path / "m", card="")
    before = contents(tmp_path)
    translate = ("translate", "-m", "m", "--max-length", 5)
    cases: dict[tuple[object, ...], str] = {
        ("inspect", "attention", "-m", "m", "-o", "new"): "to draw",
        ("inspect", "attention", "-m", "m", "--given"): "to draw",
        (*translate, "--attention", "new"): "to draw",
        (*translate, "--alignments"): "to align words by",
    }
    for words, purpose in cases.items():
        command = "inspect attention" if words[0] == "inspect" else "translate"
        expected = f"m: this model has no attention {purpose}: model.attention = 'none'"
        refused(inside(*words, stdin=b"yes\tja\n"), 2, command, expected)
    assert contents(tmp_path) == before
    assert inside(*translate, stdin=b"yes\n").code == 0


# --- model average, model info ---


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_average_of_models_is_a_model(inside: Inside, pairs: TinyTranslator, tmp_path: Path) -> None:
    outcome = inside("model", "average", pairs.run, pairs.poor, "-o", "mean")
    assert (outcome.code, outcome.out) == (0, b"mean\n")
    assert "seem to come from different runs" in outcome.err and len(outcome.err.splitlines()) == 1
    first, second, mean = (
        weights(path) for path in (pairs.run / "model", pairs.poor / "model", Path("mean"))
    )
    assert mean.keys() == first.keys()
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
    assert inside("translate", "-m", "mean", "--max-length", 5, stdin=b"yes\n").code == 0
    assert inside("model", "verify", "mean").code == 0
    assert inside("model", "average", pairs.run, pairs.run, "-o", "same")[::2] == (0, "")
    assert inside("translate", pairs.source, "-m", "same").out == pairs.answer


def test_models_that_do_not_average_are_refused(
    inside: Inside, pairs: TinyTranslator, tiny: Tiny, tmp_path: Path
) -> None:
    files = ("--train", pairs.source, pairs.target, "--epochs", 1)
    wider = translator_words("model.hidden=8")
    assert inside("train", "translate", *files, *wider, "--set", "model.hidden=8", "-o", "x").code == 0
    command = ("model", "average")
    refused(inside(*command, pairs.run, "x", "-o", "m"), 4, "model average", "differ in network")
    refused(inside(*command, pairs.run, tiny.run, "-o", "m"), 4, "model average", "differ in task")
    refused(inside(*command, pairs.run, "-o", "m"), 2, "model average", "1 model to average")
    refused(inside(*command, pairs.run, "absent", "-o", "m"), 2, "model average", "absent: no such model")
    before = contents(tmp_path)
    refused(inside(*command, pairs.run, pairs.poor, "-o", "x"), 2, "model average", "x: exists already")
    assert contents(tmp_path) == before


def test_info_describes_a_translator(inside: Inside, pairs: TinyTranslator) -> None:
    facts = json.loads(inside("model", "info", pairs.run, "--json").out)
    assert facts["task"] == "translate"
    assert facts["settings"]["model"]["copy"] is True
    assert facts["parameters"] == sum(tensor.numel() for tensor in weights(pairs.run / "model").values())
    assert set(facts["vocabularies"]) == {"source.vocabulary", "target.vocabulary"}
    assert all(size > 4 for size in facts["vocabularies"].values())
    assert facts["dev"]["exact_match"] == 1.0
