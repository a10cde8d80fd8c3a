"""A model with more tags: what it knew stays, and the new tags are learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.tagging.growth import IMPROBABLE, grown
from seqtool.tagging.prediction import TaggerModel
from tests.listeners import Listener
from tests.tagging.test_continuing import LEARN, Row, train_tiny
from tests.tagging.tiny_tagger import as_parts_of_speech, double, random_sentences, untrained

NEW = ["O", "B-DATE", "I-DATE", "E-DATE", "S-DATE"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lexical": False, "lexical_dropout": 0.3},
        {"output": "softmax"},
        {"lexical_window": 0},
        {"document_hidden": 3},
    ],
    ids=str,
)
def test_scores_of_the_old_tags_stay_and_new_ones_are_improbable(settings: dict[str, Any]) -> None:
    model = double(untrained(model=settings))
    old, sentences = len(model.vocabularies.tags), random_sentences(20)
    larger = double(grown(model, NEW))
    assert larger.vocabularies.tags.symbols == (*model.vocabularies.tags.symbols, *NEW[1:])
    before = sorted(model.score_batches(sentences), key=lambda each: each[0])
    after = sorted(larger.score_batches(sentences), key=lambda each: each[0])
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other[1][:, :, :old], one[1], rtol=0, atol=1e-12)
        assert bool((other[1][:, :, old:] == IMPROBABLE).all())
    for name in ("transitions", "start", "end"):
        own, new = getattr(model.network.crf, name), getattr(larger.network.crf, name)
        assert torch.equal(new[tuple(slice(size) for size in own.shape)], own)


def test_a_model_without_new_tags_is_the_same_model() -> None:
    model = untrained()
    assert grown(model, model.vocabularies.tags.symbols) is model


def test_the_scheme_allows_the_new_tags_where_it_should() -> None:
    larger = grown(untrained(), NEW)
    names, chain = larger.vocabularies.tags, larger.network.crf.chain()
    assert chain.transitions[names.id("B-DATE"), names.id("I-DATE")] > -torch.inf
    assert chain.transitions[names.id("B-DATE"), names.id("O")] == -torch.inf
    assert chain.transitions[names.id("B-PER"), names.id("I-DATE")] == -torch.inf


def test_fine_tuning_learns_a_new_type_and_says_so(tmp_path: Path) -> None:
    train_tiny(tmp_path / "first", training=LEARN)
    heard = Listener()
    more: list[list[Row]] = [[("Monday", "B-DATE"), ("is", "O"), ("far", "O")]] * 3
    tuned = train_tiny(
        tmp_path / "second",
        more,
        training={"epochs": 40},
        options={"initial": tmp_path / "first" / "run", "reporter": heard},
    )
    (line,) = (line for line in heard.messages if "new entity type" in line)
    assert line.startswith("1 new entity type: DATE; the model grows from ")
    assert tuned.model.tag([["Monday", "is", "far"]]) == [["B-DATE", "O", "O"]]
    loaded = TaggerModel.load(tmp_path / "second" / "run", precision="fp32")
    assert loaded.vocabularies.tags.symbols == tuned.model.vocabularies.tags.symbols
    assert loaded.tag([["Monday", "is", "far"]]) == [["B-DATE", "O", "O"]]


def test_new_parts_of_speech_are_learned_too(tmp_path: Path) -> None:
    train_tiny(tmp_path / "first", as_parts_of_speech(), "pos")
    heard = Listener()
    train_tiny(
        tmp_path / "second",
        [[("Monday", "DAY"), ("is", "AUX")]] * 3,
        "pos",
        options={"initial": tmp_path / "first" / "run", "reporter": heard},
    )
    assert any("new tag" in line and "DAY" in line for line in heard.messages)
