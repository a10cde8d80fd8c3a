from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqtool.evaluation.span_errors import KINDS, count_kinds, match_spans


@st.composite
def sentence_spans(draw):
    """Non-overlapping spans of three types over 12 tokens."""
    edges = sorted(draw(st.sets(st.integers(0, 12), max_size=8)))
    kinds = draw(st.lists(st.sampled_from("ABC"), min_size=len(edges), max_size=len(edges)))
    keep = draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    pairs = zip(edges, edges[1:], kinds, keep, strict=False)
    return [(start, end, kind) for start, end, kind, kept in pairs if kept]


@given(sentence_spans(), sentence_spans())
def test_every_span_is_in_exactly_one_class(gold, predicted):
    matches = match_spans(gold, predicted)
    assert sorted(m.gold for m in matches if m.gold) == sorted(gold)
    assert sorted(m.predicted for m in matches if m.predicted) == sorted(predicted)
    counts = count_kinds(matches)
    paired = counts["correct"] + counts["type"] + counts["boundary"] + counts["both"]
    assert paired + counts["missed"] == len(gold)
    assert paired + counts["spurious"] == len(predicted)
    assert tuple(counts) == KINDS


@given(sentence_spans(), sentence_spans())
def test_each_class_means_what_it_says(gold, predicted):
    for kind, g, p in match_spans(gold, predicted):
        if g is None or p is None:
            assert kind == ("missed" if p is None else "spurious")
            continue
        same_place, same_type = g[:2] == p[:2], g[2] == p[2]
        names = {(True, True): "correct", (True, False): "type", (False, True): "boundary"}
        assert kind == names.get((same_place, same_type), "both")
        assert max(g[0], p[0]) < min(g[1], p[1])


@given(sentence_spans(), sentence_spans())
def test_correct_are_exactly_the_spans_in_both(gold, predicted):
    correct = {m.gold for m in match_spans(gold, predicted) if m.kind == "correct"}
    assert correct == set(gold) & set(predicted)


@given(sentence_spans(), sentence_spans())
def test_nothing_that_overlaps_stays_unpaired_on_both_sides(gold, predicted):
    matches = match_spans(gold, predicted)
    missed = [m.gold for m in matches if m.kind == "missed"]
    spurious = [m.predicted for m in matches if m.kind == "spurious"]
    assert not any(max(g[0], p[0]) < min(g[1], p[1]) for g in missed for p in spurious)


@given(sentence_spans(), sentence_spans())
def test_the_order_of_spans_does_not_matter(gold, predicted):
    assert match_spans(gold[::-1], predicted[::-1]) == match_spans(gold, predicted)


@pytest.mark.parametrize(
    ("gold", "predicted", "kinds"),
    [
        ([(0, 2, "A")], [(0, 2, "A")], ["correct"]),
        ([(0, 2, "A")], [(0, 2, "B")], ["type"]),
        ([(0, 2, "A")], [(1, 2, "A")], ["boundary"]),
        ([(0, 2, "A")], [(1, 3, "B")], ["both"]),
        ([(0, 2, "A")], [], ["missed"]),
        ([], [(0, 2, "A")], ["spurious"]),
        ([(0, 2, "A")], [(2, 3, "A")], ["missed", "spurious"]),  # adjacent spans share no token
        ([(0, 2, "A")], [(0, 1, "A"), (1, 2, "A")], ["boundary", "spurious"]),  # split
        ([(0, 1, "A"), (1, 2, "A")], [(0, 2, "A")], ["boundary", "missed"]),  # merged
        ([(0, 3, "A")], [(0, 2, "B"), (2, 3, "A")], ["spurious", "boundary"]),  # same type before overlap
    ],
)
def test_known_cases(gold, predicted, kinds):
    assert sorted(m.kind for m in match_spans(gold, predicted)) == sorted(kinds)


def test_of_two_candidates_the_one_that_shares_more_tokens_is_taken():
    (first, second) = match_spans([(0, 5, "A")], [(0, 1, "A"), (1, 5, "A")])
    assert {first, second} == {("boundary", (0, 5, "A"), (1, 5, "A")), ("spurious", None, (0, 1, "A"))}
