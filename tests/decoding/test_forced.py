"""Scores of given sequences, against looking them up in the table."""

from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.penalties import Penalties
from tests.decoding.forced import score_sequences
from tests.decoding.toy import END, START, ToyStep, random_sentence, walk

targets_of_some = st.lists(st.lists(st.integers(2, 4), max_size=6), min_size=1, max_size=5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), targets_of_some, st.integers(0, 70))
def test_sequences_get_the_scores_of_the_table(seed: int, targets: list[list[int]], extra: int):
    sentences = [random_sentence(seed + i, symbols=5 + i, source=1 + i) for i in range(len(targets))]
    step = ToyStep(sentences, extra=extra)
    found = score_sequences(
        step,
        step.initial(),
        targets,
        start=START,
        end=END,
        penalties=Penalties("average", 1.0, 0.5),
        source_mask=step.mask,
        keep_attention=True,
    )
    assert step.calls == max(map(len, targets)) + 1
    for sentence, target, each in zip(sentences, targets, found, strict=True):
        expected = walk(sentence, target, finished=True)
        covered = expected.attention.double().sum(0).clamp(max=1).log().sum()
        assert (each.tokens, each.finished) == (target, True)
        assert each.log_probability == pytest.approx(expected.log_p, abs=1e-6)
        assert each.token_log_probabilities == pytest.approx(expected.token_log_p, abs=1e-6)
        assert each.score == pytest.approx(expected.log_p / expected.length + 0.5 * float(covered), abs=1e-5)
        assert numpy.array_equal(each.attention, expected.attention.numpy())


def test_nothing_to_score_is_nothing():
    assert score_sequences(None, (torch.zeros(0, 1),), [], start=START, end=END) == []  # type: ignore[arg-type]
