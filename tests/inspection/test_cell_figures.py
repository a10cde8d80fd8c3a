"""Pictures of cells side by side."""

from __future__ import annotations

import re
from pathlib import Path

from seqtool.inspection.cell_figures import Curve, gradient_figure, problem_figure

PNG = b"\x89PNG"
OPTIONS = {"baseline": 0.2, "loss_name": "mean squared error", "title": "The adding problem"}


def test_gradients_are_drawn_with_nothing_left_and_many_names(tmp_path: Path):
    curves = {f"cell <{number}>": Curve([1.0, 10.0**-number, 0.0]) for number in range(30)}
    curves["trained"] = Curve([1.0, 0.5, 0.25], partner="cell <3>")
    gradient_figure(curves, tmp_path / "a.svg", title="x")
    text = (tmp_path / "a.svg").read_text()
    assert "cell &lt;29&gt;" in text
    assert "mathdefault" not in text
    gradient_figure(curves, tmp_path / "a.png", title="x")
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_a_cell_and_what_became_of_it_have_one_colour(tmp_path: Path):
    curves = {"a": Curve([1.0, 0.5]), "b": Curve([1.0, 0.4]), "a after": Curve([1.0, 0.9], partner="a")}
    gradient_figure(curves, tmp_path / "a.svg", title="x")
    text = (tmp_path / "a.svg").read_text().lower()
    assert text.count("stroke: #0072b2") == 4  # two lines, each also in the list of names
    assert text.count("stroke: #e69f00") == 2
    assert text.count("stroke-dasharray") >= 2


def test_steps_are_whole_numbers_and_norms_are_written_alike(tmp_path: Path):
    gradient_figure({"a": Curve([1.0, 1e-3, 1e-6])}, tmp_path / "g.svg", title="x")
    problem_figure({"a": [(0, 0.2), (3, 0.1)]}, tmp_path / "c.svg", **OPTIONS)
    for name, more in (("g.svg", {"1e-06", "1e+00", "0", "1", "2"}), ("c.svg", {"0", "1", "2", "3"})):
        written = re.findall(r"<!-- (.*?) -->", (tmp_path / name).read_text())
        assert more <= set(written)
        assert not {"0.5", "1.5", "0.0001", "1e-4"} & set(written)


def test_a_curve_that_ends_worse_than_guessing_is_in_the_picture(tmp_path: Path):
    losses = {"a": [(0, 3.0), (2, 0.7)], "b": [(0, 1.0), (2, float("inf"))], "c": [(0, 1.0), (2, 1e4)]}
    problem_figure(losses, tmp_path / "c.svg", **OPTIONS)
    written = set(re.findall(r"<!-- (.*?) -->", (tmp_path / "c.svg").read_text()))
    assert "0.7" in written and "1000" not in written


def test_losses_are_drawn_beside_the_baseline(tmp_path: Path):
    losses = {"gru": [(0, 3.0), (10, 0.1)], "rnn": [(0, 2.0), (10, 0.2)]}
    problem_figure(losses, tmp_path / "c.svg", **OPTIONS)
    text = (tmp_path / "c.svg").read_text()
    assert all(each in text for each in ("gru", "rnn", "baseline: guessing", "The adding problem"))
    assert "held-out mean squared error" in text


def test_norms_are_relative_and_a_line_that_ends_is_explained(tmp_path: Path):
    gradient_figure({"a": Curve([1.0, 0.5])}, tmp_path / "g.svg", title="x")
    whole = (tmp_path / "g.svg").read_text()
    assert "norm of the gradient, relative to that at distance 0" in whole
    assert "A line ends where" not in whole and "(trained)" not in whole
    gradient_figure({"a": Curve([1.0, 1e-13], trained=True)}, tmp_path / "g.svg", title="x")
    ending = (tmp_path / "g.svg").read_text()
    assert "A line ends where less than 1e-12 of the gradient is left." in ending and "a (trained)" in ending


def test_a_model_is_named_by_its_run_folder(tmp_path: Path):
    curves = {"lstm": Curve([1.0, 0.5]), "/home/ada/runs/lm/lm-tiny/model": Curve([1.0, 0.4])}
    gradient_figure(curves, tmp_path / "g.svg", title="x")
    written = re.findall(r"<!-- (.*?) -->", (tmp_path / "g.svg").read_text())
    assert {"lstm", "lm-tiny"} <= set(written)
    assert not any("/" in each for each in written)
