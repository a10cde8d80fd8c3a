from __future__ import annotations

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.text.batching import cut, prediction_batches, training_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=60)
BUDGETS = st.integers(1, 200)
SEEDS = st.integers(0, 2**32 - 1)


def padded(batch: list[int], lengths: list[int]) -> int:
    return len(batch) * max(lengths[i] for i in batch)


def realistic_lengths(count: int = 5000) -> list[int]:
    """Sentence lengths in tokens, as in news text: log-normal, median about 20, a few beyond 100."""
    drawn = numpy.random.default_rng(0).lognormal(3.0, 0.7, count)
    return numpy.clip(drawn, 1, 250).astype(int).tolist()


@settings(deadline=None)
@given(LENGTHS, BUDGETS, SEEDS, st.integers(0, 100))
def test_an_epoch_has_every_sentence_exactly_once(lengths: list[int], budget: int, seed: int, epoch: int):
    batches = training_batches(lengths, budget=budget, seed=seed, epoch=epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_prediction_has_every_sentence_exactly_once_longest_first(lengths: list[int], budget: int):
    batches = prediction_batches(lengths, budget=budget)
    order = [i for batch in batches for i in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)


@settings(deadline=None)
@given(LENGTHS, BUDGETS, SEEDS)
def test_no_batch_exceeds_the_budget_but_a_single_long_sentence(lengths: list[int], budget: int, seed: int):
    training = training_batches(lengths, budget=budget, seed=seed, epoch=0)
    for batch in training + prediction_batches(lengths, budget=budget):
        assert padded(batch, lengths) <= budget or len(batch) == 1


@settings(deadline=None)
@given(LENGTHS, BUDGETS)
def test_a_cut_is_made_only_where_the_next_sentence_would_not_fit(lengths: list[int], budget: int):
    parts = cut(lengths, budget)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in parts[:-1]:
        assert padded(list(range(part.start, part.stop + 1)), lengths) > budget


def test_batches_are_a_function_of_seed_and_epoch():
    lengths = realistic_lengths(300)
    orders = {}
    for seed, epoch in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]:
        first, again = (training_batches(lengths, budget=256, seed=seed, epoch=epoch) for _ in range(2))
        assert first == again
        orders[seed, epoch] = tuple(map(tuple, first))
    assert len(set(orders.values())) == len(orders)


def test_epochs_differ_in_which_sentences_meet_not_only_in_the_order_of_batches():
    lengths = realistic_lengths()
    first, second = (
        {frozenset(batch) for batch in training_batches(lengths, budget=1024, seed=1, epoch=epoch)}
        for epoch in range(2)
    )
    assert len(first & second) < len(first) / 10  # the few longest have no neighbours of equal length


def test_batches_do_not_come_in_order_of_length():
    lengths = realistic_lengths()
    batches = training_batches(lengths, budget=1024, seed=1, epoch=0)
    longest = [max(lengths[i] for i in batch) for batch in batches]
    half = len(longest) // 2
    assert numpy.mean(longest[:half]) == pytest.approx(numpy.mean(longest[half:]), rel=0.25)
    assert abs(numpy.corrcoef(longest, range(len(longest)))[0, 1]) < 0.25


def test_hardly_anything_of_a_batch_is_padding():
    lengths = realistic_lengths()
    assert max(lengths) > 100 > 3 > min(lengths)
    batches = training_batches(lengths, budget=1024, seed=1, epoch=0)
    total = sum(padded(batch, lengths) for batch in batches)
    assert sum(lengths) / total > 0.95
    assert total / len(batches) > 0.9 * 1024


def test_nothing_gives_no_batches():
    assert training_batches([], budget=10, seed=1, epoch=0) == []
    assert prediction_batches([], budget=10) == []
