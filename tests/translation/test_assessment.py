from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.evaluation.text_scores import copy_scores, text_scores
from seqtool.translation.assessment import (
    SCORES,
    EvaluationOptions,
    assess,
    assess_predictions,
    load_evaluation_data,
    metric_names,
)
from seqtool.translation.data import TranslationData
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from tests.translation.tiny_pairs import (
    COPYING,
    LEARN,
    TEXTS,
    pairs_of,
    sources_of,
    targets_of,
    tiny_data,
    train_tiny,
    untrained,
    write_pairs,
)

BEAM = SearchOptions(beam=2)
NAMES = {*SCORES, "copy_precision", "copy_recall"}
COMPARED = ["bleu", "bleu", "chrf", "chrf", "exact_match", "exact_match"]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TranslatorModel:
    """A model that has memorised the ten pairs."""
    folder = tmp_path_factory.mktemp("learned")
    return train_tiny(folder, model={"copy": True}, vocabulary=COPYING, training=LEARN).model


def one_part() -> TranslationData:
    return TranslationData({"test": tiny_data().parts["dev"]})


def test_a_model_that_knows_its_data_is_perfect_in_every_figure(learned: TranslatorModel) -> None:
    found = assess(learned, one_part(), EvaluationOptions(ter=True), name="m", search=BEAM, bootstrap=50)
    values = {name: score.value for name, score in found.scores.items()}
    perfect = {"bleu": 100.0, "bleu_lowercase": 100.0, "chrf": 100.0, "exact_match": 1.0, "ter": 0.0}
    assert values == pytest.approx({**perfect, "copy_precision": 1.0, "copy_recall": 1.0})
    assert found.intervals["exact_match"].low == found.intervals["exact_match"].high == 1.0
    assert found.intervals.keys() == found.scores.keys() == {*NAMES, "ter"}
    assert (found.model, found.data, found.warnings, found.against) == ("m", "memory", (), None)
    assert found.search == BEAM.describe() + ", fp32"


def test_scores_are_those_of_what_the_search_gives() -> None:
    model = untrained(model={"copy": True})
    found = assess(model, one_part(), name="m", search=BEAM, bootstrap=0)
    texts = model.translate(sources_of(), BEAM)
    expected = text_scores(texts, targets_of(), SCORES)
    copied = copy_scores(sources_of(), texts, targets_of())
    assert found.scores.keys() == NAMES
    for name, score in expected.items():
        assert (found.scores[name].value, found.scores[name].signature) == (score.value, score.signature)
    assert found.scores["copy_precision"].value == copied.precision.value
    assert found.scores["copy_recall"].value == copied.recall.value
    assert found.intervals == {}
    other = assess(model, one_part(), EvaluationOptions(batch_tokens=1), name="m", search=BEAM, bootstrap=0)
    assert {n: s.value for n, s in other.scores.items()} == {n: s.value for n, s in found.scores.items()}


def test_scores_by_length_are_of_all_pairs_by_the_words_of_their_source() -> None:
    pairs = [*pairs_of(), *pairs_of([("yes " * 15, "ja")] * 10)]
    part = tiny_data(pairs).parts["dev"]
    options = SearchOptions(beam=1, max_length=10)
    found = assess(untrained(), TranslationData({"t": part}), name="m", search=options, bootstrap=0)
    assert [row.sentences for row in found.by_length] == [10, 10]
    assert found.by_length[1].label == "15"


def test_of_single_words_exact_match_leads_and_sources_are_measured_in_characters() -> None:
    pairs = [*pairs_of([("yes", "ja")] * 10), *pairs_of([("engine", "Maschine")] * 10)]
    part = TranslationData({"t": tiny_data(pairs).parts["dev"]})
    found = assess(untrained(), part, name="m", search=SearchOptions(beam=1), bootstrap=0)
    assert found.scores.keys() == {*NAMES, "edit_distance"}
    assert list(found.scores)[:2] == ["exact_match", "edit_distance"]
    assert [(row.label, row.sentences) for row in found.by_length] == [("3", 10), ("6", 10)]
    assert found.compared == ("exact_match", "chrf", "bleu")
    assert found.as_dict()["by_length_of"] == {"metric": "exact_match", "unit": "characters"}
    right = sum(text == pair.target for text, pair in zip(found.outputs.texts[:10], pairs, strict=False))
    assert found.by_length[0].value == right / 10


def test_two_models_are_compared_on_the_same_pairs(learned: TranslatorModel) -> None:
    other = untrained()
    found = assess(learned, one_part(), name="m", search=BEAM, bootstrap=100, against=("other", other))
    assert [name for name, _ in found.comparisons] == COMPARED
    for name, test in found.comparisons:
        score = assess(other, one_part(), name="o", search=BEAM, bootstrap=0).scores[name]
        assert test.difference == pytest.approx(found.scores[name].value - score.value)
        assert test.p_value < 0.05
    same = assess(learned, one_part(), name="m", search=BEAM, bootstrap=100, against=("same", learned))
    assert all(test.difference == 0 and test.p_value == 1.0 for _, test in same.comparisons)


def test_the_whole_report_is_json(learned: TranslatorModel) -> None:
    other = ("other", untrained())
    found = assess(learned, one_part(), name="m", search=BEAM, bootstrap=20, against=other)
    value = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert value["metrics"].keys() == value["signatures"].keys() == value["intervals"].keys() == NAMES
    assert "BLEU" in value["signatures"]["bleu"] or "tok:13a" in value["signatures"]["bleu"]
    assert "case:lc" in value["signatures"]["bleu_lowercase"]
    assert value["metrics"]["exact_match"] == 1.0
    assert value["intervals"]["exact_match"] == {"low": 1.0, "high": 1.0, "level": 0.95}
    assert value["search"] == BEAM.describe() + ", fp32"
    assert value["by_length"][0].keys() == {"label", "sentences", "value"}
    assert value["against"]["model"] == "other"
    assert [test["metric"] for test in value["against"]["tests"]] == COMPARED
    alone = assess(learned, one_part(), name="m", search=BEAM, bootstrap=0).as_dict()
    assert "against" not in alone
    assert alone["intervals"] == {}


def test_intervals_hold_their_score_and_repeat() -> None:
    model = untrained(model={"copy": True})
    first, second = (assess(model, one_part(), name="m", search=BEAM, bootstrap=200) for _ in range(2))
    assert first.intervals == second.intervals
    interval = first.intervals["chrf"]
    assert interval.low < first.scores["chrf"].value < interval.high


# --- data to score ---


def test_data_may_be_two_files_or_one_also_compressed(learned: TranslatorModel, tmp_path: Path) -> None:
    paths = [Path(path) for path in write_pairs(tmp_path)]
    table = tmp_path / "t.tsv.gz"
    table.write_bytes(gzip.compress("".join(f"{s}\t{t}\n" for s, t in TEXTS).encode()))
    lines = tmp_path / "t.jsonl"
    lines.write_text("".join(json.dumps({"source": s, "target": t}) + "\n" for s, t in TEXTS))
    for files in (paths, [table], [lines]):
        data = load_evaluation_data(learned, files)
        found = assess(learned, data, name="m", search=BEAM, bootstrap=0)
        assert found.scores["exact_match"].value == 1.0
        assert found.data == " and ".join(map(str, files))


def test_bad_data_is_an_error_with_its_place(learned: TranslatorModel, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a\nb\n")
    (tmp_path / "t").write_text("a\n")
    with pytest.raises(DataError, match=r"2 .*1|1 .*2"):
        load_evaluation_data(learned, [tmp_path / "s", tmp_path / "t"])
    with pytest.raises(UsageError, match="absent"):
        load_evaluation_data(learned, [tmp_path / "s", tmp_path / "absent"])
    with pytest.raises(DataError, match=r"s: 2 lines, but .*t: 1"):
        load_evaluation_data(learned, [tmp_path / "s", tmp_path / "s", tmp_path / "t"])
    with pytest.raises(DataError, match=r"s:1: 1 column, expected 2"):
        load_evaluation_data(learned, [tmp_path / "s"])


def test_columns_are_those_of_the_training_files(tmp_path: Path) -> None:
    model = untrained(data={"columns": ["-", "target", "source"]})
    (tmp_path / "t.tsv").write_text("1\tja\tyes\n")
    (pair,) = load_evaluation_data(model, [tmp_path / "t.tsv"]).parts["data"].pairs
    assert (pair.source, pair.target) == ("yes", "ja")


# --- what is wrong, and predictions without a model ---


def test_the_metrics_are_those_that_are_promised(learned: TranslatorModel) -> None:
    for options in (EvaluationOptions(), EvaluationOptions(ter=True)):
        found = assess(learned, one_part(), options, name="m", search=BEAM, bootstrap=0)
        assert set(metric_names("translate", options)) - found.scores.keys() == {
            "edit_distance",
            "word_error_rate",
            "phoneme_error_rate",
        }


def test_wrong_outputs_are_listed_the_worst_first(learned: TranslatorModel) -> None:
    assert list(assess(learned, one_part(), name="m", search=BEAM, bootstrap=0).errors()) == []
    model = untrained()
    rows = list(assess(model, one_part(), name="m", search=BEAM, bootstrap=0).errors())
    outputs = dict(zip(sources_of(), model.translate(sources_of(), BEAM), strict=True))
    assert {row["source"]: row["predicted"] for row in rows} == {
        source: outputs[source] for source, target in TEXTS if outputs[source] != target
    }
    assert {row["source"]: row["gold"] for row in rows}.items() <= dict(TEXTS).items()
    assert [row["chrf"] for row in rows] == sorted(row["chrf"] for row in rows)
    assert all(row["log_probability"] < 0 for row in rows)


def test_predictions_may_be_lines_an_n_best_list_or_json_lines(tmp_path: Path) -> None:
    files = [Path(path) for path in write_pairs(tmp_path)]
    outputs = ["nein", *targets_of()[1:]]
    lines, ranked, objects = tmp_path / "lines", tmp_path / "ranked", tmp_path / "objects.jsonl"
    lines.write_text("".join(f"{text}\n" for text in outputs), encoding="utf-8")
    rows = [f"{n}\t1\t-0.5000\t{t}\n{n}\t2\t-1.2500\tanders\n" for n, t in enumerate(outputs, 1)]
    ranked.write_text("".join(rows), encoding="utf-8")
    objects.write_text("".join(json.dumps({"text": text}) + "\n" for text in outputs), encoding="utf-8")
    expected = text_scores(outputs, targets_of(), SCORES)
    plainly_named = tmp_path / "objects.txt"
    plainly_named.write_bytes(objects.read_bytes())
    for path in (lines, ranked, objects, plainly_named):
        found = assess_predictions(path, files, task="translate", bootstrap=0)
        assert {name: found.scores[name].value for name in SCORES} == {
            name: score.value for name, score in expected.items()
        }
        assert (found.model, found.search) == (str(path), "the file of predictions")
        (row,) = found.errors()
        assert (row["line"], row["gold"], row["predicted"]) == (1, targets_of()[0], "nein")
        assert "log_probability" not in row
    other = assess_predictions(files[1], files, task="translate", bootstrap=0, against=lines)
    assert [name for name, _ in other.comparisons] == COMPARED


def test_predictions_that_do_not_belong_to_the_pairs_are_refused(tmp_path: Path) -> None:
    files = [Path(path) for path in write_pairs(tmp_path)]
    (tmp_path / "few").write_text("ja\n")
    with pytest.raises(
        DataError, match=r"few: 1 translation, but 10 lines in .*; expected one translation per line"
    ):
        assess_predictions(tmp_path / "few", files, task="translate")
    with pytest.raises(UsageError, match="--beam needs a model"):
        assess_predictions(files[1], files, EvaluationOptions(beam=2), task="translate")
