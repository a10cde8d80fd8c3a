"""`--dry-run` refuses and warns of exactly what a run refuses and warns of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Tiny, tiny_settings
from tests.cli.running import Inside, refused

QUICK = (*tiny_settings(), "--epochs", 1)
DRY_OR_NOT = pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry-run"])


@DRY_OR_NOT
def test_a_tag_that_the_model_to_fine_tune_lacks_is_added(
    inside: Inside, tiny: Tiny, tmp_path: Path, dry: tuple[str, ...]
):
    (tmp_path / "other.conll").write_text("Rome\tB-PLACE\n\nIt\tO\nrains\tO\n")
    words = ("--train", "other.conll", "--dev", tiny.dev, "--init-from", tiny.run, "--epochs", 1)
    found = inside("train", "ner", *words, *dry)
    assert found.code == 0 and "1 new entity type: PLACE; the model grows from 9 to 13 tags" in found.err


@DRY_OR_NOT
def test_a_bias_for_a_type_that_there_is_not(inside: Inside, tiny: Tiny, dry: tuple[str, ...]):
    bias = ("--set", "decoding.entity_bias={XYZ=1.0}")
    found = inside("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *QUICK, *bias, *dry)
    refused(found, 2, "train ner", "decoding.entity_bias.XYZ: no such entity type")


@DRY_OR_NOT
def test_dev_tags_that_training_never_shows(inside: Inside, tiny: Tiny, tmp_path: Path, dry: tuple[str, ...]):
    (tmp_path / "dev.conll").write_text("Rome\tB-PLACE\n\nIt\tO\nrains\tO\n")
    found = inside("train", "ner", "--train", tiny.train, "--dev", "dev.conll", *QUICK, *dry)
    assert found.code == 0, found.err
    assert "dev has tags that do not occur in training; each counts as an error: B-PLACE (1)" in found.err


@DRY_OR_NOT
@pytest.mark.parametrize(("accumulation", "updates"), [(1, 80), (4, 20)])
def test_few_updates_are_counted_with_accumulation(
    inside: Inside, tiny: Tiny, dry: tuple[str, ...], accumulation: int, updates: int
):
    """Settings of 20 epochs with four batches each."""
    words = ("--epochs", 20, "--batch-tokens", 40, "--set", f"training.accumulation={accumulation}")
    found = inside("train", "ner", "--train", tiny.train, "--dev", tiny.dev, *tiny_settings(), *words, *dry)
    assert f"only about {updates} updates in all" in found.err
