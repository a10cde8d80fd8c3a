"""Pictures of states and gates."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from seqtool.inspection import state_figures
from seqtool.inspection.canvas import picture
from seqtool.inspection.state_figures import (
    UNITS,
    Plane,
    gate_figure,
    in_context,
    projected,
    shown_units,
    state_figure,
)

MARK = re.compile(r'<use xlink:href="#m[0-9a-f]+" x="([-0-9.]+)"')
AXES = ("first", "second")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keeps the figures that are drawn after they were saved."""
    figures: list[Figure] = []

    @contextlib.contextmanager
    def keep(*arguments: Any) -> Any:
        with picture(*arguments) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr(state_figures, "picture", keep)
    return figures


def drawn(points: np.ndarray, path: Path) -> str:
    labels, groups = ["x"] * len(points), ["letter"] * len(points)
    state_figure(Plane(points, AXES, "m"), labels, groups, path, title="States", grouped_by="kind")
    return path.read_text()


def extent(text: str) -> float:
    """The width that half of the points cover, in points of the page."""
    low, high = np.quantile([float(x) for x in MARK.findall(text)], [0.25, 0.75])
    return float(high - low)


def test_what_lies_far_away_is_counted_and_leaves_the_others_their_room(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(200, 2))
    plain = drawn(points, tmp_path / "a.svg")
    assert "farther out" not in plain
    points[7], points[9] = (500.0, 0.0), (0.0, -800.0)
    text = drawn(points, tmp_path / "b.svg")
    assert "<!-- 2 states farther out not shown -->" in text
    assert extent(text) == pytest.approx(extent(plain), rel=0.2)


def test_a_group_of_points_far_from_the_others_is_shown(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(200, 2))
    points[:18] += 100.0
    assert "farther out" not in drawn(points, tmp_path / "a.svg")


def test_points_on_one_spot_are_drawn(tmp_path: Path):
    points = np.zeros((50, 2))
    assert "<!-- States -->" in drawn(points, tmp_path / "a.svg")
    points[3] = 1.0
    assert "<!-- States -->" in drawn(points, tmp_path / "b.svg")


def test_the_plane_says_what_its_axes_are_and_the_legend_what_the_colours_are(
    kept: list[Figure], tmp_path: Path
):
    states = np.random.default_rng(0).normal(size=(20, 5)) * [9.0, 3.0, 1.0, 1.0, 1.0]
    plane = projected(states, "pca")
    shares = [int(found) for name in plane.axes for found in re.findall(r"\((\d+) % of the variance\)", name)]
    assert len(shares) == 2
    assert plane.note.endswith(" % of the variance is not shown.")
    assert abs(int(re.findall(r"(\d+) %", plane.note)[0]) + sum(shares) - 100) <= 1
    assert 100 > shares[0] > shares[1] > 0
    assert plane.axes[0].startswith("principal component 1 ")
    assert projected(states, "tsne").method == "t-SNE, perplexity 6.33"
    state_figure(
        plane, ["x"] * 20, ["O"] * 20, tmp_path / "s.svg", title="States", grouped_by="predicted tag"
    )
    (axes,) = kept[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == plane.axes
    note = "Each point is the state after a symbol; some are labelled with the "
    assert kept[0]._supxlabel.get_text().startswith(note)
    assert axes.get_legend().get_title().get_text() == "predicted tag"


def test_labels_do_not_cover_each_other_and_stay_inside(kept: list[Figure], tmp_path: Path):
    points = np.random.default_rng(1).normal(size=(300, 2))
    labels = list("the quick brown fox jumps over the lazy dog ")[:30] * 10
    groups = ["letter"] * 300
    path = tmp_path / "s.svg"
    state_figure(Plane(points, AXES, "m"), labels, groups, path, title="States", grouped_by="kind")
    axes = kept[0].axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert 15 < len(boxes) <= 60
    overlapping = sum(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert overlapping <= 1  # their widths are estimated
    assert all(box.x1 <= axes.get_window_extent().x1 + 2 for box in boxes)


@pytest.mark.parametrize(
    ("labels", "last"),
    [
        (list("the king said"), "…␣king␣said"),
        (["\u2581call", "\u2581Zor", "bin"], "…\u2581Zorbin"),
        (["Ada", "met", "Bob"], "Bob"),
        (["a"], "a"),
        (["the", " ", "king", "\n"], "the␣king↵"),
    ],
)
def test_symbols_smaller_than_a_word_are_labelled_with_the_text_before_them(labels: list[str], last: str):
    assert in_context(labels)[-1] == last


def test_of_many_units_those_are_drawn_that_vary_most_from_open_to_shut():
    opened = np.full((6, 512), 0.5)
    moving = [7, 100, 300]
    opened[::2, moving] = [0.9, 0.2, 0.6]
    chosen = shown_units(opened)
    assert len(chosen) == UNITS
    assert set(moving) <= set(chosen)
    means = opened[:, chosen].mean(0)
    assert (np.diff(means) <= 0).all()
    assert shown_units(opened[:, :3]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("units", "note"), [(3, "Each row is a unit, "), (512, "the 64 of 512 that vary most")]
)
def test_gates_say_what_dark_is_and_which_units_are_shown(
    kept: list[Figure], tmp_path: Path, units: int, note: str
):
    opened = np.random.default_rng(0).uniform(size=(5, units))
    meanings = {"forget gate": "keeps the memory"}
    gate_figure({"forget gate": opened}, list("the k"), tmp_path / "g.svg", title="Gates", meanings=meanings)
    above, below, bar = kept[0].axes
    assert above.images[0].get_array().tolist() == [opened.mean(1).tolist()]
    assert below.images[0].get_array().tolist() == opened[:, shown_units(opened)].T.tolist()
    assert (above.get_ylabel(), below.get_ylabel()) == ("mean", "forget gate")
    assert [label.get_text() for label in below.get_xticklabels()] == ["t", "h", "e", "␣", "k"]
    assert above.get_title(loc="right") == "open forget gate: keeps the memory"
    assert bar.get_ylabel() == "gate activation: dark = open"
    assert [bar.get_yticklabels()[place].get_text() for place in (0, -1)] == ["0 shut", "1 open"]
    shades = below.images[0].cmap([0.0, 1.0])[:, :3].mean(1)
    assert shades[1] < shades[0]  # open is the dark end
    assert note in kept[0]._supxlabel.get_text().replace("\n", " ")


def test_a_row_of_a_heatmap_has_pixels_of_its_own(kept: list[Figure], tmp_path: Path):
    opened = np.random.default_rng(0).uniform(size=(4, 512))
    gate_figure(dict.fromkeys(("a", "b", "c"), opened), list("abcd"), tmp_path / "g.svg", title="Gates")
    assert "rows of two gates are not the same units" in kept[0]._supxlabel.get_text().replace("\n", " ")
    for below in kept[0].axes[1:6:2]:
        rows = below.images[0].get_array().shape[0]
        assert below.get_window_extent().height / rows >= 3


def test_a_long_text_is_numbered_instead_of_written(kept: list[Figure], tmp_path: Path):
    opened = np.random.default_rng(0).uniform(size=(700, 4))
    gate_figure({"forget gate": opened}, ["x"] * 700, tmp_path / "g.png", title="Gates")
    assert kept[0].axes[1].get_xlabel() == "position in the text (symbols)"
