"""The network of a translator: losses, distributions, padding, gradients, bridges, in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqtool.nn.cells import Cell
from seqtool.nn.cells.running import run_cell_plainly
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.translation.batches import Batch
from seqtool.translation.model import Source, Translator, coverage_overlap, hidden_of_output
from seqtool.translation.vocabulary import END, PADDING, UNKNOWN
from tests.translation.tiny_translator import (
    FORMS,
    NEW,
    NEWER,
    PAIRS,
    SYMBOLS,
    assert_close,
    batch_for,
    gradients,
    pairs_for,
    tiny,
)

RICH = [name for name in FORMS if name.endswith(("coverage, copy", "residual layers", "heads", "dot"))]
PADDED = [name for name in FORMS if name.endswith(("coverage, copy", "gru, layers", "dot", "positions"))]


def table_of(model: Translator, batch: Batch) -> Tensor:
    """Log-probabilities of every step, [B, T, V + extra]."""
    source = model.encode(batch)
    return model.log_probabilities(model.read(source, batch.inputs), source)


def log_likelihood(table: Tensor, batch: Batch) -> Tensor:
    """The loss of all targets, computed from the distributions."""
    found = table.gather(2, batch.target[..., None])[..., 0]
    return found[batch.target_mask].sum()


def wider(batch: Batch, extra: int) -> Batch:
    """The batch with more padding on both sides."""
    pad = functional.pad
    return replace(
        batch,
        source=pad(batch.source, (0, extra), value=PADDING),
        symbols=pad(batch.symbols, (0, extra), value=NOT_COPYABLE),
        inputs=pad(batch.inputs, (0, extra), value=PADDING),
        target=pad(batch.target, (0, extra), value=PADDING),
        target_mask=pad(batch.target_mask, (0, extra), value=False),
    )


# The definition of the loss


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_is_minus_the_log_probability_of_the_targets(form: str) -> None:
    """The distributions that the loss is taken from sum to 1."""
    model = tiny(**FORMS[form])
    batch = batch_for(model)
    loss, table = model.loss(batch), table_of(model, batch)
    assert (loss.count, loss.unit) == (int(batch.target_mask.sum()), "token")
    torch.testing.assert_close(loss.total, -log_likelihood(table, batch))
    assert (table.exp() >= 0).all()
    torch.testing.assert_close(table.exp().sum(2), torch.ones(table.shape[:2], dtype=torch.float64))


@pytest.mark.parametrize("form", sorted({*RICH, *PADDED}))
def test_a_batch_costs_what_its_sentences_cost(form: str) -> None:
    """Loss and gradients with more padding, label smoothing and the coverage loss."""
    model = tiny(**FORMS[form])
    weight = 0.5 if model.settings.coverage else 0.0
    together = model.loss(wider(batch_for(model), 2), smoothing=0.1, coverage_loss=weight).total
    alone = [
        model.loss(batch_for(model, [pair]), smoothing=0.1, coverage_loss=weight).total
        for pair in pairs_for(model)
    ]
    torch.testing.assert_close(together, torch.stack(alone).sum())
    assert_close(gradients(model, together), gradients(model, torch.stack(alone).sum()))


@pytest.mark.parametrize("more", [{}, {"layer_norm": True}], ids=["", "norm"])
@pytest.mark.parametrize("form", [name for name in FORMS if not name.endswith("no attention")])
def test_every_parameter_is_learned(form: str, more: dict[str, Any]) -> None:
    """Except for the readout of a pointer network, which no step reads."""
    model = tiny(**{**FORMS[form], **more})
    found = gradients(model, model.loss(batch_for(model)).total)
    unread: set[str] = set()
    if form.endswith("positions") and model.settings.decoder != "input_feeding":
        unread = {"decoder.context", "decoder.input", "decoder.output.weight", "decoder.output.bias"}
    assert {name for name, gradient in found.items() if not gradient.any()} <= unread


@pytest.mark.parametrize("form", RICH)
def test_gradients_agree_with_differences_along_a_random_direction(form: str) -> None:
    """One random direction per parameter: a wrong entry shows in almost every direction."""
    model = tiny(**FORMS[form])
    batch, step = batch_for(model), 1e-6
    weight = 0.5 if model.settings.coverage else 0.0

    def total() -> Tensor:
        return model.loss(batch, smoothing=0.1, coverage_loss=weight).total

    found = gradients(model, total())
    source = torch.Generator().manual_seed(9)
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
        if name in ("source.weight", "target.weight"):
            direction[PADDING] = 0.0  # the row that is never trained
        values = []
        with torch.no_grad():
            for sign in (1, -2):
                parameter.add_(direction, alpha=sign * step)
                values.append(total())
            parameter.add_(direction, alpha=step)
        expected = (values[0] - values[1]) / (2 * step)
        along = (found[name] * direction).sum()
        torch.testing.assert_close(along, expected, rtol=1e-6, atol=1e-6, msg=name)


def test_smoothing_spreads_its_share_over_the_vocabulary() -> None:
    model = tiny()
    batch = batch_for(model)
    table = table_of(model, batch)
    expected = 0.8 * log_likelihood(table, batch) + 0.2 * table.mean(2)[batch.target_mask].sum()
    torch.testing.assert_close(model.loss(batch, smoothing=0.2).total, -expected)


# Padding


@pytest.mark.parametrize("form", PADDED)
def test_what_stands_at_the_padding_of_a_source_never_matters(form: str) -> None:
    model = tiny(**{**FORMS[form], "tied": "none"})
    batch = batch_for(model)
    results = []
    for filler in (0.0, torch.nan):
        with torch.no_grad():
            model.source.weight[PADDING] = filler
        total = model.loss(batch, smoothing=0.1).total
        results.append({**gradients(model, total), "loss": total})
    assert_close(results[0], results[1], 1e-14)


@pytest.mark.parametrize("form", PADDED)
def test_what_stands_at_the_padding_of_a_target_never_matters(form: str) -> None:
    """The embedding of padding may be any number, however large."""
    model = tiny(**{**FORMS[form], "tied": "none"})
    batch = batch_for(model)
    results = []
    for filler in (0.0, 1e6):
        with torch.no_grad():
            model.target.weight[PADDING] = filler
        total = model.loss(batch, smoothing=0.1).total
        results.append({**gradients(model, total), "loss": total})
    assert_close(results[0], results[1], 1e-14)


@pytest.mark.parametrize("form", ["input_feeding, lstm, coverage, copy", "parallel, lstm, plain"])
def test_what_stands_at_the_padding_of_a_target_may_be_no_number(form: str) -> None:
    model = tiny(**{**FORMS[form], "tied": "none"})
    batch = batch_for(model)
    weight = 0.5 if model.settings.coverage else 0.0
    with torch.no_grad():
        model.target.weight[PADDING] = torch.nan
    total = model.loss(batch, coverage_loss=weight).total
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients(model, total).values())


# Where the decoder starts


def starts(model: Translator, pairs: list[tuple[list[int], list[int]]]) -> Source:
    batch = batch_for(model, pairs)
    return model.encode(batch)


def states_by_hand(model: Translator, ids: list[int]) -> tuple[Tensor, Tensor]:
    """The outputs of both directions of a one-layer encoder over one sentence, [S, H] each, in text order."""
    embedded = model.source.weight[torch.tensor([*ids, END])][None]
    layer = model.encoder.get_submodule("layers.0")
    ahead, back = layer.get_submodule("ahead"), layer.get_submodule("back")
    outputs = []
    for cell, inputs in ((ahead, embedded), (back, embedded.flip(1))):
        assert isinstance(cell, Cell)
        outputs.append(run_cell_plainly(cell, inputs, cell.initial(1, inputs))[0][0])
    return outputs[0], outputs[1].flip(0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bridge", ["last", "mean", "learned"])
def test_the_decoder_starts_from_the_true_ends_of_the_encoder(bridge: str, cell: str) -> None:
    model = tiny(bridge=bridge, cell=cell)
    sentences = [[4, 8, 5, 8], [7], [9, 4]]
    source = starts(model, [(ids, [4]) for ids in sentences])
    for row, ids in enumerate(sentences):
        ahead, back = states_by_hand(model, ids)
        if bridge == "last":
            expected = ahead[-1] + back[0]
        else:
            assert model.bridge is not None
            both = torch.cat([ahead, back], 1).mean(0)
            if bridge == "learned":
                both = torch.cat([ahead[-1], back[0]])
            expected = torch.tanh(model.bridge.weight @ both + model.bridge.bias)
        torch.testing.assert_close(source.start[row], expected)


def test_the_memory_is_made_of_the_states_of_both_directions() -> None:
    model = tiny(decoder="parallel", attention="general")
    sentences = [[4, 8, 5, 8], [7]]
    source = starts(model, [(ids, [4]) for ids in sentences])
    for row, ids in enumerate(sentences):
        states = torch.cat(states_by_hand(model, ids), 1)
        expected = states @ model.decoder.attention.get_parameter("key.weight").t()
        torch.testing.assert_close(source.memory.keys[row, : len(states)], expected)
        torch.testing.assert_close(
            source.memory.after[row, : len(states)], states @ model.decoder.context.t()
        )
        assert source.memory.mask[row].tolist() == [True] * len(states) + [False] * (4 - len(ids))


# Coverage


def test_the_coverage_loss_sums_what_is_attended_to_again() -> None:
    source = torch.Generator().manual_seed(0)
    weights = torch.rand(3, 4, 5, generator=source, dtype=torch.float64).softmax(2)
    mask = torch.arange(4) < torch.tensor([4, 1, 2])[:, None]
    expected = 0.0
    for rows, real in zip(weights.tolist(), mask.tolist(), strict=True):
        covered = [0.0] * 5
        for row, counts in zip(rows, real, strict=True):
            if counts:
                expected += sum(min(a, c) for a, c in zip(row, covered, strict=True))
            covered = [a + c for a, c in zip(row, covered, strict=True)]
    assert float(coverage_overlap(weights, mask)) == pytest.approx(expected, abs=1e-12)
    assert float(coverage_overlap(weights[:, :1], mask[:, :1])) == 0


def test_the_coverage_loss_is_added_with_its_weight() -> None:
    model = tiny(coverage=True)
    batch = batch_for(model)
    source = model.encode(batch)
    overlap = coverage_overlap(model.read(source, batch.inputs).weights, batch.target_mask)
    found = model.loss(batch, coverage_loss=0.7).total - model.loss(batch).total
    torch.testing.assert_close(found, 0.7 * overlap)


# Copying


@pytest.mark.parametrize("decoder", ["input_feeding", "conditional", "bahdanau", "parallel"])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_mixture_is_that_of_the_gate_made_of_context_state_and_input(decoder: str, heads: int) -> None:
    """p = sigmoid(w_c . context + w_s . state + w_y . input + b), the probability of generating."""
    model = tiny(decoder=decoder, copy=True, heads=heads, bridge="last")
    batch = batch_for(model, PAIRS[2:3])  # no padding
    source = model.encode(batch)
    readout = model.read(source, batch.inputs)
    embedded = model.target(model.known(batch.inputs))
    state = model.decoder.initial(source.start, batch.source.shape[1])
    output = model.decoder.run(embedded, source.memory, state)
    states = torch.cat(states_by_hand(model, model.known(batch.source)[0, :-1].tolist()), 1)
    parts = states.chunk(heads, 1)
    weights = output.weights[0].chunk(heads, 1)
    context = torch.cat([each @ part for each, part in zip(weights, parts, strict=True)], 1)
    assert model.gate is not None and model.gate_context is not None
    logit = model.gate(torch.cat([output.hidden, embedded], 2))[0, :, 0] + context @ model.gate_context[0]
    torch.testing.assert_close(readout.gate[0], logit)
    attention = torch.stack(weights).mean(0)
    share = torch.sigmoid(logit)[:, None]
    written = (readout.features[0] @ model.projection.t() + model.bias).softmax(1)
    expected = functional.pad(share * written, (0, 2))
    copyable = attention[:, :-1] / attention[:, :-1].sum(1, keepdim=True)  # the end is never copied
    for position, symbol in enumerate(PAIRS[2][0]):
        expected[:, symbol] += (1 - share[:, 0]) * copyable[:, position]
    torch.testing.assert_close(model.log_probabilities(readout, source)[0].exp(), expected)


def test_a_source_without_anything_to_copy_is_only_written_to() -> None:
    model = tiny(copy=True)
    pairs = [([4, NEW], [NEW, 5]), ([7], [5])]
    batch = batch_for(model, pairs)
    symbols = batch.symbols.clone()
    symbols[1] = NOT_COPYABLE
    batch = replace(batch, symbols=symbols)
    source = model.encode(batch)
    readout = model.read(source, batch.inputs)
    found = model.log_probabilities(readout, source)
    expected = (readout.features[1] @ model.projection.t() + model.bias).log_softmax(1)
    torch.testing.assert_close(found[1, :, :SYMBOLS], expected)
    total = model.loss(batch).total
    torch.testing.assert_close(total, -log_likelihood(table_of(model, batch), batch))
    assert all(gradient.isfinite().all() for gradient in gradients(model, total).values())


def test_symbols_that_a_source_lacks_are_impossible_for_it() -> None:
    model = tiny(copy=True)
    batch = batch_for(model)
    source = model.encode(batch)
    table = model.log_probabilities(model.read(source, batch.inputs), source, extra=5)
    assert table.shape[2] == SYMBOLS + 5
    possible = (table > -torch.inf).all(1)
    assert possible[:, :SYMBOLS].all()
    for row, (symbols, _) in enumerate(PAIRS):
        for symbol in range(SYMBOLS, SYMBOLS + 5):
            assert bool(possible[row, symbol]) == (symbol in symbols)


def test_what_only_the_source_knows_is_embedded_as_unknown() -> None:
    model = tiny(copy=True)
    assert model.known(torch.tensor([4, NEW, NEWER, UNKNOWN])).tolist() == [4, UNKNOWN, UNKNOWN, UNKNOWN]
    batch = batch_for(model)
    source = model.encode(batch)
    other = torch.where(batch.inputs >= SYMBOLS, UNKNOWN, batch.inputs)
    assert model.read(source, batch.inputs).features.equal(model.read(source, other).features)


def test_a_pointer_network_can_only_point() -> None:
    model = tiny(output="positions")
    batch = batch_for(model)
    table = table_of(model, batch)
    for row, (symbols, _) in enumerate(PAIRS):
        assert set(torch.nonzero(table[row].exp().sum(0))[:, 0].tolist()) == {*symbols, END}


def test_a_pointer_network_has_no_projection() -> None:
    writing, pointing = (
        tiny(output=kind, tied="none", layer_norm=True) for kind in ("vocabulary", "positions")
    )
    counts = [sum(each.numel() for each in model.parameters()) for model in (writing, pointing)]
    assert counts[0] - counts[1] == SYMBOLS * 6 + SYMBOLS + 2 * 6
    assert set(dict(writing.named_parameters())) - set(dict(pointing.named_parameters())) == {
        "projection",
        "bias",
        "readout_norm.weight",
        "readout_norm.bias",
    }


# Sharing, dropout, precision


def test_tied_weights_are_one_parameter() -> None:
    everything, output, nothing = (tiny(tied=tied) for tied in ("all", "output", "none"))
    assert everything.source is everything.target
    assert everything.projection is everything.target.weight
    assert output.source is not output.target
    assert output.projection is output.target.weight
    assert nothing.projection is not nothing.target.weight
    assert nothing.projection.shape == nothing.target.weight.shape
    rows = SYMBOLS * 6
    counts = [sum(each.numel() for each in model.parameters()) for model in (everything, output, nothing)]
    assert counts == [counts[0], counts[0] + rows, counts[0] + 2 * rows]


def test_unread_words_are_replaced_in_training_but_never_controls() -> None:
    model = tiny(word_dropout=0.5)
    ids = torch.arange(SYMBOLS).expand(2000, SYMBOLS)
    seen: list[Tensor] = []
    model.target.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(0)
    model.embedder(2000)(ids[:, 4])
    model.embedder(2000)(ids[:, END])
    model.eval().embedder(2000)(ids[:, 4])
    trained, end, evaluated = seen
    assert set(trained.tolist()) == {UNKNOWN, 4}
    assert float((trained == UNKNOWN).double().mean()) == pytest.approx(0.5, abs=0.05)
    assert set(end.tolist()) == {END}
    assert set(evaluated.tolist()) == {4}


def test_the_embedder_drops_the_same_units_at_every_step() -> None:
    model = tiny(embedding_dropout=0.5, tied="none")
    with torch.no_grad():
        model.target.weight.fill_(1.0)
    embed = model.embedder(50)
    first, second = embed(torch.full((50,), 4)), embed(torch.full((50,), NEW))
    assert first.equal(second)
    assert set(first.flatten().tolist()) == {0.0, 2.0}
    assert not first[0].equal(first[1]) or not first[0].equal(first[2])
    assert set(model.eval().embedder(50)(torch.full((50,), 4)).flatten().tolist()) == {1.0}


def test_evaluation_drops_nothing() -> None:
    model, plain = tiny(dropout=0.5, embedding_dropout=0.5, word_dropout=0.5).eval(), tiny()
    batch = batch_for(model)
    assert model.loss(batch).total.equal(plain.loss(batch).total)
    assert not model.train().loss(batch).total.equal(plain.loss(batch).total)


@pytest.mark.parametrize("decoder", ["input_feeding", "conditional", "bahdanau", "parallel"])
def test_half_precision_is_close_to_full(decoder: str) -> None:
    model = tiny(decoder=decoder, copy=True, layer_norm=True, decoder_layers=2).float()
    batch = batch_for(model)
    exact = model.loss(batch, smoothing=0.1).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = model.loss(batch, smoothing=0.1).total
    assert total.dtype == torch.float32
    assert not total.equal(exact)
    torch.testing.assert_close(total, exact, rtol=0.02, atol=0.0)
    expected = torch.cat([each.flatten() for each in gradients(model, exact).values()])
    found = torch.cat([each.flatten() for each in gradients(model, total).values()])
    assert float((found - expected).norm() / expected.norm()) < 0.05


def test_the_width_of_an_output_is_that_of_the_readout_or_of_the_state() -> None:
    for decoder, width in (("input_feeding", 6), ("conditional", 4), ("bahdanau", 4), ("parallel", 4)):
        model = tiny(decoder=decoder)
        batch = batch_for(model)
        source = model.encode(batch)
        state = model.decoder.initial(source.start, batch.source.shape[1])
        output = model.decoder.run(model.target(batch.inputs), source.memory, state)
        assert output.hidden.shape[2] == hidden_of_output(model.settings) == width
