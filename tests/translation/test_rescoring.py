"""A language model reorders the outputs of a search: scores by hand, independence, and its weight."""

from __future__ import annotations

import functools
import math
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seqtool import api
from seqtool.errors import DataError, UsageError
from seqtool.evaluation.text_scores import text_scores
from seqtool.lm.prediction import LanguageModel
from seqtool.translation.assessment import EvaluationOptions, assess
from seqtool.translation.candidates import Rescoring, Translation, ranked
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.weighting import GRID, choose_weight, deciding_metric
from tests.lm import tiny
from tests.translation.test_prediction import MODELS, with_ends
from tests.translation.tiny_pairs import (
    COPYING,
    double,
    outputs,
    pairs_of,
    random_sources,
    sources_of,
    targets_of,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
)

TEXT = "".join(f"{line}\n" for line in targets_of())
LMS: dict[str, dict[str, Any]] = {
    "characters": {"data": {"documents": "line"}},
    "bytes": {"vocabulary": {"kind": "byte"}},
    "words": {"vocabulary": {"kind": "word"}, "data": {"lowercase": True}},
}
BEAM = SearchOptions(beam=4, nbest=3, max_length=8)


@functools.cache
def reader(name: str = "characters") -> LanguageModel:
    return tiny.untrained(TEXT, **LMS[name])


@functools.cache
def translator(name: str = "copy, coverage") -> TranslatorModel:
    return with_ends(double(untrained(scale=2.0, **MODELS[name])))


@functools.cache
def learned() -> TranslatorModel:
    """A model that has half learned its pairs, in float64."""
    with tempfile.TemporaryDirectory() as folder:
        return double(train_tiny(Path(folder), training={"epochs": 8}, **MODELS["copy, coverage"]).model)


def by_hand(
    model: TranslatorModel, options: SearchOptions, lm: LanguageModel, weight: float, source: str
) -> list[tuple[str, float]]:
    """Text and score of the outputs of one source, from the log probabilities of both models."""
    pair = model.parse(source)
    (found,) = model.search([pair], replace(options, nbest=options.beam))
    rows = []
    for each in found:
        line = lm.score([each.text], cold=True)[0]
        length = len(each.hypothesis.tokens) + each.hypothesis.finished
        divisor = {"average": length, "wu": (5 + length) / 6, "none": 1}[options.beam_penalty]
        total = each.hypothesis.log_probability - weight * line.nats
        less = each.score - each.hypothesis.log_probability / divisor  # the coverage penalty
        rows.append((not each.hypothesis.finished, -(total / divisor + less), each.text))
    return [(text, -score) for _, score, text in sorted(rows)[: options.nbest]]


# --- the score of both models ---


@pytest.mark.parametrize("lm", LMS)
def test_lines_are_as_probable_as_when_they_are_scored_one_by_one(lm: str) -> None:
    lines = [*targets_of(), "", "unknown ßß words", "ja " * 40]
    expected = [-each.nats for each in reader(lm).score(lines, cold=True)]
    assert reader(lm).log_probabilities(lines) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("lm", "changes"),
    [
        ("characters", {}),
        ("bytes", {"beam_penalty": "wu"}),
        ("words", {"beam_penalty": "none"}),
        ("characters", {"coverage_penalty": 0.3}),
        ("characters", {"diverse": 2}),
        ("words", {"no_repeat_ngram": 2, "min_length": 2}),
    ],
    ids=str,
)
def test_outputs_are_in_the_order_that_both_log_probabilities_give_by_hand(
    lm: str, changes: dict[str, Any]
) -> None:
    options, model = replace(BEAM, **changes), learned()
    reordered = 0
    for source in sources_of()[:5]:
        found = model.search([model.parse(source)], options, rescoring=Rescoring(reader(lm), 2.0))[0]
        expected = by_hand(model, options, reader(lm), 2.0, source)
        assert [each.text for each in found] == [text for text, _ in expected]
        assert [each.score for each in found] == pytest.approx([score for _, score in expected], abs=1e-9)
        plain = model.search([model.parse(source)], options)[0]
        reordered += [each.text for each in plain] != [each.text for each in found]
    assert reordered


@pytest.mark.parametrize("name", MODELS)
def test_every_decoder_is_reordered(name: str) -> None:
    model = translator(name)
    for source in sources_of()[:4]:
        found = model.translations([source], BEAM, nbest=3, rescoring=Rescoring(reader(), 0.5))[0]
        expected = by_hand(model, BEAM, reader(), 0.5, source)
        assert [each.text for each in found] == [text for text, _ in expected]
        assert [each.score for each in found] == pytest.approx([score for _, score in expected], abs=1e-9)


def test_the_log_probability_of_each_model_stays_readable() -> None:
    model, pair = translator(), pairs_of()[0]
    plain = {each.text: each for each in model.search([pair], replace(BEAM, nbest=4))[0]}
    for each in model.search([pair], BEAM, rescoring=Rescoring(reader(), 0.5))[0]:
        assert each.lm_log_probability == pytest.approx(-reader().score([each.text], cold=True)[0].nats)
        same = plain[each.text].hypothesis
        assert each.hypothesis == replace(same, score=each.score)
        assert plain[each.text].lm_log_probability is None


class ShortSighted:
    """A language model to which every line is equally probable, or the one that it wants."""

    place = "toy"

    def __init__(self, wanted: str = "") -> None:
        self.wanted = wanted
        self.asked: list[list[str]] = []

    def log_probabilities(self, lines: Sequence[str]) -> list[float]:
        self.asked.append(list(lines))
        return [0.0 if line == self.wanted else -1e4 for line in lines]


def test_an_output_that_was_cut_never_comes_before_a_finished_one() -> None:
    model = untrained(**MODELS["copy, coverage"])
    checked = 0
    for pair in pairs_of():
        found = model.search([pair], SearchOptions(beam=4, nbest=4, max_length=3))[0]
        cut = [each.text for each in found if not each.hypothesis.finished]
        if 0 < len(cut) < len(found):
            lm = ShortSighted(cut[0])
            best = model.search([pair], SearchOptions(beam=4, max_length=3), rescoring=Rescoring(lm, 1.0))
            assert best[0][0].hypothesis.finished
            checked += 1
    assert checked


def test_each_text_is_read_once_and_as_it_is_written() -> None:
    model, lm = translator(), ShortSighted()
    model.search([*pairs_of(), *pairs_of()], BEAM, rescoring=Rescoring(lm, 0.5))
    (lines,) = lm.asked
    assert len(set(lines)) == len(lines) >= 10
    assert not any("\n" in line for line in lines)


# --- independence ---


@pytest.mark.parametrize("name", MODELS)
def test_a_weight_of_0_changes_nothing(name: str) -> None:
    model, pairs = translator(name), random_sources(12)
    for options in (BEAM, replace(BEAM, nbest=1)):
        plain = model.search(pairs, options)
        lm = ShortSighted()
        assert model.search(pairs, options, rescoring=Rescoring(lm, 0.0)) == plain
        assert lm.asked == []
        # as well where all outputs of the beam are ranked anew
        wide = model.search(pairs, replace(options, nbest=options.beam))
        assert ranked(wide, 0.0, options) == plain
        # as well where the language model gives an output a probability of 0
        never = [[replace(each, lm_log_probability=-math.inf) for each in several] for several in wide]
        assert outputs(ranked(never, 0.0, options)) == outputs(plain)


def test_outputs_do_not_depend_on_the_batch() -> None:
    model, pairs = translator(), random_sources(15)
    rescoring = Rescoring(reader(), 0.4)
    expected = [outputs(model.search([pair], BEAM, rescoring=rescoring))[0] for pair in pairs]
    assert outputs(model.search(pairs, BEAM, rescoring=rescoring)) == expected
    order = random.Random(3).sample(range(len(pairs)), len(pairs))
    shuffled = model.search([pairs[i] for i in order], BEAM, rescoring=rescoring, batch_tokens=40)
    assert outputs(shuffled) == [expected[i] for i in order]


def test_ensembles_prefixes_and_phrases_are_reordered_too() -> None:
    model = translator()
    other = double(untrained(seed=2, vocabulary=COPYING, model={"copy": True, "decoder": "parallel"}))
    pairs = pairs_of()[:4]
    cases: list[tuple[TranslatorModel, dict[str, Any]]] = [
        (TranslatorEnsemble([model, other]), {}),
        (model, {"prefixes": ["die Maschine"] * 4}),
        (model, {"phrases": [["ging"]] * 4}),
    ]
    for model, each in cases:
        wide = model.search(pairs, replace(BEAM, nbest=4), **each)
        found = model.search(pairs, replace(BEAM, nbest=4), rescoring=Rescoring(reader(), 0.7), **each)
        assert [sorted(texts(row)) for row in found] == [sorted(texts(row)) for row in wide]
        assert list(map(texts, found)) != list(map(texts, wide))


def texts(found: Sequence[Translation]) -> list[str]:
    return [each.text for each in found]


# --- the weight that is best on dev ---


@functools.cache
def dev_choice(select: str) -> tuple[list[float], float]:
    """The score of each weight on the ten pairs, computed one weight at a time, and the chosen weight."""
    model, pairs, settings = learned(), pairs_of(), tiny_settings(training={"select": select})
    metric = deciding_metric(settings, pairs)
    values = []
    for weight in GRID:
        best = model.translate(sources_of(), BEAM, beam=4, rescoring=Rescoring(reader(), weight))
        references = [pair.references for pair in pairs]
        values.append(text_scores(best, references, (metric,))[metric].value)
    choice = choose_weight(model, reader(), pairs, settings, BEAM)
    assert [score.value for score in choice.scores] == values
    return values, choice.weight


@pytest.mark.parametrize("select", ["bleu", "chrf", "exact_match", "loss"])
def test_the_weight_is_the_best_of_the_grid_and_of_equal_ones_the_smallest(select: str) -> None:
    values, weight = dev_choice(select)
    assert GRID[0] == 0.0
    assert weight == GRID[values.index(max(values))]


def test_a_language_model_that_knows_the_references_is_given_weight() -> None:
    class Knowing(ShortSighted):
        def log_probabilities(self, lines: Sequence[str]) -> list[float]:
            return [2.0 * sum(word in TEXT for word in line.split()) for line in lines]

    values, _ = dev_choice("chrf")
    settings = tiny_settings(training={"select": "chrf"})
    choice = choose_weight(learned(), Knowing(), pairs_of(), settings, BEAM)
    assert choice.weight > 0
    best = max(score.value for score in choice.scores)
    line = choice.describe()
    assert f"chrf on dev is {best:.2f}, {values[0]:.2f} without it; --lm-weight {choice.weight:g}" in line


def test_the_metric_is_that_of_the_run() -> None:
    words, sentences = pairs_of([("a", "b")] * 5), pairs_of([("a", "b c d e")] * 5)
    for select, pairs, expected in (
        ("bleu", sentences, "bleu"),
        ("bleu", words, "chrf"),  # as in training
        ("exact_match", sentences, "exact_match"),
        ("loss", sentences, "bleu"),
        ("loss", words, "exact_match"),
    ):
        assert deciding_metric(tiny_settings(training={"select": select}), pairs) == expected


def test_a_choice_without_a_gain_says_so() -> None:
    class Indifferent(ShortSighted):
        def log_probabilities(self, lines: Sequence[str]) -> list[float]:
            return [0.0] * len(lines)

    choice = choose_weight(learned(), Indifferent(), pairs_of()[:2], tiny_settings(), BEAM)
    assert choice.weight == 0.0
    assert "no higher with a weight of 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1" in choice.describe()


def test_auto_reads_the_recipe_of_the_run(tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "a", training={"epochs": 1})
    model = api.load_translator(run.path, device="cpu")
    found = api.rescoring(model, reader(), options=SearchOptions(beam=3))
    assert found.weight in GRID and found.reason
    assert api.rescoring(model, reader(), 0.3) == Rescoring(reader(), 0.3)
    (tmp_path / "a" / "train.tgt").unlink()
    remedy = "choose the weight of the language model yourself, as in --lm-weight 0.3"
    with pytest.raises(UsageError, match=rf"train.tgt: no such file; or {remedy}"):
        api.rescoring(model, reader())
    for name in ("train.src", "train.tgt"):
        (tmp_path / "a" / name).write_text("")
    with pytest.raises(DataError, match=f"no sentence pairs; or {remedy}"):
        api.rescoring(model, reader())
    (run.path / "recipe.toml").unlink()
    with pytest.raises(UsageError, match=f"no recipe beside the model; {remedy}"):
        api.rescoring(model, reader())


# --- evaluation ---


def test_an_evaluation_reports_the_reordered_outputs_and_compares_with_the_plain_ones() -> None:
    model, options = learned(), SearchOptions(beam=4, max_length=8)
    rescoring = Rescoring(reader(), 2.0)
    data = tiny_data()
    data = replace(data, parts={"test": data.parts["dev"]})
    found = assess(
        model,
        data,
        EvaluationOptions(rescoring=rescoring),
        name="both",
        bootstrap=0,
        against=("alone", model),
        search=options,
    )
    assert list(found.outputs.texts) == model.translate(sources_of(), options, rescoring=rescoring)
    assert found.model == "both" and found.rival is not None
    alone = assess(model, data, name="alone", bootstrap=0, search=options)
    assert found.rival.scores["chrf"].value == alone.scores["chrf"].value
    assert found.scores["chrf"].value != alone.scores["chrf"].value
    assert found.search.count("reordered by tiny-1, weight 2") == 1
    assert "reordered" not in alone.search
    itself = assess(
        model,
        data,
        EvaluationOptions(rescoring=rescoring),
        name="alone",
        bootstrap=0,
        against=("alone", model),
        search=options,
    )
    assert itself.model == "alone with tiny-1"  # so that a report of both can be read


# --- refusals ---


def test_what_has_no_effect_is_refused() -> None:
    model, pairs, lm = translator(), pairs_of(), reader()
    for options, words in (
        (SearchOptions(beam=1), "the beam is 1; use a larger one, such as --beam 5"),
        (SearchOptions(sample=True), "has no effect on sampling; leave it out"),
        (SearchOptions(mbr=4), "has no effect on sampling; leave it out"),
    ):
        with pytest.raises(UsageError, match=words):
            model.search(pairs, options, rescoring=Rescoring(lm, 0.3))
        with pytest.raises(UsageError, match=words):
            api.rescoring(model, lm, 0.3, options=options)
    for weight in (-0.1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be a number of 0 or more"):
            Rescoring(lm, weight)
    message = f"^{model.place} is no language model; give one"
    with pytest.raises(UsageError, match=message):
        Rescoring(model, 0.3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        api.rescoring(model, model)  # type: ignore[arg-type]
    backward = tiny.untrained(TEXT, data={"direction": "backward"})
    with pytest.raises(UsageError, match="cannot say how probable a translation is; use a model that reads"):
        api.rescoring(model, backward, 0.3)
    with pytest.raises(UsageError, match=r"write model.log_probabilities"):
        lm.log_probabilities("one text")
