"""Constraints of a search, against enumeration of all sequences that satisfy them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.constraints import (
    BlockedNgrams,
    Constraint,
    ForcedPrefix,
    Live,
    MinimumLength,
    Spelling,
    restricted,
)
from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from tests.decoding.toy import END, START, Sentence, ToyStep, Walk, every_walk, following, random_sentence

patient = settings(deadline=None, max_examples=25)
SEEDS = st.integers(0, 2**31)
LIMIT = 5
WIDE = BeamOptions(600, 8, "wu", 0.7)


def search(
    sentences: Sequence[Sentence],
    constraints: Sequence[Constraint],
    options: BeamOptions = WIDE,
    limit: int = LIMIT,
) -> list[list[Hypothesis]]:
    step = ToyStep(sentences)
    return beam_search(
        step,
        step.initial(),
        start=START,
        end=END,
        max_lengths=torch.full((len(sentences),), limit),
        options=options,
        constraints=constraints,
    )


def assert_best_of(
    row: Sequence[Hypothesis],
    sentence: Sentence,
    allowed: Callable[[tuple[int, ...]], bool],
    limit: int = LIMIT,
) -> None:
    """The finished hypotheses are the n best allowed sequences, with the model's scores."""

    def score(each: Walk) -> float:
        return each.log_p / ((5 + each.length) / 6) ** 0.7

    walks = [each for each in every_walk(sentence, limit) if allowed(each.tokens)]
    expected = sorted(walks, key=score, reverse=True)[:8]
    finished = [h for h in row if h.finished]
    # Where two are equally good but for rounding, either may come first.
    exact = {each.tokens: score(each) for each in walks}
    wanted = pytest.approx([score(each) for each in expected], abs=1e-6)
    assert [exact[tuple(h.tokens)] for h in finished] == wanted == [h.score for h in finished]
    assert len({tuple(h.tokens) for h in finished}) == len(finished)


@patient
@given(SEEDS, st.integers(0, 4))
def test_a_minimum_length_forbids_the_end_before_it(seed: int, least: int):
    sentences = [random_sentence(seed), random_sentence(seed + 1, symbols=5)]
    for sentence, row in zip(sentences, search(sentences, [MinimumLength(least)]), strict=True):
        assert_best_of(row, sentence, lambda tokens: len(tokens) >= least)


@patient
@given(SEEDS)
def test_forced_prefixes_are_those_of_each_sentence(seed: int):
    sentences = [random_sentence(seed + i, symbols=4 + i % 2) for i in range(4)]
    prefixes = [[2, 3], [], [3], [3, 3, 2, 2]]
    found = search(sentences, [ForcedPrefix(prefixes)])
    for sentence, prefix, row in zip(sentences, prefixes, found, strict=True):
        assert_best_of(row, sentence, lambda tokens, p=tuple(prefix): tokens[: len(p)] == p)  # type: ignore[misc]


def test_a_prefix_as_long_as_the_limit_is_cut_and_a_longer_one_too():
    found = search([random_sentence(1)] * 2, [ForcedPrefix([[2, 3, 2], [2, 3, 2, 3]])], limit=3)
    assert [(row[0].tokens, row[0].finished) for row in found] == [([2, 3, 2], False)] * 2


TEXTS = [b"", b"", b" a", b" ab", b"b", b"c"]  # of the symbols; 2 3 and 2 4 3 have the word `ab` once, twice
SPELLING = Spelling(TEXTS)


def words_of(tokens: Sequence[int]) -> list[bytes]:
    return b"".join(TEXTS[token] for token in tokens).split()


def repeats(tokens: Sequence[int], order: int) -> bool:
    words = words_of(tokens)
    grams = [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]
    return len(set(grams)) < len(grams)


@patient
@given(SEEDS, st.integers(1, 2))
def test_no_ngram_of_words_occurs_twice(seed: int, order: int):
    """Parts of words may repeat: `2 4 2 5` has symbol 2 twice but no word; `3 2 4` has a word twice."""
    sentences = [random_sentence(seed, symbols=6), random_sentence(seed + 1, symbols=5)]
    blocked = BlockedNgrams(order, SPELLING)
    for sentence, row in zip(
        sentences, search(sentences, [blocked], BeamOptions(1500, 8, "wu", 0.7)), strict=True
    ):
        assert_best_of(row, sentence, lambda tokens: not repeats(tokens, order))


def falling(symbols: int, end: float = -9.0) -> Sentence:
    """Symbols from 2 on, each less likely than the previous one, whatever precedes them."""
    scores = torch.full((61, symbols), -torch.inf)
    scores[:, 2:] = torch.arange(symbols - 2, 0, -1.0)
    scores[:, END] = end
    return Sentence(scores, torch.ones(61, 1))


def test_symbols_of_a_source_have_the_text_that_they_have_there():
    """Symbol 4 continues a word in sentence 0, and is a word in sentence 1."""
    blocked = BlockedNgrams(1, Spelling(TEXTS[:4], [[b"c"], [b" c"]]))
    first, second = search([falling(5)] * 2, [blocked], BeamOptions(2, 1), limit=6)
    assert blocked.spelling.words(0, [2, 4, 3, 4, 4]) == [b"ac", b"abcc"]
    assert blocked.spelling.words(1, [2, 4, 3, 4, 4]) == [b"a", b"c", b"ab", b"c", b"c"]
    assert len(blocked.spelling.words(0, first[0].tokens)) < len(first[0].tokens)
    assert sorted(second[0].tokens) == [2, 3, 4]


@pytest.mark.parametrize("beam", [1, 2])
def test_where_nothing_goes_on_with_a_word_one_that_is_blocked_is_not_begun(beam: int):
    """A second `a` or `ab` would be a dead end, so only the end remains."""
    blocked = BlockedNgrams(1, Spelling(TEXTS[:4]))
    ((best, *_),) = search([falling(4)], [blocked], BeamOptions(beam, 1), limit=6)
    assert (best.tokens, best.finished, best.exhausted) == ([2, 3], True, False)


@pytest.mark.parametrize(("going_on", "expected"), [(0.0, [2, 3]), (9.0, [2, 2, 4])])
def test_greedy_search_begins_a_word_again_only_to_go_on_with_it(going_on: float, expected: list[int]):
    """After `a` comes `a` once more if the model makes `ab` of it, and the next best word otherwise."""
    sentence = falling(5, end=1.5)
    state = 0
    for symbol in (START, 2, 2):
        state = int(following(state, symbol))
    sentence.scores[state, 4] += going_on  # b, after `a a`
    ((best, *_),) = search([sentence], [BlockedNgrams(1, SPELLING)], BeamOptions(1, 1), limit=6)
    assert (best.tokens, best.finished) == (expected, True)


def test_where_nothing_is_left_the_result_is_empty_and_says_so():
    only = torch.full((61, 4), -torch.inf)
    only[:, 2], only[:, END] = 0.0, -1.0
    narrow = Sentence(only, torch.ones(61, 1))
    free = random_sentence(7)
    for beam in (1, 3):
        forbidding = [ForcedPrefix([[3], []])]
        stuck, fine = search([narrow, free], forbidding, BeamOptions(beam, beam))
        assert [(h.tokens, h.finished, h.exhausted) for h in stuck] == [([], False, True)]
        assert fine == search([free], [], BeamOptions(beam, beam))[0]


@patient
@given(SEEDS)
def test_greedy_search_keeps_to_constraints_as_a_beam_of_one(seed: int):
    sentences = [random_sentence(seed + i, symbols=6) for i in range(3)]
    constraints: list[Constraint] = [
        MinimumLength(2),
        ForcedPrefix([[2], [], [4, 4]]),
        BlockedNgrams(1, SPELLING),
    ]
    step = ToyStep(sentences)
    found = greedy_search(
        step,
        step.initial(),
        start=START,
        end=END,
        max_lengths=torch.full((3,), 7),
        constraints=constraints,
    )
    for prefix, each in zip([[2], [], [4, 4]], found, strict=True):
        if not each.exhausted:
            assert len(each.tokens) >= 2 and each.tokens[: len(prefix)] == prefix
            assert not each.finished or not repeats(each.tokens, 1)
    wide = search(sentences, constraints, BeamOptions(1, 1, "none"), limit=7)
    assert [row[0] for row in wide] == found


@pytest.mark.parametrize("constraint", [MinimumLength(3), ForcedPrefix([[2]])])
def test_scores_of_the_model_are_not_written_to(constraint: Constraint):
    """A step may return a tensor that it keeps, so scores must not be changed in place."""
    scores = random_sentence(2).scores[:1]
    before = scores.clone()
    live = Live(torch.tensor([0]), torch.zeros(1, 0, dtype=torch.int64), END)
    assert restricted(scores, live, [constraint]).isinf().sum() > scores.isinf().sum()
    assert torch.equal(scores, before)
