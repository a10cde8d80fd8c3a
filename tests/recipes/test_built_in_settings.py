"""Built-in settings beside those by hand: the table, and that each set of settings can be typed."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seqtool.resolution import resolve_settings

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "built-in-settings"


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `points` of the recipe."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in ("points", "compare", "table"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("points")


def test_the_best_by_hand_is_chosen_by_dev(
    points: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {
            "point": "ewt-100",
            "settings": "built-in",
            "dev": 0.8,
            "test": 0.79,
            "updates": 1234,
            "minutes": 1.0,
        },
        {"point": "ewt-100", "settings": "worse", "dev": 0.7, "test": 0.9},
        {"point": "ewt-100", "settings": "better", "dev": 0.81, "test": 0.78},
        {"point": "shakespeare-10k", "settings": "built-in", "dev": 1.8, "updates": 50, "minutes": 0.52},
        {"point": "shakespeare-10k", "settings": "lower", "dev": 1.7},
        {"point": "shakespeare-10k", "settings": "higher", "dev": 1.9},
    ]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    importlib.import_module("table").main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert (
        "| ewt-100 | accuracy | 0.800 / 0.790 | 1,234, 1.0 | 0.810 / 0.780 | better (of 2) | 99% / 101% |"
        in lines
    )
    assert "| shakespeare-10k | loss | 1.800 | 50, 0.5 | 1.700 | lower (of 2) | +0.100 |" in lines


def test_settings_by_hand_are_valid(points: Any) -> None:
    for name, point in points.POINTS.items():
        files = {"train": point.train if len(point.train) > 1 else point.train[0]}
        for typed in points.BY_HAND[point.kind].values():
            assert resolve_settings(point.task, files=files, overrides=typed).task == point.task, name
