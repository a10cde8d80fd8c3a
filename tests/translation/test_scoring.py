from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch

from seqtool.text.parallel import SentencePair
from seqtool.translation.batches import encode_pairs, pair_batch
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.scoring import ScoredPair, word_alignment
from seqtool.translation.search import SearchOptions
from seqtool.translation.vocabulary import copies_of
from tests.translation.tiny_pairs import COPYING, double, pairs_of, tiny_data, untrained

FORMS: dict[str, dict[str, Any]] = {
    "copy, coverage": {"model": {"copy": True, "coverage": True}, "vocabulary": COPYING},
    "words": {"model": {"decoder": "bahdanau", "cell": "lstm"}},
    "parallel, heads": {"model": {"decoder": "parallel", "heads": 2, "copy": True}},
    "pieces": {"model": {"copy": True}, "vocabulary": {"kind": "sentencepiece", "size": 60}},
    "edits": {"model": {"decoder": "edit", "cell": "lstm"}, "vocabulary": {"kind": "character"}},
    "monotonic": {
        "model": {"attention": "monotonic", "copy": True, "decoder_layers": 2},
        "vocabulary": COPYING,
    },
    "hard": {"model": {"attention": "hard", "cell": "lstm"}, "vocabulary": {"kind": "character"}},
}


def loss_of(model: TranslatorModel, pair: SentencePair) -> float:
    encoded = encode_pairs([pair], model.vocabularies, copies=copies_of(model.description.model))
    with torch.inference_mode():
        return float(model.network.loss(pair_batch(encoded)).total)


# --- probabilities ---


@pytest.mark.parametrize("form", FORMS)
def test_a_score_is_minus_the_loss_of_the_pair(form: str) -> None:
    model = double(untrained(**FORMS[form]))
    for pair, scored in zip(pairs_of(), model.read(pairs_of()), strict=True):
        assert scored.score == pytest.approx(-loss_of(model, pair), rel=1e-9)
        assert scored.score == pytest.approx(sum(scored.log_probabilities))
        assert max(scored.log_probabilities) <= 0


def test_without_copying_a_score_is_minus_the_loss_too_where_words_are_unknown() -> None:
    model = double(untrained(vocabulary=COPYING))
    for pair, scored in zip(pairs_of(), model.read(pairs_of()), strict=True):
        assert scored.score == pytest.approx(-loss_of(model, pair), rel=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_readings_do_not_depend_on_the_batch(form: str) -> None:
    model = double(untrained(**FORMS[form]))
    expected = [model.read([pair])[0] for pair in pairs_of()]
    order = random.Random(1).sample(range(10), 10)
    for budget in (1, 20, 4096):
        found = model.read([pairs_of()[i] for i in order], batch_tokens=budget)
        for scored, other in zip(found, (expected[i] for i in order), strict=True):
            assert scored.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-9)
            numpy.testing.assert_allclose(scored.attention, other.attention, atol=1e-9)
            assert scored.source_symbols == other.source_symbols
            assert scored.target_symbols == other.target_symbols
            assert (scored.writing is None) == (other.writing is None)
            if scored.writing is not None and other.writing is not None:
                assert scored.writing == pytest.approx(other.writing, abs=1e-9)
    assert model.read([]) == []


def test_given_ids_are_read_in_place_of_the_pairs_targets() -> None:
    model = untrained(**FORMS["copy, coverage"])
    pairs = pairs_of()
    own = model.read(pairs)
    ids = [model.vocabularies.encode_target(each.target or "", encoded_extra(model, each)) for each in pairs]
    same = model.read([SentencePair(pair.source, "something else") for pair in pairs], [i[:-1] for i in ids])
    assert [scored.log_probabilities for scored in same] == [scored.log_probabilities for scored in own]
    (nothing,) = model.read(pairs[:1], [[]])
    assert nothing.target_symbols == ("</s>",)
    assert len(nothing.log_probabilities) == 1


def encoded_extra(model: TranslatorModel, pair: SentencePair) -> Any:
    return model.vocabularies.encode_source(pair).extra


# --- what is shown ---


@pytest.mark.parametrize("form", FORMS)
def test_a_reading_has_a_row_a_target_symbol_and_a_column_a_source_symbol(form: str) -> None:
    model = untrained(**FORMS[form])
    for pair, scored in zip(pairs_of(), model.read(pairs_of()), strict=True):
        shape = (len(scored.target_symbols), len(scored.source_symbols))
        assert scored.attention.shape == shape
        assert len(scored.log_probabilities) == shape[0]
        numpy.testing.assert_allclose(scored.attention.sum(1), 1.0, atol=1e-5)
        assert scored.source_symbols[-1] == scored.target_symbols[-1] == "</s>"
        if model.vocabularies.source.kind == "word":
            assert list(scored.source_symbols[:-1]) == pair.source.split()
            if copies_of(model.description.model) != "nothing":
                assert list(scored.target_symbols[:-1]) == (pair.target or "").split()
        assert scored.coverage == pytest.approx(scored.attention.sum(0).tolist())
        if not model.description.model.copy_source:
            assert scored.writing is None
        else:
            assert scored.writing is not None
            assert all(0 <= value <= 1 for value in scored.writing)
            assert len(scored.writing) == shape[0]


def test_where_nothing_is_like_the_source_everything_was_written() -> None:
    """A target that shares no word with its source has the probabilities of generation alone."""
    model = untrained(**FORMS["copy, coverage"])
    pair = SentencePair("Ada met Babbage", "ja ja", line=1)
    with torch.no_grad():
        assert model.network.gate is not None
        model.network.gate.weight.zero_()
        model.network.gate.bias.fill_(-30.0)
        assert model.network.gate_context is not None
        model.network.gate_context.zero_()
    (scored,) = model.read([pair])
    assert scored.writing is not None
    assert max(scored.writing) < 1e-9
    assert max(scored.log_probabilities) < -15


def test_features_are_shown_and_read_but_are_no_words() -> None:
    pairs = [SentencePair("gehen jetzt", "ging nun", ("V", "PST"), line=1)] * 2
    model = untrained(tiny_data(pairs), vocabulary={"kind": "word", "shared": False})
    (scored,) = model.read(pairs[:1])
    assert scored.source_symbols == ("<V>", "<PST>", "gehen", "jetzt", "</s>")
    aligned = [tuple(map(int, each.split("-"))) for each in model.alignment(pairs[0], scored).split()]
    columns = scored.attention[:2, 2:4]
    assert aligned == [(int(columns[row].argmax()), row) for row in range(2)]
    table = numpy.array([[0.6, 0.0, 0.1, 0.2, 0.1], [0.0, 0.0, 0.3, 0.0, 0.7], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert model.alignment(pairs[0], scored._replace(attention=table)) == "1-0 0-1"


# --- alignments ---


def test_the_attention_of_pieces_adds_up_to_that_of_words() -> None:
    # Source: words 0 0 1; target: words 0 1 1. Word 1 looks at 0.5 + 0.6 of word 0, at 0.9 of word 1.
    table = numpy.array([[0.1, 0.2, 0.7], [0.5, 0.0, 0.5], [0.3, 0.3, 0.4]])
    assert word_alignment(table, [0, 0, 1], [0, 1, 1]) == [(1, 0), (0, 1)]
    assert word_alignment(table, [0, 1, 2], [0, 1, 2]) == [
        (2, 0),
        (0, 1),
        (2, 2),
    ]  # the first of several equal ones


@pytest.mark.parametrize(("sources", "targets"), [([], [0]), ([0], []), ([], [])])
def test_nothing_is_aligned_with_nothing(sources: list[int], targets: list[int]) -> None:
    assert word_alignment(numpy.zeros((len(targets), len(sources))), sources, targets) == []


def test_alignments_are_of_words_however_they_are_split() -> None:
    model = untrained(**FORMS["pieces"])
    for pair, scored in zip(pairs_of(), model.read(pairs_of()), strict=True):
        found = [tuple(map(int, each.split("-"))) for each in model.alignment(pair, scored).split()]
        assert [target for _, target in found] == list(range(len((pair.target or "").split())))
        assert all(0 <= source < len(pair.source.split()) for source, _ in found)


def test_an_alignment_follows_where_the_model_is_made_to_look() -> None:
    model = untrained(**FORMS["words"])
    pair = SentencePair("yes the engine", "ja die Maschine")
    (scored,) = model.read([pair])
    forced = numpy.zeros_like(scored.attention)
    for row, column in enumerate((2, 0, 1, 3)):
        forced[row, column] = 1.0
    assert model.alignment(pair, scored._replace(attention=forced)) == "2-0 0-1 1-2"
    empty = model.read([pair], [[]])[0]
    assert model.alignment(pair, empty) == ""


def test_what_a_search_found_can_be_read_and_aligned() -> None:
    model = untrained(**FORMS["copy, coverage"])
    pairs = pairs_of()
    found = [best for (best,) in model.search(pairs, SearchOptions(beam=3))]
    scored_pairs = model.read(pairs, [best.hypothesis.tokens for best in found])
    for pair, best, scored in zip(pairs, found, scored_pairs, strict=True):
        assert isinstance(scored, ScoredPair)
        assert len(model.alignment(pair, scored).split()) == len(best.hypothesis.tokens)
