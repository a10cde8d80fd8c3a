"""Targets that are symbols between spaces: recognised, kept whole, and scored symbol by symbol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seqtool import api
from seqtool.errors import SettingsError
from seqtool.evaluation.text_scores import edit_distance, phoneme_error_rate, word_error_rate
from seqtool.text.parallel import SentencePair
from seqtool.translation.assessment import OF_SOUNDS, assess
from seqtool.translation.data import TranslationData, are_spaced
from seqtool.translation.defaults import choose
from seqtool.translation.search import SearchOptions
from seqtool.translation.vocabulary import Vocabularies
from tests.translation.tiny_pairs import pairs_of, tables, tiny_data, tiny_settings, write_pairs

SOUNDS = [
    ("chat", "ʃ a"),
    ("chien", "ʃ j ɛ̃"),
    ("bois", "b w a"),
    ("bain", "b ɛ̃"),
    ("boire", "b w a ʁ"),
    ("Abba", "a b a"),
] * 3


def spaced(**more: Any) -> dict[str, Any]:
    return {"data": {"target_symbols": "spaces"}, "vocabulary": {"kind": "character"}, **more}


def test_symbols_are_kept_whole_and_come_back_with_spaces() -> None:
    vocabularies = Vocabularies.build(pairs_of(SOUNDS), tiny_settings(**spaced()).vocabulary, spaced=True)
    assert {"ʃ", "ɛ̃", "w"} <= set(vocabularies.target.symbols) and "c" in vocabularies.source.symbols
    source = vocabularies.encode_source(SentencePair("chien"))
    ids = vocabularies.encode_target("ʃ j ɛ̃", source.extra)
    assert len(ids) == 4 and vocabularies.text(ids, source.extra) == "ʃ j ɛ̃"


def test_such_targets_are_recognised() -> None:
    assert are_spaced(pairs_of(SOUNDS))
    for others in (
        [("gehen", "ging"), ("ansehen", "sah an")],
        [("the cat", "l a b c"), ("a dog runs", "l u x")],
        [("cat", "the animal that purrs"), ("dog", "one that barks at us")],
    ):
        assert not are_spaced(pairs_of(others * 3))


def test_they_are_chosen_unless_something_speaks_against_it() -> None:
    data = tiny_data(pairs_of(SOUNDS))

    def chosen(**given: Any) -> dict[str, Any]:
        values = {"data": {"train": ["a", "b"]}, "vocabulary": {}, "model": {}, "training": {}, **given}
        from seqtool.settings import validate
        from seqtool.translation.settings import TranslatorSettings

        settings = validate(TranslatorSettings, {"name": "a", **values}, "settings")
        return dict(choose(settings, data).values)

    found = chosen()
    assert (found["data.target_symbols"], found["model.decoder"]) == ("spaces", "edit")
    assert "data.target_symbols" not in chosen(vocabulary={"kind": "character"})
    assert "data.target_symbols" not in chosen(data={"train": ["a", "b"], "target_symbols": "text"})
    assert chosen(training={"label_smoothing": 0.1})["model.decoder"] == "conditional"


@pytest.mark.parametrize("decoder", ["edit", "conditional"])
def test_pronunciations_are_learned(tmp_path: Path, decoder: str) -> None:
    recipe = tables(write_pairs(tmp_path, SOUNDS), **spaced(model={"decoder": decoder, "hidden": 32}))
    recipe["training"] |= {"epochs": 40, "evaluate_every": 1000}
    run = api.train({**recipe, "data": {**recipe["data"], **spaced()["data"]}}, output=tmp_path / "run")
    model = api.load_translator(tmp_path / "run")
    assert model.translate(["chien", "boire"]) == ["ʃ j ɛ̃", "b w a ʁ"]
    part = TranslationData({"t": tiny_data(pairs_of(SOUNDS)).parts["dev"]})
    found = assess(run.model, part, name="m", search=SearchOptions(beam=2), bootstrap=0)
    assert tuple(found.scores) == OF_SOUNDS and found.leading == "word_error_rate"
    assert found.scores["word_error_rate"].value == 1 - found.scores["exact_match"].value
    assert not found.scores["word_error_rate"].higher_is_better


def test_error_rates_count_symbols_of_the_nearest_reference() -> None:
    outputs, references = ["ʃ a", "b ɛ̃ n", ""], [["ʃ a"], ["b ɛ̃", "b w a"], ["a"]]
    assert phoneme_error_rate(outputs, references).value == pytest.approx((0 + 1 + 1) / (2 + 2 + 1))
    assert word_error_rate(outputs, references).value == pytest.approx(2 / 3)
    assert edit_distance(["kitten", "a"], ["sitting", ["abc", "b"]]).value == pytest.approx((3 + 1) / 2)


def test_a_shared_vocabulary_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"'spaces' needs vocabulary\.shared = false"):
        tiny_settings(**spaced(vocabulary={"kind": "character", "shared": True}))
