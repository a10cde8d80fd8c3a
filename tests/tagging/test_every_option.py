"""Taggers with every structure and regulariser of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.nn.regularization import SequenceDropout
from seqtool.tagging.batches import Batch, encode
from seqtool.tagging.model import Tagger
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.train import set_word_dropout
from seqtool.text.columns import TaggedSentence
from tests.nn.cells.making import EVERYTHING, REGULARISERS, STRUCTURES
from tests.tagging.tiny_tagger import (
    assert_equal_weights,
    double,
    random_sentences,
    tokens_of,
    train_tiny,
    untrained,
    weights_of,
)

OPTIONS = STRUCTURES | REGULARISERS


def batch_of(model: TaggerModel, sentences: list[TaggedSentence]) -> Batch:
    table = model.vocabularies.form_table(model.description.vocabulary)
    return encode(sentences, model.vocabularies, table, with_tags=False).batch(range(len(sentences)))


QUIET = {"dropout": 0.0, "word_dropout": 0.0, "singleton_dropout": 0.0, "characters": "rnn", "layers": 2}


def tagger(seed: int = 1, **options: object) -> TaggerModel:
    return double(untrained(seed=seed, model={**QUIET, **options}))


@pytest.mark.parametrize("option", OPTIONS)
@torch.no_grad()
def test_scores_do_not_depend_on_the_neighbours(option: str) -> None:
    model, sentences = tagger(**OPTIONS[option]), random_sentences(5)
    model.network.eval()
    together = model.network.scores(batch_of(model, sentences))
    for row, sentence in enumerate(sentences):
        alone = model.network.scores(batch_of(model, [sentence]))[0]
        torch.testing.assert_close(together[row, : len(alone)], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("locked", [True, False])
def test_every_dropout_is_told_whether_it_is_locked(locked: bool) -> None:
    found = [
        each
        for each in tagger(dropout=0.3, locked=locked).network.modules()
        if isinstance(each, SequenceDropout)
    ]
    assert len(found) > 2
    assert all(each.locked == locked for each in found)


@pytest.mark.parametrize("option", REGULARISERS)
def test_regularisers_act_in_training(option: str) -> None:
    rare = REGULARISERS[option].get("word_dropout", 0.0)  # every word here is seen once
    model = tagger(singleton_dropout=rare, **REGULARISERS[option])
    network: Tagger = model.network.train()
    set_word_dropout(network, model.vocabularies, model.description.model)
    batch = batch_of(model, random_sentences(5))
    assert not network.scores(batch).equal(network.scores(batch))
    network.eval()
    assert network.scores(batch).equal(network.scores(batch))


@pytest.mark.parametrize("option", STRUCTURES)
def test_structures_are_part_of_the_function(option: str) -> None:
    batch = batch_of(tagger(), random_sentences(5))
    plain, other = tagger().network.eval(), tagger(**STRUCTURES[option]).network.eval()
    new = [(name, each) for name, each in other.named_parameters() if "starts" in name or "joints" in name]
    shared = [each for name, each in other.named_parameters() if name not in dict(new)]
    with torch.no_grad():
        for given, target in zip(plain.parameters(), shared, strict=True):
            target.copy_(given)
        for _, parameter in new:
            parameter.fill_(0.5)
    assert not other.scores(batch).equal(plain.scores(batch))


def test_starts_are_learned() -> None:
    network = tagger(learned_start=True).network
    network.scores(batch_of(tagger(), random_sentences(5))).sum().backward()
    starts = [each for name, each in network.named_parameters() if "starts" in name]
    assert len(starts) == 12  # h and c, in two directions, of two layers and of the characters
    assert all(each.grad is not None and each.grad.any() for each in starts)


def test_a_model_with_everything_is_saved_and_resumed_to_the_bit(tmp_path: Path) -> None:
    model = {"cell": "peephole_lstm", "layers": 2, "characters": "rnn", **EVERYTHING}
    training = {
        "epochs": 4, "schedule": "constant", "warmup_steps": 0,
        "gradient_noise": 0.01, "norm_penalty": 0.1, "r_drop": 0.5, "label_smoothing": 0.1,
        "checkpoint_every": 2,
    }  # fmt: skip
    whole = train_tiny(tmp_path / "whole", model=model, training=training)
    train_tiny(tmp_path / "parts", model=model, training={**training, "max_steps": 3})
    parts = train_tiny(tmp_path / "parts", model=model, training=training, options={"resume": True})
    assert_equal_weights(weights_of(whole), weights_of(parts))
    loaded = TaggerModel.load(tmp_path / "whole" / "run", device="cpu")
    assert loaded.tag(tokens_of()) == whole.model.tag(tokens_of())


def test_adversarial_training_goes_through(tmp_path: Path) -> None:
    training = {"epochs": 15, "evaluate_every": 1000, "adversarial": 0.05}
    run = train_tiny(tmp_path, model={"hidden": 12}, training=training)
    assert run.result.metrics["accuracy"] > 0.8
