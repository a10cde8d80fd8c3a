"""Pairs as ids and as padded batches."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.parallel import SentencePair
from seqtool.translation.batches import (
    LENGTH_SLACK,
    UNKNOWN_RATIO,
    EncodedPair,
    encode_pairs,
    length_ratio,
    padded,
    pair_batch,
    source_batch,
)
from seqtool.translation.vocabulary import END, PADDING, START, UNKNOWN, EncodedSource, Vocabularies
from seqtool.translation.vocabulary_settings import VocabularySettings
from tests.translation.tiny_translator import NEW, NEWER, PAIRS, encoded

CORPUS = [SentencePair("the cat sat", "die Katze saß"), SentencePair("a cat", "eine Katze", ("N",))]
patient = settings(deadline=None, max_examples=50)
rows = st.lists(st.integers(4, NEWER), min_size=1, max_size=6)
pairs = st.lists(st.tuples(rows, rows), min_size=1, max_size=5)


def vocabularies(kind: str = "word") -> Vocabularies:
    corpus = CORPUS[:1] if kind == "byte" else CORPUS  # a byte vocabulary cannot hold features
    return Vocabularies.build(corpus, VocabularySettings.model_validate({"kind": kind}))


def pair_of(source: int, target: int) -> EncodedPair:
    return EncodedPair(EncodedSource([5] * source, [NOT_COPYABLE] * source, ()), [5] * (target - 1) + [END])


def test_the_length_ratio_holds_for_all_but_one_pair_in_a_thousand() -> None:
    usual = [pair_of(n, 2 * n + LENGTH_SLACK) for n in range(1, 1001)]
    assert length_ratio(usual) == 2.0
    assert length_ratio([*usual, pair_of(1, 500)]) == 2.0  # a mistake in the data
    assert length_ratio([pair_of(3, 3 * 2 + LENGTH_SLACK), pair_of(10, 10)]) == 2.0
    assert length_ratio([pair_of(10, 2)] * 7) == 1.0
    assert length_ratio([]) == UNKNOWN_RATIO


@patient
@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=5), st.sampled_from([0, -1]))
def test_rows_are_filled_up_at_the_right(given_rows: list[list[int]], filler: int) -> None:
    found = padded(given_rows, filler)
    longest = max(map(len, given_rows), default=0)
    assert found.dtype == torch.int64 and found.shape == (len(given_rows), longest)
    assert found.tolist() == [row + [filler] * (longest - len(row)) for row in given_rows]


@patient
@given(pairs, st.integers(0, 9))
def test_a_batch_holds_its_pairs_and_padding(
    given_pairs: list[tuple[list[int], list[int]]], step: int
) -> None:
    every = [encoded(pair) for pair in given_pairs]
    batch = pair_batch(every, step)
    assert batch.step == step
    assert batch.tokens == sum(len(target) + 1 for _, target in given_pairs) == int(batch.target_mask.sum())
    assert batch.source.shape == batch.symbols.shape
    assert batch.inputs.shape == batch.target.shape == batch.target_mask.shape
    for row, (pair, (_, target)) in enumerate(zip(every, given_pairs, strict=True)):
        length, steps = len(pair.source.ids), len(target) + 1
        assert batch.source[row, :length].tolist() == pair.source.ids
        assert batch.symbols[row, :length].tolist() == pair.source.symbols
        assert set(batch.source[row, length:].tolist()) <= {PADDING}
        assert set(batch.symbols[row, length:].tolist()) <= {NOT_COPYABLE}
        assert batch.target[row, :steps].tolist() == [*target, END]
        assert batch.inputs[row, :steps].tolist() == [START, *target]
        assert batch.target_mask[row].tolist() == [True] * steps + [False] * (batch.target.shape[1] - steps)
        assert set(batch.target[row, steps:].tolist()) <= {PADDING}


def test_the_sources_of_a_batch_say_how_far_they_extend_the_vocabulary() -> None:
    sources = [encoded(pair).source for pair in PAIRS]
    batch = source_batch(sources)
    assert batch.extra == NEWER - NEW + 1
    assert source_batch(sources[:2]).extra == 1
    assert source_batch(sources[1:2]).extra == source_batch([]).extra == 0
    pair = pair_batch([encoded(pair) for pair in PAIRS])
    assert batch.source.equal(pair.source) and batch.symbols.equal(pair.symbols)


def test_batches_move_as_a_whole() -> None:
    batch = pair_batch([encoded(pair) for pair in PAIRS], 7)
    sources = source_batch([encoded(pair).source for pair in PAIRS])
    meta = torch.device("meta")
    moved, moved_sources = batch.to(meta), sources.to(meta)
    assert (moved.tokens, moved.step, moved_sources.extra) == (batch.tokens, 7, sources.extra)
    for name in ("source", "symbols", "inputs", "target", "target_mask"):
        assert getattr(moved, name).device == meta
        assert getattr(moved, name).shape == getattr(batch, name).shape
    assert moved_sources.source.device == moved_sources.symbols.device == meta


def test_pairs_are_encoded_with_the_extended_ids_of_their_own_source() -> None:
    both = vocabularies()
    size = len(both.target.symbols)
    cat, katze = both.target.symbols.index("cat"), both.target.symbols.index("Katze")
    found = encode_pairs(
        [
            SentencePair("Zoë cat Max", "Max Katze Zoë Eva"),
            SentencePair("Max", "Zoë Max", ("N",)),
            SentencePair("cat"),
        ],
        both,
    )
    assert [pair.target for pair in found] == [
        [size + 1, katze, size, UNKNOWN, END],
        [UNKNOWN, size, END],
        [END],
    ]
    assert found[0].source.symbols == [size, cat, size + 1, NOT_COPYABLE]
    assert found[1].source.ids == [both.source.symbols.index("<N>"), UNKNOWN, END]
    assert found[1].source.symbols == [NOT_COPYABLE, size, NOT_COPYABLE]
    assert all(isinstance(pair, EncodedPair) and isinstance(pair.source, EncodedSource) for pair in found)


def test_a_pointer_network_can_copy_the_end() -> None:
    (pair,) = encode_pairs(CORPUS[:1], vocabularies(), copies="all")
    assert pair.source.symbols[-1] == END


def test_drawn_segmentations_repeat_and_every_side_of_every_pair_draws_for_itself() -> None:
    both = vocabularies("sentencepiece")
    line = "the cat sat die Katze"
    same = [SentencePair(line, line)] * 12
    found = encode_pairs(same, both, sampling=0.2, seed=5)
    assert found == encode_pairs(same, both, sampling=0.2, seed=5)
    assert found != encode_pairs(same, both, sampling=0.2, seed=1000)
    sides = [tuple(ids) for pair in found for ids in (pair.source.ids, pair.target)]
    assert len(set(sides)) > 3
    assert any(tuple(pair.source.ids) != tuple(pair.target) for pair in found)
    likeliest = encode_pairs(same, both)
    assert {tuple(pair.target) for pair in likeliest} == {tuple(both.encode_target(line, ()))}


@pytest.mark.parametrize("kind", ["word", "character", "byte", "sentencepiece"])
def test_a_target_comes_back_from_its_batch(kind: str) -> None:
    both = vocabularies(kind)
    texts = [SentencePair("Zoë sat 日本", "日本 Katze Zoë"), SentencePair("cat", "eine")]
    every = encode_pairs(texts, both)
    batch = pair_batch(every)
    for pair, source, ids in zip(texts, every, batch.target.tolist(), strict=True):
        assert both.text(ids, source.source.extra) == pair.target
