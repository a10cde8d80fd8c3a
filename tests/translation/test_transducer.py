"""The edit transducer against walks over all its actions, and its search, in float64."""

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
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.parallel import SentencePair
from seqtool.training.job import TrainedRun
from seqtool.translation.batches import Batch, EncodedPair, pair_batch
from seqtool.translation.data import Part, TranslationData
from seqtool.translation.edit_step import EditStep
from seqtool.translation.embedding import embed
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.settings import ModelSettings
from seqtool.translation.train import prepare
from seqtool.translation.transducer import EditedSource, Transducer
from seqtool.translation.vocabulary import END, NEVER, PADDING, START, EncodedSource
from tests.translation.tiny_pairs import assert_equal_weights, tables, tiny_settings, untrained, weights_of
from tests.translation.tiny_translator import NEW, NEWER, SYMBOLS, Pair, assert_close, encoded, gradients

FORMS: dict[str, dict[str, Any]] = {
    "gru": {},
    "lstm, layers": {"cell": "lstm", "encoder_layers": 2, "decoder_layers": 2, "residual": True},
    "features apart": {"features": "encoder", "tied": "all", "layer_norm": True},
}
# Symbols that the vocabulary lacks can be copied, in their order, and no others.
PAIRS: list[Pair] = [
    ([4, NEW, 5, NEW], [NEW, 4, 5, 6]),
    ([7], [7, 7]),
    ([6, 5, NEW, 8, NEWER], [NEW, NEWER]),
    ([9, 4], [9, 4, 9]),
    ([5], []),
]


def tiny(seed: int = 0, **model: Any) -> Transducer:
    """A transducer in float64 without dropout; no weight is 0 except those of padding."""
    usual = {"decoder": "edit", "hidden": 4, "embedding": 6, "dropout": 0.0, "embedding_dropout": 0.0}
    torch.manual_seed(seed)
    network = Transducer(SYMBOLS, SYMBOLS, ModelSettings.model_validate({**usual, **model})).double()
    source = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
        for embedding in (network.source, network.target):
            embedding.weight[PADDING] = 0.0
    return network.eval()


def edited(pair: Pair, number: int, *, apart: bool) -> EncodedPair:
    """A pair with one or two features, before the source or apart from it."""
    found, features = encoded(pair), [8, 9][: 1 + number % 2]
    source = found.source._replace(features=tuple(features))
    if not apart:
        before = [NOT_COPYABLE] * len(features)
        ids, symbols = [*features, *found.source.ids], [*before, *found.source.symbols]
        source = EncodedSource(ids, symbols, found.source.extra, len(features))
    return found._replace(source=source)


def batch_for(network: Transducer, pairs: list[Pair] | None = None) -> Batch:
    apart = network.settings.reads_apart
    return pair_batch(
        [edited(pair, n, apart=apart) for n, pair in enumerate(PAIRS if pairs is None else pairs)]
    )


def walks(
    network: Transducer, actions: Tensor, symbols: list[int], target: list[int], step: int, position: int
) -> list[Tensor]:
    """The log probability of each sequence of actions that writes the rest of a target and ends.

    Args:
        network: The network.
        actions: Log probabilities of the actions at each point of the pair, [T, S, A].
        symbols: Extended ids of the source symbols, without the end.
        target: Extended ids of the target, without the end.
        step: Number of target symbols written so far.
        position: Number of source symbols read so far.
    """
    here, found = actions[step, position], []
    if step == len(target) and position == len(symbols):
        found.append(here[2 * SYMBOLS + 2])
    if position < len(symbols):
        rest = walks(network, actions, symbols, target, step, position + 1)
        found += [here[2 * SYMBOLS + 1] + each for each in rest]
    if step < len(target):
        wanted = target[step]
        if wanted < SYMBOLS:
            rest = walks(network, actions, symbols, target, step + 1, position)
            found += [here[wanted] + each for each in rest]
        if position < len(symbols):
            rest = walks(network, actions, symbols, target, step + 1, position + 1)
            if wanted < SYMBOLS:
                found += [here[SYMBOLS + wanted] + each for each in rest]
            if symbols[position] == wanted:
                found += [here[2 * SYMBOLS] + each for each in rest]
    return found


def enumerated(network: Transducer, batch: Batch) -> Tensor:
    """Log probability of each target of a batch, by all its sequences of actions, [B]."""
    actions = network.forward_pass(batch).readout.actions
    found = []
    for row in range(len(batch.source)):
        first = int(batch.first[row])
        length = int((batch.source[row] != PADDING).sum()) - 1
        symbols = batch.symbols[row, first:length].tolist()
        target = batch.target[row, : int(batch.target_mask[row].sum()) - 1].tolist()
        found.append(torch.stack(walks(network, actions[row, :, first:], symbols, target, 0, 0)).logsumexp(0))
    return torch.stack(found)


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_and_its_gradient_equal_the_sum_over_all_actions(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    loss, expected = network.loss(batch), -enumerated(network, batch).sum()
    assert (loss.count, loss.unit) == (int(batch.target_mask.sum()), "token")
    torch.testing.assert_close(loss.total, expected)
    assert_close(gradients(network, loss.total), gradients(network, expected))


@pytest.mark.parametrize("form", FORMS)
def test_the_actions_at_a_point_sum_to_one(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    actions = network.forward_pass(batch).readout.actions.exp()
    torch.testing.assert_close(actions.sum(3), torch.ones(actions.shape[:3], dtype=actions.dtype))
    for symbol in (*NEVER, END):
        assert not actions[..., [symbol, SYMBOLS + symbol]].any()


@pytest.mark.parametrize("form", FORMS)
def test_probabilities_of_symbols_multiply_to_that_of_the_target(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    source = network.encode(batch)
    readout = network.read(source, batch.inputs)
    table = network.log_probabilities(readout, source)
    real = table[batch.target_mask]
    torch.testing.assert_close(real.exp().sum(1), torch.ones(len(real), dtype=real.dtype))
    found = network.log_probabilities_of(readout, source, batch.target, batch.target_mask)
    torch.testing.assert_close(found.sum(1), enumerated(network, batch))
    assert_close(gradients(network, -found.sum()), gradients(network, network.loss(batch).total))


def test_all_outputs_together_have_a_probability_of_one() -> None:
    """Of all outputs of up to three symbols, and of all that go on, for a network that seldom inserts."""
    network = tiny()
    one = batch_for(network, [([4, NEW], [])])
    step = EditStep(network, network.encode(one), 1)
    total, rows = 0.0, [((START,), 0.0, step.initial())]
    with torch.no_grad():
        for _ in range(4):
            following = []
            for output, score, state in rows:
                result = step(torch.tensor([output[-1]]), state)
                log_p = (result.scores - result.log_normaliser[:, None])[0]
                torch.testing.assert_close(float(log_p.exp().sum()), 1.0)
                total += math.exp(score + float(log_p[END]))
                following += [
                    ((*output, symbol), score + float(log_p[symbol]), result.state)
                    for symbol in log_p.isfinite().nonzero()[:, 0].tolist()
                    if symbol != END
                ]
            rows = following
    assert total + sum(math.exp(score) for _, score, _ in rows) == pytest.approx(1.0)


@pytest.mark.parametrize("form", FORMS)
def test_padding_and_the_other_pairs_do_not_matter(form: str) -> None:
    network = tiny(**FORMS[form])
    losses = torch.stack([network.loss(batch_for(network, [pair])).total for pair in PAIRS[:1]])
    whole = batch_for(network)
    torch.testing.assert_close(-enumerated(network, whole)[0], losses[0])
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


@pytest.mark.parametrize("form", FORMS)
def test_every_parameter_is_learned(form: str) -> None:
    network = tiny(**FORMS[form])
    for name, gradient in gradients(network, network.loss(batch_for(network)).total).items():
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_the_order_of_features_read_apart_means_nothing() -> None:
    network = tiny(features="encoder")
    batch = batch_for(network)
    turned = replace(batch, features=batch.features.flip(1))
    torch.testing.assert_close(network.loss(batch).total, network.loss(turned).total)
    other = replace(batch, features=batch.features.clamp(max=8))
    assert not torch.isclose(network.loss(other).total, network.loss(batch).total)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_steps_of_a_search_give_what_the_network_reads(form: str) -> None:
    network = tiny(**FORMS[form])
    batch = batch_for(network)
    source = network.encode(batch)
    table = network.log_probabilities(network.read(source, batch.inputs), source)
    step = EditStep(network, source, table.shape[2] - SYMBOLS)
    state = select(step.initial(), torch.arange(len(batch.source)).repeat_interleave(2))
    for number in range(batch.inputs.shape[1]):
        result = step(batch.inputs[:, number].repeat_interleave(2), state)
        state = result.state
        found = (result.scores - result.log_normaliser[:, None])[::2]
        real = batch.target_mask[:, number]
        torch.testing.assert_close(found[real], table[real, number], rtol=1e-9, atol=1e-9)
        assert result.attention is not None
        sums = result.attention[::2][real].sum(1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


@torch.no_grad()
def test_sentences_that_leave_take_nothing_with_them() -> None:
    network = tiny(decoder_layers=2)
    batch = batch_for(network)
    source, slots = network.encode(batch), 2
    whole, some = EditStep(network, source, 2), EditStep(network, source, 2)
    states = [
        select(step.initial(), torch.arange(len(PAIRS)).repeat_interleave(slots)) for step in (whole, some)
    ]
    kept = torch.tensor([0, 2, 3])
    rows = rows_of(kept, slots)
    inputs = batch.inputs.repeat_interleave(slots, 0)
    first = [step(inputs[:, 0], state) for step, state in zip((whole, some), states, strict=True)]
    some.keep(kept)
    expected = whole(inputs[:, 1], first[0].state)
    found = some(inputs[rows, 1], select(first[1].state, rows))
    torch.testing.assert_close(found.scores, expected.scores[rows])
    torch.testing.assert_close(found.log_normaliser, expected.log_normaliser[rows])


def scored(network: Transducer, batch: Batch, output: tuple[int, ...]) -> float:
    """Log probability of an output of the only source of a batch."""
    one = pair_batch([batch.pairs[0]._replace(target=[*output, END])])
    return float(enumerated(network, one)[0])


@torch.no_grad()
def test_a_search_finds_the_most_probable_outputs_each_once() -> None:
    """Among all outputs of up to three symbols of a source, with their probabilities over all actions."""
    network = tiny(1)
    with torch.no_grad():
        network.output.bias[network.ending] += 4.0
        network.output.bias[:SYMBOLS] -= 2.0  # so that long outputs are improbable
    batch = batch_for(network, [([4, NEW], [])])
    step = EditStep(network, network.encode(batch), 1)
    options = BeamOptions(beam=100, nbest=5, alpha=0.0)
    (found,) = beam_search(
        step, step.initial(), start=START, end=END, max_lengths=torch.tensor([5]), options=options,
        source_mask=step.mask,
    )  # fmt: skip
    texts = [tuple(each.tokens) for each in found]
    assert len(set(texts)) == len(texts) == 5
    symbols = [symbol for symbol in range(SYMBOLS + 1) if symbol not in (PADDING, START, END)]
    table = {
        output: scored(network, batch, output)
        for length in range(4)
        for output in itertools.product(symbols, repeat=length)
        if output.count(NEW) < 2
    }
    best = sorted(table, key=lambda output: -table[output])[:5]
    assert texts == best
    for each in found:
        assert each.score == pytest.approx(table[tuple(each.tokens)], rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_the_alignment_is_the_posterior(form: str) -> None:
    """Of a target of one symbol: the share of the walks that write it at each position."""
    network = tiny(**FORMS[form])
    batch = batch_for(network, [([4, 5, 4], [4])])
    forward = network.forward_pass(batch)
    found = network.alignment(forward.readout, forward.source, batch.target, batch.target_mask)[0]
    torch.testing.assert_close(found.sum(1), torch.ones(2, dtype=found.dtype))
    first = int(batch.first[0])
    actions, symbols = forward.readout.actions[0, :, first:], [4, 5, 4]
    ends = [actions[1, i:3, 2 * SYMBOLS + 1].sum() + actions[1, 3, 2 * SYMBOLS + 2] for i in range(4)]
    ways = []
    for position in range(4):
        before, here = actions[0, :position, 2 * SYMBOLS + 1].sum(), actions[0, position]
        written = [before + here[4] + ends[position]]
        if position < 3:
            written += [before + here[SYMBOLS + 4] + ends[position + 1]]
            written += [before + here[2 * SYMBOLS] + ends[position + 1]] if symbols[position] == 4 else []
        ways.append(torch.stack(written).logsumexp(0))
    torch.testing.assert_close(found[0, first:], torch.stack(ways).softmax(0))
    assert not found[0, :first].any()


def test_a_target_that_cannot_be_written_has_no_probability_and_an_alignment() -> None:
    network = tiny()
    batch = batch_for(network, [([4, NEW], [NEW, NEW])])
    forward = network.forward_pass(batch)
    table = network.log_probabilities_of(forward.readout, forward.source, batch.target, batch.target_mask)
    assert table[0, 0].isfinite()
    assert table[0, 1].isneginf()
    assert table[0, 2].isfinite()
    aligned = network.alignment(forward.readout, forward.source, batch.target, batch.target_mask)
    torch.testing.assert_close(aligned.sum(2), torch.ones(1, 3, dtype=aligned.dtype))


def test_sources_can_be_kept_and_repeated() -> None:
    network = tiny(features="encoder")
    source = network.encode(batch_for(network))
    kept: EditedSource = source.kept(torch.tensor([2, 2, 0]))
    assert torch.equal(kept.keys[0], source.keys[2])
    assert torch.equal(kept.last, source.last[[2, 2, 0]])


# --- as a model ---

FEATURED = [
    SentencePair("sagen", "gesagt", ("V", "PTCP"), line=1),
    SentencePair("holen", "geholt", ("V", "PTCP"), line=2),
    SentencePair("tanzen", "tanze", ("V", "1", "SG"), line=3),
    SentencePair("Ölen", "Öle", ("V", "1", "SG"), line=4),
]
LEARNED: dict[str, Any] = {
    "model": {"decoder": "edit", "features": "encoder", "hidden": 32},
    "vocabulary": {"kind": "character"},
    "data": {"columns": ["source", "target", "features"]},
    "training": {"epochs": 60, "evaluate_every": 1000, "learning_rate": 0.01},
}


def learned(
    folder: Path, options: dict[str, Any] | None = None, **training: Any
) -> TrainedRun[TranslatorModel]:
    """Train on the pairs with features, which a small network learns by heart."""
    folder.mkdir(exist_ok=True)
    lines = (f"{pair.source}\t{pair.target}\t{';'.join(pair.features)}\n" for pair in FEATURED)
    (folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    sections = {**LEARNED, "training": {**LEARNED["training"], **training}}
    found = api.train(tables(str(folder / "pairs.tsv"), **sections), output=folder / "run", **(options or {}))
    assert isinstance(found.model, TranslatorModel)
    return found


def test_a_transducer_learns_to_inflect_and_copies_letters_it_has_never_seen(tmp_path: Path) -> None:
    model = learned(tmp_path).model
    lines = [f"{pair.source}\t{';'.join(pair.features)}" for pair in FEATURED]
    assert model.translate(lines) == [pair.target for pair in FEATURED]
    assert model.translate(["sägen\tPTCP;V"])[0].startswith("gesäg")
    found = model.translations(lines, nbest=3)
    for pair, row in zip(FEATURED, found, strict=True):
        assert len({each.text for each in row}) == 3
        scored = model.read([replace(pair, target=each.text) for each in row])
        for each, reading in zip(row, scored, strict=True):
            assert each.hypothesis.log_probability == pytest.approx(reading.score, rel=1e-4)


DROPPING = {"overrides": ["model.dropout=0.3", "model.embedding_dropout=0.2"]}


def test_what_is_shown_of_a_source_leaves_out_features_read_apart() -> None:
    data = TranslationData({name: Part(name, tuple(FEATURED), "memory", name) for name in ("train", "dev")})
    model = untrained(data, **{name: LEARNED[name] for name in ("model", "vocabulary", "data")})
    (scored,) = model.read(FEATURED[:1])
    assert scored.source_symbols == (*"sagen", "</s>")
    assert scored.attention.shape == (len("gesagt") + 1, len("sagen") + 1)
    # What is inserted after the last letter is aligned with none.
    ended = scored._replace(attention=numpy.eye(6)[[0, 1, 2, 3, 4, 5, 5]])
    assert model.alignment(FEATURED[0], ended) == "0-0 1-1 2-2 3-3 4-4"
    (found,) = embed(model, ["sagen\tV;PTCP"])
    assert (found.words, len(found.vectors)) == ([*"sagen", "</s>"], len("sagen") + 1)


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    training = {"epochs": 6, "checkpoint_every": 2, "schedule": "constant"}
    whole = learned(tmp_path / "whole", DROPPING, **training)
    learned(tmp_path / "parts", DROPPING, **training, max_steps=3)
    parts = learned(tmp_path / "parts", {**DROPPING, "resume": True}, **training)
    assert_equal_weights(weights_of(whole), weights_of(parts))


def test_minimum_risk_training_and_r_drop_go_through(tmp_path: Path) -> None:
    run = learned(tmp_path / "r", DROPPING, epochs=3, r_drop=0.5)
    assert math.isfinite(run.result.metrics["loss"])
    tuned = learned(tmp_path / "m", {**DROPPING, "initial": run.path}, epochs=2, objective="mrt", samples=3)
    assert math.isfinite(tuned.result.metrics["loss"])


def test_dev_pairs_that_it_cannot_write_are_left_out_of_the_loss(tmp_path: Path) -> None:
    extra = SentencePair("ä", "ää", ("V", "PTCP"), line=9)
    data = TranslationData(
        {"train": Part("train", tuple(FEATURED), "m", "0"), "dev": Part("dev", (*FEATURED, extra), "m", "1")}
    )
    work = prepare(tiny_settings("none", **LEARNED), data)
    assert any("dev: 1 pair with symbols in the target" in line for line in work.warnings)
    with torch.inference_mode():
        assert math.isfinite(work.evaluate()["loss"])
