"""Foreign models with valid digests are refused with exit code 4 before they take memory or time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from seqtool.models.folder import load_model_folder, save_model_folder
from tests.cli.program import inside

GOLDEN = Path(__file__).parents[1] / "golden"
USES = {"ner": ("tag",), "pos": ("tag",), "translate": ("translate",), "lm": ("lm", "score")}

Change = Callable[[dict[str, Any]], None]


def use_changed(
    folder: Path,
    wing: str,
    config: Change = lambda config: None,
    tensors: Callable[[dict[str, Tensor]], None] = lambda tensors: None,
) -> tuple[int, str]:
    """Rewrite a golden model with a change, and use it; returns exit code and standard error."""
    held = load_model_folder(GOLDEN / wing / "finished")
    config(held.config)
    tensors(held.tensors)
    save_model_folder(
        folder / "m",
        task=held.task,
        config=held.config,
        tensors=held.tensors,
        texts=held.texts,
        codecs=held.codecs,
        card="",
    )
    done = inside(*USES[wing], "-m", "m", "--device", "cpu", folder=folder, stdin="Ada lives .\n")
    return done.code, done.err


@pytest.mark.parametrize("wing", USES)
def test_the_model_as_it_was_is_used(tmp_path: Path, wing: str) -> None:
    assert use_changed(tmp_path, wing)[0] == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("wing", USES)
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, wing: str, value: float) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        weights = [name for name in sorted(tensors) if tensors[name].is_floating_point()]
        tensors[weights[-1]].view(-1)[-1] = value

    code, err = use_changed(tmp_path, wing, tensors=spoil)
    assert code == 4
    assert "values that are not finite" in err


def setting(table: str, key: str, value: Any) -> Change:
    return lambda config: config[table].update({key: value})


@pytest.mark.parametrize(
    ("wing", "table", "key", "value"),
    [
        ("translate", "decoding", "beam", 10**12),
        ("translate", "decoding", "beam", 10_000),
        ("translate", "decoding", "length_penalty", 1e300),
        ("translate", "model", "encoder_layers", 10**9),
        ("translate", "model", "hidden", 10**18),
        ("translate", "model", "heads", 10**9),
        ("translate", "data", "max_length", 10**18),
        ("lm", "model", "layers", 10**9),
        ("lm", "model", "embedding", 10**18),
        ("lm", "model", "dilation", 2**62),
        ("lm", "adaptation", "window", 10**12),
        ("lm", "adaptation", "cache_size", 10**12),
        ("ner", "model", "layers", 10**9),
        ("ner", "model", "character_widths", [2] * 10_000),
        ("ner", "model", "character_hidden", 10**18),
        ("ner", "columns", "feature_columns", list(range(1, 10_000))),
        ("ner", "entity_bias", "PER", 1e300),
        ("pos", "model", "forget_bias", -1e300),
    ],
)
def test_a_number_that_no_real_model_has_is_refused(
    tmp_path: Path, wing: str, table: str, key: str, value: Any
) -> None:
    code, err = use_changed(tmp_path, wing, setting(table, key, value))
    assert code == 4, err
    assert err.count("\n") == 1
    assert "expected at most" in err or "expected at least" in err
    assert (table if table == "entity_bias" else key) in err


def test_outputs_cannot_be_any_times_as_long_as_their_sources(tmp_path: Path) -> None:
    code, err = use_changed(tmp_path, "translate", lambda config: config.update(length_ratio=1e12))
    assert code == 4
    assert "length_ratio: expected at most 1000" in err


@pytest.mark.parametrize(
    ("wing", "key", "value"),
    [("translate", "hidden", 100_000), ("lm", "hidden", 100_000), ("ner", "layers", 9)],
)
def test_what_does_not_fit_the_weights_is_refused_before_it_is_allocated(
    tmp_path: Path, wing: str, key: str, value: int
) -> None:
    code, err = use_changed(tmp_path, wing, setting("model", key, value))
    assert code == 4
    assert "tensor" in err
