from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqtool import load
from seqtool.errors import DataError, UsageError
from seqtool.tagging.assessment import EvaluationOptions, assess, load_evaluation_data, metric_names
from seqtool.tagging.data import TaggingData
from seqtool.tagging.prediction import TaggerModel
from seqtool.text import tag_scheme
from tests.tagging.tiny_tagger import (
    LEARN,
    SENTENCES,
    as_parts_of_speech,
    in_scheme,
    tiny_data,
    train_tiny,
    untrained,
    write_columns,
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TaggerModel:
    """A model that has memorised the ten sentences."""
    return train_tiny(tmp_path_factory.mktemp("learned"), training=LEARN).model


def one_part(data: TaggingData) -> TaggingData:
    return TaggingData({"test": data.parts["dev"]}, file_scheme=data.file_scheme, scheme=data.scheme)


def test_a_model_that_knows_its_data_is_perfect_in_every_figure(learned: TaggerModel) -> None:
    found = assess(
        learned, one_part(tiny_data()), EvaluationOptions(target_precision=1.0), name="m", bootstrap=50
    )
    assert {name: score.value for name, score in found.report.scores.items()} == dict.fromkeys(
        ("precision", "recall", "f1", "accuracy"), 1.0
    )
    assert found.report.seen is not None and found.report.unseen is not None
    assert (found.report.seen.recall, found.report.unseen.support) == (1.0, 0)
    assert found.intervals["f1"].low == found.intervals["f1"].high == 1.0
    assert found.target is not None and found.target.recall == 1.0
    assert found.warnings == ()


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_the_file_to_score_may_be_in_any_scheme(
    learned: TaggerModel, tmp_path: Path, scheme: tag_scheme.Scheme
) -> None:
    path = write_columns(tmp_path / "test.conll", in_scheme(scheme))
    found = assess(learned, load_evaluation_data(learned, path), name="m", bootstrap=0)
    assert found.report.scores["f1"].value == 1.0
    assert found.data == str(path)


def test_scores_are_those_of_what_predict_gives() -> None:
    model = untrained()
    data = one_part(tiny_data())
    report = assess(model, data, name="m", bootstrap=0).report
    found = model.predict(data.parts["test"].sentences)
    gold = [set(tag_scheme.spans(list(s.tags or ()), "iobes")) for s in data.parts["test"].sentences]
    correct = sum(len(g & set(p.spans)) for g, p in zip(gold, found, strict=True))
    assert report.scores["precision"].value == pytest.approx(correct / sum(len(p.spans) for p in found))
    assert report.scores["recall"].value == pytest.approx(correct / sum(map(len, gold)))


def test_the_target_precision_is_reached_by_taking_back_what_is_less_sure(learned: TaggerModel) -> None:
    """The precision and recall shown for a threshold are those that `min_confidence` gives."""
    model = untrained(seed=6)
    data = one_part(tiny_data())
    curve = assess(model, data, name="m", bootstrap=0).thresholds
    best = max(point.precision for point in curve)
    found = assess(model, data, EvaluationOptions(target_precision=best), name="m", bootstrap=0).target
    assert found is not None and found.precision == best
    kept = model.predict(data.parts["test"].sentences, min_confidence=found.threshold)
    gold = [set(tag_scheme.spans(list(s.tags or ()), "iobes")) for s in data.parts["test"].sentences]
    total = sum(len(p.spans) for p in kept)
    assert total == found.kept
    assert sum(len(g & set(p.spans)) for g, p in zip(gold, kept, strict=True)) / total == pytest.approx(best)


def test_two_models_are_compared_on_the_same_sentences(learned: TaggerModel) -> None:
    other = untrained()
    found = assess(learned, one_part(tiny_data()), name="m", bootstrap=100, against=("other", other))
    assert [name for name, _ in found.comparisons] == ["f1", "f1"]
    other_f1 = assess(other, one_part(tiny_data()), name="o", bootstrap=0).report.scores["f1"].value
    assert all(test.difference == pytest.approx(1.0 - other_f1) for _, test in found.comparisons)
    assert all(test.p_value < 0.05 for _, test in found.comparisons)
    same = assess(learned, one_part(tiny_data()), name="m", bootstrap=100, against=("same", learned))
    assert all(test.difference == 0 and test.p_value == 1.0 for _, test in same.comparisons)


def test_a_model_of_other_tags_cannot_be_compared(learned: TaggerModel) -> None:
    other = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    with pytest.raises(UsageError, match="--against other: one model tags spans, the other single tokens"):
        assess(learned, one_part(tiny_data()), name="m", against=("other", other))


def test_tags_that_the_model_lacks_are_a_warning_and_errors(learned: TaggerModel, tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [*SENTENCES, [("Mars", "B-PLANET")]])
    found = assess(learned, load_evaluation_data(learned, path), name="m", bootstrap=0)
    (warning,) = found.warnings
    assert warning == f"{path}: tags that the model does not have; each counts as an error: B-PLANET (1)"
    assert found.report.scores["recall"].value < 1.0


def test_parts_of_speech_have_accuracy_alone(tmp_path: Path) -> None:
    model = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    path = write_columns(tmp_path / "t.conll", as_parts_of_speech())
    data = load_evaluation_data(model, path)
    found = assess(model, data, name="m", bootstrap=20, against=("same", model))
    assert found.report.scores.keys() == {"accuracy"}
    assert [name for name, _ in found.comparisons] == ["accuracy", "accuracy"]
    assert found.report.calibration is not None
    assert found.report.calibration.count == sum(map(len, SENTENCES))


def test_the_layout_is_that_of_the_training_files(tmp_path: Path) -> None:
    rows = [[("Ada", "B-PER", "x"), ("met", "O", "y")]] * 3
    run = train_tiny(tmp_path, rows, data={"tag_column": 2})
    found = load_evaluation_data(run.model, tmp_path / "train.conll")
    assert found.parts["data"].sentences[0].tags == ("S-PER", "O")


def test_numbers_are_the_tags_that_the_training_named(tmp_path: Path) -> None:
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"tokens": ["Ada", "met"], "ner_tags": [1, 0]}\n' * 3)
    train_tiny(tmp_path, data={"train": str(path), "dev": str(path), "tag_names": ["O", "B-PER"]})
    model = load(tmp_path / "run")
    assert isinstance(model, TaggerModel)
    assert load_evaluation_data(model, path).parts["data"].sentences[0].tags == ("S-PER", "O")


def test_invalid_sequences_are_errors_unless_repaired(learned: TaggerModel, tmp_path: Path) -> None:
    path = write_columns(tmp_path / "t.conll", [[("in", "O"), ("Paris", "I-LOC")]])
    with pytest.raises(DataError, match=r"t\.conll:2: invalid iob2"):
        load_evaluation_data(learned, path, EvaluationOptions(scheme="iob2", strict=True))
    data = load_evaluation_data(learned, path, EvaluationOptions(scheme="iob2", repair=True))
    assert data.parts["data"].sentences[0].tags == ("O", "S-LOC")
    assert assess(learned, data, name="m", bootstrap=0).warnings == (
        "1 tag repaired to valid iob2 sequences",
    )


def test_the_whole_report_is_json(learned: TaggerModel) -> None:
    found = assess(
        learned,
        one_part(tiny_data()),
        EvaluationOptions(target_precision=0.5),
        name="m",
        bootstrap=20,
        against=("other", untrained()),
    )
    value = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert value["model"] == "m"
    assert value["metrics"]["f1"] == 1.0
    assert value["intervals"]["f1"] == {"low": 1.0, "high": 1.0, "level": 0.95}
    assert value["target_precision"]["wanted"] == 0.5
    assert [test["metric"] for test in value["against"]["tests"]] == ["f1", "f1"]


def test_a_precision_that_is_not_reached_is_none_in_json() -> None:
    model = untrained()
    found = assess(
        model, one_part(tiny_data()), EvaluationOptions(target_precision=1.0), name="m", bootstrap=0
    )
    assert found.target is None
    assert found.as_dict()["target_precision"] == {
        "wanted": 1.0,
        "min_confidence": None,
        "precision": None,
        "recall": None,
    }
    assert found.as_dict()["intervals"] == {}


def test_the_metrics_are_those_that_are_promised() -> None:
    options = EvaluationOptions()
    assert metric_names("ner", options) == tuple(assess(untrained(), one_part(tiny_data()), name="m").scores)
    corpus = tiny_data(as_parts_of_speech(), None)
    found = assess(untrained(corpus, "pos"), one_part(corpus), name="m", bootstrap=0)
    assert metric_names("pos", options) == tuple(found.scores)


def test_wrong_entities_are_listed_with_the_confidence_of_the_prediction() -> None:
    model, data = untrained(), one_part(tiny_data())
    found = assess(model, data, name="m", bootstrap=0)
    rows = list(found.errors())
    predicted = [error for row in rows for error in row["errors"] if error["predicted"] is not None]
    assert found.report.errors is not None
    wrong = sum(found.report.errors.values()) - found.report.errors["correct"]
    assert sum(len(row["errors"]) for row in rows) == wrong > 0
    assert predicted and all(0 <= error["predicted"]["confidence"] <= 1 for error in predicted)
    sentences = {sentence.tokens: sentence for sentence in data.parts["test"].sentences}
    for row in rows:
        (prediction,) = model.predict([sentences[tuple(row["tokens"])]], confidence=True)
        assert row["predicted"] == prediction.tags
        assert row["gold"] == tag_scheme.convert(sentences[tuple(row["tokens"])].tags or (), "iobes", "iob2")
        for error in row["errors"]:
            if error["predicted"] is not None:
                place = [span.start for span in prediction.spans].index(error["predicted"]["first_token"])
                assert prediction.span_confidence is not None
                assert error["predicted"]["confidence"] == pytest.approx(
                    prediction.span_confidence[place], abs=1e-5
                )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scheme": "iob22"}, "scheme 'iob22': expected .*; did you mean"),
        ({"target_precision": 0.0}, "--target-precision 0: expected more than 0, at most 1"),
        ({"target_precision": 1.5}, "--target-precision 1.5: expected"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvaluationOptions(**wrong)  # type: ignore[arg-type]
