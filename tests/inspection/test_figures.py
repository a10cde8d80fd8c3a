from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from seqtool.errors import StorageError, UsageError
from seqtool.evaluation.calibration import calibration, threshold_curve
from seqtool.evaluation.span_errors import KINDS
from seqtool.inspection import figures
from seqtool.inspection.canvas import picture, printable, short_names
from seqtool.inspection.learning_curves import training_curves
from seqtool.tagging.scores import Counts

STRANGE = [
    "人名",
    "مرحبا",
    "🎉",
    "$(",
    "$\\undefined$",  # an error if it were read as mathematics
    "%_^{",
    "line\nbreak",
    "\x1b[31m",
    "x" * 200,
    "नाम",
    "\ud800",
    "",
]
EVENTS = [{"event": "train", "step": step, "loss": 1 / step, "unit": "token"} for step in range(1, 100)]
JUDGED = ([0.95, 0.9, 0.4, 0.2], [True, True, False, True])


def matrix(path, size):
    labels = [f"label-{i}" for i in range(size)]
    figures.confusion_matrix(labels, np.eye(size, dtype=int).tolist(), path)


DRAWINGS = {
    "curves": lambda path: training_curves(EVENTS, path),
    "curves of nothing": lambda path: training_curves([], path),
    "curves without evaluation": lambda path: training_curves(EVENTS[:1], path),
    "one label": lambda path: matrix(path, 1),
    "forty labels": lambda path: matrix(path, 40),
    "no labels": lambda path: matrix(path, 0),
    "strange labels": lambda path: figures.confusion_matrix(
        STRANGE, [[1] * len(STRANGE)] * len(STRANGE), path
    ),
    "reliability": lambda path: figures.reliability_diagram(calibration(*JUDGED).bins, 0.1, path),
    "reliability of nothing": lambda path: figures.reliability_diagram(calibration([], []).bins, 0.0, path),
    "threshold": lambda path: figures.confidence_threshold_curve(threshold_curve(*JUDGED, 4), path),
    "threshold of nothing": lambda path: figures.confidence_threshold_curve([], path),
    "errors": lambda path: figures.errors_by_kind({kind: 1000 * i for i, kind in enumerate(KINDS)}, path),
    "no errors": lambda path: figures.errors_by_kind(dict.fromkeys(KINDS, 0), path),
    "types": lambda path: figures.scores_by_type({name: Counts(1, 2, 3) for name in STRANGE}, path),
    "no types": lambda path: figures.scores_by_type({}, path),
    "lengths": lambda path: figures.scores_by_length([("1-4", 30.0, 12), ("5-9", 0.0, 3)], path),
    "lengths of words": lambda path: figures.scores_by_length(
        [("3", 0.25, 12), ("4-9", 1.0, 3)], path, "exact_match", "characters"
    ),
    "no lengths": lambda path: figures.scores_by_length([], path),
    "text": lambda path: figures.cost_along_text([(100, 150.0)] * 90, {"xz": 1.2}, path, "$(m) on t"),
    "no text": lambda path: figures.cost_along_text([], {}, path, "m on t"),
}


# Warnings are errors here: a glyph that the font lacks would fail.
@pytest.mark.parametrize("drawing", DRAWINGS)
def test_each_picture_is_a_png_that_shows_something(drawing, tmp_path):
    path = tmp_path / "picture.png"
    DRAWINGS[drawing](path)
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 250
    assert pixels[..., :3].min() < 0.6 < pixels[..., :3].max()
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("drawing", ["curves", "strange labels", "reliability"])
def test_svg_by_suffix_and_the_same_picture_is_the_same_file(drawing, tmp_path):
    for name in ("one.svg", "two.SVG"):
        DRAWINGS[drawing](tmp_path / name)
    first, second = (tmp_path / "one.svg").read_bytes(), (tmp_path / "two.SVG").read_bytes()
    assert b"<svg" in first
    assert first == second


def test_another_suffix_is_refused_and_nothing_is_written(tmp_path):
    for name, found in (("picture.bmp", r"cannot be saved as \.bmp"), ("picture", "needs a suffix")):
        with pytest.raises(
            UsageError, match=rf"{name}: a picture {found}; name a file that ends in \.png or \.svg$"
        ):
            matrix(tmp_path / name, 2)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file or directory"):
        matrix(tmp_path / "missing" / "picture.png", 2)


def test_a_failed_drawing_leaves_the_old_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def draw_and_fail():
        with picture(path, 3, 3):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        draw_and_fail()
    assert path.read_bytes() == b"old"


def drawn(monkeypatch, tmp_path, draw):
    """The figure that `draw(path)` makes, after it was saved."""
    kept = []

    @contextlib.contextmanager
    def keep(*arguments):
        with picture(*arguments) as figure:
            kept.append(figure)
            yield figure

    monkeypatch.setattr(figures, "picture", keep)
    draw(tmp_path / "picture.svg")
    return kept[0]


def test_confusion_is_shown_as_shares_of_each_gold_row_with_counts_written(monkeypatch, tmp_path):
    counts = [[3, 1], [0, 0]]
    figure = drawn(monkeypatch, tmp_path, lambda path: figures.confusion_matrix(["A", "B"], counts, path))
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {((0, 0), "3"), ((1, 0), "1")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted label", "gold label")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]


def test_reliability_bars_stand_on_bins_with_their_accuracy(monkeypatch, tmp_path):
    bins = calibration(*JUDGED).bins
    figure = drawn(monkeypatch, tmp_path, lambda path: figures.reliability_diagram(bins, 0.1, path))
    upper, lower = figure.axes
    assert (upper.get_ylabel(), lower.get_ylabel()) == ("share of correct predictions", "predictions")
    heights = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in upper.patches}
    assert heights == {0.25: 1.0, 0.45: 0.0, 0.95: 1.0}
    assert [bar.get_height() for bar in lower.patches] == [1, 1, 2]


def test_types_stand_in_order_of_support(monkeypatch, tmp_path):
    by_type = {"rare": Counts(1, 1, 2), "common": Counts(5, 9, 1234)}
    axes = drawn(monkeypatch, tmp_path, lambda path: figures.scores_by_type(by_type, path)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["common  (1,234)", "rare  (2)"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top


def test_equal_precision_and_recall_hide_neither_mark(monkeypatch, tmp_path):
    by_type = {f"type {number}": Counts(3, 4, 4) for number in range(40)}
    figure = drawn(monkeypatch, tmp_path, lambda path: figures.scores_by_type(by_type, path))
    axes = figure.axes[0]
    precision, recall = axes.lines
    ends = [axes.transData.transform(line.get_xydata()) for line in (precision, recall)]
    apart = np.abs(ends[0] - ends[1])[:, 1]  # pixels
    assert (apart > precision.get_markersize() * figure.dpi / 72).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["precision", "recall", "F1"]


def test_pieces_of_a_text_are_drawn_from_its_first_to_its_last_character(monkeypatch, tmp_path):
    blocks = [(10, 10 * np.log(2)), (30, 60 * np.log(2))]
    axes = drawn(
        monkeypatch, tmp_path, lambda path: figures.cost_along_text(blocks, {"xz": np.log(2)}, path, "m on t")
    ).axes[0]
    values, edges, _ = axes.patches[0].get_data()
    assert edges.tolist() == [0, 10, 40]
    assert values.tolist() == pytest.approx([1, 2])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["this model, each piece", "this model, whole text: 1.750", "xz: 1.000"]
    assert axes.get_ylabel() == "bits per character (lower is better)"


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["runs/lm/a", "runs/lm/b"], ["a", "b"]),
        (["runs/lm/a/model", "/x/b/"], ["a", "b"]),
        (["runs/lm/a", "old/lm/a", "gru"], ["runs/lm/a", "old/lm/a", "gru"]),
        (["lm/a", "runs/lm/a"], ["lm/a", "runs/lm/a"]),
        (["x" * 60], ["x" * 39 + "…"]),
        (["gru, untrained", "model"], ["gru, untrained", "model"]),
    ],
)
def test_names_in_a_legend_are_as_short_as_tells_them_apart(paths, shown):
    assert list(short_names(paths).values()) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("PER", "PER"),
        ("Größe", "Größe"),
        ("人名", "\\u4eba\\u540d"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"),  # the font has it, and it would reverse the line
        ("x" * 40, "x" * 27 + "…"),
    ],
)
def test_printable_shows_what_the_font_has_and_spells_the_rest(text, shown):
    assert printable(text) == shown


def test_pictures_need_no_pyplot_and_leave_global_settings_alone(tmp_path):
    code = (
        "import sys, pathlib, matplotlib, seqtool.inspection.figures as figures\n"
        "before = matplotlib.rcParams.copy()\n"
        "figures.confusion_matrix(['A'], [[1]], pathlib.Path(sys.argv[1]))\n"
        "assert matplotlib.rcParams.copy() == before, 'global settings changed'\n"
        "assert 'matplotlib.pyplot' not in sys.modules, 'pyplot was imported'"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    command = [sys.executable, "-c", code, str(tmp_path / "picture.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "picture.png").is_file()
