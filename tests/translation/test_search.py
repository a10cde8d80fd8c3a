"""A translator's step, tested against the network on whole targets, and the constraints of searches."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.decoding.ensemble import EnsembleStep
from seqtool.decoding.step import rows_of, select
from seqtool.errors import DataError, UsageError
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.parallel import SentencePair
from seqtool.text.subwords import SPACE
from seqtool.translation.batches import LENGTH_SLACK
from seqtool.translation.model import Source, Translator
from seqtool.translation.prediction import Translation, TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.steps import NEVER, Tables, TranslatorStep
from seqtool.translation.vocabulary import END, PADDING, START
from tests.translation.tiny_pairs import (
    COPYING,
    double,
    outputs,
    pairs_of,
    random_sources,
    tiny_data,
    untrained,
)
from tests.translation.tiny_translator import FORMS, PAIRS, SYMBOLS, batch_for, encoded, tiny

BEAM = 2
PIECES: dict[str, Any] = {"kind": "sentencepiece", "size": 60}
GREEDY = SearchOptions(beam=1)


def encoded_source(model: Translator) -> tuple[Source, int]:
    """The usual pairs, even if the model cannot produce their targets, and how many symbols they add."""
    batch = batch_for(model, PAIRS if model.settings.copy_source else None)
    return model.encode(batch), max(len(encoded(pair).source.extra) for pair in PAIRS)


def prefixes_for(model: Translator, source: Source, steps: int = 4) -> Tensor:
    """Random extended ids that a search could have fed back, [N, T], START first."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for symbols in source.symbols.tolist():
        new = [symbol for symbol in symbols if symbol >= SYMBOLS and model.settings.copy_source]
        choice = torch.tensor([*range(END + 1, SYMBOLS), *new])
        for _ in range(BEAM):
            rows.append(choice[torch.randint(len(choice), (steps,), generator=generator)])
    return torch.cat([torch.full((len(rows), 1), START), torch.stack(rows)], 1)


def read(model: Translator, source: Source, inputs: Tensor, extra: int) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N, T, V + extra] and attention of whole inputs, each row with its own source."""
    sentences = torch.arange(len(source.start)).repeat_interleave(BEAM)
    alone = Source(source.memory.kept(sentences), source.start[sentences], source.symbols[sentences])
    readout = model.read(alone, inputs)
    return model.log_probabilities(readout, alone, extra), readout.weights


def log_p_of(step: TranslatorStep, last: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
    result = step(last, state)
    return result.scores - result.log_normaliser[:, None], result


# --- the step ---


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_steps_give_what_the_network_reads_but_never_padding_or_start(form: str) -> None:
    model = tiny(**FORMS[form]).eval()
    source, extra = encoded_source(model)
    inputs = prefixes_for(model, source)
    expected, weights = read(model, source, inputs, extra)
    step = TranslatorStep(model, Tables.of(model), source, extra)
    state = step.initial()
    assert {len(each) for each in state} == {len(source.start)}
    state = select(state, torch.arange(len(source.start)).repeat_interleave(BEAM))
    for number in range(inputs.shape[1]):
        found, result = log_p_of(step, inputs[:, number], state)
        state = result.state
        width = found.shape[1]  # without copying there are no columns for new symbols
        assert width == SYMBOLS + (extra if model.gate is not None or FORMS[form].get("output") else 0)
        assert expected[:, number, width:].isneginf().all()
        missing = expected[:, number, NEVER].exp().sum(1)  # the mass that padding and start would have had
        torch.testing.assert_close(found.exp().sum(1), 1.0 - missing)
        expected[:, number, NEVER] = -torch.inf
        torch.testing.assert_close(found, expected[:, number, :width], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.attention, weights[:, number], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", [name for name in FORMS if name.endswith(("copy", "plain", "positions"))])
@torch.inference_mode()
def test_sentences_that_leave_take_nothing_with_them(form: str) -> None:
    model = tiny(**FORMS[form]).eval()
    source, extra = encoded_source(model)
    inputs = prefixes_for(model, source)
    whole, some = (TranslatorStep(model, Tables.of(model), source, extra) for _ in range(2))
    sentences = torch.arange(len(source.start)).repeat_interleave(BEAM)
    states = [select(step.initial(), sentences) for step in (whole, some)]
    rows = torch.arange(len(sentences))
    for number, leaving in enumerate([[], [1], [0], []]):
        if leaving:
            present = len(rows) // BEAM
            kept = torch.tensor([place for place in range(present) if place not in leaving])
            some.keep(kept)
            states[1] = select(states[1], rows_of(kept, BEAM))
            rows = rows[rows_of(kept, BEAM)]
        expected, first = log_p_of(whole, inputs[:, number], states[0])
        found, second = log_p_of(some, inputs[rows, number], states[1])
        torch.testing.assert_close(found, expected[rows], rtol=1e-9, atol=1e-9)
        states = [first.state, second.state]


@torch.inference_mode()
def test_hypotheses_may_change_their_places() -> None:
    """The history of a row, including coverage, is in its state alone."""
    model = tiny(coverage=True, copy=True).eval()
    source, extra = encoded_source(model)
    inputs = prefixes_for(model, source)
    step = TranslatorStep(model, Tables.of(model), source, extra)
    sentences = torch.arange(len(source.start)).repeat_interleave(BEAM)
    state = select(step.initial(), sentences)
    for number in range(2):
        state = step(inputs[:, number], state).state
    swapped = torch.arange(len(sentences)).view(-1, BEAM).flip(1).flatten()
    expected, _ = log_p_of(step, inputs[:, 2], state)
    found, _ = log_p_of(step, inputs[swapped, 2], select(state, swapped))
    torch.testing.assert_close(found, expected[swapped], rtol=1e-12, atol=1e-12)
    assert (found - expected).abs().nan_to_num().max() > 1e-3


@torch.inference_mode()
def test_an_ensemble_is_the_mean_of_the_probabilities() -> None:
    models = [tiny(seed=seed, copy=True).eval() for seed in (0, 5)]
    sources = [encoded_source(model) for model in models]
    steps = [
        TranslatorStep(model, Tables.of(model), source, extra)
        for model, (source, extra) in zip(models, sources, strict=True)
    ]
    last = torch.full((len(PAIRS),), START)
    expected = torch.stack([log_p_of(step, last, step.initial())[0].exp() for step in steps]).mean(0)
    together = EnsembleStep(steps)
    result = together(last, together.joined([step.initial() for step in steps]))
    torch.testing.assert_close(result.scores.exp(), expected, rtol=1e-9, atol=1e-12)


# --- constraints on outputs ---


def copier(**sections: Any) -> TranslatorModel:
    model = {"copy": True, "coverage": True, **sections.pop("model", {})}
    return untrained(model=model, **{"vocabulary": COPYING, **sections})


def search(model: TranslatorModel, options: SearchOptions, **others: Any) -> list[list[Translation]]:
    return model.search(filled(), options, **others)


def filled() -> list[SentencePair]:
    return [pair for pair in random_sources(25) if pair.source]


@pytest.mark.parametrize("ratio", [2.0, 1.25])
def test_outputs_are_as_long_as_in_training_at_most_or_as_asked_for(ratio: float) -> None:
    model = copier()
    model.description = model.description.model_copy(update={"length_ratio": ratio})
    with torch.no_grad():
        model.network.bias[END] = -1e4  # so that only the limit ends them
    free, short = search(model, GREEDY), search(model, SearchOptions(beam=3, max_length=4))
    for pair, (found,), (cut,) in zip(filled(), free, short, strict=True):
        limit = int(ratio * (len(pair.source.split()) + 1)) + LENGTH_SLACK
        assert (len(found.hypothesis.tokens), found.hypothesis.finished) == (limit, False)
        assert (len(cut.hypothesis.tokens), cut.hypothesis.finished) == (4, False)


@pytest.mark.parametrize("beam", [1, 4])
def test_outputs_have_the_least_length(beam: int) -> None:
    model = copier()
    with torch.no_grad():
        model.network.bias[END] = 12.0
    free = search(model, SearchOptions(beam=beam))
    assert min(len(found[0].hypothesis.tokens) for found in free) < 5
    for found, *_ in search(model, SearchOptions(beam=beam, min_length=5)):
        assert len(found.hypothesis.tokens) >= 5


def repeating(order: int, *, beam: int, seed: int, vocabulary: dict[str, Any]) -> int:
    """How many finished outputs have two words twice, where n-grams of this order are blocked."""
    model = copier(vocabulary=vocabulary, seed=seed, scale=2.0)
    with torch.no_grad():
        model.network.bias[END] += 4
        for number, symbol in enumerate(model.vocabularies.target.symbols):
            model.network.bias[number] += 4 * symbol.startswith(SPACE)
    found = search(model, SearchOptions(beam=beam, no_repeat_ngram=order))
    finished = [best.text.split(" ") for best, *_ in found if best.hypothesis.finished]
    pairs = [list(itertools.pairwise(words)) for words in finished]
    return sum(len(set(each)) < len(each) for each in pairs)


@pytest.mark.parametrize(
    ("vocabulary", "beam", "seed"),
    [(COPYING, 1, 2), (COPYING, 4, 4), (PIECES, 1, 0), (PIECES, 4, 2)],
    ids=["words, greedy", "words, beam", "pieces, greedy", "pieces, beam"],
)
def test_no_ngram_of_words_occurs_twice(vocabulary: dict[str, Any], beam: int, seed: int) -> None:
    assert repeating(0, vocabulary=vocabulary, beam=beam, seed=seed) > 0
    assert repeating(2, vocabulary=vocabulary, beam=beam, seed=seed) == 0


def test_no_ngram_of_words_occurs_twice_however_it_is_split_into_pieces() -> None:
    assert repeating(2, vocabulary=PIECES, beam=4, seed=0) == 0


def test_padding_and_start_are_never_an_output() -> None:
    model = copier()
    with torch.no_grad():
        model.network.bias.zero_()
    found = search(model, SearchOptions(sample=True, nbest=5))
    assert {PADDING, START}.isdisjoint(i for row in found for each in row for i in each.hypothesis.tokens)


def test_prefixes_and_phrases_are_held_to_with_words_that_only_the_source_knows() -> None:
    model = copier()
    pairs = pairs_of()
    prefixes = ["in Ada", "", "Grace", "Gödel traf", "engine", "", "Paris", "ja", ".", "Noether"]
    found = model.search(pairs, SearchOptions(beam=4), prefixes=prefixes)
    for prefix, (best,) in zip(prefixes, found, strict=True):
        assert f"{best.text} ".startswith(prefix and f"{prefix} ")
    assert outputs([found[1]]) == outputs(model.search(pairs[1:2], SearchOptions(beam=4)))
    phrases = [("Babbage", "in London"), (), ("ging",), ("Gödel",), (), (), ("Hopper",), ("ja",), (), ()]
    found = model.search(pairs, SearchOptions(beam=6), phrases=phrases)
    for wanted, (best,) in zip(phrases, found, strict=True):
        assert best.hypothesis.unmet == (not all(f" {each} " in f" {best.text} " for each in wanted))
    assert sum(not each.hypothesis.unmet for (each,) in found) >= 9
    plain = model.search(pairs, SearchOptions(beam=6))
    assert outputs(plain)[1] == outputs(found)[1]
    assert outputs(plain) != outputs(found)


@pytest.mark.parametrize("beam", [1, 3])
def test_no_limit_cuts_a_prefix(beam: int) -> None:
    """There is room for it and the end symbol, with a given limit and with that of the training data."""
    model = copier()
    pairs = pairs_of()[:3]
    prefixes = [" ".join(["ja", "in", "Ada"] * 20), "ja ja ja", ""]
    for limit in (0, 2):
        options = SearchOptions(beam=beam, max_length=limit)
        found = model.search(pairs, options, prefixes=prefixes)
        for prefix, (best, *_) in zip(prefixes[:2], found, strict=False):
            assert f"{best.text} ".startswith(f"{prefix} ")
        if limit:
            lengths = [len(best.hypothesis.tokens) + best.hypothesis.finished for best, *_ in found]
            assert [most >= length for most, length in zip((61, 4, 2), lengths, strict=True)] == [True] * 3
        assert outputs(found[2:]) == outputs(model.search(pairs[2:], options))


@pytest.mark.parametrize("options", [SearchOptions(sample=True), SearchOptions(mbr=2)])
@pytest.mark.parametrize("asked", [{"prefixes": ["ja"]}, {"phrases": [["ja"]]}])
def test_what_drawing_does_not_heed_is_refused(options: SearchOptions, asked: dict[str, Any]) -> None:
    with pytest.raises(
        UsageError, match=r"^prefixes and phrases cannot be combined with sampling; leave them out$"
    ):
        copier().search(pairs_of()[:1], options, **asked)


def test_constraints_that_leave_nothing_give_an_empty_line_that_says_so() -> None:
    # A prefix that repeats an n-gram may not be continued; here even its first repetition does not end.
    model = copier()
    pairs = pairs_of()[:1]
    options = SearchOptions(beam=2, no_repeat_ngram=1)
    ((found, *_),) = model.search(pairs, options, prefixes=["in in in"])
    assert (found.text, found.hypothesis.exhausted) == ("", True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"prefixes": ["Ada"]}, "prefix 'Ada': the vocabulary has no 'Ada'; leave the prefix out$"),
        (
            {"phrases": [["in", "in Ada"]]},
            "phrase 'in Ada': the vocabulary has no 'Ada'; leave the phrase out$",
        ),
        (
            {"phrases": [["in \u4e2d"]], "vocabulary": PIECES},
            "phrase 'in \u4e2d': the vocabulary has no '\u4e2d'; leave the phrase out$",
        ),
    ],
    ids=["prefix", "phrase", "pieces"],
)
def test_a_word_that_cannot_be_written_is_refused(asked: dict[str, Any], message: str) -> None:
    model = untrained(vocabulary=asked.pop("vocabulary", COPYING))
    with pytest.raises(DataError, match=rf"^text:1: {message}"):
        model.search([SentencePair("Ada met", file="text", line=1)], SearchOptions(beam=4), **asked)


def test_a_word_that_can_be_copied_is_not_refused_and_another_one_is() -> None:
    pairs = [SentencePair(text, file="text", line=n) for n, text in enumerate(("Ada met", "yes"), 1)]
    found = copier().search(pairs, SearchOptions(beam=4), prefixes=["Ada", ""])
    assert found[0][0].text.split()[0] == "Ada"
    with pytest.raises(
        DataError, match=r"^text:2: .* has no 'Ada', and neither has the source; leave the phrase out$"
    ):
        copier().search(pairs, SearchOptions(beam=4), phrases=[(), ("Ada",)])


def test_phrases_in_diverse_beam_search_are_refused() -> None:
    with pytest.raises(UsageError):
        copier().search(pairs_of()[:1], SearchOptions(beam=4, diverse=2), phrases=[["Ada"]])


@pytest.mark.parametrize("decoder", ["input_feeding", "parallel"])
def test_a_pointer_network_gives_words_of_its_source_and_ends_by_itself(decoder: str) -> None:
    pairs = [SentencePair(text, text, line=n) for n, text in enumerate(("b a", "c a b", "a"), 1)]
    model = double(untrained(tiny_data(pairs), model={"output": "positions", "decoder": decoder}))
    for options in (GREEDY, SearchOptions(beam=3, nbest=2), SearchOptions(sample=True, nbest=3)):
        for pair, found in zip(pairs, model.search(pairs, options), strict=True):
            for each in found:
                assert set(each.text.split()) <= set(pair.source.split())
                assert NOT_COPYABLE not in each.hypothesis.tokens
    drawn = model.search(pairs, SearchOptions(sample=True, nbest=40))
    assert any(each.hypothesis.finished for found in drawn for each in found)
