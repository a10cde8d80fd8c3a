"""Pictures of cells side by side."""

from __future__ import annotations

from pathlib import Path

from seqtool.inspection.cellfigures import Curve, course_figure, gradient_figure

PNG = b"\x89PNG"


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


def test_courses_are_drawn_beside_guessing(tmp_path: Path):
    courses = {"gru": [(0, 3.0), (10, 0.1)], "rnn": [(0, 2.0), (10, 0.2)]}
    course_figure(courses, tmp_path / "c.svg", guessing=0.1667, title="The adding problem")
    text = (tmp_path / "c.svg").read_text()
    assert all(each in text for each in ("gru", "rnn", "guessing", "The adding problem"))
