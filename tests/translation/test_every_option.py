"""Translators with every structure and regulariser of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.nn.regularization import SequenceDropout
from seqtool.translation.model import Translator
from seqtool.translation.prediction import TranslatorModel
from tests.nn.cells.making import EVERYTHING, REGULARISERS, STRUCTURES
from tests.translation.tiny_pairs import assert_equal_weights, sources_of, train_tiny, weights_of
from tests.translation.tiny_translator import DECODERS, batch_for, tiny

OPTIONS = STRUCTURES | REGULARISERS
LAYERS = {"cell": "lstm", "encoder_layers": 2, "decoder_layers": 3}


def features_of(model: Translator) -> torch.Tensor:
    return model.forward_pass(batch_for(model)).readout.features


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_decoding_step_by_step_gives_what_all_at_once_gives(decoder: str, option: str) -> None:
    model = tiny(decoder=decoder, **LAYERS, **OPTIONS[option]).eval()
    batch = batch_for(model)
    source = model.encode(batch)
    readout, embedded = model.read(source, batch.inputs), model.target(batch.inputs)
    state = model.decoder.initial(source.start, source.memory.mask.shape[1])
    advance = model.decoder.stepper(source.memory)
    for step in range(embedded.shape[1]):
        output, state = advance(model.decoder.project(embedded[:, step]), state)
        torch.testing.assert_close(output.weights, readout.weights[:, step], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(output.hidden, readout.hidden[:, step], rtol=1e-9, atol=1e-9)
    assert all(len(part) == len(batch.source) for part in state)


@pytest.mark.parametrize("locked", [True, False])
def test_every_dropout_is_told_whether_it_is_locked(locked: bool) -> None:
    found = [
        each
        for each in tiny(**LAYERS, dropout=0.3, locked=locked).modules()
        if isinstance(each, SequenceDropout)
    ]
    assert len(found) > 2
    assert all(each.locked == locked for each in found)


@pytest.mark.parametrize("option", REGULARISERS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_regularisers_act_in_training(decoder: str, option: str) -> None:
    model = tiny(decoder=decoder, cell="lstm", **REGULARISERS[option]).train()
    assert not features_of(model).equal(features_of(model))
    model.eval()
    assert features_of(model).equal(features_of(model))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_parameter_has_a_finite_gradient(decoder: str, option: str) -> None:
    model = tiny(decoder=decoder, **LAYERS, **OPTIONS[option]).train()
    model.loss(batch_for(model)).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_model_with_everything_is_saved_and_resumed_to_the_bit(tmp_path: Path) -> None:
    model = {**LAYERS, "cell": "peephole_lstm", **EVERYTHING}
    training = {
        "epochs": 4, "schedule": "constant", "warmup_steps": 0,
        "gradient_noise": 0.01, "norm_penalty": 0.1, "r_drop": 0.5, "checkpoint_every": 2,
    }  # fmt: skip
    whole = train_tiny(tmp_path / "whole", model=model, training=training)
    train_tiny(tmp_path / "parts", model=model, training={**training, "max_steps": 3})
    parts = train_tiny(tmp_path / "parts", model=model, training=training, options={"resume": True})
    assert_equal_weights(weights_of(whole), weights_of(parts))
    loaded = TranslatorModel.load(tmp_path / "whole" / "run", device="cpu")
    assert loaded.translate(sources_of()) == whole.model.translate(sources_of())


def test_adversarial_training_goes_through(tmp_path: Path) -> None:
    training = {
        "epochs": 8, "evaluate_every": 1000, "learning_rate": 0.02, "select": "loss", "adversarial": 0.05,
    }  # fmt: skip
    run = train_tiny(tmp_path, model={"cell": "gru"}, training=training)
    assert run.result.metrics["loss"] < 3.0
