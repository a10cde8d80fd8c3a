"""`seqtool inspect curves`: learning curves of several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtool.cli import options
from seqtool.cli.inspect.cells import PictureOption, print_rows, require_format

DIFFERENT = "evaluated on different dev data: scores cannot be compared"


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, finished or running.")],
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="Dev metric, for instance f1 or loss; default: the task's main one that all have.",
        ),
    ] = None,
    against: Annotated[
        Literal["steps", "minutes"] | None,
        typer.Option(
            "--against",
            help="Horizontal axis of the picture of -o: updates (steps) or minutes. Default: steps.",
        ),
    ] = None,
    output: PictureOption = None,
) -> None:
    """Compare the learning curves of runs: best dev score, when it was reached, one picture of all.

    The runs must be of one task; the best comes first. Runs with different dev data are shown with a
    warning, since their scores cannot be compared. In a pipe, columns are separated by tabs.

    Examples:
      seqtool inspect curves runs/ner/ner-tiny
      seqtool inspect curves runs/ner/a runs/ner/b --metric f1 -o curves.png
    """
    require_format(output)
    if output is None:
        options.refuse({"--against": against}, "without -o FILE")
    from seqtool.cli import console
    from seqtool.evaluation.score import higher_is_better
    from seqtool.inspection.learning_curves import MAIN_METRICS, compared_runs
    from seqtool.training.learning_curves import common_metric, learning_curve, same_dev_data

    found = {str(run): learning_curve(run) for run in runs}
    chosen_by = {curve.select for curve in found.values()}
    own = [name for name in chosen_by if len(chosen_by) == 1 and name not in ("", "loss")]
    name = common_metric(list(found.values()), metric, (*own, "nats_per_character", *MAIN_METRICS, "loss"))
    same = same_dev_data(list(found.values()))
    if not same:
        console.warn(f"these runs were {DIFFERENT}")
    lower = not higher_is_better(name)
    best = {run: curve.best(name, lower=lower) for run, curve in found.items()}
    ranked = sorted(found, key=lambda run: best[run][0] if lower else -best[run][0])
    rows = []
    for run in ranked:
        value, step = best[run]
        last, minutes = found[run].steps[-1], found[run].seconds[-1] / 60
        rows.append([run, console.figure(value), str(step), str(last), f"{minutes:.2f}"])
    print_rows(["run", f"best dev {name}", "at step", "steps", "minutes"], rows)
    if output is not None:
        points = {run: found[run].points(name, in_minutes=against == "minutes") for run in ranked}
        across = "minutes of training" if against == "minutes" else "updates"
        compared_runs(points, output, metric=name, against=across, note="" if same else DIFFERENT)
        console.say(f"picture in {output}")
