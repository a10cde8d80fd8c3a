from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval import scheme as seqeval_schemes
from seqeval.metrics import accuracy_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient_figures
from seqeval.metrics.v1 import precision_recall_fscore_support as strict_figures

from seqtool.evaluation.significance import bootstrap_interval
from seqtool.tagging.scores import Counts, accuracy, best_threshold, entities, judge, report, span_scores
from seqtool.text.tag_scheme import Span, from_spans, spans

PREFIXES = {"iob1": "IB", "iob2": "BI", "iobes": "BIES", "bilou": "BILU"}
SCHEMES = st.sampled_from(sorted(PREFIXES))


@st.composite
def corpora(draw):
    """A scheme with random gold and predicted tags; each sentence is either valid or arbitrary."""
    scheme = draw(SCHEMES)
    any_tag = st.sampled_from(["O", *(f"{p}-{t}" for p in PREFIXES[scheme] for t in ("X", "Y"))])
    gold, predicted = [], []
    for length in draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)):
        for rows in (gold, predicted):
            tags = draw(st.lists(any_tag, min_size=length, max_size=length))
            if draw(st.booleans()):
                tags = from_spans(spans(tags, scheme), length, scheme)
            rows.append(tags)
    return scheme, gold, predicted


def figures_of(scores):
    return [scores[name].value for name in ("precision", "recall", "f1")]


@settings(max_examples=300, deadline=None)
@given(corpora())
def test_span_scores_equal_seqeval_strict(corpus):
    scheme, gold, predicted = corpus
    expected = strict_figures(
        gold, predicted, average="micro", zero_division=0, scheme=getattr(seqeval_schemes, scheme.upper())
    )
    assert figures_of(span_scores(gold, predicted, scheme)) == pytest.approx(list(expected[:3]))


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_by_type_equals_seqeval_strict(corpus):
    scheme, gold, predicted = corpus
    arguments = {"zero_division": 0, "scheme": getattr(seqeval_schemes, scheme.upper())}
    result = report(gold, predicted, scheme).by_type
    rows = zip(*strict_figures(gold, predicted, average=None, **arguments), strict=True)
    for counts, row in zip(result.values(), rows, strict=True):
        assert (counts.precision, counts.recall, counts.f1, counts.support) == pytest.approx(row)


@settings(max_examples=150, deadline=None)
@given(corpora().filter(lambda corpus: corpus[0] != "bilou"))  # seqeval's lenient mode has no L and U
def test_conlleval_figures_equal_seqeval_default_mode(corpus):
    scheme, gold, predicted = corpus
    expected = lenient_figures(gold, predicted, average="micro", zero_division=0)
    found = report(gold, predicted, scheme)
    assert (found.conlleval.precision, found.conlleval.recall, found.conlleval.f1) == pytest.approx(
        expected[:3]
    )


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_accuracy_equals_seqeval(corpus):
    _, gold, predicted = corpus
    assert accuracy(gold, predicted).value == pytest.approx(accuracy_score(gold, predicted))


@settings(max_examples=100, deadline=None)
@given(corpora())
def test_parts_of_the_report_add_up(corpus):
    scheme, gold, predicted = corpus
    result = report(gold, predicted, scheme)
    correct, found, support = result.scores["f1"].statistics.sum(axis=0)
    errors = result.errors
    paired = errors["correct"] + errors["type"] + errors["boundary"] + errors["both"]
    assert errors["correct"] == correct == sum(c.correct for c in result.by_type.values())
    assert paired + errors["missed"] == support == sum(c.support for c in result.by_type.values())
    assert paired + errors["spurious"] == found == sum(c.predicted for c in result.by_type.values())
    assert np.sum(result.confusion.counts) == result.tokens == sum(map(len, gold))
    assert len(result.matches) == result.sentences == len(gold)


@settings(max_examples=50, deadline=None)
@given(corpora(), st.data())
def test_seen_and_unseen_partition_the_spans(corpus, data):
    scheme, gold, predicted = corpus
    tokens = [[data.draw(st.sampled_from("abc")) for _ in tags] for tags in gold]
    training = data.draw(st.sets(st.tuples(st.sampled_from("XY"), st.sampled_from(["a", "b", "a b", "c c"]))))
    result = report(gold, predicted, scheme, tokens=tokens, training_entities=training)
    total = result.scores["f1"].statistics.sum(axis=0)
    for i, name in enumerate(("correct", "predicted", "support")):
        assert getattr(result.seen, name) + getattr(result.unseen, name) == total[i]
    everything = entities(tokens, gold, scheme) | entities(tokens, predicted, scheme)
    assert report(gold, predicted, scheme, tokens=tokens, training_entities=everything).unseen == Counts(
        0, 0, 0
    )


GOLD = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"], ["O", "O"]]
PREDICTED = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "B-ORG"], ["O", "I-LOC"]]
TOKENS = [["Ada", "Lovelace", "in", "London"], ["ACM", "wins"], ["no", "one"]]


def test_a_report_worked_out_by_hand():
    result = report(GOLD, PREDICTED, "iob2", tokens=TOKENS, training_entities={("PER", "Ada Lovelace")})
    assert result.by_type == {
        "LOC": Counts(0, 0, 1),  # an I-LOC without a beginning is not a span in strict mode
        "ORG": Counts(0, 2, 1),
        "PER": Counts(1, 1, 1),
    }
    assert result.scores["f1"].value == pytest.approx(2 * 1 / (3 + 3))
    assert result.conlleval == Counts(1, 4, 3)
    assert result.conlleval_differs
    assert (result.seen, result.unseen) == (Counts(1, 1, 1), Counts(0, 2, 2))
    assert result.errors == {
        "correct": 1, "type": 1, "boundary": 0, "both": 0, "missed": 1, "spurious": 1,
    }  # fmt: skip
    assert result.confusion.labels == ("LOC", "ORG", "PER", "O")
    assert result.confusion.counts == ((0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 2, 0), (1, 1, 0, 2))
    assert result.scores["accuracy"].value == pytest.approx(4 / 8)
    assert not report(GOLD, GOLD, "iob2").conlleval_differs


def test_the_report_is_json_and_names_metrics_as_the_command_line_does():
    result = report(
        GOLD, PREDICTED, "iob2", tokens=TOKENS, training_entities=set(), confidences=[[0.9, 0.8], [0.5], []]
    )
    value = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert list(result.scores) == ["precision", "recall", "f1", "accuracy"]
    assert result.scores["f1"].signature == f"seqeval {version('seqeval')} strict IOB2"
    assert value["by_type"]["PER"]["f1"] == 1.0
    assert value["conlleval"]["differs"] is True
    assert value["entities"]["unseen"]["support"] == 3
    assert value["errors"]["type"] == 1
    assert value["confusion"]["labels"][-1] == "O"
    assert value["calibration"]["count"] == 3
    assert len(value["calibration"]["bins"]) == 10


def test_what_was_not_asked_for_is_absent():
    value = report(GOLD, PREDICTED, "iob2").as_dict()
    assert "entities" not in value
    assert "calibration" not in value


def test_parts_of_speech_have_accuracy_and_scores_by_tag_but_no_spans():
    gold, predicted = [["NOUN", "VERB", "NOUN"], ["ADP"]], [["NOUN", "NOUN", "NOUN"], ["ADP"]]
    result = report(gold, predicted, None, confidences=[[0.9, 0.6, 0.8], [1.0]])
    assert result.scores.keys() == {"accuracy"}
    assert result.scores["accuracy"].value == 0.75
    assert result.by_type == {"ADP": Counts(1, 1, 1), "NOUN": Counts(2, 3, 2), "VERB": Counts(0, 0, 1)}
    assert result.confusion.counts == ((1, 0, 0), (0, 2, 0), (0, 1, 0))
    assert result.calibration.expected_error == pytest.approx((0.1 + 0.6 + 0.2 + 0.0) / 4)
    assert (result.conlleval, result.errors, result.seen, result.conlleval_differs) == (
        None,
        None,
        None,
        False,
    )


def test_a_bare_prefix_and_a_hyphen_in_a_type_are_labels_of_tokens():
    result = report([["B", "B-creative-work"]], [["B", "I-creative-work"]], "iob2")
    assert result.confusion.labels == ("_", "creative-work")


def test_a_sentence_with_partial_gold_is_left_out_of_spans_and_the_token_out_of_accuracy():
    gold = [["B-PER", "O"], ["B-PER", "?"], ["B-LOC|B-ORG", "O"]]
    predicted = [["B-PER", "O"], ["O", "O"], ["B-PER", "O"]]
    result = report(gold, predicted, "iob2", confidences=[[0.9], [], [0.1]])
    assert result.scores["f1"].statistics.tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert result.scores["f1"].value == 1.0
    assert result.scores["accuracy"].value == pytest.approx(3 / 4)
    assert (result.sentences_left_out, result.tokens_left_out, result.tokens) == (2, 2, 6)
    assert result.errors["missed"] == result.errors["spurious"] == 0
    assert result.conlleval == Counts(1, 1, 1)
    assert result.calibration.count == 1
    assert figures_of(span_scores(gold, predicted, "iob2")) == [1.0, 1.0, 1.0]
    assert entities([["a", "b"]] * 3, gold, "iob2") == {("PER", "a")}
    assert np.sum(result.confusion.counts) == 4


def test_nothing_but_partial_gold_scores_zero():
    result = report([["?"]], [["B-X"]], "iob2")
    values = {name: score.value for name, score in result.scores.items()}
    assert values == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "accuracy": 0.0}


def test_no_sentences_and_no_spans_score_zero_without_warnings():
    for gold, predicted in (([], []), ([["O"]], [["O"]]), ([["O"]], [["B-X"]]), ([["B-X"]], [["O"]])):
        assert report(gold, predicted, "iob2").scores["f1"].value == 0.0


@pytest.mark.parametrize(("gold", "predicted"), [([["O"]], [["O", "O"]]), ([["O"]], [])])
def test_unequal_lengths_are_our_mistake_and_never_truncated(gold, predicted):
    for scheme in ("iob2", None):
        with pytest.raises((AssertionError, ValueError)):
            report(gold, predicted, scheme)
    with pytest.raises((AssertionError, ValueError)):
        span_scores(gold, predicted, "iob2")
    with pytest.raises((AssertionError, ValueError)):
        accuracy(gold, predicted)


def test_confidences_follow_the_predicted_spans_in_order():
    confidences = [[0.9, 0.3], [0.5], []]
    values, right, gold_count = judge(GOLD, PREDICTED, "iob2", confidences)
    assert (values, right, gold_count) == ([0.9, 0.3, 0.5], [True, False, False], 3)
    best = best_threshold(values, right, gold_count, 0.99)
    assert (best.threshold, best.recall) == (0.9, pytest.approx(1 / 3))
    with pytest.raises(ValueError):
        judge(GOLD, PREDICTED, "iob2", [[0.9], [0.5], []])


def test_intervals_come_from_the_scores_of_a_report():
    score = report(GOLD * 30, PREDICTED * 30, "iob2").scores["f1"]
    interval = bootstrap_interval(score, seed=1)
    assert interval.low < score.value < interval.high


def test_figures_that_are_not_seqevals_stop_the_report(monkeypatch):
    from seqtool.tagging import scores

    monkeypatch.setattr(scores, "spans", lambda tags, scheme: [Span(0, 1, "X")])
    with pytest.raises(AssertionError, match="precision"):
        report([["O"]], [["O"]], "iob2")


def test_scores_during_training_do_not_load_scikit_learn():
    code = (
        "import sys; from seqtool.tagging.scores import span_scores\n"
        "span_scores([['B-X']], [['B-X']], 'iob2')\n"
        "assert not {'seqeval', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
