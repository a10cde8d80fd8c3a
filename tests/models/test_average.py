"""Averaging the weights of several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import ModelError, UsageError
from seqtool.models.average import average_models, likeness
from seqtool.models.folder import load_model_folder, save_model_folder


def model(path: Path, value: float, **changes: Any) -> Path:
    facts: dict[str, Any] = {
        "task": "ner",
        "config": {"name": "tiny", "model": {"hidden": 2}},
        "tensors": {"weight": torch.full((2, 3), value), "table": torch.tensor([True, False])},
        "texts": {"tags.txt": '"O"\n'},
        "codecs": {"shared.vocabulary": b"\xff\x00"},
        "card": "a card",
    }
    save_model_folder(path, **{**facts, **changes})
    return path


def test_weights_are_averaged_and_all_else_is_kept(tmp_path: Path) -> None:
    paths = [model(tmp_path / str(n), value) for n, value in enumerate((1.0, 2.0, 6.0))]
    average_models(paths, tmp_path / "mean")
    found = load_model_folder(tmp_path / "mean")
    assert torch.equal(found.tensors["weight"], torch.full((2, 3), 3.0))
    assert found.tensors["table"].tolist() == [True, False]
    assert found.texts == {"tags.txt": '"O"\n'}
    assert found.codecs == {"shared.vocabulary": b"\xff\x00"}
    assert found.task == "ner"
    card = (tmp_path / "mean" / "README.md").read_text()
    assert all(str(path) in card for path in paths)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"task": "pos"}, "task"),
        ({"config": {"name": "tiny", "model": {"hidden": 4}}}, "network"),
        ({"texts": {"tags.txt": '"O"\n"S-PER"\n'}}, "vocabulary"),
        ({"codecs": {"shared.vocabulary": b"other"}}, "vocabulary"),
        ({"tensors": {"weight": torch.zeros(3, 2), "table": torch.tensor([True, False])}}, "shapes"),
    ],
)
def test_only_models_of_one_network_average(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    paths = [model(tmp_path / "a", 1.0), model(tmp_path / "b", 2.0, **changes)]
    with pytest.raises(ModelError, match=f"differ in {what}"):
        average_models(paths, tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_one_model_is_not_enough_and_nothing_is_overwritten(tmp_path: Path) -> None:
    one = model(tmp_path / "a", 1.0)
    with pytest.raises(UsageError, match="at least two"):
        average_models([one], tmp_path / "mean")
    with pytest.raises(UsageError, match="exists already"):
        average_models([one, one], one)


def test_models_of_different_runs_are_averaged_with_a_warning(tmp_path: Path) -> None:
    """The weights of different runs are unrelated; those of one run differ only a little."""
    source = torch.Generator().manual_seed(1)
    weights = [torch.randn(30, 30, generator=source) for _ in range(2)]
    weights.append(weights[0] + 0.3 * torch.randn(30, 30, generator=source))
    paths = [model(tmp_path / str(n), 0.0, tensors={"weight": weight}) for n, weight in enumerate(weights)]
    assert average_models([paths[0], paths[2]], tmp_path / "alike") == ()
    (warning,) = average_models(paths, tmp_path / "mean")
    assert warning.startswith((f"{paths[0]} and {paths[1]} seem", f"{paths[1]} and {paths[2]} seem"))
    assert "come from different runs" in warning
    assert (tmp_path / "mean" / "model.safetensors").exists()
    assert likeness({"weight": weights[0]}, {"weight": -weights[0]}) == pytest.approx(-1)
