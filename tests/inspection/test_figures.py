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
from seqtool.inspection.canvas import picture, printable
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
EVENTS = [
    *({"event": "train", "step": s, "loss": 1 / s, "learning_rate": 1e-3} for s in range(1, 100)),
    *(
        {"event": "evaluation", "step": s, "metrics": {"f1": s / 100, "loss": 1 / s}}
        for s in range(10, 100, 10)
    ),
    {"event": "finished", "step": 99},
]
JUDGED = ([0.95, 0.9, 0.4, 0.2], [True, True, False, True])


def matrix(path, size):
    labels = [f"label-{i}" for i in range(size)]
    figures.confusion_matrix(labels, np.eye(size, dtype=int).tolist(), path)


DRAWINGS = {
    "curves": lambda path: figures.training_curves(EVENTS, path),
    "curves of nothing": lambda path: figures.training_curves([], path),
    "curves without evaluation": lambda path: figures.training_curves(EVENTS[:1], path),
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
    for name, found in (("picture.bmp", ".bmp"), ("picture", "no format")):
        with pytest.raises(UsageError, match=rf"{name}: a picture in {found}, expected \.png or \.svg$"):
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


def test_curves_show_every_step_in_order_and_the_later_of_a_repeated_one(monkeypatch, tmp_path):
    events = [
        {"event": "train", "step": 2, "loss": 9.0},
        {"event": "train", "step": 1, "loss": 5.0},
        {"event": "train", "step": 2, "loss": 3.0},
        {"event": "train", "step": 3, "loss": float("nan")},
        {"event": "evaluation", "step": 2, "metrics": {"accuracy": 0.9, "f1": 0.4}},
        {"event": "evaluation", "step": 4, "metrics": {"accuracy": 0.8, "f1": 0.3}},
    ]
    upper, lower = drawn(monkeypatch, tmp_path, lambda path: figures.training_curves(events, path)).axes
    assert upper.lines[0].get_xydata().tolist() == [[1, 5.0], [2, 3.0]]
    assert lower.get_ylabel() == "F1"
    assert lower.lines[0].get_xydata().tolist() == [[2, 0.4], [4, 0.3]]
    assert lower.get_legend().get_texts()[0].get_text() == "best: 0.4 at step 2"


def test_the_best_perplexity_is_the_lowest(monkeypatch, tmp_path):
    events = [
        {"event": "evaluation", "step": s, "metrics": {"perplexity": p}} for s, p in ((1, 9), (2, 4), (3, 5))
    ]
    _, lower = drawn(monkeypatch, tmp_path, lambda path: figures.training_curves(events, path)).axes
    assert lower.get_legend().get_texts()[0].get_text() == "best: 4 at step 2"


def test_a_named_metric_is_the_one_shown(monkeypatch, tmp_path):
    draw = lambda path: figures.training_curves(EVENTS, path, metric="loss")
    _, lower = drawn(monkeypatch, tmp_path, draw).axes
    assert lower.get_ylabel() == "loss"


def test_confusion_is_shown_as_shares_of_each_gold_row_with_counts_written(monkeypatch, tmp_path):
    counts = [[3, 1], [0, 0]]
    figure = drawn(monkeypatch, tmp_path, lambda path: figures.confusion_matrix(["A", "B"], counts, path))
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {((0, 0), "3"), ((1, 0), "1")}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "gold")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]


def test_reliability_bars_stand_on_bins_with_their_accuracy(monkeypatch, tmp_path):
    bins = calibration(*JUDGED).bins
    upper, lower = drawn(
        monkeypatch, tmp_path, lambda path: figures.reliability_diagram(bins, 0.1, path)
    ).axes
    heights = {round(bar.get_x() + bar.get_width() / 2, 2): bar.get_height() for bar in upper.patches}
    assert heights == {0.25: 1.0, 0.45: 0.0, 0.95: 1.0}
    assert [bar.get_height() for bar in lower.patches] == [1, 1, 2]


def test_types_stand_in_order_of_support(monkeypatch, tmp_path):
    by_type = {"rare": Counts(1, 1, 2), "common": Counts(5, 9, 1234)}
    axes = drawn(monkeypatch, tmp_path, lambda path: figures.scores_by_type(by_type, path)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["common  (1,234)", "rare  (2)"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("PER", "PER"),
        ("Größe", "Größe"),
        ("人名", "\\u4eba\\u540d"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("a\u202eb", "a\\u202eb"),  # the font has it, and it would turn the line round
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
