"""Random segmentations: reproducible, and with the correct probabilities."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from seqtool.errors import UsageError
from seqtool.text.segmentation import WordSplitter, merge
from seqtool.text.subwords import EXACT, SentencePieceCodec, train_sentencepiece

WORDS = ["the", "cat", "cats", "sat", "hat", "that", "at", "he", "she", "shed"]
LINES = [f"{left} {right} {left}{right}" for left in WORDS for right in WORDS]
LINE = "that cat sat shed"


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def codec(request) -> SentencePieceCodec:
    size = {"unigram": None, "bpe": 60}[request.param]
    return SentencePieceCodec(train_sentencepiece(LINES, size=size, model_type=request.param))


def drawn(codec: SentencePieceCodec, line: str, alpha: float, seed: int) -> list[int]:
    return [piece.id for piece in codec.sample(line, alpha, seed)]


def test_a_drawn_segmentation_spells_the_line(codec):
    for seed in range(50):
        assert codec.decode(drawn(codec, LINE, 0.3, seed)) == LINE


def test_the_seed_alone_decides_whatever_was_drawn_before_and_in_whatever_thread(codec):
    seeds = range(40)
    first = [drawn(codec, LINE, 0.3, seed) for seed in seeds]
    backwards = [drawn(codec, LINE, 0.3, seed) for seed in reversed(seeds)]
    assert backwards[::-1] == first
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            assert list(pool.map(lambda seed: drawn(codec, LINE, 0.3, seed), seeds)) == first
    assert len({tuple(ids) for ids in first}) > 5


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**32, 2**64 - 1])
def test_any_seed_repeats(codec, seed):
    assert len({tuple(drawn(codec, LINE, 0.3, seed)) for _ in range(10)}) == 1


def test_a_skipped_merge_is_as_likely_as_asked():
    codec = SentencePieceCodec(train_sentencepiece(["xab yab"], size=10, model_type="bpe"))
    assert codec.symbols[4] == "ab"  # the only merge
    assert codec.encode("ab") == [codec.symbols.index("▁"), 4]
    draws = 2000
    split = sum(4 not in drawn(codec, "ab", 0.3, seed) for seed in range(draws))
    assert abs(split - 0.3 * draws) < 4 * math.sqrt(draws * 0.3 * 0.7)


def test_without_a_chance_of_skipping_bpe_is_its_likeliest_and_with_certainty_it_is_letters():
    codec = SentencePieceCodec(train_sentencepiece(LINES, size=60, model_type="bpe"))
    assert drawn(codec, LINE, 1e-9, 1) == codec.encode(LINE)
    assert codec.decode(drawn(codec, LINE, 1.0, 1)) == LINE
    assert len(drawn(codec, LINE, 1.0, 1)) == len(LINE) + 1


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_unigram_segmentations_are_drawn_by_their_probability_to_the_power_of_alpha(alpha):
    codec = SentencePieceCodec(train_sentencepiece(LINES))
    line, draws = "thecats", 3000
    weights = {path: math.exp(alpha * score) for path, score in segmentations(codec, line).items()}
    total = sum(weights.values())
    counts = Counter(tuple(drawn(codec, line, alpha, seed)) for seed in range(draws))
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
    """Every segmentation of a line into pieces, with its log-probability."""
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


@pytest.mark.parametrize("line", ["", " ", "  that  cat ", "▁cat", "日本 cat 日", "cat<n>cat <n>", "a\tb"])
@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_what_is_drawn_is_among_the_segmentations_of_the_library(line, model_type, byte_fallback):
    model = train_sentencepiece(
        LINES,
        size=330 if byte_fallback else 60,
        exact=False,
        model_type=model_type,
        byte_fallback=byte_fallback,
        reserved=("<n>",),
    )
    codec = SentencePieceCodec(model)
    likeliest = codec.encode(line)
    if model_type == "bpe":
        assert all(drawn(codec, line, 1e-9, seed) == likeliest for seed in range(20))
    found = [drawn(codec, line, 1.0 if model_type == "unigram" else 0.5, seed) for seed in range(200)]
    assert likeliest in found
    assert {codec.decode(ids) for ids in found} == {codec.decode(likeliest)}


def test_a_model_with_one_segmentation_a_text_refuses_to_draw():
    codec = SentencePieceCodec(train_sentencepiece(LINES, size=30, exact=False, model_type="char"))
    with pytest.raises(UsageError, match="one segmentation"):
        codec.sample(LINE, 0.5, 1)


def test_pieces_that_reach_across_spaces_are_drawn_too():
    splitter = WordSplitter(["a", "b▁a"], [])
    assert splitter("▁ab▁a") == ["▁ab▁a"]
    assert WordSplitter(["a"], [])("x▁ab▁▁a") == ["x", "▁ab", "▁", "▁a"]


def test_a_skipped_merge_is_skipped_for_good_and_the_next_best_is_tried():
    scores = {"ab": 0.0, "bc": -1.0, "abc": -2.0}
    assert merge("abc", scores, frozenset()) == (("abc",), 2)
    assert merge("abc", scores, frozenset([0])) == (("abc",), 3)  # b + c, then a + bc
    assert merge("abc", scores, frozenset([0, 2])) == (("a", "bc"), 3)
    assert merge("abc", scores, frozenset([1])) == (("ab", "c"), 2)


# Text that some users have, and that is a symbol or a marker inside the library.
LITERAL = [
    "<s> old price </s> new price",
    "keep <unk> and <pad> here",
    "\u2581x\u2581 \u2581",
    "a\u2585b",
    "x\ty <0x41>",
    "split pack disk",
]


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("byte_fallback", [False, True])
@pytest.mark.parametrize("line", LITERAL)
def test_symbols_and_marks_of_the_library_come_back_as_text(model_type, byte_fallback, line):
    model = train_sentencepiece(LITERAL * 8, model_type=model_type, byte_fallback=byte_fallback)
    codec = SentencePieceCodec(model)
    ids = codec.encode(line)
    assert not {0, 1, 2, 3} & set(ids)
    assert codec.decode(ids) == line
    assert "".join(piece.surface for piece in codec.pieces(line)) == line
    assert [piece.id for piece in codec.pieces(line)] == ids
    spelled = [codec.spelled(number) for number in ids]
    raw = b"".join(part if isinstance(part, bytes) else part.encode() for part in spelled)
    assert raw.decode() == " " + line
    assert all(codec.decode(drawn(codec, line, 0.5, seed)) == line for seed in range(20))


def test_text_without_such_symbols_gives_the_pieces_that_it_always_gave():
    model = train_sentencepiece(LINES, size=60, exact=False)
    assert model.endswith(EXACT)
    older = SentencePieceCodec(model.removesuffix(EXACT))
    newer = SentencePieceCodec(model)
    assert older.symbols == newer.symbols
    assert newer.symbols[:4] == ("<pad>", "<unk>", "<s>", "</s>")
    for line in [*LINES, LINE, "  that  cat "]:
        assert older.encode(line) == newer.encode(line)


def test_a_model_of_an_earlier_version_reads_the_mark_of_a_space_as_it_did():
    older = SentencePieceCodec(train_sentencepiece(LINES, size=60, exact=False).removesuffix(EXACT))
    assert older.decode(older.encode("the\u2581cat")) == "the cat"
