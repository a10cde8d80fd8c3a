"""Beam search against enumeration of all sequences of a table model."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.beam import BeamOptions, BeamSearch, beam_search
from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import LengthPenalty
from seqtool.errors import UsageError
from tests.decoding.forced import score_sequences
from tests.decoding.toy import (
    END,
    START,
    Sentence,
    ToyStep,
    Walk,
    every_walk,
    following,
    random_sentence,
    walk,
)

patient = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 2**31)
KINDS: list[LengthPenalty] = ["wu", "average", "none"]


def search(
    sentences: Sequence[Sentence],
    options: BeamOptions,
    limits: int | Sequence[int],
    *,
    extra: int = 0,
    **more: Any,
) -> list[list[Hypothesis]]:
    step = ToyStep(sentences, extra=extra)
    lengths = [limits] * len(sentences) if isinstance(limits, int) else list(limits)
    return beam_search(
        step,
        step.initial(),
        start=START,
        end=END,
        max_lengths=torch.tensor(lengths),
        options=options,
        source_mask=step.mask,
        **more,
    )


def score_of(found: Walk, options: BeamOptions) -> float:
    """The equation of Wu et al. 2016, computed directly."""
    size, alpha = found.length, options.alpha
    divisor = {"wu": ((5 + size) / 6) ** alpha, "average": size**alpha, "none": 1.0}[options.length_penalty]
    covered = found.attention.double().sum(0).clamp(max=1.0).log().sum()
    return found.log_p / divisor + options.coverage_penalty * float(covered)


def facts(found: Sequence[Sequence[Hypothesis]]) -> list[Any]:
    """All fields of a result, for exact comparison."""
    return [
        [
            (
                h.tokens,
                h.score,
                h.log_probability,
                h.finished,
                h.token_log_probabilities,
                h.unmet,
                h.exhausted,
            )
            + (() if h.attention is None else (h.attention.tolist(),))
            for h in row
        ]
        for row in found
    ]


options_of_all_kinds = st.builds(
    lambda kind, alpha, beta: BeamOptions(400, 6, kind, alpha, beta),
    st.sampled_from(KINDS),
    st.sampled_from([0.0, 0.6, 1.0, 2.0]),
    st.sampled_from([0.0, 0.4]),
)


@patient
@given(SEEDS, options_of_all_kinds)
def test_a_beam_that_prunes_nothing_finds_what_enumeration_finds(seed: int, options: BeamOptions):
    sentences = [random_sentence(seed + i, symbols=3 + i, source=2 + i) for i in range(3)]
    limits = [5, 4, 3]
    for sentence, limit, row in zip(sentences, limits, search(sentences, options, limits), strict=True):
        expected = sorted(every_walk(sentence, limit), key=lambda each: -score_of(each, options))[:6]
        finished = [h for h in row if h.finished]
        assert [tuple(h.tokens) for h in finished] == [each.tokens for each in expected]
        for found, each in zip(finished, expected, strict=True):
            assert found.score == pytest.approx(score_of(each, options), abs=1e-5)
            assert found.log_probability == pytest.approx(each.log_p, abs=1e-6)
            assert found.token_log_probabilities == pytest.approx(each.token_log_p, abs=1e-6)


@patient
@given(SEEDS, st.sampled_from(KINDS), st.sampled_from([0.0, 1.0, 3.0]))
def test_stopping_early_loses_nothing(seed: int, kind: LengthPenalty, alpha: float):
    """A search that continues to the largest length, whatever it has found, finds nothing better."""
    sentences = [random_sentence(seed + i, symbols=5) for i in range(4)]
    options = BeamOptions(3, 2, kind, alpha)
    step = ToyStep(sentences)
    patient_search = BeamSearch(step, step.initial(), START, END, torch.full((4,), 9), options)
    patient_search.penalties = NeverSure(kind, alpha)
    assert facts(patient_search.run()) == facts(search(sentences, options, 9))


class NeverSure(BeamOptions().penalties.__class__):  # type: ignore[misc]
    """Penalties under which any live hypothesis may still win."""

    def score_at_most(self, log_p: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(log_p, torch.inf)


def test_a_sentence_leaves_as_soon_as_nothing_alive_can_win():
    likely = Sentence(torch.tensor([[-torch.inf, 9.0, 0.0, 0.0]]).repeat(61, 1), torch.ones(61, 1))
    step = ToyStep([likely, random_sentence(3)])
    options = BeamOptions(3, 1, "none")
    beam_search(
        step, step.initial(), start=START, end=END, max_lengths=torch.tensor([50, 6]), options=options
    )
    assert step.leaves[0] == (1, [1])
    # Divided by the length, what is behind now may come out ahead after 50 symbols.
    even = Sentence(torch.tensor([[-torch.inf, 0.5, 0.3, 0.0]]).repeat(61, 1), torch.ones(61, 1))
    ends, goes_on = even.log_p[0, END], even.log_p[0, 2]
    until_hopeless = math.ceil(50 * ends / goes_on)  # steps t with t goes_on / 50 > ends, and one
    for kind, calls in (("none", 1), ("average", until_hopeless)):
        step = ToyStep([even])
        options = BeamOptions(2, 1, kind)
        limits = torch.tensor([50])
        beam_search(step, step.initial(), start=START, end=END, max_lengths=limits, options=options)
        assert step.calls == calls


@patient
@given(SEEDS, st.sampled_from(KINDS), st.booleans(), st.sampled_from([0, 2]))
def test_a_beam_of_one_is_greedy(seed: int, kind: LengthPenalty, covering: bool, levels: int):
    sentences = [random_sentence(seed + i, symbols=3 + i, levels=levels) for i in range(4)]
    options = BeamOptions(1, 1, kind, 0.8, 0.3 * covering)
    step = ToyStep(sentences)
    slow = BeamSearch(step, step.initial(), START, END, torch.tensor([6, 2, 9, 7]), options)
    slow.source_mask, slow.keep_attention = step.mask, True
    fast = search(sentences, options, [6, 2, 9, 7], keep_attention=True)
    assert facts(slow.run()) == facts(fast)
    for sentence, limit, (found,) in zip(sentences, [6, 2, 9, 7], fast, strict=True):
        assert (found.tokens, found.finished) == greedy_by_hand(sentence, limit)


def greedy_by_hand(sentence: Sentence, limit: int) -> tuple[list[int], bool]:
    tokens: list[int] = []
    while len(tokens) < limit:
        following = [
            walk(sentence, [*tokens, s], finished=False).token_log_p[-1]
            for s in range(2, sentence.scores.shape[1])
        ]
        ending = walk(sentence, tokens, finished=True).token_log_p[-1]
        if ending >= max(following):
            return tokens, True
        tokens.append(2 + following.index(max(following)))
    return tokens, False


@patient
@given(SEEDS, st.sampled_from(KINDS), st.integers(1, 4), st.integers(1, 2), st.booleans())
def test_scores_of_the_nbest_are_those_of_forced_scoring(
    seed: int, kind: LengthPenalty, nbest: int, groups: int, covering: bool
):
    sentences = [random_sentence(seed + i, symbols=4 + i) for i in range(3)]
    options = BeamOptions(4, nbest, kind, 0.7, 0.2 * covering, groups)
    found = search(sentences, options, 12, keep_attention=True)
    for rank in range(nbest):
        rows = [i for i, row in enumerate(found) if rank < len(row) and row[rank].finished]
        if not rows:
            continue
        step = ToyStep([sentences[i] for i in rows])
        again = score_sequences(
            step,
            step.initial(),
            [found[i][rank].tokens for i in rows],
            start=START,
            end=END,
            penalties=options.penalties,
            source_mask=step.mask,
            keep_attention=True,
        )
        for i, other in zip(rows, again, strict=True):
            own = found[i][rank]
            assert own.score == pytest.approx(other.score, abs=1e-9)
            assert own.log_probability == pytest.approx(other.log_probability, abs=1e-9)
            assert own.token_log_probabilities == pytest.approx(other.token_log_probabilities, abs=1e-9)
            assert numpy.array_equal(own.attention, other.attention)


@patient
@given(SEEDS, st.integers(1, 6), st.integers(2, 6), st.sampled_from([0, 1]))
def test_results_are_sorted_unique_and_possible(seed: int, beam: int, symbols: int, levels: int):
    """Also with fewer symbols than slots in the beam, and with many equal scores."""
    sentences = [random_sentence(seed + i, symbols=max(symbols, 3), levels=levels) for i in range(3)]
    for row in search(sentences, BeamOptions(beam, beam), [1, 3, 5]):
        assert len({(tuple(h.tokens), h.finished) for h in row}) == len(row) <= beam
        assert all(math.isfinite(h.score) and START not in h.tokens and END not in h.tokens for h in row)
        assert row == sorted(row, key=lambda h: (not h.finished, -h.score))


@patient
@given(SEEDS, st.sampled_from([0, 1]), st.integers(1, 2), st.sampled_from([1, 4]), st.booleans())
def test_results_never_depend_on_the_rest_of_the_batch(
    seed: int, levels: int, groups: int, beam: int, constrained: bool
):
    """Results do not change with the composition, order and padding of the batch."""
    chance = random.Random(seed)
    sentences = [
        random_sentence(seed + i, symbols=4 + i % 3, source=2 + i % 4, levels=levels) for i in range(7)
    ]
    limits = [chance.randint(1, 9) for _ in sentences]
    options = BeamOptions(beam, min(2, beam), "wu", 0.9, 0.3, groups if beam > 1 else 1)
    wanted = [[[2, 3], [3]] if i % 2 else [] for i in range(7)]

    def run(chosen: Sequence[int], extra: int) -> list[Any]:
        phrases = {"phrases": [wanted[i] for i in chosen]} if constrained and groups == 1 else {}
        batch, lengths = [sentences[i] for i in chosen], [limits[i] for i in chosen]
        return facts(search(batch, options, lengths, extra=extra, keep_attention=True, **phrases))

    alone = [run([i], 0)[0] for i in range(7)]
    for _ in range(3):
        chosen = chance.sample(range(7), chance.randint(1, 7))
        assert run(chosen, chance.randint(0, 130)) == [alone[i] for i in chosen]


def test_hypotheses_cut_at_the_largest_length_are_unfinished_and_come_last():
    sentence = random_sentence(5, symbols=4)
    sentence.scores[:, END] -= 2.0
    (row,) = search([sentence], BeamOptions(5, 5), 3)
    kinds = [h.finished for h in row]
    assert kinds == sorted(kinds, reverse=True) and 0 < sum(kinds) < 5
    assert all(len(h.tokens) == 3 if not h.finished else len(h.tokens) < 3 for h in row)
    assert all(len(h.token_log_probabilities) == 3 for h in row if not h.finished)
    for found in row:
        again = walk(sentence, found.tokens, finished=found.finished)
        assert found.log_probability == pytest.approx(again.log_p, abs=1e-6)
    # As many as wanted have ended: there are no unfinished ones.
    (row,) = search([sentence], BeamOptions(5, 1), 3)
    assert [h.finished for h in row] == [True]


def test_a_cut_hypothesis_is_read_from_its_own_row_when_others_stay():
    sentences = [random_sentence(i, symbols=5) for i in range(4)]
    for sentence in sentences:
        sentence.scores[:, END] -= 50.0
    for sentence, row in zip(sentences, search(sentences, BeamOptions(3, 3), [2, 7, 4, 2]), strict=True):
        for found in row:
            again = walk(sentence, found.tokens, finished=False)
            assert found.log_probability == pytest.approx(again.log_p, abs=1e-5)


def test_ends_take_no_live_slot():
    """A hypothesis that ranks behind an ended one and another continues, and wins."""
    scores = torch.zeros(61, 4)
    scores[:, START] = -torch.inf
    first = int(following(0, START))
    scores[first] = torch.tensor([-torch.inf, 2.0, 1.0, 0.9])
    scores[int(following(first, 3)), END] = 20.0
    (row,) = search([Sentence(scores, torch.ones(61, 1))], BeamOptions(2, 2, "average"), 4)
    assert {tuple(h.tokens) for h in row} == {(), (3,)}


def test_attention_is_that_of_the_hypothesis_cut_to_its_source():
    sentences = [random_sentence(i, symbols=4, source=2 + i) for i in range(3)]
    for sentence, row in zip(
        sentences, search(sentences, BeamOptions(4, 4), 6, keep_attention=True), strict=True
    ):
        for found in row:
            expected = walk(sentence, found.tokens, finished=found.finished).attention
            assert found.attention is not None
            assert numpy.array_equal(found.attention, expected.numpy())
    assert all(h.attention is None for row in search(sentences, BeamOptions(4, 4), 6) for h in row)


def test_equal_scores_are_ordered_by_parent_then_symbol():
    same = Sentence(torch.tensor([[-torch.inf, 0.0, 0.0, 0.0, 0.0]]).repeat(61, 1), torch.ones(61, 1))
    (row,) = search([same], BeamOptions(4, 4, "none"), 2)
    assert [h.tokens for h in row if h.finished] == [[], [2]]
    (row,) = search([same], BeamOptions(3, 3, "average"), 3)
    assert [h.tokens for h in row] == [[], [2], [2, 2]]


def test_groups_of_a_diverse_beam_avoid_the_symbols_of_earlier_groups():
    sentence = random_sentence(1, symbols=8)
    sentence.scores[:, END] = -9.0
    first = {h.tokens[0] for h in search([sentence], BeamOptions(3, 3, groups=3, diversity=100.0), 1)[0]}
    assert len(first) == 3
    # Without a penalty every group runs the same search, and its results are returned once.
    plain = [r for h in search([sentence], BeamOptions(1, 1), 4) for r in h]
    (row,) = search([sentence], BeamOptions(3, 3, groups=3, diversity=0.0), 4)
    assert [h.tokens for h in row] == [plain[0].tokens]


@patient
@given(SEEDS, st.sampled_from([0.0, 0.5, 3.0]))
def test_a_diverse_beam_takes_the_steps_of_its_definition(seed: int, diversity: float):
    sentence = random_sentence(seed, symbols=6)
    sentence.scores[:, END] = -60.0
    (row,) = search([sentence], BeamOptions(4, 4, "none", groups=2, diversity=diversity), 4)
    expected = diverse_by_hand(sentence, 4, groups=2, share=2, diversity=diversity)
    assert {tuple(h.tokens) for h in row} == expected


def diverse_by_hand(
    sentence: Sentence, limit: int, *, groups: int, share: int, diversity: float
) -> set[tuple[int, ...]]:
    beams: list[list[tuple[int, ...]]] = [[()] for _ in range(groups)]
    for _ in range(limit):
        taken: list[int] = []
        for group, beam in enumerate(beams):
            ways = [(*prefix, s) for prefix in beam for s in range(2, sentence.scores.shape[1])]

            def worth(way: tuple[int, ...], taken: Sequence[int] = tuple(taken)) -> float:
                return walk(sentence, way, finished=False).log_p - diversity * taken.count(way[-1])

            beams[group] = sorted(ways, key=worth, reverse=True)[:share]
            taken += [way[-1] for way in beams[group]]
    return {way for beam in beams for way in beam}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam": 0}, "beam 0: must be 1 or more"),
        ({"beam": 3, "nbest": 4}, "nbest 4: must be between 1 and the beam, 3"),
        ({"groups": 2}, "groups 2: must be a divisor of the beam, 5"),
        ({"diversity": -1.0}, "diversity -1.0: must be 0 or more"),
        ({"alpha": -1.0}, "length penalty -1.0: must be 0 or more"),
        ({"coverage_penalty": math.nan}, "coverage penalty nan: must be 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(UsageError, match=message):
        BeamOptions(**wrong)


def test_nothing_to_search_is_nothing_found():
    step: Callable[..., Any] = lambda last, state: pytest.fail("there is no sentence")
    empty = (torch.zeros(0, 2),)
    none = torch.zeros(0, dtype=torch.int64)
    assert beam_search(step, empty, start=0, end=1, max_lengths=none, options=BeamOptions()) == []  # type: ignore[arg-type]
    assert greedy_search(step, empty, start=0, end=1, max_lengths=none) == []  # type: ignore[arg-type]
