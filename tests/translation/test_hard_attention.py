"""Exact hard attention against the enumeration of all alignments, and its search, in float64."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from seqtool import api
from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.step import rows_of, select
from seqtool.errors import DataError
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cells import CELLS
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.training.job import TrainedRun
from seqtool.translation import hard_attention
from seqtool.translation.batches import Batch, is_writable, pair_batch
from seqtool.translation.data import Part, TranslationData
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.hard_attention import HardAttention
from seqtool.translation.hard_step import HardAttentionStep
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.settings import ModelSettings
from seqtool.translation.vocabulary import END, NEVER, PADDING, START
from tests.translation.test_transducer import FEATURED, edited
from tests.translation.tiny_pairs import (
    COPYING,
    assert_equal_weights,
    double,
    pairs_of,
    tables,
    train_tiny,
    untrained,
    weights_of,
)
from tests.translation.tiny_translator import NEW, NEWER, SYMBOLS, Pair, assert_close, encoded, gradients

FORMS: dict[str, dict[str, Any]] = {
    "monotonic": {"attention": "monotonic"},
    "hard": {"attention": "hard", "cell": "lstm"},
    "monotonic, copy": {"attention": "monotonic", "copy": True, "tied": "all"},
    "hard, copy, layers": {
        "attention": "hard", "copy": True, "encoder_layers": 2, "decoder_layers": 2, "residual": True,
    },
    "monotonic, features apart": {
        "attention": "monotonic", "features": "everywhere", "tied": "none", "layer_norm": True,
    },
}  # fmt: skip
# Symbols that the vocabulary lacks can be copied, from left to right, and more than once.
PAIRS: list[Pair] = [
    ([4, NEW, 5, NEW], [NEW, NEW]),
    ([7], [7, 7]),
    ([6, NEW, NEWER], [NEW, 6, NEWER]),
    ([9, 4], []),
]
KNOWN: list[Pair] = [([4, 8, 5], [8, 4]), ([7], [7, 7]), ([6, 5, 9], [4, 9]), ([9, 4], [])]
every_form = pytest.mark.parametrize("form", FORMS)


def tiny(seed: int = 0, **model: Any) -> HardAttention:
    """A network in float64 without dropout; no weight is 0 except those of padding."""
    usual = {"hidden": 4, "embedding": 6, "dropout": 0.0, "embedding_dropout": 0.0}
    torch.manual_seed(seed)
    network = HardAttention(SYMBOLS, SYMBOLS, ModelSettings.model_validate({**usual, **model})).double()
    source = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
        for embedding in (network.source, network.target):
            embedding.weight[PADDING] = 0.0
    return network.eval()


def batch_for(network: HardAttention, pairs: list[Pair] | None = None) -> Batch:
    """A batch of pairs with features, before the source or apart from it."""
    apart = network.settings.reads_apart
    usual = PAIRS if network.settings.copy_source else KNOWN
    return pair_batch([edited(pair, n, apart=apart) for n, pair in enumerate(pairs or usual)])


class Oracle:
    """The probabilities of one pair of a batch, position by position, from the definition.

    Args:
        network: The network.
        batch: The batch.
        row: Number of the pair.
    """

    def __init__(self, network: HardAttention, batch: Batch, row: int) -> None:
        forward = network.forward_pass(batch)
        source, (asked, gates, _) = forward.source, forward.readout.questions
        self.network, self.row = network, row
        self.length = int((batch.source[row] != PADDING).sum())
        self.monotonic = network.settings.attention == "monotonic"
        self.first = int(batch.first[row]) if self.monotonic else 0
        self.symbols = batch.symbols[row].tolist()
        self.target = batch.target[row, : int(batch.target_mask[row].sum())].tolist()
        self.joint = torch.tanh(source.keys[row] + asked[row][:, None])
        self.gates = (source.gates[row] + gates[row][:, None]).sigmoid()
        self.scores = forward.readout.hidden[row] @ source.places[row].t()

    def symbol(self, step: int, place: int, symbol: int) -> Tensor:
        """Probability of a symbol at a position."""
        scores = self.network.projection @ self.joint[step, place] + self.network.bias
        written = [each for each in range(SYMBOLS) if each not in NEVER]
        found = scores.new_zeros(())
        if symbol < SYMBOLS:
            found = scores[symbol].exp() / scores[written].exp().sum()
        if self.network.settings.copy_source and self.symbols[place] != NOT_COPYABLE:
            gate = self.gates[step, place]
            found = gate * found + (1 - gate) * (self.symbols[place] == symbol)
        return found

    def all(self, target: list[int]) -> dict[tuple[int, ...], Tensor]:
        """The probability of every alignment of a target with its source, and of all symbols along it."""
        found: dict[tuple[int, ...], Tensor] = {(): self.scores.new_ones(())}
        for step, symbol in enumerate(target):
            here = [self.symbol(step, place, symbol) for place in range(self.length)]
            following = {}
            for path, before in found.items():
                begin = (path[-1] if path else self.first) if self.monotonic else 0
                chances = self.scores[step, begin : self.length].softmax(0)
                for place in range(begin, self.length):
                    following[(*path, place)] = before * chances[place - begin] * here[place]
            found = following
        return found


def enumerated(network: HardAttention, batch: Batch) -> Tensor:
    """Log probability of each target of a batch, by all its alignments, [B]."""
    oracles = [Oracle(network, batch, row) for row in range(len(batch.source))]
    return torch.stack([torch.stack(list(each.all(each.target).values())).sum().log() for each in oracles])


@every_form
def test_the_loss_and_its_gradient_equal_the_sum_over_all_alignments(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    loss, expected = network.loss(batch), -enumerated(network, batch).sum()
    assert (loss.count, loss.unit) == (int(batch.target_mask.sum()), "token")
    torch.testing.assert_close(loss.total, expected)
    assert_close(gradients(network, loss.total), gradients(network, expected))


@every_form
def test_probabilities_of_symbols_multiply_to_that_of_the_target(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    source = network.encode(batch)
    readout = network.read(source, batch.inputs)
    table = network.log_probabilities(readout, source)
    real = table[batch.target_mask]
    torch.testing.assert_close(real.exp().sum(1), torch.ones(len(real), dtype=real.dtype))
    found = network.log_probabilities_of(readout, source, batch.target, batch.target_mask)
    chosen = table.gather(2, batch.target[:, :, None])[..., 0][batch.target_mask]
    torch.testing.assert_close(found[batch.target_mask], chosen)
    assert not found[~batch.target_mask].any()
    torch.testing.assert_close(found.sum(1), -each_loss(network, batch))
    expected = gradients(network, network.loss(batch).total)
    assert_close(gradients(network, -found.sum()), expected)
    source = network.encode(batch)
    table = network.log_probabilities(network.read(source, batch.inputs), source)
    again = table.gather(2, batch.target[:, :, None])[..., 0][batch.target_mask]
    assert_close(gradients(network, -again.sum()), expected)


def each_loss(network: HardAttention, batch: Batch) -> Tensor:
    """The loss of each pair of a batch alone, [B]."""
    return torch.stack([network.loss(pair_batch([pair])).total for pair in batch.pairs])


def test_whole_distributions_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny(**FORMS["monotonic, copy"])
    batch, results = batch_for(network), []
    for largest in (2**22, 2 * SYMBOLS * batch.target.numel(), 1):
        monkeypatch.setattr(hard_attention, "LARGEST", largest)
        forward = network.forward_pass(batch)
        table = network.log_probabilities(forward.readout, forward.source)[batch.target_mask]
        results.append((table, gradients(network, table[table.isfinite()].sum())))
    for table, found in results[1:]:
        torch.testing.assert_close(table, results[0][0])
        assert_close(found, results[0][1])


@every_form
def test_all_outputs_together_have_a_probability_of_one(form: str) -> None:
    """All outputs of up to two symbols, and all that go on; each by the step of a search."""
    network = tiny(**FORMS[form])
    one = batch_for(network, [([4, NEW] if network.settings.copy_source else [4, 5], [])])
    step = HardAttentionStep(network, network.encode(one), 1)
    total, rows = 0.0, [((START,), 0.0, step.initial())]
    with torch.no_grad():
        for length in range(3):
            following = []
            for output, score, state in rows:
                result = step(torch.tensor([output[-1]]), state)
                log_p = (result.scores - result.log_normaliser[:, None])[0]
                assert float(log_p.exp().sum()) == pytest.approx(1.0)
                assert log_p[NEVER].isneginf().all()
                total += math.exp(score + float(log_p[END]))
                goes_on = [symbol for symbol in log_p.isfinite().nonzero()[:, 0].tolist() if symbol != END]
                following += [((*output, each), score + float(log_p[each]), result.state) for each in goes_on]
                if length < 2 and output.count(4) == 1:
                    assert score + float(log_p[END]) == pytest.approx(scored(network, one, output[1:]))
            rows = following
    assert total + sum(math.exp(score) for _, score, _ in rows) == pytest.approx(1.0)


def scored(network: HardAttention, batch: Batch, output: tuple[int, ...]) -> float:
    """Log probability of an output of the only source of a batch."""
    return float(enumerated(network, pair_batch([batch.pairs[0]._replace(target=[*output, END])])))


@every_form
def test_padding_and_the_other_pairs_do_not_matter(form: str) -> None:
    network = tiny(**FORMS[form])
    whole = batch_for(network)
    torch.testing.assert_close(each_loss(network, whole).sum(), network.loss(whole).total)
    pad = torch.nn.functional.pad
    wider = replace(
        whole,
        source=pad(whole.source, (0, 2), value=PADDING),
        symbols=pad(whole.symbols, (0, 2), value=NOT_COPYABLE),
        features=pad(whole.features, (0, 1), value=PADDING),
        inputs=pad(whole.inputs, (0, 2), value=START),
        target=pad(whole.target, (0, 2), value=PADDING),
        target_mask=pad(whole.target_mask, (0, 2), value=False),
    )
    first, second = network.loss(whole).total, network.loss(wider).total
    torch.testing.assert_close(first, second)
    assert_close(gradients(network, first), gradients(network, second))


@every_form
def test_every_parameter_is_learned(form: str) -> None:
    network = tiny(**FORMS[form])
    for name, gradient in gradients(network, network.loss(batch_for(network)).total).items():
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


@every_form
@torch.no_grad()
def test_steps_of_a_search_give_what_the_network_reads(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    source = network.encode(batch)
    table = network.log_probabilities(network.read(source, batch.inputs), source)
    step = HardAttentionStep(network, source, table.shape[2] - SYMBOLS)
    state = select(step.initial(), torch.arange(len(batch.source)).repeat_interleave(2))
    for number in range(batch.inputs.shape[1]):
        result = step(batch.inputs[:, number].repeat_interleave(2), state)
        state = result.state
        found = (result.scores - result.log_normaliser[:, None])[::2]
        real = batch.target_mask[:, number]
        torch.testing.assert_close(found[real], table[real, number], rtol=1e-9, atol=1e-9)
        assert result.attention is not None
        sums = result.attention.sum(1)
        torch.testing.assert_close(sums, torch.ones_like(sums))
        assert not result.attention[::2][~source.usable].any()


@torch.no_grad()
def test_sentences_that_leave_take_nothing_with_them() -> None:
    network = tiny(**FORMS["monotonic, copy"], decoder_layers=2)
    batch, slots = batch_for(network), 2
    source = network.encode(batch)
    whole, some = HardAttentionStep(network, source, 2), HardAttentionStep(network, source, 2)
    sentences = torch.arange(len(PAIRS)).repeat_interleave(slots)
    states = [select(step.initial(), sentences) for step in (whole, some)]
    kept = torch.tensor([0, 2])
    rows = rows_of(kept, slots)
    inputs = batch.inputs.repeat_interleave(slots, 0)
    first = [step(inputs[:, 0], state) for step, state in zip((whole, some), states, strict=True)]
    some.keep(kept)
    expected = whole(inputs[:, 1], first[0].state)
    found = some(inputs[rows, 1], select(first[1].state, rows))
    torch.testing.assert_close(found.scores, expected.scores[rows])


@pytest.mark.parametrize("attention", ["monotonic", "hard"])
@torch.no_grad()
def test_a_search_finds_the_most_probable_outputs_with_their_probabilities(attention: str) -> None:
    """Among all outputs of up to two symbols of a source, over all alignments."""
    network = tiny(1, attention=attention)
    network.bias[END] += 3.0  # so that long outputs are improbable
    batch = batch_for(network, [([4, 6], [])])
    step = HardAttentionStep(network, network.encode(batch), 0)
    (found,) = beam_search(
        step, step.initial(), start=START, end=END, max_lengths=torch.tensor([3]),
        options=BeamOptions(beam=100, nbest=5, alpha=0.0), source_mask=step.mask,
    )  # fmt: skip
    symbols = [symbol for symbol in range(SYMBOLS) if symbol not in (*NEVER, END)]
    outputs = [each for length in range(3) for each in itertools.product(symbols, repeat=length)]
    table = {output: scored(network, batch, output) for output in outputs}
    assert [tuple(each.tokens) for each in found] == sorted(table, key=lambda each: -table[each])[:5]
    for each in found:
        assert each.score == pytest.approx(table[tuple(each.tokens)], rel=1e-6)


@every_form
@torch.no_grad()
def test_the_alignment_is_the_posterior(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    forward = network.forward_pass(batch)
    found = network.alignment(forward.readout, forward.source, batch.target, batch.target_mask)
    for row in range(len(batch.source)):
        oracle = Oracle(network, batch, row)
        steps, every = len(oracle.target), oracle.all(oracle.target)
        expected = torch.zeros_like(found[row, :steps])
        for places, probability in every.items():
            expected[range(steps), list(places)] += probability / sum(every.values())
        torch.testing.assert_close(found[row, :steps], expected)
        torch.testing.assert_close(expected.sum(1), torch.ones(steps, dtype=expected.dtype))


# --- what cannot be written ---


@torch.no_grad()
@pytest.mark.parametrize("attention", ["monotonic", "hard"])
def test_what_is_called_writable_has_a_probability_and_nothing_else(attention: str) -> None:
    network = tiny(attention=attention, copy=True)
    found = set()
    for source in ([4, NEW, NEWER], [NEW, 4, NEWER, NEW], [5, NEW]):
        symbols = [4, *sorted({each for each in source if each >= SYMBOLS})]
        pairs = [(source, list(target)) for target in itertools.product(symbols, repeat=3)]
        batch = pair_batch([encoded(pair) for pair in pairs])
        for pair, loss in zip(batch.pairs, each_loss(network, batch), strict=True):
            writable = is_writable(pair, network.settings, SYMBOLS)
            assert writable == bool(loss.isfinite()), pair.target
            found.add(writable)
    assert found == ({True, False} if attention == "monotonic" else {True})


def test_what_cannot_be_written_has_no_probability_and_an_alignment() -> None:
    swapped = ([4, NEW, NEWER], [NEWER, 4, NEW])
    network = tiny(**FORMS["monotonic, copy"])
    batch = batch_for(network, [swapped])
    assert network.loss(batch).total.isinf()
    forward = network.forward_pass(batch)
    table = network.log_probabilities_of(forward.readout, forward.source, batch.target, batch.target_mask)
    assert table.isfinite().tolist() == [[True, True, False, True]]
    aligned = network.alignment(forward.readout, forward.source, batch.target, batch.target_mask)
    torch.testing.assert_close(aligned.sum(2), torch.ones(1, 4, dtype=aligned.dtype))


def test_training_pairs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    texts = [("Ada met Babbage", "Babbage traf Ada"), ("yes yes", "ja ja")]
    model = {"attention": "monotonic", "copy": True}
    message = r"attention = 'monotonic' can only copy what the vocabulary lacks, from left to right; set voc"
    with pytest.raises(DataError, match=message):
        train_tiny(tmp_path, texts, model=model, vocabulary=COPYING)


# --- as a model ---

LEARNED: dict[str, Any] = {
    "model": {"hidden": 32},
    "vocabulary": {"kind": "character"},
    "data": {"columns": ["source", "target", "features"]},
    "training": {"epochs": 60, "evaluate_every": 1000, "learning_rate": 0.01},
}
DROPPING = {"overrides": ["model.dropout=0.3", "model.embedding_dropout=0.2"]}


def learned(
    folder: Path, model: dict[str, Any], options: dict[str, Any] | None = None, **training: Any
) -> TrainedRun[TranslatorModel]:
    """Train on the pairs with features, which a small network learns by heart."""
    folder.mkdir(exist_ok=True)
    lines = (f"{pair.source}\t{pair.target}\t{';'.join(pair.features)}\n" for pair in FEATURED)
    (folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    sections = {
        **LEARNED, "model": LEARNED["model"] | model, "training": {**LEARNED["training"], **training},
    }  # fmt: skip
    found = api.train(tables(str(folder / "pairs.tsv"), **sections), output=folder / "run", **(options or {}))
    assert isinstance(found.model, TranslatorModel)
    return found


@pytest.mark.parametrize("model", [{"attention": "monotonic", "features": "encoder"}, {"attention": "hard"}])
def test_inflection_is_learned_by_heart(tmp_path: Path, model: dict[str, Any]) -> None:
    trained = learned(tmp_path, model).model
    lines = [f"{pair.source}\t{';'.join(pair.features)}" for pair in FEATURED]
    assert trained.translate(lines) == [pair.target for pair in FEATURED]
    for pair, row in zip(FEATURED, trained.translations(lines, nbest=3), strict=True):
        assert len({each.text for each in row}) == 3
        scored_pairs = trained.read([replace(pair, target=each.text) for each in row])
        for each, reading in zip(row, scored_pairs, strict=True):
            assert each.hypothesis.log_probability == pytest.approx(reading.score, rel=1e-4)


@pytest.mark.parametrize("model", [FORMS["monotonic, copy"], {"attention": "hard"}])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, model: dict[str, Any]) -> None:
    training = {"epochs": 6, "checkpoint_every": 2, "schedule": "constant"}
    whole = learned(tmp_path / "whole", model, DROPPING, **training)
    learned(tmp_path / "parts", model, DROPPING, **training, max_steps=3)
    parts = learned(tmp_path / "parts", model, {**DROPPING, "resume": True}, **training)
    assert_equal_weights(weights_of(whole), weights_of(parts))


def test_other_objectives_go_through(tmp_path: Path) -> None:
    model = FORMS["monotonic, copy"]
    run = learned(tmp_path / "r", model, DROPPING, epochs=3, r_drop=0.5, hallucinate=1.0)
    assert math.isfinite(run.result.metrics["loss"])
    for objective in ("mrt", "self_critical"):
        options = {**DROPPING, "initial": run.path}
        tuned = learned(tmp_path / objective, model, options, epochs=2, objective=objective, samples=3)
        assert math.isfinite(tuned.result.metrics["loss"])
    overrides = [f"training.teachers=['{run.path}']", "training.adversarial=0.1"]
    taught = learned(tmp_path / "t", {"attention": "hard", "copy": True}, {"overrides": overrides}, epochs=2)
    assert math.isfinite(taught.result.metrics["loss"])


def test_what_is_written_at_the_end_of_the_source_is_aligned_with_no_word() -> None:
    parts = {name: Part(name, tuple(FEATURED), "memory", name) for name in ("train", "dev")}
    sections = {**LEARNED, "model": {"attention": "monotonic"}}
    model = untrained(TranslationData(parts), **{n: sections[n] for n in ("model", "vocabulary", "data")})
    (scored_pair,) = model.read(FEATURED[:1])
    assert scored_pair.attention.shape == (len("gesagt") + 1, 2 + len("sagen") + 1)
    assert not scored_pair.attention[:, :2].any()  # the features
    ended = scored_pair._replace(attention=numpy.eye(8)[[2, 3, 4, 5, 6, 7, 7]])
    assert model.alignment(FEATURED[0], ended) == "0-0 1-1 2-2 3-3 4-4"


def test_an_ensemble_with_another_kind_of_network_is_the_mean_of_both() -> None:
    models = [
        double(untrained(model=each, vocabulary={"kind": "character"}))
        for each in ({"attention": "monotonic", "copy": True}, {"decoder": "edit"}, {})
    ]
    for other in models[1:]:
        pairs = pairs_of()[:4]
        outputs = [best.hypothesis for (best,) in TranslatorEnsemble([models[0], other]).search(pairs)]
        own, theirs = (model.read(pairs, [each.tokens for each in outputs]) for model in (models[0], other))
        for hypothesis, a, b in zip(outputs, own, theirs, strict=True):
            both = zip(a.log_probabilities, b.log_probabilities, strict=True)
            mean = [math.log((math.exp(x) + math.exp(y)) / 2) for x, y in both]
            found = hypothesis.token_log_probabilities
            assert found == pytest.approx(mean[: len(found)], rel=1e-9)


@pytest.mark.parametrize("cell", [name for name in CELLS if name not in BATCH_NORMALISED])
@torch.no_grad()
def test_every_cell_steps_as_it_reads(cell: str) -> None:
    network = tiny(cell=cell, attention="monotonic", decoder_layers=2)
    batch = batch_for(network)
    source = network.encode(batch)
    table = network.log_probabilities(network.read(source, batch.inputs), source)
    step = HardAttentionStep(network, source, table.shape[2] - SYMBOLS)
    state = step.initial()
    for number in range(batch.inputs.shape[1]):
        result = step(batch.inputs[:, number], state)
        state, real = result.state, batch.target_mask[:, number]
        torch.testing.assert_close(result.scores[real], table[real, number], rtol=1e-9, atol=1e-9)


def test_the_decoder_that_fits_is_the_default() -> None:
    assert ModelSettings.model_validate({"attention": "monotonic"}).decoder == "parallel"
    assert ModelSettings.model_validate({}).decoder == "input_feeding"
