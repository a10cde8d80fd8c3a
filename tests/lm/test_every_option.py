"""Language models with every structure and regulariser of the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.stepping import stepper_of
from seqtool.nn.regularization import SequenceDropout
from tests.lm.tiny_text import assert_equal_weights, network_of, random_ids, train_tiny, weights_of
from tests.nn.cells.making import EVERYTHING, REGULARISERS, STARTS, STRUCTURES

OPTIONS = STRUCTURES | REGULARISERS
SYMBOLS = torch.as_tensor(random_ids(14)).long().view(2, 7)
TRAINED = {"cell": "peephole_lstm", "layers": 2, **EVERYTHING}


def features_of(network: LanguageNetwork) -> torch.Tensor:
    return network(SYMBOLS, network.initial(2))[0].features


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("cell", ["lstm", "coupled_lstm", "sru"])
@torch.no_grad()
def test_symbol_by_symbol_gives_what_all_at_once_gives(option: str, cell: str) -> None:
    if (cell, option) == ("sru", "weight drop"):
        return  # refused
    network = network_of(cell=cell, layers=3, **OPTIONS[option])
    outputs, states = network(SYMBOLS, network.initial(2))
    stepper = stepper_of(network, network.initial(2))
    for step in range(SYMBOLS.shape[1]):
        found = stepper.step(SYMBOLS[:, step]).log_softmax(1)
        expected = network.log_probabilities(outputs.features[:, step])
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(stepper.states(), states, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("locked", [True, False])
def test_every_dropout_is_told_whether_it_is_locked(locked: bool) -> None:
    found = [
        each
        for each in network_of(layers=2, dropout=0.3, locked=locked).modules()
        if isinstance(each, SequenceDropout)
    ]
    assert len(found) > 2
    assert all(each.locked == locked for each in found)


@pytest.mark.parametrize("option", REGULARISERS)
def test_regularisers_act_in_training(option: str) -> None:
    plain, network = (network_of(cell="lstm", **options).train() for options in ({}, REGULARISERS[option]))
    assert not features_of(network).equal(features_of(plain))
    assert not features_of(network).equal(features_of(network))
    network.eval()
    assert features_of(network).equal(features_of(network))
    if option != "zoneout":  # its expectation is a different function from the plain network
        assert features_of(network).equal(features_of(plain.eval()))


@pytest.mark.parametrize("option", STARTS)
def test_starts_are_those_asked_for(option: str) -> None:
    weights = []
    for options in ({}, STARTS[option]):
        torch.manual_seed(1)
        network = LanguageNetwork(9, network_of(**options).settings)
        weights.append(torch.cat([parameter.flatten() for parameter in network.stack.parameters()]))
    assert weights[0].shape == weights[1].shape
    assert not weights[0].equal(weights[1])


def test_a_model_with_everything_is_saved_and_resumed_to_the_bit(tmp_path: Path) -> None:
    training: dict[str, Any] = {
        "epochs": 3, "sample_length": 0, "schedule": "constant", "warmup_steps": 0,
        "gradient_noise": 0.01, "norm_penalty": 0.1, "r_drop": 0.5,
        "label_smoothing": 0.1, "checkpoint_every": 2,
    }  # fmt: skip
    whole = train_tiny(tmp_path / "whole", model=TRAINED, training=training)
    half = {**training, "max_steps": 4}
    train_tiny(tmp_path / "parts", model=TRAINED, training=half)
    parts = train_tiny(tmp_path / "parts", model=TRAINED, training=training, options={"resume": True})
    assert_equal_weights(weights_of(whole), weights_of(parts))
    loaded = LanguageModel.load(tmp_path / "whole" / "run", device="cpu")
    assert_equal_weights(loaded.network.state_dict(), weights_of(whole))


def test_adversarial_training_goes_through(tmp_path: Path) -> None:
    training = {"epochs": 6, "sample_length": 0, "adversarial": 0.05}
    run = train_tiny(tmp_path, model={"layers": 2}, training=training)
    assert run.result.metrics["nats_per_character"] < 3.2
