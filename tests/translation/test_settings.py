"""Which settings of a translator fit together, and which would have no effect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import SettingsError, UsageError
from seqtool.resolution import recipe_text
from seqtool.settings import validate
from seqtool.translation.ensemble import TranslatorEnsemble
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import fine_tuning_settings
from tests.translation.tiny_pairs import pairs_of, train_tiny, untrained

POINTING = {"output": "positions"}
EDITING = {"decoder": "edit"}
MONOTONIC = {"attention": "monotonic"}
NOT_LOOKING = {"attention": "none", "decoder": "parallel"}


def settings_of(**sections: Any) -> TranslatorSettings:
    tables = {"task": "translate", "name": "n", "data": {"train": ["a", "b"]}, **sections}
    return validate(TranslatorSettings, tables, "settings")


def test_labels_are_smoothed_unless_there_is_no_vocabulary_to_smooth_over() -> None:
    assert settings_of().training.label_smoothing == 0.1
    assert settings_of(model=POINTING).training.label_smoothing == 0.0
    assert settings_of(model=POINTING, training={"epochs": 3}).training.epochs == 3
    assert settings_of(model=MONOTONIC).training.label_smoothing == 0.0
    assert "label_smoothing = 0.0" in recipe_text(settings_of(model=POINTING))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"model": POINTING, "training": {"label_smoothing": 0.1}},
            "training.label_smoothing has no effect with model.output = 'positions'",
        ),
        (
            {"model": NOT_LOOKING, "decoding": {"coverage_penalty": 0.2}},
            "decoding.coverage_penalty needs attention: set model.attention, or leave it out",
        ),
        (
            {"training": {"r_drop": 1.0, "teacher_forcing": {"ratio": 0.5}}},
            "r_drop and adversarial compare two passes over the reference",
        ),
        (
            {"training": {"adversarial": 0.1, "objective": "mrt", "mle_weight": 1.0}},
            "r_drop and adversarial compare two passes over the reference",
        ),
        (
            {"model": {**EDITING, "attention": "dot", "heads": 2}},
            "attention, heads: not with decoder = 'edit'; leave out one or the other",
        ),
        (
            {"model": {**EDITING, "copy": True}},
            "copy: not with decoder = 'edit'; leave out one or the other",
        ),
        (
            {"model": EDITING, "training": {"label_smoothing": 0.1}},
            "training.label_smoothing has no effect with model.decoder = 'edit'; leave it out",
        ),
        (
            {"model": EDITING, "training": {"teacher_forcing": {"ratio": 0.5}}},
            "training.teacher_forcing: with model.decoder = 'edit' the loss is a sum",
        ),
        (
            {"model": {"features": "encoder"}},
            "features = 'encoder' needs decoder = 'edit', or attention = 'monotonic' or 'hard'",
        ),
        (
            {"model": {**MONOTONIC, "bridge": "last", "coverage": True, "readout": "maxout"}},
            "bridge, coverage, readout: not with attention = 'monotonic'; leave out one or the other",
        ),
        (
            {"model": {"attention": "hard", "heads": 2, "output": "positions"}},
            "heads, output: not with attention = 'hard'; leave out one or the other",
        ),
        (
            {"model": {**MONOTONIC, "decoder": "conditional"}},
            "attention = 'monotonic' sums over alignments, so the states of the decoder cannot read them: it "
            "needs decoder = 'parallel', found 'conditional': --set model.decoder=parallel",
        ),
        (
            {"model": {"attention": "hard", "decoder": "edit"}},
            "attention: not with decoder = 'edit'; leave out one or the other",
        ),
        (
            {"model": MONOTONIC, "training": {"label_smoothing": 0.1}},
            "training.label_smoothing has no effect with model.attention = 'monotonic'; leave it out",
        ),
        (
            {"model": MONOTONIC, "training": {"teacher_forcing": {"ratio": 0.5}}},
            "training.teacher_forcing: with model.attention = 'monotonic' the loss is a sum over all ways",
        ),
        (
            {"model": MONOTONIC, "training": {"coverage_loss": 0.5}},
            "training.coverage_loss needs model.coverage = true",
        ),
    ],
    ids=[
        *("smoothing", "coverage", "two passes, forced", "two passes, rewarded"),
        *("attention, edits", "copying, edits", "smoothing, edits", "forcing, edits", "features"),
        *("unread, monotonic", "unread, hard", "decoder, monotonic", "edits, hard"),
        *("smoothing, monotonic", "forcing, monotonic", "coverage loss, monotonic"),
    ],
)
def test_what_would_be_ignored_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings_of(**sections)


@pytest.mark.parametrize(
    "given",
    [{"kind": "word"}, {"size": 10}, {"lowercase": True}, {"reserved": ["<2de>"]}, {"byte_fallback": True}],
    ids=str,
)
def test_a_vocabulary_file_replaces_what_builds_one(given: dict[str, Any]) -> None:
    settings = settings_of(vocabulary={"kind": "sentencepiece", "source_file": "v.model", **given})
    (found,) = settings.without_effect(new_model=True)
    assert found.startswith(f"vocabulary.{next(iter(given))} = ")
    assert found.endswith(" has no effect with vocabulary.source_file; leave it out")
    assert settings.without_effect(new_model=False) == []


def test_an_exponent_has_no_effect_without_a_length_penalty(tmp_path: Path) -> None:
    decoding = {"beam_penalty": "none", "length_penalty": 0.5}
    message = "decoding.length_penalty = 0.5 has no effect with decoding.beam_penalty = 'none'; leave it out"
    with pytest.raises(SettingsError, match=re.escape(message)):
        train_tiny(tmp_path, decoding=decoding)
    assert settings_of(decoding={"beam_penalty": "none"}).without_effect(new_model=True) == []


def test_a_coverage_penalty_is_refused_by_a_model_without_attention() -> None:
    model, other = untrained(model=NOT_LOOKING), untrained()
    options = SearchOptions(beam=2, coverage_penalty=0.1)
    for refused in (model, TranslatorEnsemble([other, model])):
        with pytest.raises(UsageError, match="has no attention, so a coverage penalty has no effect"):
            refused.search(pairs_of()[:1], options)


@pytest.mark.parametrize("kind", [POINTING, MONOTONIC], ids=["positions", "monotonic"])
def test_fine_tuning_refuses_what_the_model_has_no_use_for(kind: dict[str, Any]) -> None:
    model = untrained(model=kind)
    assert fine_tuning_settings(settings_of(), model).training.label_smoothing == 0.0
    with pytest.raises(SettingsError, match=r"--init-from: training\.label_smoothing has no effect"):
        fine_tuning_settings(settings_of(training={"label_smoothing": 0.2}), model)
