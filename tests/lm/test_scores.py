from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest

from seqtool.errors import UsageError
from seqtool.lm.baselines import NGRAM, XZ, Baselines
from seqtool.lm.ngram import interpolate
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.scores import Protocol, TextScores, evaluate_text, score_documents
from seqtool.lm.scoring import Reader
from seqtool.lm.text_blocks import BLOCK, symbol_ends
from seqtool.lm.vocabulary import UNKNOWN
from tests.lm.tiny import TEXT, part_of, pieces_of, untrained

STREAMING = Protocol()
KINDS: list[dict[str, Any]] = [
    {"kind": "character"},
    {"kind": "byte"},
    {"kind": "character", "min_count": 7, "byte_fallback": True},
    {"kind": "word", "size": 0},
    {"kind": "sentencepiece", "size": 60},
]


def literal_nats(model: LanguageModel, texts: tuple[str, ...], window: int = 10**9) -> float:
    """One reader, one symbol at a time."""
    total = 0.0
    for text in texts:
        ids = model.symbols.encode(text)
        reader = Reader(model.network, model.device)
        for i in range(len(ids)):
            if i and i % window == 0:
                reader.reset()
                reader.last = int(ids[i - 1])
            total -= float(reader.read(ids[i : i + 1])[0])
    return total


def value_of(found: TextScores, name: str) -> float:
    return found.scores()[name].value


def baselines_of(model: LanguageModel, text: str) -> Baselines:
    kind = model.symbols.codec.kind
    ids = [model.symbols.encode(text)]
    return Baselines.train(ids, kind=kind, size=len(model.symbols), texts=[text])


@pytest.mark.parametrize("vocabulary", KINDS)
@pytest.mark.parametrize("documents", ["stream", "paragraph", "line"])
def test_streaming_sums_over_every_document_on_its_own(vocabulary: dict[str, Any], documents: str) -> None:
    model, part = untrained(vocabulary=vocabulary), part_of(documents=documents)
    found = evaluate_text(model, part, STREAMING)
    assert math.isclose(found.nats, literal_nats(model, part.documents), rel_tol=1e-9)
    assert found.symbols == sum(len(model.symbols.encode(text)) for text in part.documents)
    assert len(found.documents) == len(part.documents)


@pytest.mark.parametrize("window", [1, 7, 100_000])
@pytest.mark.parametrize("documents", ["stream", "line"])
def test_cold_windows_begin_with_a_fresh_state_after_the_symbol_before(window: int, documents: str) -> None:
    model, part = untrained(), part_of(documents=documents)
    found = evaluate_text(model, part, Protocol("cold", window))
    assert math.isclose(found.nats, literal_nats(model, part.documents, window), rel_tol=1e-9)
    assert found.fingerprint.protocol == f"cold windows of {window}"


def test_adaptation_goes_through_the_documents_in_their_order() -> None:
    model, part = untrained(), part_of(documents="paragraph")
    ids = [model.symbols.encode(text) for text in part.documents]
    for adapt, cache in ((True, False), (False, True), (True, True)):
        reader, nats = model.reader(adapt=adapt, cache=cache), 0.0
        for each in ids:
            reader.reset()
            nats -= reader.read(each).sum()
        found = evaluate_text(model, part, Protocol(adapt=adapt, cache=cache))
        assert math.isclose(found.nats, nats, rel_tol=1e-12)
        assert found.nats != evaluate_text(model, part, STREAMING).nats


def test_units_are_converted_as_they_are_defined() -> None:
    model, part = untrained(), part_of()
    found = evaluate_text(model, part, STREAMING)
    characters, size = len(TEXT), len(TEXT.encode())
    words = len(TEXT.split()) + TEXT.count("\n")
    assert (found.characters, found.bytes, found.words) == (characters, size, words)
    nats = found.nats
    expected = {
        "nats_per_character": nats / characters,
        "bits_per_character": nats / math.log(2) / characters,
        "bits_per_byte": nats / math.log(2) / size,
        "perplexity": math.exp(nats / found.symbols),
        "perplexity_per_word": math.exp(nats / words),
        "loss": nats / found.symbols,
    }
    scores = found.scores()
    assert {name: score.value for name, score in scores.items()} == pytest.approx(expected, rel=1e-12)
    assert found.nats_per_character == pytest.approx(expected["nats_per_character"], rel=1e-12)
    assert all(score.name == name for name, score in scores.items())
    assert {score.signature for score in scores.values()} == {"streaming, character symbols"}


def test_a_word_models_perplexity_is_the_one_per_word() -> None:
    found = evaluate_text(untrained(vocabulary={"kind": "word", "size": 0}), part_of(), STREAMING)
    assert found.symbols == found.words
    scores = found.scores()
    assert math.isclose(scores["perplexity"].value, scores["perplexity_per_word"].value)


def test_byte_and_character_models_that_know_nothing_have_comparable_bits_per_character() -> None:
    text = "naïve café – 𝄞\n" * 50
    by_kind = {}
    for kind in ("character", "byte"):
        model = untrained(text, vocabulary={"kind": kind}, spread=0.0)
        by_kind[kind] = evaluate_text(model, part_of(text), STREAMING)
    possible = len(set(text)) + 1  # and the unknown symbol
    assert value_of(by_kind["character"], "bits_per_character") == pytest.approx(math.log2(possible))
    bytes_each = len(text.encode()) / len(text)
    assert value_of(by_kind["byte"], "bits_per_character") == pytest.approx(math.log2(257) * bytes_each)
    assert value_of(by_kind["byte"], "bits_per_byte") == pytest.approx(math.log2(257))
    one, other = (by_kind[kind] for kind in ("character", "byte"))
    assert (one.characters, one.bytes, one.words) == (other.characters, other.bytes, other.words)
    np.testing.assert_array_equal(one.blocks[:, 2:], other.blocks[:, 2:])


def test_the_fingerprint_says_what_was_measured_on() -> None:
    model, part = untrained(), part_of(documents="line")
    mark = evaluate_text(model, part, STREAMING).fingerprint
    assert mark.digest == hashlib.sha256(TEXT.encode()).hexdigest()
    assert (mark.characters, mark.split, mark.protocol) == (len(TEXT), "whole", "streaming")


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (Protocol(), "streaming"),
        (Protocol(adapt=True), "streaming, dynamic evaluation"),
        (Protocol(cache=True), "streaming, cache"),
        (Protocol(adapt=True, cache=True), "streaming, dynamic evaluation, cache"),
        (Protocol("cold", 64), "cold windows of 64"),
    ],
)
def test_every_protocol_has_its_name(protocol: Protocol, name: str) -> None:
    assert protocol.describe() == name


def test_cold_reading_cannot_remember() -> None:
    for refused in ({"adapt": True}, {"cache": True}):
        with pytest.raises(UsageError, match="protocol cold reads every window by itself"):
            Protocol("cold", **refused)
    with pytest.raises(UsageError, match="windows of 0 symbols; expected at least 1"):
        Protocol("cold", 0)


def test_unknown_symbols_are_counted_and_the_figures_marked() -> None:
    model = untrained("the cat\n")
    found = evaluate_text(model, part_of("the cow\nand a cat\n"), STREAMING)
    missing = sum(character not in "the cat\n" for character in "the cow\nand a cat\n")
    assert found.unknown == missing > 0
    (warning,) = found.warnings
    assert warning.startswith(f"{missing} of 18 symbols are unknown to the model")
    assert found.scores()["loss"].signature == f"streaming, character symbols, {missing} unknown"
    assert evaluate_text(model, part_of("the cat\n"), STREAMING).warnings == ()


def test_baselines_stand_beside_the_network_and_it_is_told_when_it_loses() -> None:
    model, part = untrained(), part_of()
    baselines = baselines_of(model, TEXT)
    found = evaluate_text(model, part, STREAMING, baselines=baselines)
    assert found.baselines == baselines.score([model.symbols.encode(TEXT)], [TEXT]).nats_per_character
    assert set(found.baselines) == {NGRAM, XZ}
    assert found.mixture is None
    (warning,) = found.warnings
    assert "train longer" in warning


@pytest.mark.parametrize("protocol", [STREAMING, Protocol(adapt=True), Protocol("cold", 5)])
def test_the_weight_of_a_mixture_is_found_on_dev_and_used_on_the_text(protocol: Protocol) -> None:
    model = untrained(spread=0.01)  # untrained and nearly uniform: it helps where the n-gram has seen nothing
    dev, test = part_of(TEXT[60:400], documents="line", name="dev"), part_of(TEXT[:500], documents="line")
    baselines = baselines_of(model, TEXT[:60])
    found = evaluate_text(model, test, protocol, baselines=baselines, interpolate_on=dev).mixture
    assert found is not None

    def mixed(part_texts: tuple[str, ...], weight: float) -> float:
        ids = [model.symbols.encode(text) for text in part_texts]
        own = np.concatenate(score_documents(model, ids, protocol))
        other = np.concatenate(baselines.log_probabilities(ids))
        return -float(interpolate(own, other, weight).sum())

    assert found.found_on == "dev"
    assert math.isclose(found.nats_per_character, mixed(test.documents, found.weight) / test.size)
    assert 0.01 < found.weight < 0.99
    steps = [mixed(dev.documents, found.weight + step) for step in (-1e-3, 0.0, 1e-3)]
    assert steps[1] == min(steps)


@pytest.mark.parametrize("vocabulary", KINDS)
@pytest.mark.parametrize("documents", ["stream", "paragraph"])
def test_blocks_and_documents_add_up_to_the_text(vocabulary: dict[str, Any], documents: str) -> None:
    text = TEXT * 8
    model, part = untrained(vocabulary=vocabulary), part_of(text, documents=documents)
    found = evaluate_text(model, part, STREAMING)
    np.testing.assert_allclose(found.blocks.sum(0), found.documents.sum(0), rtol=1e-12)
    sizes = [
        len(document[i : i + BLOCK]) for document in part.documents for i in range(0, len(document), BLOCK)
    ]
    assert found.blocks[:, 2].tolist() == sizes
    pieces = [document[i : i + BLOCK] for document in part.documents for i in range(0, len(document), BLOCK)]
    assert found.blocks[:, 3].tolist() == [len(piece.encode()) for piece in pieces]
    assert (found.blocks[:, 1] > 0).all()


def test_a_symbol_belongs_to_the_block_in_which_it_ends() -> None:
    text, model = TEXT * 8, untrained(TEXT * 8, vocabulary={"kind": "byte"})
    ids = model.symbols.encode(text)
    values = Reader(model.network, model.device).read(ids)
    found = evaluate_text(model, part_of(text), STREAMING).blocks
    end = 0
    for row, start in zip(found, range(0, len(text), BLOCK), strict=True):
        begin, end = end, end + len(text[start : start + BLOCK].encode())
        assert math.isclose(row[0], -values[begin:end].sum(), rel_tol=1e-9)
        assert row[1] == end - begin


def test_symbols_end_where_their_characters_do() -> None:
    text = "aé 𝄞\n b  cc\n\n"
    characters, spelled = untrained(text), untrained(text, vocabulary={"kind": "byte"})
    assert symbol_ends(characters.symbols, text, characters.symbols.encode(text)).tolist() == [*range(1, 14)]
    ends = symbol_ends(spelled.symbols, text, spelled.symbols.encode(text))
    assert ends.tolist() == [1, 2, 2, 3, 4, 4, 4, 4, *range(5, 14)]
    fallback = untrained("aab b", vocabulary={"kind": "character", "min_count": 2, "byte_fallback": True})
    mixed = symbol_ends(fallback.symbols, "aéb", fallback.symbols.encode("aéb"))
    assert mixed.tolist() == [1, 2, 2, 3]
    words = untrained("one two", vocabulary={"kind": "word", "size": 0})
    text = "one  two\n\nxyz one"
    ends = symbol_ends(words.symbols, text, words.symbols.encode(text))
    assert ends[[2, 3]].tolist() == [9.0, 10.0]  # line ends remain where they are
    assert ends[-1] == len(text)
    assert (np.diff(ends) > 0).all()


def test_documents_are_resampled_where_there_are_enough_of_them() -> None:
    model = untrained()
    few = evaluate_text(model, pieces_of(TEXT * 4, [600, 700]), STREAMING)
    many = evaluate_text(model, pieces_of(TEXT * 4, [20] * 40), STREAMING)
    assert (few.resampled, few.scores()["loss"].sentences) == ("blocks of 1,000 characters", 2)
    assert (many.resampled, many.scores()["loss"].sentences) == ("documents", 40)


def test_a_document_without_symbols_costs_nothing() -> None:
    model = untrained(vocabulary={"kind": "word", "size": 0})
    part = pieces_of("the cat" + "   " + "the dog", [7, 3, 7])
    for protocol in (STREAMING, Protocol("cold", 3), Protocol(adapt=True, cache=True)):
        found = evaluate_text(model, part, protocol)
        assert found.documents[1].tolist() == [0, 0, 3, 3, 0]


def test_figures_are_finite_whatever_the_network_says() -> None:
    rows = np.array([[1e6, 2.0, 2.0, 2.0, 0.0]])
    mark = evaluate_text(untrained(), part_of("a\n"), STREAMING).fingerprint
    found = TextScores(mark, "character", rows, rows)
    assert found.scores()["perplexity"].value == math.exp(700)
    assert UNKNOWN == 1
