"""Pairs that are made up: what they keep, what they replace, and what the loss makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from seqtool import api
from seqtool.errors import DataError, SettingsError
from seqtool.text.parallel import SentencePair
from seqtool.translation.hallucination import Hallucination, shared_stems
from seqtool.translation.train import prepare
from tests.translation.tiny_pairs import (
    assert_equal_weights,
    tables,
    tiny_data,
    tiny_settings,
    train_tiny,
    weights_of,
    write_pairs,
)

FORMS = [
    SentencePair("kaufen", "gekauft", ("V", "PST")),
    SentencePair("Haus-Dach", "Haus-Dächer", ("N", "PL")),
    SentencePair("geh", "ging", ("V", "PST")),
]
TEXTS = [(pair.source, pair.target or "") for pair in FORMS]
SPELLED: dict[str, Any] = {
    "vocabulary": {"kind": "character"},
    "model": {"decoder": "edit", "tied": "all"},
    "training": {"hallucinate": 2.0},
}


def rows(model: Hallucination, seed: int = 1, count: int = 200) -> list[SentencePair]:
    return model.pairs(count, numpy.random.default_rng(seed))


def test_what_both_sides_share_is_replaced_alike_and_the_rest_stays() -> None:
    made = rows(Hallucination(FORMS))
    verbs = [pair for pair in made if pair.features == ("V", "PST")]
    nouns = [pair for pair in made if pair.features == ("N", "PL")]
    assert len(verbs) + len(nouns) == 200 and min(len(verbs), len(nouns)) > 50
    for pair in verbs:
        stem = pair.source[:4]
        assert (pair.source, pair.target) == (f"{stem}en", f"ge{stem}t")
    for pair in nouns:
        target = pair.target or ""
        assert pair.source[:6] == target[:6] and pair.source[4] == "-"
        assert (pair.source[6:], target[6:]) == ("ach", "ächer")
        assert pair.source[0].isupper() and pair.source[5].isupper() and pair.source[1:4].islower()
    assert {letter for pair in verbs for letter in pair.source[:4]} == set("kaufs")


def test_the_same_numbers_give_the_same_pairs() -> None:
    model = Hallucination(FORMS)
    assert rows(model) == rows(model) != rows(model, seed=2)
    assert Hallucination(FORMS[2:]).models == [] and rows(Hallucination(FORMS[2:])) == []


@pytest.mark.parametrize(
    ("source", "target", "stems"),
    [("kaufte", "gekauft", [(0, 2, 5)]), ("abcxdef", "abcydef", [(0, 0, 3), (4, 4, 3)]), ("ab", "ab", [])],
)
def test_stems_are_long_parts_in_the_same_order(
    source: str, target: str, stems: list[tuple[int, int, int]]
) -> None:
    assert shared_stems(source, target) == stems


def test_every_batch_has_some_beside_it_that_are_new_in_each_epoch() -> None:
    data = tiny_data(FORMS)
    job = prepare(tiny_settings(**SPELLED), data)
    first, again, second = (job.batches(epoch)[0] for epoch in (0, 0, 1))
    assert first.beside is not None and again.beside is not None and second.beside is not None
    assert len(first.beside.source) == 2 * len(first.source)
    assert torch.equal(first.beside.source, again.beside.source)
    assert first.beside.pairs != second.beside.pairs
    plain = prepare(tiny_settings(**{**SPELLED, "training": {}}), data)
    assert plain.batches(0)[0].beside is None


def test_their_loss_is_added_with_its_weight() -> None:
    data = tiny_data(FORMS)
    for weight in (0.5, 2.0):
        training = {"hallucinate": 1.0, "hallucinate_weight": weight}
        job = prepare(tiny_settings(**{**SPELLED, "training": training}), data)
        job.model.network.double().eval()
        batch = job.batches(0)[0]
        assert batch.beside is not None
        with torch.no_grad():
            parts = [float(job.model.network.loss(each).total) for each in (batch, batch.beside)]
            loss = job.loss(batch)
        assert loss.count == batch.tokens
        assert float(loss.total) == pytest.approx(parts[0] + weight * parts[1], rel=1e-12)


def test_a_run_with_made_up_pairs_resumes_to_the_bit(tmp_path: Path) -> None:
    recipe = tables(write_pairs(tmp_path, TEXTS), **SPELLED)
    recipe["training"]["schedule"] = "constant"
    whole = api.train(recipe, output=tmp_path / "whole", overrides=["training.epochs=4"])
    api.train(recipe, output=tmp_path / "parts", overrides=["training.epochs=2"])
    resumed = api.train(recipe, output=tmp_path / "parts", overrides=["training.epochs=4"], resume=True)
    assert_equal_weights(weights_of(whole), weights_of(resumed))


def test_they_are_refused_where_nothing_can_be_made_up(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hallucinate replaces letters: it needs vocabulary\.kind"):
        prepare(tiny_settings(training={"hallucinate": 1.0}), tiny_data())
    with pytest.raises(DataError, match="no source shares 3 letters in a row with its target"):
        prepare(tiny_settings(**SPELLED), tiny_data(FORMS[2:]))
    with pytest.raises(SettingsError, match=r"hallucinate_weight = 0\.3 has no effect without"):
        train_tiny(tmp_path, training={"hallucinate_weight": 0.3})
