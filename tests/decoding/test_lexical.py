"""Phrases that must occur, against enumeration of all sequences that contain them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.lexical import Candidate, Progress, choose
from tests.decoding.toy import END, START, Sentence, ToyStep, every_walk, random_sentence

patient = settings(deadline=None, max_examples=30)
SEEDS = st.integers(0, 2**31)
Phrases = list[list[int]]
phrases_of_some = st.lists(st.lists(st.integers(2, 4), min_size=1, max_size=3), max_size=3)


def search(
    sentences: Sequence[Sentence], phrases: Sequence[Phrases], options: BeamOptions, limit: int
) -> list[list[Hypothesis]]:
    step = ToyStep(sentences)
    return beam_search(
        step,
        step.initial(),
        start=START,
        end=END,
        max_lengths=torch.full((len(sentences),), limit),
        options=options,
        phrases=phrases,
    )


def has(tokens: Sequence[int], phrase: Sequence[int]) -> bool:
    return any(list(tokens[i : i + len(phrase)]) == list(phrase) for i in range(len(tokens)))


@patient
@given(SEEDS, phrases_of_some)
def test_a_wide_beam_finds_the_best_sequences_with_all_phrases(seed: int, phrases: Phrases):
    """Phrases that share a beginning, overlap or contain each other among them."""
    sentence = random_sentence(seed, symbols=5)
    (row,) = search([sentence], [phrases], BeamOptions(600, 4, "none"), 5)
    walks = [each for each in every_walk(sentence, 5) if all(has(each.tokens, p) for p in phrases)]
    expected = sorted(walks, key=lambda each: -each.log_p)[:4]
    if expected:
        found = [h for h in row if h.finished]
        assert [tuple(h.tokens) for h in found] == [each.tokens for each in expected]
        assert [h.score for h in found] == pytest.approx([each.log_p for each in expected], abs=1e-6)
        assert not any(h.unmet for h in row)


@patient
@given(SEEDS, phrases_of_some, st.integers(1, 4))
def test_a_narrow_beam_finds_all_phrases_however_improbable(seed: int, phrases: Phrases, beam: int):
    sentence = random_sentence(seed, symbols=7)
    sentence.scores[:, 2:5] -= 20.0  # the symbols that phrases are made of
    (row,) = search([sentence], [phrases], BeamOptions(beam, 1), 25)
    assert all(has(row[0].tokens, phrase) for phrase in phrases)
    assert not row[0].unmet


@patient
@given(SEEDS, st.integers(1, 4))
def test_sentences_without_phrases_are_searched_as_ever(seed: int, beam: int):
    sentences = [random_sentence(seed + i, symbols=5) for i in range(3)]
    options = BeamOptions(beam, beam, "wu", 0.7)
    plain = search(sentences, [[], [], []], options, 6)
    mixed = search(sentences, [[], [[3, 2]], []], options, 6)
    assert [mixed[0], mixed[2]] == [plain[0], plain[2]]
    step = ToyStep(sentences)
    limits = torch.full((3,), 6)
    again = beam_search(step, step.initial(), start=START, end=END, max_lengths=limits, options=options)
    assert [[(h.tokens, h.finished) for h in row] for row in again] == [
        [(h.tokens, h.finished) for h in row] for row in plain
    ]


def test_what_lacks_a_phrase_is_returned_only_if_nothing_else_was_found():
    sentence = random_sentence(3, symbols=5)
    (row,) = search([sentence], [[[2, 3, 4, 2, 3, 4]]], BeamOptions(4, 2), 4)  # there is no room for it
    assert row and all(h.unmet for h in row)
    sentence.scores[:, 4] = -torch.inf  # it can never be written
    (row,) = search([sentence], [[[4]]], BeamOptions(4, 1), 6)
    assert row[0].unmet and row[0].finished
    (row,) = search([sentence], [[[3]]], BeamOptions(4, 4), 6)
    assert not any(h.unmet for h in row)


def test_a_hypothesis_may_not_end_without_its_phrases():
    scores = torch.tensor([[-torch.inf, 9.0, 0.0, -3.0]]).repeat(61, 1)
    (row,) = search([Sentence(scores, torch.ones(61, 1))], [[[3]]], BeamOptions(2, 1), 9)
    assert row[0].tokens == [3] and row[0].finished


@pytest.mark.parametrize(
    ("tokens", "met", "wanted"),
    [
        ([], 0, [2, 5]),
        ([2], 1, [3, 5]),
        ([2, 3], 2, [4, 5]),  # begun twice, counted once
        ([2, 3, 4], 3, [2, 5]),  # there; the other begins anew
        ([2, 3, 2], 1, [3, 5]),  # broken off, begun again
        ([2, 3, 4, 2, 3, 5], 7, []),
        ([5, 2], 2, [3]),
    ],
)
def test_progress_counts_symbols_of_phrases(tokens: list[int], met: int, wanted: list[int]):
    progress = Progress.of([(2, 3, 4), (2, 3, 5), (5,)], tokens)
    assert (progress.met, progress.wanted) == (met, wanted)
    assert progress.complete == (not wanted)


def test_a_phrase_that_overlaps_itself_is_followed():
    progress = Progress.of([(2, 2, 3)], [2, 2, 2])
    assert progress.symbols == (2,)
    assert progress.after(3).complete


def test_banks_take_turns_and_ends_need_no_turn():
    phrases = [(7,)]
    candidates = [
        Candidate(-1.0, 0, 3),
        Candidate(-2.0, 0, 4),
        Candidate(-3.0, 1, END),
        Candidate(-3.5, 0, END),
        Candidate(-4.0, 1, 3),
    ]
    choice = choose(
        phrases, [[5], [7]], candidates, lambda slot, symbol: -9.0 if slot == 0 else -50.0, beam=3, end=END
    )
    # Bank 1: the end of slot 1, slot 1 with 3, and slot 0 with 7. Bank 0: slot 0 with 3 and with 4.
    assert choice.endings == [Candidate(-3.0, 1, END)]
    assert choice.continuing == [Candidate(-1.0, 0, 3), Candidate(-4.0, 1, 3), Candidate(-9.0, 0, 7)]
    assert choice.incomplete == []
    assert choose(phrases, [[5]], [Candidate(-0.1, 0, END)], lambda *_: -1.0, beam=1, end=END).incomplete
