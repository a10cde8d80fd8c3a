"""Predictions without a model: every layout that `tag` writes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.tagging.assessment import EvaluationOptions, TaggerEvaluation, assess_predictions
from seqtool.text.columns import format_conll, format_jsonl
from seqtool.text.inline import format_inline
from seqtool.text.tag_scheme import spans as spans_of

TOKENS = (["Ada", "[Lovelace]", "met", "a/b"], ["Turing", "in", "New", "York"], ["no", "\\one", "."])
GOLD = (["B-PER", "I-PER", "O", "O"], ["B-PER", "O", "B-LOC", "I-LOC"], ["O", "O", "O"])
FOUND = (["B-PER", "O", "O", "O"], ["B-LOC", "O", "B-LOC", "I-LOC"], ["O", "B-LOC", "O"])


def written(path: Path, rows: tuple[list[str], ...], form: str = "conll", spans: bool = True) -> Path:
    scheme = "iob2" if spans else None
    make = {
        "conll": format_conll,
        "jsonl": format_jsonl,
        "inline": lambda tokens, tags: format_inline(tokens, tags, scheme),
        "inline with confidence": lambda tokens, tags: format_inline(
            tokens, tags, scheme, [0.29] * (len(spans_of(tags, scheme)) if scheme else len(tags))
        ),
        "confidence": lambda tokens, tags: format_conll(tokens, tags, ["0.9812"] * len(tags)),
        "kbest": lambda tokens, tags: format_conll(tokens, tags, ["0.5000"] * len(tags), ["O"] * len(tags)),
    }[form]
    path.write_text("".join(make(*pair) for pair in zip(TOKENS, rows, strict=True)), encoding="utf-8")
    return path


def scored(folder: Path, form: str = "conll", *, task: str = "ner") -> TaggerEvaluation:
    spans = task == "ner"
    gold = written(folder / "gold.conll", GOLD)
    found = written(folder / "found", FOUND, form, spans)
    return assess_predictions(found, [gold], task=task, bootstrap=0)


@pytest.mark.parametrize(
    "form", ["conll", "jsonl", "inline", "inline with confidence", "confidence", "kbest"]
)
def test_every_layout_of_tag_has_the_same_scores(tmp_path: Path, form: str) -> None:
    found = scored(tmp_path, form)
    values = {name: score.value for name, score in found.scores.items()}
    assert values == pytest.approx({"precision": 1 / 4, "recall": 1 / 3, "f1": 2 / 7, "accuracy": 7 / 11})
    assert (found.model, found.data) == (str(tmp_path / "found"), str(tmp_path / "gold.conll"))
    assert found.as_dict()["errors"] == {
        "correct": 1, "type": 1, "boundary": 1, "both": 0, "missed": 0, "spurious": 1
    }  # fmt: skip


@pytest.mark.parametrize("form", ["conll", "jsonl", "inline", "inline with confidence"])
def test_tags_without_spans_have_accuracy(tmp_path: Path, form: str) -> None:
    assert scored(tmp_path, form, task="pos").scores["accuracy"].value == pytest.approx(8 / 11)


def test_a_gold_tag_that_ends_like_a_confidence_is_kept(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("Ada\tX:0.50\nmet\tY\n\n")
    (tmp_path / "found").write_text("Ada/X:0.50 met/Y:1.00\n")
    found = assess_predictions(tmp_path / "found", [tmp_path / "gold"], task="pos", bootstrap=0)
    assert found.scores["accuracy"].value == 1.0


def test_wrong_sentences_are_listed_with_gold_beside_predicted(tmp_path: Path) -> None:
    first, second, third = scored(tmp_path).errors()
    assert (first["file"], first["line"]) == (str(tmp_path / "gold.conll"), 1)
    assert (first["tokens"], first["gold"], first["predicted"]) == (TOKENS[0], GOLD[0], FOUND[0])
    (error,) = first["errors"]
    assert error["kind"] == "boundary"
    assert error["gold"] == {"type": "PER", "first_token": 0, "after_token": 2, "text": "Ada [Lovelace]"}
    assert error["predicted"]["text"] == "Ada"
    assert [each["kind"] for each in second["errors"]] == ["type"]
    assert third["errors"][0]["gold"] is None
    tokens = [each["errors"] for each in scored(tmp_path, task="pos").errors()]
    assert tokens[2] == [{"token": 1, "text": "\\one", "gold": "O", "predicted": "B-LOC"}]


def test_wrong_tokens_with_a_bar_or_question_mark_in_the_tag_are_listed(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("Ada\tNOUN|X\nwhy\t?\n\n")
    (tmp_path / "found").write_text("Ada\tNOUN\nwhy\tX\n\n")
    found = assess_predictions(tmp_path / "found", [tmp_path / "gold"], task="pos", bootstrap=0)
    assert found.scores["accuracy"].value == 0.0
    (wrong,) = found.errors()
    assert [error["gold"] for error in wrong["errors"]] == ["NOUN|X", "?"]


def test_columns_are_those_of_the_annotated_file_where_there_are_as_many(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("Ada NNP B-PER\nmet VB O\n\n")
    (tmp_path / "same").write_text("Ada NNP B-PER\nmet VB O\n\n")
    (tmp_path / "tag").write_text("Ada\tB-PER\t0.9000\nmet\tO\t0.8000\n\n")
    for name in ("same", "tag"):
        found = assess_predictions(tmp_path / name, [tmp_path / "gold"], task="ner", bootstrap=0)
        assert found.scores["f1"].value == 1.0


def test_invalid_predictions_are_read_as_conlleval_reads_them_and_counted(tmp_path: Path) -> None:
    (tmp_path / "gold").write_text("Ada\tB-PER\nmet\tO\nTuring\tB-PER\n\n")
    (tmp_path / "found").write_text("Ada\tB-PER\nmet\tO\nTuring\tI-PER\n\n")
    found = assess_predictions(tmp_path / "found", [tmp_path / "gold"], task="ner", bootstrap=0)
    assert found.scores["f1"].value == 1.0
    (warning,) = found.warnings
    assert warning.startswith(f"{tmp_path / 'found'}: 1 ")


def test_two_files_of_predictions_are_compared(tmp_path: Path) -> None:
    gold, found = written(tmp_path / "gold", GOLD), written(tmp_path / "found", FOUND)
    result = assess_predictions(gold, [gold], task="ner", bootstrap=0, against=found)
    assert result.against == str(found)
    assert [test.difference for _, test in result.comparisons] == pytest.approx([5 / 7] * 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ada\tO\n\n", r"found:1: token 2 is '', but '\[Lovelace\]' in .*gold:1; tag the same file"),
        ("Eve\tO\n\n", r"found:1: token 1 is 'Eve', but 'Ada' in .*gold:1"),
        ("Ada\n\n", "found: contains no tags; expected the output of `seqtool tag`"),
        ("", "found: no sentences"),
    ],
)
def test_other_sentences_are_refused_with_their_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "found").write_text(text)
    with pytest.raises(DataError, match=message):
        assess_predictions(tmp_path / "found", [written(tmp_path / "gold", GOLD)], task="ner")


def test_too_few_and_too_many_sentences_are_refused(tmp_path: Path) -> None:
    gold, found = written(tmp_path / "gold", GOLD), written(tmp_path / "found", FOUND)
    text = found.read_text()
    found.write_text(text + "more\tO\n\n")
    with pytest.raises(DataError, match="found:15: a sentence that the annotated file does not have"):
        assess_predictions(found, [gold], task="ner")
    found.write_text(text[: text.index("no\t")])
    with pytest.raises(DataError, match=r"found: ends before the sentence of .*gold:11"):
        assess_predictions(found, [gold], task="ner")


def test_a_threshold_needs_a_model(tmp_path: Path) -> None:
    gold = written(tmp_path / "gold", GOLD)
    with pytest.raises(UsageError, match="--target-precision needs the confidences of a model"):
        assess_predictions(gold, [gold], EvaluationOptions(target_precision=0.5), task="ner")


def test_errors_are_json(tmp_path: Path) -> None:
    rows = list(scored(tmp_path).errors())
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
