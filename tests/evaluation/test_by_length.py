"""Scores by length, in ranges that follow the data."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from seqtool.errors import DataError
from seqtool.evaluation.by_length import LEAST_SENTENCES, MOST_RANGES, length_ranges, score_by_length
from seqtool.evaluation.text_scores import bleu

WORDS = ["the", "cat", "sat", "on", "a", "mat"]
LENGTHS = st.lists(st.integers(0, 80), min_size=1, max_size=200)


@given(LENGTHS)
@settings(deadline=None)
def test_every_sentence_falls_in_one_range_and_no_range_is_empty(lengths):
    ranges = length_ranges(lengths)
    assert ranges[0][0] == min(lengths)
    assert ranges[-1][1] == max(lengths)
    assert all(first <= last for first, last in ranges)
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(ranges))
    assert all(sum(first <= n <= last for first, last in ranges) == 1 for n in lengths)
    assert len(ranges) <= min(MOST_RANGES, max(1, len(lengths) // LEAST_SENTENCES))


def test_ranges_hold_about_equally_many_sentences_where_the_lengths_allow_it():
    assert length_ranges(list(range(1, 61))) == [(1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 60)]
    assert length_ranges([5] * 500) == [(5, 5)]
    assert length_ranges([2] * 400 + list(range(3, 63))) == [(2, 2), *((n, n + 11) for n in range(3, 63, 12))]
    assert length_ranges([]) == []


def test_a_row_has_the_corpus_score_of_its_sentences():
    references = [" ".join((WORDS * 4)[: 4 + number % 16]) for number in range(48)]
    hypotheses = [
        text.replace("cat", "dog") if number % 3 else text for number, text in enumerate(references)
    ]
    lengths = [len(text.split()) for text in references]
    rows = score_by_length(bleu(hypotheses, references), lengths)
    assert [row.label for row in rows] == ["4-7", "8-11", "12-15", "16-19"]
    for row in rows:
        first, last = map(int, row.label.split("-"))
        chosen = [i for i, length in enumerate(lengths) if first <= length <= last]
        texts = [hypotheses[i] for i in chosen], [[references[i] for i in chosen]]
        assert row.sentences == len(chosen) == 12
        assert row.value == pytest.approx(BLEU().corpus_score(*texts).score, abs=1e-9)


def test_a_range_of_one_length_is_named_by_it():
    score = bleu(["a b"] * 20, ["a b"] * 20)
    assert [row.label for row in score_by_length(score, [2] * 10 + [3] * 10)] == ["2", "3"]


def test_lengths_of_another_corpus_are_refused():
    with pytest.raises(DataError, match=r"bleu: 1 lengths for 2 sentences; expected one per sentence$"):
        score_by_length(bleu(["a", "b"], ["a", "b"]), [1])
