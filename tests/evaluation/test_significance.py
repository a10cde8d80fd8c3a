from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.errors import DataError
from seqtool.evaluation import significance
from seqtool.evaluation.score import Score, f1_score, ratio_score
from seqtool.evaluation.significance import bootstrap_interval, paired_bootstrap, paired_randomisation


def accuracies(right: list[int], total: list[int] | None = None) -> Score:
    return ratio_score("accuracy", right, total or [10] * len(right), signature="x")


def all_resamples(score: Score) -> np.ndarray:
    """The score of each of the n^n equally likely resamples."""
    n = score.sentences
    chosen = np.array(list(itertools.product(range(n), repeat=n)))
    return score.formula(score.statistics[chosen].sum(axis=1))


def all_swaps(first: Score, second: Score) -> np.ndarray:
    """The difference under each of the 2^n equally likely assignments of outputs to systems."""
    differences = []
    for swap in itertools.product([False, True], repeat=first.sentences):
        one = np.where(np.array(swap)[:, None], second.statistics, first.statistics)
        other = np.where(np.array(swap)[:, None], first.statistics, second.statistics)
        differences.append(first.formula(one.sum(axis=0)) - second.formula(other.sum(axis=0)))
    return np.array(differences)


def test_interval_equals_quantiles_of_all_resamples():
    score = accuracies([3, 9, 5, 1], [10, 12, 7, 9])
    exact = all_resamples(score)
    for level in (0.5, 0.8):
        interval = bootstrap_interval(score, seed=1, samples=40_000, level=level)
        low, high = np.quantile(exact, [(1 - level) / 2, (1 + level) / 2])
        assert interval.low == pytest.approx(low, abs=0.01)
        assert interval.high == pytest.approx(high, abs=0.01)


def test_interval_of_a_large_sample_has_the_width_of_the_normal_one():
    right = np.random.default_rng(5).binomial(1, 0.3, size=2000)
    score = accuracies(right.tolist(), [1] * 2000)
    interval = bootstrap_interval(score, seed=1, samples=4000)
    half = 1.96 * math.sqrt(score.value * (1 - score.value) / 2000)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.06)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=12, max_size=40), st.integers(0, 2**32))
def test_interval_contains_the_point_value(right, seed):
    score = accuracies(right)
    interval = bootstrap_interval(score, seed=seed, samples=300)
    assert interval.low - 1e-12 <= score.value <= interval.high + 1e-12


def test_a_higher_level_gives_a_wider_interval():
    score = accuracies([3, 9, 5, 1, 7, 6])
    narrow = bootstrap_interval(score, seed=1, level=0.5)
    wide = bootstrap_interval(score, seed=1, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_equal_sentences_leave_no_doubt():
    interval = bootstrap_interval(accuracies([4, 4, 4]), seed=1)
    assert (interval.low, interval.high) == (0.4, 0.4)


def test_same_seed_repeats_and_another_differs():
    first = accuracies(list(range(11)))
    second = accuracies([10 - i // 2 for i in range(11)])
    for test in (paired_bootstrap, paired_randomisation):
        assert test(first, second, seed=3, samples=200) == test(first, second, seed=3, samples=200)
        assert len({test(first, second, seed=seed, samples=200) for seed in range(5)}) > 1
    assert bootstrap_interval(first, seed=3) == bootstrap_interval(first, seed=3)
    assert bootstrap_interval(first, seed=3) != bootstrap_interval(first, seed=4)


def test_bounded_memory_does_not_change_the_result(monkeypatch):
    first, second = accuracies([1, 5, 9, 2]), accuracies([2, 5, 3, 3])

    def results():
        return (
            bootstrap_interval(first, seed=1, samples=101),
            paired_bootstrap(first, second, seed=1, samples=101),
            paired_randomisation(first, second, seed=1, samples=101),
        )

    whole = results()
    monkeypatch.setattr(significance, "CELLS_AT_ONCE", 28)  # seven resamples at a time
    assert results() == whole


def test_randomisation_equals_enumeration_of_all_swaps():
    first = f1_score([5, 3, 4, 2, 6, 1], [6, 4, 5, 5, 6, 2], [6, 5, 5, 4, 7, 2], signature="x")
    second = f1_score([4, 3, 2, 2, 4, 1], [6, 5, 5, 5, 7, 3], [6, 5, 5, 4, 7, 2], signature="x")
    exact = all_swaps(first, second)
    expected = np.mean(np.abs(exact) >= abs(first.value - second.value) - 1e-12)
    assert 0.02 < expected < 0.5  # a case in which the difference is significant
    result = paired_randomisation(first, second, seed=1, samples=20_000)
    assert result.p_value == pytest.approx(expected, abs=0.01)
    assert result.difference == pytest.approx(first.value - second.value)


def test_randomisation_of_a_clear_case_is_two_in_two_to_the_n():
    first, second = accuracies([9] * 6), accuracies([1] * 6)
    result = paired_randomisation(first, second, seed=1, samples=50_000)
    assert result.p_value == pytest.approx(2 / 2**6, abs=0.003)


def test_paired_bootstrap_equals_enumeration_of_all_resamples():
    # Sentences of different length, so that few resamples tie.
    total = [31, 17, 40, 23, 29]
    first, second = accuracies([27, 9, 33, 14, 22], total), accuracies([22, 10, 19, 15, 17], total)
    exact = all_resamples(first) - all_resamples(second)
    result = paired_bootstrap(first, second, seed=1, samples=20_000)
    observed = first.value - second.value
    wins = np.mean(exact > 1e-12) + np.mean(np.abs(exact) <= 1e-12) / 2
    extreme = np.mean(np.abs(exact - observed) >= observed - 1e-12)
    assert result.first_better == pytest.approx(wins, abs=0.01)
    assert result.p_value == pytest.approx(extreme, abs=0.02)
    assert result.interval is not None
    low, high = np.quantile(exact, [0.025, 0.975])
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high), abs=0.02)


def test_paired_bootstrap_of_one_differing_sentence_does_not_depend_on_the_seed():
    # Drawn n times from 100, the differing sentence leaves a difference of n: as far from 1 as 1 is from 0
    # unless n = 1, which has a probability of .99 ** 99.
    first, second = accuracies([6] + [5] * 99), accuracies([5] * 100)
    values = [paired_bootstrap(first, second, seed=seed, samples=4000).p_value for seed in range(8)]
    assert values == pytest.approx([1 - 0.99**99] * 8, abs=0.03)


def test_pairing_finds_what_unpaired_intervals_hide():
    # Sentences differ a lot, systems only a little on each of them.
    second = accuracies([1, 9, 2, 8, 3, 7, 4, 6] * 5, [20] * 40)
    first = accuracies([2, 10, 3, 9, 4, 8, 5, 7] * 5, [20] * 40)
    one, other = bootstrap_interval(first, seed=1), bootstrap_interval(second, seed=1)
    assert one.low < other.high
    assert paired_bootstrap(first, second, seed=1).first_better == 1.0
    assert paired_bootstrap(first, second, seed=1).p_value < 0.01
    assert paired_randomisation(first, second, seed=1, samples=2000).p_value < 0.01


def test_a_system_is_not_better_than_itself():
    score = accuracies([1, 5, 9, 2])
    bootstrap, randomisation = (
        paired_bootstrap(score, score, seed=1),
        paired_randomisation(score, score, seed=1),
    )
    assert (bootstrap.difference, bootstrap.p_value, bootstrap.first_better) == (0.0, 1.0, 0.5)
    assert (randomisation.difference, randomisation.p_value) == (0.0, 1.0)


def test_exchanging_the_systems_only_turns_the_sign():
    first, second = accuracies([9, 4, 8, 6, 7]), accuracies([7, 5, 3, 6, 6])
    there, back = paired_bootstrap(first, second, seed=1), paired_bootstrap(second, first, seed=1)
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert there.first_better == pytest.approx(1 - back.first_better)


@pytest.mark.parametrize("test", [paired_bootstrap, paired_randomisation])
def test_different_numbers_of_sentences_are_refused(test):
    with pytest.raises(
        DataError, match=r"^accuracy: 2 sentences against 3, expected equally many; score both"
    ):
        test(accuracies([1, 2]), accuracies([1, 2, 3]), seed=1)


@pytest.mark.parametrize("test", [paired_bootstrap, paired_randomisation])
def test_no_sentences_are_refused(test):
    empty = ratio_score("accuracy", [], [], signature="x")
    with pytest.raises(DataError, match=r"^accuracy: 0 sentences, .*; expected at least 1"):
        test(empty, empty, seed=1)
    with pytest.raises(DataError, match=r"^accuracy: 0 sentences, .*; expected at least 1"):
        bootstrap_interval(empty, seed=1)
