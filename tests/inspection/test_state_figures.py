"""Pictures of states."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from seqtool.inspection.state_figures import state_figure

MARK = re.compile(r'<use xlink:href="#m[0-9a-f]+" x="([-0-9.]+)"')


def drawn(points: np.ndarray, path: Path) -> str:
    state_figure(points, ["x"] * len(points), ["letter"] * len(points), path, title="States")
    return path.read_text()


def extent(text: str) -> float:
    """How far from left to right half of the points lie, in points of the page."""
    low, high = np.quantile([float(x) for x in MARK.findall(text)], [0.25, 0.75])
    return float(high - low)


def test_what_lies_far_away_is_counted_and_leaves_the_others_their_room(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(200, 2))
    plain = drawn(points, tmp_path / "a.svg")
    assert "<!-- States -->" in plain
    points[7], points[9] = (500.0, 0.0), (0.0, -800.0)
    text = drawn(points, tmp_path / "b.svg")
    assert "<!-- States, 2 farther out -->" in text
    assert extent(text) == pytest.approx(extent(plain), rel=0.2)


def test_a_group_of_points_far_from_the_others_is_shown(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(200, 2))
    points[:18] += 100.0
    assert "<!-- States -->" in drawn(points, tmp_path / "a.svg")


def test_points_on_one_spot_are_drawn(tmp_path: Path):
    points = np.zeros((50, 2))
    assert "<!-- States -->" in drawn(points, tmp_path / "a.svg")
    points[3] = 1.0
    assert "<!-- States -->" in drawn(points, tmp_path / "b.svg")
