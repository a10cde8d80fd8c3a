"""Settings of a translator that are chosen from its training pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy
import pytest

from seqtool.settings import validate
from seqtool.text.parallel import SentencePair
from seqtool.translation.batches import encode_pairs, longer_side
from seqtool.translation.data import Part, TranslationData
from seqtool.translation.defaults import AUTOMATIC, choose
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.vocabulary import Vocabularies

WORDS = [SentencePair(f"gehen{n}", f"ging{n}", ("V", "PST")) for n in range(200)]
SENTENCES = [SentencePair(f"they saw {n} dogs", f"sie sahen {n} Hunde dort") for n in range(200)]


def pairs_of(pairs: list[SentencePair]) -> TranslationData:
    return TranslationData({name: Part(name, tuple(pairs), "p", "") for name in ("train", "dev")})


def settings(**tables: Any) -> TranslatorSettings:
    return validate(TranslatorSettings, {"name": "n", "data": {"train": ["s", "t"]}, **tables}, "t")


@pytest.mark.parametrize("pairs", [WORDS, SENTENCES, WORDS[:1], SENTENCES[:1], SENTENCES * 2000])
def test_what_is_chosen_is_valid(pairs: list[SentencePair]) -> None:
    values = choose(settings(), pairs_of(pairs)).values
    assert values.keys() <= set(AUTOMATIC)
    tables: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    settings(**tables)


def test_single_words_are_spelled_and_sentences_split_into_subwords() -> None:
    of_words, of_sentences = (choose(settings(), pairs_of(pairs)).values for pairs in (WORDS, SENTENCES))
    assert (of_words["vocabulary.kind"], of_words["training.select"]) == ("character", "exact_match")
    assert "vocabulary.size" not in of_words
    assert of_sentences["vocabulary.kind"] == "sentencepiece"
    assert of_sentences["vocabulary.size"] == 256
    assert choose(settings(), pairs_of(SENTENCES * 500)).values["vocabulary.size"] == 8192


def test_outputs_that_resemble_their_inputs_are_written_by_edits() -> None:
    chosen = choose(settings(), pairs_of(WORDS)).values
    assert (chosen["model.decoder"], chosen["model.features"]) == ("edit", "encoder")
    plain = [replace(pair, features=()) for pair in WORDS]
    assert "model.features" not in choose(settings(), pairs_of(plain)).values
    sounds = [SentencePair(f"gehen{n}", "ɡeːən") for n in range(200)]
    assert choose(settings(), pairs_of(sounds)).values["model.decoder"] == "conditional"
    for given in (
        {"training": {"label_smoothing": 0.1}},
        {"training": {"teacher_forcing": {"ratio": 0.9}}},
        {"vocabulary": {"kind": "character", "shared": False}},
        {"vocabulary": {"kind": "word"}},
    ):
        assert choose(settings(**given), pairs_of(WORDS)).values["model.decoder"] == "conditional"
    assert choose(settings(vocabulary={"kind": "byte"}), pairs_of(WORDS)).values["model.decoder"] == "edit"


def test_given_symbols_and_decoders_stay() -> None:
    of_bytes = choose(settings(vocabulary={"kind": "byte"}), pairs_of(SENTENCES)).values
    assert not {"vocabulary.kind", "vocabulary.size"} & of_bytes.keys()
    plain = choose(settings(model={"attention": "none", "decoder": "parallel"}), pairs_of(WORDS)).values
    assert "model.decoder" not in plain
    assert "model.decoder" in choose(settings(model={"hidden": 64}), pairs_of(WORDS)).values


def symbols_and_estimate(pairs: list[SentencePair], kind: str) -> tuple[int, int]:
    """The symbols of the longer sides, as encoded, and as they are estimated when settings are chosen."""
    size = {"size": 512} if kind == "sentencepiece" else {}
    chosen = settings(vocabulary={"kind": kind, **size})
    vocabularies = Vocabularies.build(pairs, chosen.vocabulary)
    said = choose(chosen, pairs_of(pairs)).because.split("about ")[1].split()[0]
    return sum(map(longer_side, encode_pairs(pairs, vocabularies))), int(said.replace(",", ""))


@pytest.mark.parametrize("pairs", [WORDS, SENTENCES])
@pytest.mark.parametrize("kind", ["character", "word"])
def test_symbols_are_counted_on_the_longer_side_as_in_a_batch(pairs: list[SentencePair], kind: str) -> None:
    true, estimate = symbols_and_estimate(pairs, kind)
    assert estimate == true


def test_the_number_of_subwords_is_estimated() -> None:
    generator = numpy.random.default_rng(0)
    stems = ["".join(generator.choice(list("aeioukstmnrl"), 7)) for _ in range(600)]
    rank = generator.zipf(1.3, (1000, 8)) % len(stems)
    pairs = [
        SentencePair(" ".join(stems[i] for i in row[:4]), " ".join(stems[i] for i in row)) for row in rank
    ]
    true, estimate = symbols_and_estimate(pairs, "sentencepiece")
    assert estimate == pytest.approx(true, rel=0.3)


def test_long_sources_do_not_add_updates() -> None:
    """Batches are as large as their longer side, so a longer one makes more of them, and fewer epochs."""
    long = [SentencePair("we heard that " * 20 + pair.source, pair.target) for pair in SENTENCES]
    given = settings(training={"batch_tokens": 512})
    short, longer = (choose(given, pairs_of(pairs * 5)).values for pairs in (SENTENCES, long))
    assert longer["training.epochs"] < short["training.epochs"]
