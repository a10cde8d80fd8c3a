from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqtool.errors import DataError, ModelError, SettingsError, UsageError
from seqtool.text.parallel import SentencePair
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.transducer import Transducer
from seqtool.translation.vocabulary import END
from tests.translation.tiny_pairs import (
    COPYING,
    CPU,
    LEARN,
    double,
    outputs,
    pairs_of,
    random_sources,
    sources_of,
    targets_of,
    tiny_data,
    train_tiny,
    untrained,
)

MODELS: dict[str, dict[str, Any]] = {
    "copy, coverage": {"model": {"copy": True, "coverage": True}, "vocabulary": COPYING},
    "conditional, two layers": {
        "model": {"decoder": "conditional", "copy": True, "encoder_layers": 2, "decoder_layers": 2},
        "vocabulary": COPYING,
    },
    "bahdanau, lstm, pieces": {
        "model": {"decoder": "bahdanau", "cell": "lstm", "copy": True, "coverage": True},
        "vocabulary": {"kind": "sentencepiece", "size": 60},
    },
    "parallel, heads, characters": {
        "model": {"decoder": "parallel", "heads": 2, "copy": True, "layer_norm": True},
        "vocabulary": {"kind": "character"},
    },
    "edits": {"model": {"decoder": "edit", "cell": "lstm"}, "vocabulary": {"kind": "character"}},
    "monotonic": {
        "model": {"attention": "monotonic", "copy": True, "decoder_layers": 2},
        "vocabulary": COPYING,
    },
    "hard": {"model": {"attention": "hard", "cell": "lstm"}, "vocabulary": {"kind": "word"}},
}
MODES: dict[str, SearchOptions] = {
    "greedy": SearchOptions(beam=1),
    "beam": SearchOptions(beam=4),
    "n-best": SearchOptions(beam=4, nbest=3, beam_penalty="wu", length_penalty=0.6),
    "sampling": SearchOptions(sample=True, nbest=2, temperature=0.8, top_p=0.9, seed=3),
    "risk": SearchOptions(mbr=5, top_k=5),
    "blocking": SearchOptions(beam=3, no_repeat_ngram=2, min_length=3),
    "greedy blocking": SearchOptions(beam=1, no_repeat_ngram=1),
    "coverage penalty": SearchOptions(beam=4, nbest=2, coverage_penalty=0.4),
    "diverse": SearchOptions(beam=4, nbest=4, diverse=2),
}


def with_ends(model: TranslatorModel, more: float = 2.0) -> TranslatorModel:
    """A model whose outputs have many lengths."""
    with torch.no_grad():
        if isinstance(model.network, Transducer):
            model.network.output.bias[model.network.ending] += more
        else:
            model.network.bias[END] += more
    return model


@functools.cache
def large(name: str) -> TranslatorModel:
    """A model for tests that do not change it."""
    return with_ends(untrained(**MODELS[name]))


@functools.cache
def smaller(name: str, *, precise: bool) -> TranslatorModel:
    """A model whose weights are small enough for float32 errors not to grow; also in float64."""
    model = with_ends(untrained(scale=2.0, **MODELS[name]))
    return double(model) if precise else model


def assert_independent(model: TranslatorModel, options: SearchOptions, **others: Sequence[Any]) -> None:
    """Ids and texts are equal for single, small and large batches, in order and shuffled."""
    pairs = random_sources(11)
    options = replace(options, max_length=12)  # a random network seldom ends an output by itself

    def found(order: Sequence[int], budget: int) -> dict[int, Any]:
        beside = {name: [values[i] for i in order] for name, values in others.items()}
        result = model.search([pairs[i] for i in order], options, **beside, batch_tokens=budget)
        return dict(zip(order, outputs(result), strict=True))

    numbers = range(len(pairs))
    expected = {number: found([number], 4096)[number] for number in numbers}
    assert len({text for row in expected.values() for text, _ in row}) >= 2
    shuffled = random.Random(1).sample(numbers, len(numbers))
    for order, budget in ((numbers, 4096), (shuffled, 60)):
        assert found(order, budget) == expected


# --- independence of the batch ---


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MODELS)
def test_outputs_do_not_depend_on_the_batch(name: str, mode: str) -> None:
    assert_independent(large(name), MODES[mode])


@pytest.mark.parametrize(
    "options", [SearchOptions(beam=1), SearchOptions(beam=4, no_repeat_ngram=2)], ids=str
)
def test_outputs_of_ensembles_do_not_depend_on_the_batch(options: SearchOptions) -> None:
    form = MODELS["copy, coverage"]
    model = with_ends(untrained(**form))
    other = untrained(seed=2, vocabulary=COPYING, model={"copy": True, "decoder": "parallel"})
    assert_independent(TranslatorEnsemble([model, other]), options)


@pytest.mark.parametrize("options", [SearchOptions(beam=1), SearchOptions(beam=4, nbest=2)], ids=str)
def test_outputs_with_prefixes_and_phrases_do_not_depend_on_the_batch(options: SearchOptions) -> None:
    model = with_ends(untrained(**MODELS["copy, coverage"]))
    source = random.Random(4)
    words = [pair.source.split() for pair in random_sources(11)]
    prefixes = [" ".join(source.sample(each, min(2, len(each)))) for each in words]
    phrases = [source.sample(each, source.randint(0, min(2, len(each)))) for each in words]
    assert_independent(model, options, prefixes=prefixes)
    assert_independent(model, options, phrases=phrases)


# --- scores ---


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "risk"])
@pytest.mark.parametrize("name", MODELS)
def test_log_probabilities_of_a_search_are_those_of_reading_its_outputs(name: str, mode: str) -> None:
    options = replace(MODES[mode], max_length=12)
    for precise, tolerance in ((False, 1e-4), (True, 1e-9)):
        model = smaller(name, precise=precise)
        pairs = [pair for pair in random_sources(10) if pair.source]
        found = [
            (pair, each.hypothesis)
            for pair, translations in zip(pairs, model.search(pairs, options), strict=True)
            for each in translations
            if not each.hypothesis.exhausted
        ]
        assert any(hypothesis.finished for _, hypothesis in found)
        scored_pairs = model.read([pair for pair, _ in found], [hypothesis.tokens for _, hypothesis in found])
        for (_, hypothesis), scored in zip(found, scored_pairs, strict=True):
            ended = len(hypothesis.tokens) + hypothesis.finished
            expected = scored.log_probabilities[:ended]
            assert hypothesis.token_log_probabilities == pytest.approx(expected, abs=tolerance)
            assert hypothesis.log_probability == pytest.approx(sum(expected), abs=10 * tolerance)


def test_scores_are_log_probabilities_under_the_penalty() -> None:
    model = with_ends(untrained(**MODELS["copy, coverage"]))
    pairs = pairs_of()
    for options, divide in (
        (SearchOptions(beam=3, nbest=3, beam_penalty="none"), lambda length: 1.0),
        (SearchOptions(beam=3, nbest=3, length_penalty=0.8), lambda length: length**0.8),
        (SearchOptions(beam=3, nbest=3, beam_penalty="wu"), lambda length: (5 + length) / 6),
    ):
        for found in model.search(pairs, options):
            for each in found:
                length = len(each.hypothesis.tokens) + each.hypothesis.finished
                expected = each.hypothesis.log_probability / divide(length)
                assert each.hypothesis.score == pytest.approx(expected, abs=1e-9)
            scores = [each.hypothesis.score for each in found if each.hypothesis.finished]
            assert scores == sorted(scores, reverse=True)
            assert len({tuple(each.hypothesis.tokens) for each in found}) == len(found)


def test_the_coverage_penalty_is_that_of_the_attention_read_again() -> None:
    model = with_ends(double(untrained(**MODELS["copy, coverage"])))
    pairs = pairs_of()
    options = SearchOptions(beam=3, beam_penalty="none", coverage_penalty=0.3)
    for pair, (best,) in zip(pairs, model.search(pairs, options), strict=True):
        (scored,) = model.read([pair], [best.hypothesis.tokens])
        table = scored.attention if best.hypothesis.finished else scored.attention[:-1]
        reward = sum(torch.tensor(table.sum(0)).clamp(max=1.0).log().tolist())
        expected = best.hypothesis.log_probability + 0.3 * reward
        assert best.hypothesis.score == pytest.approx(expected, abs=1e-6)


# --- equivalent searches ---


def test_a_beam_of_one_is_drawing_without_chance() -> None:
    model = with_ends(untrained(**MODELS["copy, coverage"]))
    pairs = random_sources(20)
    cold = model.search(pairs, SearchOptions(sample=True, temperature=0.0))
    assert outputs(model.search(pairs, SearchOptions(beam=1))) == outputs(cold)
    one = model.search(pairs, SearchOptions(sample=True, top_k=1))
    assert outputs(one) == outputs(cold)


def test_an_ensemble_of_one_model_twice_is_that_model() -> None:
    model = with_ends(untrained(**MODELS["copy, coverage"]))
    pairs = random_sources(20)
    for options in (SearchOptions(beam=1), SearchOptions(beam=3, nbest=2)):
        twice = TranslatorEnsemble([model, model])
        assert outputs(twice.search(pairs, options)) == outputs(model.search(pairs, options))
    other = untrained(seed=2, **MODELS["copy, coverage"])
    both = TranslatorEnsemble([model, other]).search(pairs, SearchOptions(beam=3))
    assert outputs(both) != outputs(model.search(pairs, SearchOptions(beam=3)))


@pytest.mark.parametrize("name", MODELS)
def test_an_ensemble_scores_by_the_mean_of_the_probabilities(name: str) -> None:
    """Given outputs by enumeration over members; outputs of the search as the search itself scores them."""
    members = [double(with_ends(untrained(seed=seed, **MODELS[name]))) for seed in (1, 2, 3)]
    ensemble = TranslatorEnsemble([members[0], TranslatorEnsemble(members[1:])])
    pairs = pairs_of()
    each = [member.read(pairs) for member in members]
    for found, *own in zip(ensemble.read(pairs), *each, strict=True):
        probabilities = np.exp([one.log_probabilities for one in own]).mean(axis=0)
        np.testing.assert_allclose(np.exp(found.log_probabilities), probabilities, rtol=1e-10)
        np.testing.assert_allclose(found.attention, np.mean([one.attention for one in own], axis=0))
    best = [best.hypothesis for (best,) in ensemble.search(pairs, SearchOptions(beam=3))]
    again = ensemble.read(pairs, [each.tokens for each in best])
    for hypothesis, scored in zip(best, again, strict=True):
        found_by_search = hypothesis.token_log_probabilities
        assert scored.log_probabilities[: len(found_by_search)] == pytest.approx(found_by_search, rel=1e-9)


def test_drawing_depends_on_the_seed_and_the_line() -> None:
    model = untrained(**MODELS["copy, coverage"])
    line = random_sources(9)[4]
    pairs = [replace(line, line=number) for number in range(1, 9)]
    drawn = outputs(model.search(pairs, SearchOptions(sample=True)))
    assert outputs(model.search(pairs, SearchOptions(sample=True))) == drawn
    assert outputs(model.search(pairs, SearchOptions(sample=True, seed=2))) != drawn
    assert len({text for ((text, _),) in drawn}) > 4
    assert outputs(model.search(pairs[3:5], SearchOptions(sample=True))) == drawn[3:5]


def test_minimum_risk_takes_one_of_its_samples() -> None:
    model = untrained(**MODELS["copy, coverage"])
    pairs = random_sources(20)
    samples = outputs(model.search(pairs, SearchOptions(sample=True, nbest=6)))
    taken = outputs(model.search(pairs, SearchOptions(mbr=6)))
    assert all(len(each) == bool(drawn) for each, drawn in zip(taken, samples, strict=True))
    assert all(each[0] in drawn for each, drawn in zip(taken, samples, strict=True) if each)
    assert any(each[0] != drawn[0] for each, drawn in zip(taken, samples, strict=True) if each)


def test_greedy_search_goes_on_with_another_word_where_one_is_blocked() -> None:
    model = with_ends(untrained(**MODELS["copy, coverage"]))
    pairs = [pair for pair in random_sources(12) if pair.source]
    found = model.search(pairs, SearchOptions(beam=1, no_repeat_ngram=1, max_length=5))
    assert [best.hypothesis.exhausted for (best,) in found] == [False] * len(found)


# --- lines ---


@pytest.mark.parametrize("mode", MODES)
def test_empty_lines_stay_empty_and_in_place(mode: str) -> None:
    model = untrained(**MODELS["copy, coverage"])
    lines = ["", "Ada met", "   ", "\t", "the engine", ""]
    found = model.search([model.parse(line, number) for number, line in enumerate(lines)], MODES[mode])
    assert [bool(each) for each in found] == [False, True, False, False, True, False]
    texts = model.translate(lines, MODES[mode])
    assert [texts[i] for i in (0, 2, 3, 5)] == [""] * 4
    assert model.translate([], MODES[mode]) == []
    assert model.search([], MODES[mode]) == []
    assert model.search([SentencePair("")], MODES[mode]) == [[]]


def test_translate_gives_the_best_text_by_the_options_of_the_recipe() -> None:
    decoding = {"beam": 3, "length_penalty": 0.0, "no_repeat_ngram": 2}
    model = with_ends(untrained(**MODELS["copy, coverage"], decoding=decoding))
    lines = [pair.source for pair in random_sources(20)]
    pairs = [SentencePair(line, line=number) for number, line in enumerate(lines, 1)]
    options = SearchOptions(beam=3, length_penalty=0.0, no_repeat_ngram=2)
    expected = [found[0].text if found else "" for found in model.search(pairs, options)]
    assert model.translate(lines) == expected
    assert model.translate(lines, SearchOptions(beam=1)) != expected


def test_one_very_long_line_is_a_batch_of_its_own() -> None:
    model = untrained(**MODELS["copy, coverage"])
    long = SentencePair("met the engine " * 200, line=99)
    options = SearchOptions(beam=2, max_length=20)
    found = model.search([*pairs_of(), long], options, batch_tokens=16)
    assert outputs(found[:-1]) == outputs(model.search(pairs_of(), options))
    assert len(found[-1][0].hypothesis.tokens) <= 20


def test_new_weights_need_forgotten_tables() -> None:
    model = untrained(**MODELS["copy, coverage"])
    pairs = pairs_of()
    before = outputs(model.search(pairs))
    with torch.no_grad():
        model.network.target.weight.mul_(-2)
    model.forget()
    after = outputs(model.search(pairs))
    assert after != before
    fresh = TranslatorModel(
        model.network, model.vocabularies, model.description, device=CPU, precision=torch.float32
    )
    assert outputs(fresh.search(pairs)) == after


# --- features ---


def with_features() -> list[SentencePair]:
    return [
        SentencePair("gehen", "ging", ("V", "PST"), line=1),
        SentencePair("gehen", "gehe", ("V", "PRS"), line=2),
        SentencePair("stehen", "stand", ("V", "PST"), line=3),
    ]


def test_features_are_read_with_the_source() -> None:
    data = {"columns": ["source", "features", "target"]}
    vocabulary = {"kind": "character", "shared": False}
    model = untrained(tiny_data(with_features()), data=data, vocabulary=vocabulary, model={"copy": True})
    lines = ["gehen\tV;PST", "gehen\tV;PRS", "gehen", "\tV;PST", "gehen\t"]
    pairs = [model.parse(line, number) for number, line in enumerate(lines, 1)]
    assert [pair.features for pair in pairs] == [("V", "PST"), ("V", "PRS"), (), ("V", "PST"), ()]
    past, present, none, empty, blank = model.translate(lines, SearchOptions(beam=2, min_length=5))
    assert len({past, present, none}) == 3
    assert (empty, blank) == ("", none)
    with pytest.raises(DataError, match="line:2: 3 columns, expected 2"):
        model.translate(["gehen", "gehen\tV\tx"])
    with pytest.raises(DataError, match="line:1: an empty feature"):
        model.translate(["gehen\tV;;PST"])


def test_without_features_a_tab_is_text() -> None:
    model = untrained(vocabulary={"kind": "character"})
    assert model.parse("a\tb", 3) == SentencePair("a\tb", file="line", line=3)


# --- ensembles that do not fit ---


def test_an_ensemble_needs_one_vocabulary() -> None:
    model = untrained(vocabulary=COPYING)
    same = untrained(vocabulary=COPYING, seed=2, model={"decoder": "parallel"})
    TranslatorEnsemble([model, same]).search(pairs_of()[:1])
    for vocabulary in ({"kind": "word"}, {"kind": "word", "min_count": 3, "shared": False}):
        other = untrained(vocabulary=vocabulary)
        with pytest.raises(ModelError, match="different vocabularies; an ensemble needs models of one"):
            TranslatorEnsemble([model, other])


@pytest.mark.parametrize("first", [True, False])
def test_a_model_that_copies_and_one_that_does_not_go_together(first: bool) -> None:
    models = [untrained(**MODELS["copy, coverage"]), untrained(seed=2, vocabulary=COPYING)]
    ensemble = TranslatorEnsemble(models if first else models[::-1])
    for options in (SearchOptions(beam=1), SearchOptions(beam=4)):
        found = ensemble.search(pairs_of(), options)
        assert all(each for each in found)


# --- copying through a search ---


SPELLINGS = ("zoë", "Z\u0308o", "日本語", "👩‍👩‍👧", "\u202eabc", "x<unk>y", "<s>", "ß", "İ")


def test_copying_from_a_vocabulary_that_folds_characters_is_refused() -> None:
    """SentencePiece folds before it cuts, so that a piece may cover half of a character of the source."""
    with pytest.raises(
        SettingsError, match=r"--set vocabulary\.lowercase=false, or --set vocabulary\.kind=word"
    ):
        untrained(vocabulary={"kind": "sentencepiece", "lowercase": True, "size": 60}, model={"copy": True})


@pytest.mark.parametrize(
    ("kind", "lowercase"),
    [("word", False), ("word", True), ("character", False), ("character", True), ("sentencepiece", False)],
)
def test_what_is_copied_comes_out_byte_for_byte(kind: str, lowercase: bool) -> None:
    """A pointer network that is told where to attend copies the source, whatever its words are."""
    model = untrained(
        vocabulary={
            "kind": kind,
            "lowercase": lowercase,
            **({"size": 60} if kind == "sentencepiece" else {}),
        },
        model={"copy": True},
    )
    assert model.network.gate is not None
    with torch.no_grad():  # always copy
        model.network.gate.weight.zero_()
        model.network.gate.bias.fill_(-50.0)
    for word in SPELLINGS:
        source = f"{word} {word}"
        encoded = model.vocabularies.encode_source(SentencePair(source))
        if -1 in encoded.symbols[:-1] or (lowercase and kind != "word"):
            continue
        (found,) = model.search([SentencePair(source)], SearchOptions(beam=2), prefixes=[source])
        assert found[0].text.startswith(source)


def test_words_that_only_a_source_has_are_copied_by_a_model_that_learned_to(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, vocabulary=COPYING, model={"copy": True, "coverage": True}, training=LEARN)
    assert "Noether" not in run.model.vocabularies.target.symbols
    assert run.model.translate(sources_of()) == targets_of()
    # Unseen names in the positions of names, in a script of their own.
    lines = ["Žižek left .", "κόσμος left .", "e\u0301 left ."]
    assert run.model.translate(lines) == ["Žižek ging .", "κόσμος ging .", "e\u0301 ging ."]


def test_a_single_text_is_refused_with_the_right_call() -> None:
    with pytest.raises(UsageError, match=r"a single text is given.*translator\.translate\(\[\"the engine"):
        untrained().translate("yes")


def test_translations_have_texts_and_scores_the_best_first() -> None:
    model = large("copy, coverage")
    sources = [*sources_of(), ""]
    found = model.translations(sources, nbest=7)
    assert [len(each) for each in found] == [7] * len(sources_of()) + [0]
    for translations in found:
        ranks = [(each.hypothesis.finished, each.score) for each in translations]
        assert ranks == sorted(ranks, reverse=True)  # those that were cut off come last
        assert all(each.score == each.hypothesis.score for each in translations)
    for beam in (1, 10):
        expected = model.translate(sources, SearchOptions(beam=beam))
        assert model.translate(sources, beam=beam) == expected
        best = [each[0].text if each else "" for each in model.translations(sources, beam=beam)]
        assert best == expected
    with pytest.raises(UsageError):
        model.translations(sources, beam=2, nbest=3)
    with pytest.raises(UsageError, match=r'translator\.translations\(\["the engine stops"\]\)'):
        model.translations("the engine stops")
