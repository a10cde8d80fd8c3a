from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER

from seqtool.errors import DataError
from seqtool.evaluation.significance import bootstrap_interval
from seqtool.evaluation.text_scores import (
    SCORES,
    bleu,
    chrf,
    chrf_matrix,
    copy_scores,
    exact_match,
    minimum_bayes_risk,
    sentence_bleu,
    sentence_chrf,
    ter,
    text_scores,
)

METRICS = {
    "bleu": lambda: BLEU(),
    "bleu_lowercase": lambda: BLEU(lowercase=True),
    "chrf": lambda: CHRF(),
    "ter": lambda: TER(),
}
# Few words, so that n-grams of every order sometimes match; punctuation that 13a splits; both cases.
WORDS = st.sampled_from(["a", "A", "the", "cat,", "cat", "(sat)", "3.5", "x-1", "größe", "人", "&amp;", "."])
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)
CORPORA = st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6)


def expected(metric, hypotheses, references):
    """sacrebleu's score; references of sentences are regrouped as sacrebleu wants them, None if missing."""
    longest = max(map(len, references))
    columns = [[row[i] if i < len(row) else None for row in references] for i in range(longest)]
    return metric.corpus_score(list(hypotheses), columns).score, str(metric.get_signature())


@pytest.mark.parametrize("name", METRICS)
@given(CORPORA, st.data())
@settings(max_examples=60, deadline=None)
def test_value_and_signature_are_those_of_sacrebleu_on_every_resample(name, corpus, data):
    hypotheses, references = zip(*corpus, strict=True)
    score = SCORES[name](hypotheses, references)
    assert score.name == name
    assert (score.value, score.signature) == (
        pytest.approx(expected(METRICS[name](), hypotheses, references)[0], abs=1e-9),
        expected(METRICS[name](), hypotheses, references)[1],
    )
    chosen = data.draw(st.lists(st.integers(0, len(corpus) - 1), min_size=1, max_size=8))
    resampled = float(score.formula(score.statistics[chosen].sum(axis=0)))
    texts = [hypotheses[i] for i in chosen], [references[i] for i in chosen]
    assert resampled == pytest.approx(expected(METRICS[name](), *texts)[0], abs=1e-9)


@pytest.mark.parametrize("name", [*METRICS, "exact_match"])
def test_formula_of_stacked_sums_equals_formula_of_each(name):
    score = SCORES[name](["the cat sat on it", "a", "", "b c"], ["the cat sat on a mat", "b", "", "b c"])
    stacked = np.stack([score.statistics, score.statistics + score.statistics[0]])
    rows = score.formula(stacked)
    assert rows.shape == (2, 4)
    assert rows.tolist() == [[float(score.formula(row)) for row in table] for table in stacked]


def test_one_text_and_a_list_of_one_are_the_same_reference():
    for make in SCORES.values():
        assert make(["a b c d e"], ["a b c d f"]).value == make(["a b c d e"], [["a b c d f"]]).value


def test_the_number_of_references_is_in_the_signature():
    assert "nrefs:1|" in bleu(["a"], ["a"]).signature
    assert "nrefs:2|" in chrf(["a"], [["a", "b"]]).signature
    assert "nrefs:var|" in ter(["a", "b"], [["a", "b"], "c"]).signature


def test_text_in_tokens_is_scored_without_tokenising_on_request():
    hypotheses, references = ["ein Mann , der ( oft ) lacht ."], ["ein Mann, der (oft) lacht ."]
    assert bleu(hypotheses, references).value == pytest.approx(100.0)
    plain = text_scores(hypotheses, references, ["bleu", "bleu_lowercase", "chrf"], tokenize="none")
    assert list(plain) == ["bleu", "bleu_lowercase", "chrf"]
    assert plain["bleu"].value < 90
    assert "tok:none" in plain["bleu"].signature
    assert "case:lc" in plain["bleu_lowercase"].signature
    assert plain["chrf"].value == pytest.approx(100.0)


def test_case_counts_unless_it_is_folded():
    scores = text_scores(["Der MANN lacht sehr laut"], ["der Mann lacht sehr laut"])
    assert list(scores) == ["bleu", "bleu_lowercase", "chrf", "exact_match"]
    assert scores["bleu_lowercase"].value == pytest.approx(100.0)
    assert scores["bleu"].value < 60
    assert scores["exact_match"].value == 0.0


def test_translation_edit_rate_may_pass_a_hundred_and_is_all_wrong_against_nothing():
    assert ter(["a b c d"], ["x"]).value == pytest.approx(400.0)
    assert ter(["a"], [""]).value == pytest.approx(100.0)
    assert ter([""], [""]).value == 0.0


def test_exact_match_is_a_fraction_of_whole_lines_and_any_reference_will_do():
    score = exact_match(["geht", "ging", "Geht", "geht "], ["geht", ["gang", "ging"], "geht", "geht"])
    assert score.value == 0.5
    assert score.unit == "fraction"


@pytest.mark.parametrize("name", SCORES)
def test_no_sentence_scores_zero_and_can_still_be_signed(name):
    score = SCORES[name]([], [])
    assert (score.value, score.sentences) == (0.0, 0)
    assert score.signature


@pytest.mark.parametrize("name", SCORES)
def test_unequal_sides_and_a_sentence_without_reference_are_refused(name):
    with pytest.raises(DataError, match=r"2 outputs, 1 references; expected equally many$"):
        SCORES[name](["a", "b"], ["a"])
    with pytest.raises(DataError, match=r"sentence 2 has no reference, expected at least 1$"):
        SCORES[name](["a", "b"], ["a", []])


def test_bootstrap_interval_of_bleu_holds_the_score():
    generator = np.random.default_rng(1)
    texts = [" ".join(generator.choice(list("abcdef"), size=12)) for _ in range(40)]
    outputs = [" ".join(text.split()[: 4 + place % 9]) for place, text in enumerate(texts)]
    score = bleu(outputs, texts)
    interval = bootstrap_interval(score, seed=1, samples=200)
    assert interval.low < score.value < interval.high


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=2))
@settings(max_examples=60, deadline=None)
def test_rewards_are_the_sentence_scores_of_sacrebleu(hypothesis, references):
    right = BLEU(effective_order=True).sentence_score(hypothesis, references).score
    assert sentence_bleu(hypothesis, references) == pytest.approx(right, abs=1e-9)
    assert sentence_chrf(hypothesis, references) == CHRF().sentence_score(hypothesis, references).score


def test_a_reward_counts_only_the_orders_that_the_output_is_long_enough_for():
    assert sentence_bleu("geht", "geht") == pytest.approx(100.0)
    assert 0 < sentence_bleu("er geht", "sie geht") < 100
    assert sentence_bleu("", "geht") == sentence_bleu("er", "geht") == 0.0


@given(st.lists(TEXTS, min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_matrix_holds_the_sentence_chrf_of_every_pair(texts):
    table = chrf_matrix(texts)
    pairs = [[sentence_chrf(row, column) for column in texts] for row in texts]
    np.testing.assert_allclose(table, pairs, rtol=0, atol=1e-9)


@given(st.lists(TEXTS, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_minimum_bayes_risk_has_the_highest_mean_score_against_all_samples(samples):
    means = [np.mean([sentence_chrf(text, other) for other in samples]) for text in samples]
    assert means[minimum_bayes_risk(samples)] == pytest.approx(max(means), abs=1e-8)


def test_minimum_bayes_risk_weighs_what_is_drawn_often_and_takes_the_first_of_equals():
    assert minimum_bayes_risk(["abcdef", "uvwxyz", "uvwxyz"]) == 1
    assert minimum_bayes_risk(["abcdef", "uvwxyz", "abcdef"]) == 0
    assert minimum_bayes_risk(["x", "y"]) == 0
    assert minimum_bayes_risk(["", ""]) == 0


@pytest.mark.parametrize(
    ("source", "output", "reference", "precision", "recall"),
    [
        ("call Zorbin now", "ring Zorbin", "ring Zorbin", (1, 1), (1, 1)),
        ("call Zorbin now", "ring Zorb", "ring Zorbin", (0, 0), (0, 1)),  # nothing copied
        ("call Zorbin now", "ring Zorbin Zorbin", "ring Zorbin", (1, 2), (1, 1)),  # twice
        ("Zorbin and Zorbin", "Zorbin", "Zorbin Zorbin", (1, 1), (1, 2)),  # one too few
        ("not Kelda but Zorbin", "Kelda", "Zorbin", (0, 1), (0, 1)),  # the wrong one
        ("call Zorbin", "ring zorbin", "ring Zorbin", (0, 0), (0, 1)),  # case counts
        ("call Zorbin.", "ring, Zorbin .", "ring ; Zorbin .", (1, 1), (1, 1)),  # punctuation does not count
        ("in Thal in", "in Thal", "in Thal", (1, 1), (1, 1)),  # "in" is ignored below
    ],
)
def test_copied_words_are_counted_clipped(source, output, reference, precision, recall):
    scores = copy_scores([source], [output], [reference], ignore={"in"})
    assert scores.precision.statistics.tolist() == [list(precision)]
    assert scores.recall.statistics.tolist() == [list(recall)]
    assert (scores.precision.name, scores.recall.name) == ("copy_precision", "copy_recall")


def test_copied_words_are_summed_over_sentences_before_dividing():
    scores = copy_scores(["A1 B2 C3", "D4"], ["A1 B2 C3", "D4 D4 D4"], ["A1 B2 C3", "D4"])
    assert scores.precision.value == pytest.approx(4 / 6)
    assert scores.recall.value == 1.0


def test_sources_of_another_corpus_are_refused():
    with pytest.raises(DataError, match=r"copy: 1 outputs, 2 sources; expected equally many$"):
        copy_scores(["a", "b"], ["a"], ["a"])


@pytest.mark.real
def test_real_captions_score_as_sacrebleu_scores_them_resamples_included():
    root = Path(os.environ.get("SEQTOOL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    folder = root / "multi30k"
    if not folder.is_dir():
        pytest.skip("no real data: set SEQTOOL_DATA")
    references = (folder / "test_2016_flickr.de").read_text(encoding="utf-8").split("\n")[:300]
    hypotheses = [" ".join(sorted(text.split(), key=len)) for text in references]
    generator = np.random.default_rng(1)
    for name in ("bleu", "bleu_lowercase", "chrf"):
        score = SCORES[name](hypotheses, references)
        for _ in range(5):
            chosen = generator.integers(0, len(references), len(references))
            texts = [hypotheses[i] for i in chosen], [[references[i]] for i in chosen]
            found = float(score.formula(score.statistics[chosen].sum(axis=0)))
            assert found == pytest.approx(expected(METRICS[name](), *texts)[0], abs=1e-9)
