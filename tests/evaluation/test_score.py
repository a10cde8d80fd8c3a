from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.evaluation.score import divide, f1_score, precision_score, ratio_score, recall_score

COUNTS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)).map(
        lambda t: (min(t), *t[1:]),  # no more correct ones than predicted or gold ones
    ),
    min_size=1,
    max_size=8,
)


def test_f1_is_of_summed_counts_not_a_mean_of_sentences():
    score = f1_score([1, 0], [1, 3], [1, 4], signature="x")
    assert score.value == pytest.approx(2 * 1 / (4 + 5))
    assert score.value != pytest.approx((1.0 + 0.0) / 2)


@given(COUNTS)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(counts):
    columns = list(zip(*counts, strict=True))
    p, r, f = (make(*columns, signature="x").value for make in (precision_score, recall_score, f1_score))
    assert f == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)


def test_nothing_to_find_and_nothing_found_scores_zero():
    for make in (precision_score, recall_score, f1_score):
        assert make([0], [0], [0], signature="x").value == 0.0
    assert ratio_score("accuracy", [0], [0], signature="x").value == 0.0


def test_a_score_without_sentences_is_zero():
    score = ratio_score("accuracy", [], [], signature="x")
    assert score.sentences == 0
    assert score.value == 0.0


def test_scale_turns_nats_into_bits():
    score = ratio_score(
        "bits_per_character", [np.log(4), np.log(16)], [1, 2], signature="x", unit="bits", scale=1 / np.log(2)
    )
    assert score.value == pytest.approx((2 + 4) / 3)
    assert score.unit == "bits"


def test_formula_of_stacked_sums_equals_formula_of_each():
    score = f1_score([1, 2, 0], [2, 3, 0], [4, 2, 0], signature="x")
    rows = score.formula(score.statistics)
    assert rows.shape == (3,)
    assert list(rows) == [float(score.formula(row)) for row in score.statistics]


def test_columns_of_different_length_are_our_mistake():
    with pytest.raises(AssertionError):
        f1_score([1, 2], [1], [1, 2], signature="x")


def test_division_by_zero_is_zero_and_broadcasts():
    assert divide([[1.0], [0.0]], [2.0, 0.0]).tolist() == [[0.5, 0.0], [0.0, 0.0]]
