"""Translators with every cell: decoder steps equal whole sequences, training, and one clear refusal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqtool.errors import SettingsError
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cells import CELLS
from seqtool.translation.prediction import TranslatorModel
from tests.nn.cells.making import TRAINED
from tests.translation.tiny_pairs import sources_of, tiny_settings, train_tiny
from tests.translation.tiny_translator import DECODERS, batch_for, tiny

every_cell = pytest.mark.parametrize("cell", [name for name in CELLS if name not in BATCH_NORMALISED])


@every_cell
@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_decoding_step_by_step_gives_what_all_at_once_gives(decoder: str, cell: str) -> None:
    model = tiny(cell=cell, decoder=decoder, decoder_layers=2).eval()
    batch = batch_for(model)
    source = model.encode(batch)
    readout = model.read(source, batch.inputs)
    embedded = model.target(batch.inputs)
    state = model.decoder.initial(source.start, source.memory.mask.shape[1])
    advance = model.decoder.stepper(source.memory)
    for step in range(embedded.shape[1]):
        output, state = advance(model.decoder.project(embedded[:, step]), state)
        torch.testing.assert_close(output.weights, readout.weights[:, step], rtol=1e-9, atol=1e-9)
    assert all(len(part) == len(batch.source) for part in state)


@every_cell
@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_every_decoder_can_be_stepped_in_half_precision(decoder: str, cell: str) -> None:
    model = tiny(cell=cell, decoder=decoder, decoder_layers=2).float().eval()
    batch = batch_for(model)
    results = []
    for half in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            source = model.encode(batch)
            state = model.decoder.initial(source.start, source.memory.mask.shape[1])
            advance = model.decoder.stepper(source.memory)
            output, state = advance(model.decoder.project(model.target(batch.inputs[:, 0])), state)
            output, state = advance(model.decoder.project(model.target(batch.inputs[:, 1])), state)
        results.append(output.hidden.float())
    torch.testing.assert_close(*results, rtol=0.1, atol=0.2)


@every_cell
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_source_reaches_the_loss_and_gradients_are_finite(decoder: str, cell: str) -> None:
    model = tiny(cell=cell, decoder=decoder)
    batch = batch_for(model)
    model.loss(batch).total.backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in found)
    assert model.decoder.context.grad is not None
    changed = replace(batch, source=torch.where(batch.source == 4, 5, batch.source))
    assert model.loss(batch).total.item() != model.loss(changed).total.item()


@pytest.mark.parametrize("cell", TRAINED)
def test_a_few_passes_lower_the_loss_and_what_is_saved_is_what_was_trained(cell: str, tmp_path: Path) -> None:
    model = {"cell": cell, "decoder_cell": "gru" if cell in BATCH_NORMALISED else None}
    training = {"epochs": 8, "evaluate_every": 1000, "learning_rate": 0.02, "select": "loss"}
    run = train_tiny(tmp_path, model=model, training=training)
    assert run.result.metrics["loss"] < 3.0  # 3.5 if all symbols were equally likely
    loaded = TranslatorModel.load(tmp_path / "run", device="cpu")
    for name, tensor in run.model.network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    assert loaded.translate(sources_of()) == run.model.translate(sources_of())


@pytest.mark.parametrize("cell", sorted(BATCH_NORMALISED))
def test_cells_that_normalise_over_the_batch_are_for_encoders(cell: str) -> None:
    message = (
        f"model: cell = '{cell}' normalises over the rows of a batch, which in a decoder end at different "
        "steps: --set model.decoder_cell=layernorm_gru, for instance"
    )
    both = tiny(cell=cell, decoder_cell="lstm")
    assert type(both.decoder.cell) is CELLS["lstm"]
    assert {type(layer.ahead) for layer in both.encoder.layers} == {CELLS[cell]}
    with pytest.raises(SettingsError) as caught:
        tiny_settings(model={"cell": cell})
    assert message in str(caught.value)


def test_a_setting_has_to_suit_one_of_two_cells_and_reaches_that_one() -> None:
    model = tiny(cell="sru", decoder_cell="lstm", weight_drop=0.2)
    assert model.decoder.cell.options.weight_drop == 0.2
    assert all(layer.ahead.options.weight_drop == 0.0 for layer in model.encoder.layers)
    with pytest.raises(SettingsError, match="weight_drop does not go with cell = 'sru', which has no"):
        tiny_settings(model={"cell": "sru", "decoder_cell": "qrnn", "weight_drop": 0.2})
    with pytest.raises(SettingsError, match="dilation does not go with cell = 'light_gru'"):
        tiny_settings(model={"cell": "light_gru", "decoder_cell": "lstm", "dilation": 2, "encoder_layers": 2})
    with pytest.raises(SettingsError, match="decoder_cell = 'light_gru' normalises over the rows"):
        tiny_settings(model={"cell": "gru", "decoder_cell": "light_gru"})
