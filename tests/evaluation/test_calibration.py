from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.errors import UsageError
from seqtool.evaluation.calibration import best_threshold, calibration, threshold_curve

JUDGED = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), st.booleans()), max_size=12
)


def test_expected_calibration_error_equals_a_hand_computation():
    confidences = [0.95, 0.91, 0.85, 0.30, 0.35, 1.0]
    correct = [True, False, True, False, True, True]
    result = calibration(confidences, correct)
    # [0.9, 1]: 0.95, 0.91, 1.0, two of three right; [0.8, 0.9): 0.85, right; [0.3, 0.4): one of two
    expected = (3 * abs(2.86 / 3 - 2 / 3) + 1 * abs(0.85 - 1) + 2 * abs(0.325 - 0.5)) / 6
    assert result.expected_error == pytest.approx(expected)
    assert [row.count for row in result.bins] == [0, 0, 0, 2, 0, 0, 0, 0, 1, 3]
    assert result.bins[9].confidence == pytest.approx(2.86 / 3)
    assert result.bins[9].accuracy == pytest.approx(2 / 3)


def test_honest_confidences_have_no_calibration_error():
    assert calibration([0.75] * 4, [True, True, True, False]).expected_error == pytest.approx(0.0)


def test_sure_and_always_wrong_is_the_largest_error():
    assert calibration([1.0] * 3, [False] * 3).expected_error == 1.0


def test_nothing_predicted_has_no_calibration_error():
    result = calibration([], [])
    assert (result.expected_error, result.count, len(result.bins)) == (0.0, 0, 10)


@given(JUDGED, st.integers(1, 15))
def test_bins_partition_the_predictions(judged, bins):
    result = calibration([c for c, _ in judged], [r for _, r in judged], bins)
    assert sum(row.count for row in result.bins) == result.count == len(judged)
    assert sum(row.count * row.accuracy for row in result.bins) == pytest.approx(sum(r for _, r in judged))
    for row in result.bins:
        assert not row.count or row.low - 1e-12 <= row.confidence <= row.high + 1e-12


def test_rounding_just_outside_the_unit_interval_is_forgiven_and_more_is_our_mistake():
    assert calibration([1.00001], [True]).bins[-1].confidence == 1.0
    for wrong in (1.5, -0.5, float("nan")):
        with pytest.raises(AssertionError):
            calibration([wrong], [True])


@given(JUDGED, st.integers(1, 12), st.sampled_from([0.2, 0.5, 0.75, 0.9, 1.0]))
def test_best_threshold_equals_trying_every_confidence(judged, missing, wanted):
    confidences, correct = [c for c, _ in judged], [r for _, r in judged]
    gold_count = sum(correct) + missing
    best = best_threshold(confidences, correct, gold_count, wanted)
    reached = [t for t in set(confidences) if np.mean([r for c, r in judged if c >= t]) >= wanted]
    if not reached:
        assert best is None
        return
    kept = [r for c, r in judged if c >= min(reached)]
    assert best is not None
    assert best.threshold == min(reached)
    assert (best.kept, best.precision) == (len(kept), pytest.approx(np.mean(kept)))
    assert best.recall == pytest.approx(sum(kept) / gold_count)


def test_a_lower_threshold_may_reach_the_precision_again():
    # 1 of 1, then 1 of 2, then 9 of 10: the lowest threshold wins although a higher one fails.
    confidences = [0.9, 0.8] + [0.7] * 8
    correct = [True, False] + [True] * 8
    best = best_threshold(confidences, correct, 10, 0.9)
    assert best is not None
    assert (best.threshold, best.precision, best.recall) == (0.7, 0.9, 0.9)


def test_the_curve_goes_down_in_thresholds_and_up_in_recall():
    curve = threshold_curve([0.2, 0.9, 0.9, 0.5], [True, True, False, True], 4)
    assert [row.threshold for row in curve] == [0.9, 0.5, 0.2]
    assert [row.kept for row in curve] == [2, 3, 4]
    assert [row.recall for row in curve] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("wanted", [0.0, -0.1, 1.01, float("nan")])
def test_a_precision_outside_the_unit_interval_is_refused(wanted):
    with pytest.raises(UsageError, match=r"^--target-precision .*: expected a fraction in \(0, 1\]"):
        best_threshold([0.5], [True], 1, wanted)
