"""`seqtool inspect curves`: trainings side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtool.cli.inspect.cells import PictureOption, print_rows, require_format


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    metric: Annotated[
        str | None, typer.Option("--metric", help="Of dev; else the main one that all have.")
    ] = None,
    against: Annotated[
        Literal["steps", "minutes"], typer.Option("--against", help="What the metric is drawn against.")
    ] = "steps",
    output: PictureOption = None,
) -> None:
    """How trainings went on dev: the best of each, when it came, and their courses in one picture.

    Runs of one task, in the order of their best; in a pipe, columns are separated by tabs.
    """
    require_format(output)
    from seqtool.cli import console
    from seqtool.inspection.cell_figures import compared_courses
    from seqtool.inspection.figures import LOWER_IS_BETTER, MAIN_METRICS
    from seqtool.training.learning_curves import common_metric, course_of

    courses = {str(run): course_of(run) for run in runs}
    name = common_metric(list(courses.values()), metric, ("nats_per_character", *MAIN_METRICS, "loss"))
    lower = name in LOWER_IS_BETTER
    rows, points = [], {}
    for run, course in courses.items():
        known = [number for number, metrics in enumerate(course.metrics) if name in metrics]
        values = [course.metrics[number][name] for number in known]
        best = min(values) if lower else max(values)
        place = known[values.index(best)]
        last, minutes = course.steps[-1], course.seconds[-1] / 60
        rows.append(
            (best, [run, console.figure(best), str(course.steps[place]), str(last), f"{minutes:.2f}"])
        )
        across = course.steps if against == "steps" else [seconds / 60 for seconds in course.seconds]
        points[run] = [(across[number], value) for number, value in zip(known, values, strict=True)]
    rows.sort(key=lambda row: row[0] if lower else -row[0])
    print_rows(["run", f"best dev {name}", "at step", "steps", "minutes"], [row for _, row in rows])
    if output is not None:
        ordered = {row[0]: points[row[0]] for _, row in rows}
        compared_courses(ordered, output, name=name, against=against)
        console.say(f"picture in {output}")
