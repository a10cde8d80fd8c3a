"""Samples against the distribution that they are drawn from."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.randomness import uniform
from seqtool.decoding.sampling import BLOCK, SamplingOptions, draw, sample
from seqtool.errors import UsageError
from tests.decoding.toy import END, START, Sentence, ToyStep, every_walk, random_sentence, walk

SEEDS = st.integers(0, 2**31)
patient = settings(deadline=None, max_examples=20)


def drawn(
    sentences: Sequence[Sentence],
    options: SamplingOptions,
    *,
    each: int,
    limits: Sequence[int],
    ids: Sequence[int] | None = None,
    extra: int = 0,
) -> list[list[Hypothesis]]:
    step = ToyStep(sentences, extra=extra)
    return sample(
        step,
        step.initial(),
        start=START,
        end=END,
        max_lengths=torch.tensor(limits),
        sentence_ids=torch.tensor(ids if ids is not None else range(len(sentences))),
        samples_each=each,
        options=options,
        source_mask=step.mask,
        keep_attention=True,
    )


def chi_square(counts: Sequence[int], expected: Sequence[float]) -> float:
    """How many standard deviations the statistic is above its mean (about normal for many cells)."""
    statistic = sum((count - e) ** 2 / e for count, e in zip(counts, expected, strict=True))
    cells = len(counts) - 1
    return (statistic - cells) / math.sqrt(2 * cells)


def splitmix(state: int) -> int:
    """The next output of splitmix64, in Python's own integers."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


@given(st.integers(-(2**63), 2**64), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_numbers_are_those_of_splitmix64(seed: int, counters: list[int]):
    expected = [(splitmix(splitmix(seed % 2**64) ^ (each % 2**64)) >> 11) / 2**53 for each in counters]
    assert uniform(seed, torch.tensor(counters)).tolist() == expected


def test_splitmix64_gives_its_known_first_number():
    assert splitmix(0) == 0xE220A8397B1DCDAF


def test_numbers_are_uniform_and_differ_by_every_counter():
    places = torch.arange(20_000)
    numbers = uniform(1, places, torch.zeros_like(places))
    assert float(numbers.min()) >= 0 and float(numbers.max()) < 1
    counts = torch.histc(numbers, 50, 0, 1).int().tolist()
    assert abs(chi_square(counts, [400] * 50)) < 4
    others = [
        uniform(2, places, torch.zeros_like(places)),
        uniform(1, torch.zeros_like(places), places),
        uniform(1, places, torch.ones_like(places)),
    ]
    for other in others:
        assert abs(float(torch.corrcoef(torch.stack([numbers, other]))[0, 1])) < 0.03


def test_sequences_are_drawn_with_their_probability():
    sentence = random_sentence(4, symbols=4, spread=0.7)
    limit, total = 3, 6000
    walks = [*every_walk(sentence, limit), *every_walk(sentence, limit, finished=False)]
    (found,) = drawn([sentence], SamplingOptions(seed=5), each=total, limits=[limit])
    counts = Counter((tuple(h.tokens), h.finished) for h in found)
    expected = {(each.tokens, each.finished): total * math.exp(each.log_p) for each in walks}
    assert sum(expected.values()) == pytest.approx(total)
    assert set(counts) <= set(expected)
    assert abs(chi_square([counts[key] for key in expected], list(expected.values()))) < 4


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_sharpens_or_flattens_the_distribution(temperature: float):
    scores = torch.tensor([[0.3, -torch.inf, 1.1, -0.4, 0.9]])
    options = SamplingOptions(temperature=temperature)
    places = torch.arange(8000)
    symbols = draw(scores.expand(8000, -1), options, places)
    expected = (scores[0].double() / temperature).softmax(0)
    possible = [0, 2, 3, 4]
    counts = symbols.bincount(minlength=5)
    assert int(counts[1]) == 0
    assert abs(chi_square(counts[possible].tolist(), (8000 * expected[possible]).tolist())) < 4


def test_only_what_filters_leave_is_drawn_and_all_of_it():
    scores = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log().expand(4000, -1)
    for options, support in (
        (SamplingOptions(top_k=2), {0, 1}),
        (SamplingOptions(top_p=0.8), {0, 1, 2}),
        (SamplingOptions(min_p=0.2), {0, 1, 2, 3}),
        (SamplingOptions(temperature=3.0), {0, 1, 2, 3, 4}),
    ):
        assert set(draw(scores, options, torch.arange(4000)).tolist()) == support


@patient
@given(SEEDS, st.sampled_from([0.0, 1e-9, 1e-300]))
def test_the_limit_of_temperature_is_greedy(seed: int, temperature: float):
    sentences = [random_sentence(seed + i, symbols=4 + i) for i in range(3)]
    step = ToyStep(sentences)
    limits = [5, 7, 2]
    best = greedy_search(
        step, step.initial(), start=START, end=END, max_lengths=torch.tensor(limits), keep_attention=True
    )
    found = drawn(sentences, SamplingOptions(temperature=temperature), each=2, limits=limits)
    for one, row in zip(best, found, strict=True):
        for other in row:
            assert (other.tokens, other.finished) == (one.tokens, one.finished)
            assert other.log_probability == one.log_probability


@patient
@given(SEEDS, st.sampled_from([0, 3]), st.sampled_from([1.0, 0.9]))
def test_draws_never_depend_on_the_rest_of_the_batch(seed: int, top_k: int, top_p: float):
    chance = random.Random(seed)
    sentences = [random_sentence(seed + i, symbols=4 + i % 3, source=1 + i % 3) for i in range(6)]
    limits = [chance.randint(1, 8) for _ in sentences]
    options = SamplingOptions(1.3, top_k, top_p, 0.01, seed=seed)

    def run(chosen: Sequence[int], each: int, extra: int) -> list[Any]:
        found = drawn(
            [sentences[i] for i in chosen],
            options,
            each=each,
            limits=[limits[i] for i in chosen],
            ids=[100 + i for i in chosen],
            extra=extra,
        )
        return [[(h.tokens, h.log_probability, h.attention.tolist()) for h in row] for row in found]  # type: ignore[union-attr]

    alone = [run([i], 3, 0)[0] for i in range(6)]
    for _ in range(3):
        chosen = chance.sample(range(6), chance.randint(1, 6))
        assert run(chosen, 3, chance.randint(0, 80)) == [alone[i] for i in chosen]
    assert [row[:2] for row in alone] == run(range(6), 2, 0)


def test_the_last_bits_of_scores_hardly_ever_change_a_draw():
    source = torch.Generator().manual_seed(3)
    scores = 2.0 * torch.randn(3000, 8000, generator=source)
    noisy = scores * (1 + 1e-6 * torch.randn(3000, 8000, generator=source))
    places = torch.arange(3000)
    for options in (SamplingOptions(), SamplingOptions(top_p=0.9)):
        assert torch.equal(draw(scores, options, places), draw(noisy, options, places))


def test_symbols_of_every_block_are_drawn_with_their_probability():
    scores = 1.5 * torch.randn(1, 3 * BLOCK + 5, generator=torch.Generator().manual_seed(1))
    count = 60_000
    found = draw(scores.expand(count, -1), SamplingOptions(), torch.arange(count)).bincount(
        minlength=3 * BLOCK + 5
    )
    expected = count * scores[0].double().softmax(0)
    assert abs(chi_square(found.tolist(), expected.tolist())) < 4


def test_a_seed_repeats_and_another_does_not():
    sentences = [random_sentence(i, symbols=6) for i in range(3)]
    runs = [
        [[h.tokens for h in row] for row in drawn(sentences, SamplingOptions(seed=s), each=4, limits=[9] * 3)]
        for s in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_samples_carry_the_scores_of_the_model_and_their_own_attention():
    sentences = [random_sentence(i, symbols=5, source=2 + i) for i in range(3)]
    found = drawn(sentences, SamplingOptions(0.7, top_k=2), each=3, limits=[3, 6, 9])
    assert any(h.finished for row in found for h in row) and not all(h.finished for row in found for h in row)
    for sentence, row in zip(sentences, found, strict=True):
        for each in row:
            expected = walk(sentence, each.tokens, finished=each.finished)
            assert each.score == each.log_probability == pytest.approx(expected.log_p, abs=1e-6)
            assert each.token_log_probabilities == pytest.approx(expected.token_log_p, abs=1e-6)
            assert numpy.array_equal(each.attention, expected.attention.numpy())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature -0.1: expected a finite number, 0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"top_k": -1}, "top-k -1"),
        ({"top_p": 0.0}, "top-p 0.0: must be more than 0 and at most 1"),
        ({"top_p": 1.1}, "top-p 1.1"),
        ({"min_p": 2.0}, "min-p 2.0"),
        ({"typical": math.nan}, "typical nan"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        SamplingOptions(**wrong)
