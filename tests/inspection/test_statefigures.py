"""Pictures of states."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqtool.inspection.statefigures import state_figure


def drawn(points: np.ndarray, path: Path) -> str:
    state_figure(points, ["x"] * len(points), ["letter"] * len(points), path, title="States")
    return path.read_text()


def test_what_lies_far_away_is_counted_and_leaves_the_others_their_room(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(100, 2))
    assert "<!-- States -->" in drawn(points, tmp_path / "a.svg")
    points[7], points[9] = (500.0, 0.0), (0.0, -800.0)
    assert "<!-- States, 2 farther out -->" in drawn(points, tmp_path / "b.svg")


def test_points_on_one_spot_are_drawn(tmp_path: Path):
    points = np.zeros((50, 2))
    assert "<!-- States -->" in drawn(points, tmp_path / "a.svg")
    points[3] = 1.0
    assert "<!-- States -->" in drawn(points, tmp_path / "b.svg")
