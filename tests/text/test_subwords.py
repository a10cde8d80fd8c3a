"""Segmentations drawn at random: reproducible, and with the right probabilities."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seqtool.text.subwords import SentencePieceCodec, train_sentencepiece

WORDS = ["the", "cat", "cats", "sat", "hat", "that", "at", "he", "she", "shed"]
LINES = [f"{left} {right} {left}{right}" for left in WORDS for right in WORDS]
LINE = "that cat sat shed"


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def codec(request) -> SentencePieceCodec:
    size = {"unigram": None, "bpe": 60}[request.param]
    return SentencePieceCodec(train_sentencepiece(LINES, size=size, model_type=request.param))


def test_a_drawn_segmentation_spells_the_line(codec):
    for seed in range(50):
        assert codec.decode(codec.sample(LINE, 0.3, seed)) == LINE


def test_the_seed_alone_decides_whatever_was_drawn_before_and_in_whatever_thread(codec):
    seeds = range(40)
    first = [codec.sample(LINE, 0.3, seed) for seed in seeds]
    backwards = [codec.sample(LINE, 0.3, seed) for seed in reversed(seeds)]
    assert backwards[::-1] == first
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda seed: codec.sample(LINE, 0.3, seed), seeds)) == first
    assert len({tuple(ids) for ids in first}) > 5


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**64 - 1])
def test_any_seed_repeats(codec, seed):
    # The library draws a new seed itself when it is given 2**32 - 1.
    assert len({tuple(codec.sample(LINE, 0.3, seed)) for _ in range(10)}) == 1


def test_a_skipped_merge_is_as_likely_as_asked():
    codec = SentencePieceCodec(train_sentencepiece(["xab yab"], size=10, model_type="bpe"))
    assert codec.symbols[4] == "ab"  # the only merge
    assert codec.encode("ab") == [codec.symbols.index("▁"), 4]
    draws = 2000
    split = sum(4 not in codec.sample("ab", 0.3, seed) for seed in range(draws))
    assert abs(split - 0.3 * draws) < 4 * math.sqrt(draws * 0.3 * 0.7)


def test_without_a_chance_of_skipping_bpe_is_its_likeliest_and_with_certainty_it_is_letters():
    codec = SentencePieceCodec(train_sentencepiece(LINES, size=60, model_type="bpe"))
    assert codec.sample(LINE, 1e-9, 1) == codec.encode(LINE)
    assert codec.decode(codec.sample(LINE, 1.0, 1)) == LINE
    assert len(codec.sample(LINE, 1.0, 1)) == len(LINE) + 1


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_unigram_segmentations_are_drawn_by_their_probability_to_the_power_of_alpha(alpha):
    codec = SentencePieceCodec(train_sentencepiece(LINES))
    line, draws = "thecats", 3000
    weights = {path: math.exp(alpha * score) for path, score in segmentations(codec, line).items()}
    total = sum(weights.values())
    counts = Counter(tuple(codec.sample(line, alpha, seed)) for seed in range(draws))
    assert set(counts) <= set(weights)
    expected = {path: draws * weight / total for path, weight in weights.items()}
    common = [path for path in expected if expected[path] >= 5]
    rare = sum(count for path, count in counts.items() if path not in common)
    rare_expected = draws - sum(expected[path] for path in common)
    square = sum((counts[path] - expected[path]) ** 2 / expected[path] for path in common)
    square += (rare - rare_expected) ** 2 / max(rare_expected, 1.0)
    freedom = len(common)
    assert freedom > 2
    assert square < freedom + 5 * math.sqrt(2 * freedom)


def segmentations(codec: SentencePieceCodec, line: str) -> dict[tuple[int, ...], float]:
    """Every way to spell a line in pieces, with its log-probability."""
    text = "▁" + line.replace(" ", "▁")
    found: list[dict[tuple[int, ...], float]] = [{(): 0.0}]
    for end in range(1, len(text) + 1):
        found.append({})
        for number, symbol in enumerate(codec.symbols):
            if number > 3 and text.endswith(symbol, 0, end):
                score = codec._processor.get_score(number)
                for path, before in found[end - len(symbol)].items():
                    found[end][*path, number] = before + score
    return found[-1]
