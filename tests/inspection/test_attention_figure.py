from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from seqtool.errors import UsageError
from seqtool.inspection import attention
from seqtool.inspection.attention import attention_figure
from seqtool.inspection.canvas import picture

STRANGE = [
    "人名",
    "مرحبا",
    "🎉",
    "$x$",
    "$\\undefined$",
    "%_^{",
    "\x1b[31m",
    "x" * 200,
    "नाम",
    "\ud800",
    "",
    " ",
]


def draw(source, target, path, *, extras=True, **keywords):
    weights = np.eye(len(target), len(source)) * 0.75 + 0.25 / max(1, len(source))
    if extras:
        keywords |= {"p_gen": np.linspace(0, 1, len(target)), "coverage": weights.sum(axis=0)}
    attention_figure(source, target, weights, path, **keywords)
    return weights


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The figure that a call of `draw` makes, after it was saved."""
    kept = []

    @contextlib.contextmanager
    def keep(*arguments):
        with picture(*arguments) as figure:
            kept.append(figure)
            yield figure

    monkeypatch.setattr(attention, "picture", keep)

    def figure_of(*arguments, **keywords):
        weights = draw(*arguments, tmp_path / "picture.svg", **keywords)
        return kept[-1], weights

    return figure_of


# Warnings are errors here: a glyph that the font lacks would fail.
@pytest.mark.parametrize(
    ("source", "target", "extras"),
    [
        (["ein", "Mann"], ["a", "man", "</s>"], True),
        (STRANGE, STRANGE, True),
        (["a"], ["b"], True),
        (["a"], ["b"], False),
        ([], [], False),
        (["a"], [], True),
    ],
    ids=["words", "strange", "one", "one alone", "nothing", "no output"],
)
def test_each_picture_is_a_png_that_shows_something(source, target, extras, tmp_path):
    path = tmp_path / "picture.png"
    draw(source, target, path, extras=extras)
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 250
    assert pixels[..., :3].min() < 0.6 < pixels[..., :3].max()


def test_the_same_picture_is_the_same_file_and_other_formats_are_refused(tmp_path):
    for name in ("one.svg", "two.svg"):
        draw(["ein", "Mann"], ["a", "man"], tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    with pytest.raises(UsageError, match=r"name a file that ends in \.png or \.svg$"):
        draw(["a"], ["b"], tmp_path / "picture.pdf")


def test_source_goes_across_and_output_down_with_gate_and_coverage_on_the_same_places(drawn):
    figure, weights = drawn(["ein", "roter", "Ball"], ["a", "red"])
    matrix, generation, coverage = figure.axes[:3]
    assert np.array_equal(matrix.images[0].get_array(), weights)
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["ein", "roter", "Ball"]
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["a", "red"]
    assert [bar.get_width() for bar in generation.patches] == [0, 1]
    assert generation.get_ylim() == matrix.get_ylim()
    assert [bar.get_height() for bar in coverage.patches] == weights.sum(axis=0).tolist()
    assert coverage.get_xlim() == matrix.get_xlim()
    across, down, row = matrix.get_position(), generation.get_position(), coverage.get_position()
    assert (across.y0, across.y1) == pytest.approx((down.y0, down.y1))
    assert (across.x0, across.x1) == pytest.approx((row.x0, row.x1))


def test_without_gate_and_coverage_there_is_the_matrix_and_its_scale(drawn):
    figure, _ = drawn(["ein", "Ball"], ["a", "ball"], extras=False)
    assert [axes.get_ylabel() for axes in figure.axes] == ["output symbols", "attention: dark = more"]


@pytest.mark.parametrize("extras", [True, False])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (["a"], ["b"]),
        (list("auswandern"), list("wandert aus")),
        (["word" * 5] * 3, ["thing" * 5] * 30),
        (["x"] * 70, ["y" * 9] * 5),
        ([f"w{i}" for i in range(420)], [f"v{i}" for i in range(4)]),
        ([f"w{i}" for i in range(4)], [f"v{i}" for i in range(420)]),
    ],
    ids=["one", "letters", "long words", "wide", "many columns", "many rows"],
)
def test_no_text_is_cut_off_and_no_labels_of_an_axis_overlap(drawn, source, target, extras):
    figure, _ = drawn(source, target, extras=extras, title="A title that is rather long " * 9)
    figure.canvas.draw()
    for text in figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_text() != ""):
        if text.get_visible():
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
    matrix = figure.axes[0]
    for labels in (matrix.get_xticklabels(), matrix.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels]
        assert not any(first.overlaps(second) for first, second in itertools.pairwise(boxes))
