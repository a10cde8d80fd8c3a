from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from seqtool.errors import DataError, UsageError
from seqtool.lm.assessment import EvaluationOptions, EvaluationText, assess, load_evaluation_data
from seqtool.lm.data import Part, TextData
from seqtool.lm.scores import Protocol, evaluate_text
from tests.lm.tiny import TEXT, part_of, untrained

STREAMING = Protocol()
LONG = TEXT * 12
METRICS = {
    "nats_per_character",
    "bits_per_character",
    "bits_per_byte",
    "perplexity",
    "perplexity_per_word",
    "loss",
}


def test_figures_are_those_of_the_evaluation_with_their_intervals() -> None:
    model = untrained()
    found = assess(model, EvaluationText(part_of(LONG)), name="m", bootstrap=200)
    expected = evaluate_text(model, part_of(LONG), STREAMING)
    assert found.scores.keys() == found.intervals.keys() == METRICS
    assert found.scores["nats_per_character"].value == expected.nats_per_character
    for name, interval in found.intervals.items():
        assert interval.low <= found.scores[name].value <= interval.high
    bits, nats = (found.intervals[name] for name in ("bits_per_character", "nats_per_character"))
    assert math.isclose(bits.low, nats.low / math.log(2))
    assert assess(model, EvaluationText(part_of()), name="m", bootstrap=0).intervals == {}


def test_json_has_what_the_command_line_promises() -> None:
    model = untrained()
    training = TextData({"train": part_of(), "dev": part_of(TEXT[:200], name="dev")})
    options = EvaluationOptions(adapt=True, interpolate=True)
    found = assess(model, EvaluationText(part_of(), training), options, name="m", bootstrap=50)
    result = json.loads(json.dumps(found.as_dict()))
    assert result["metrics"].keys() == result["signatures"].keys() == METRICS
    assert result["intervals"] == {}  # one block is not enough to resample
    assert (result["model"], result["data"]) == ("m", "memory")
    assert result["protocol"] == result["fingerprint"]["protocol"] == "streaming, dynamic evaluation"
    assert result["counts"]["characters"] == result["counts"]["symbols"] == len(TEXT)
    assert result["counts"]["bytes"] == len(TEXT.encode())
    assert (result["counts"]["documents"], result["counts"]["unknown"]) == (1, 0)
    assert result["yardsticks"].keys() == {"kneser_ney", "xz"}
    assert result["mixture"].keys() == {"nats_per_character", "weight", "found_on"}
    assert "against" not in result
    assert len(found.warnings) == 1


def test_models_of_different_symbols_are_compared_a_character() -> None:
    own, other = untrained(vocabulary={"kind": "character"}), untrained(vocabulary={"kind": "byte"})
    found = assess(own, EvaluationText(part_of(LONG)), name="a", bootstrap=0, against=("b", other))
    difference = found.scores["nats_per_character"].value
    difference -= evaluate_text(other, part_of(LONG), STREAMING).nats_per_character
    assert [name for name, _ in found.comparisons] == ["nats_per_character"] * 2
    for _, test in found.comparisons:
        assert math.isclose(test.difference, difference)
        assert 0 < test.p_value <= 1
    against = found.as_dict()["against"]
    assert (against["model"], against["difference"]) == ("b", "a minus b")
    assert [test["method"] for test in against["tests"]] == ["paired bootstrap", "approximate randomisation"]


def test_a_model_is_as_good_as_itself() -> None:
    model = untrained()
    found = assess(model, EvaluationText(part_of(LONG)), name="a", bootstrap=0, against=("a", model))
    assert all((test.difference, test.p_value) == (0.0, 1.0) for _, test in found.comparisons)


def test_warnings_of_the_other_model_carry_its_name() -> None:
    own, other = untrained(), untrained("the cat\n")
    found = assess(own, EvaluationText(part_of()), name="a", bootstrap=0, against=("b", other))
    (warning,) = found.warnings
    assert warning.startswith("b: ") and "unknown to the model" in warning


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"documents": "line"}, "a has data.documents = 'stream', b has 'line'"),
        ({"lowercase": True}, "a has data.lowercase = False, b has True"),
        ({"normalization": "NFC"}, "a has data.normalization = 'none', b has 'NFC'"),
    ],
)
def test_models_that_read_texts_differently_are_not_compared(
    settings: dict[str, object], message: str
) -> None:
    own, other = untrained(), untrained(data=settings)
    with pytest.raises(UsageError, match=message + ": they do not read the same text"):
        assess(own, EvaluationText(part_of()), name="a", against=("b", other))


@pytest.mark.parametrize("kind", ["character", "byte", "word", "sentencepiece"])
def test_the_lines_that_cost_most_come_first_and_add_up(kind: str) -> None:
    model = untrained(vocabulary={"kind": kind})
    text = "The cat sat.\u2028It sat.\n\nthe mat\nThe cat"
    found = assess(model, EvaluationText(part_of(text)), name="m", bootstrap=0)
    rows = list(found.errors())
    assert sorted((row["line"], row["text"]) for row in rows) == list(enumerate(text.split("\n"), 1))
    assert sum(row["nats"] for row in rows) == pytest.approx(found.text.nats, abs=1e-4)
    costs = [row["nats_per_character"] for row in rows]
    assert costs == sorted(costs, reverse=True)


def test_a_text_is_read_as_the_training_text_was(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Eins\nZwei\n", encoding="utf-8")
    model = untrained(data={"documents": "line", "lowercase": True})
    part = load_evaluation_data(model, [tmp_path / "a.txt"])
    assert part == Part("data", ("eins\n", "zwei\n"), str(tmp_path / "a.txt"), "whole")
    (tmp_path / "b.txt").write_bytes(b"")
    with pytest.raises(DataError, match="contains no text"):
        load_evaluation_data(model, [tmp_path / "b.txt"])
    with pytest.raises(UsageError):
        load_evaluation_data(model, [tmp_path / "c.txt"])
