"""`seqtool inspect states` and `gates`: what a layer of a trained model does along a text."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqtool.cli import console, options
from seqtool.cli.inspect.cells import PictureOption, print_rows, require_format
from seqtool.cli.options import find_model
from seqtool.errors import DataError, UsageError

if TYPE_CHECKING:
    from rich.text import Text
    from torch import Tensor

    from seqtool.inspection.traces import Trace

TASKS = ("lm", "ner", "pos", "translate")
MOST_LINES = 100  # of a text that a language model reads
LEAST_STATES = 3
SATURATED = (0.1, 0.9)  # a gate is shut below the first and open above the second (Karpathy et al. 2016)
SHADES = 5  # strengths of each colour
UNITS = 3  # shown unless --unit names some

LayerOption = Annotated[int, typer.Option("--layer", min=1, help="Number of the layer, 1 = the lowest.")]
TextArgument = Annotated[
    str, typer.Argument(metavar="INPUT", help="Text to read; a file (also .gz) or - for standard input.")
]


def states(
    source: TextArgument = "-",
    model: options.ModelOption = None,
    layer: LayerOption = 1,
    units: Annotated[
        list[int] | None,
        typer.Option(
            "--unit", min=0, help="Unit to show, from 0. Repeatable. Default: the 3 that vary most."
        ),
    ] = None,
    method: Annotated[
        Literal["pca", "tsne"] | None,
        typer.Option(
            "--method",
            help="Projection of the picture of -o: principal components (pca) or t-SNE. Default: pca.",
        ),
    ] = None,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """Show the states of a layer along a text: single units in the terminal, all states in a picture.

    On a terminal the text is coloured, red where the unit is above 0 and blue where it is below; in a
    pipe there is one line per symbol with the values of the units. A language model reads up to 100
    lines; for a tagger or translator, its encoder reads the first line. The picture projects all states
    to a plane.

    Examples:
      echo 'Ada met Bob in Paris.' | seqtool inspect states --unit 3 --unit 5
      seqtool inspect states text.txt -m runs/lm/lm-tiny --method tsne -o states.png
    """
    if output is None:
        options.refuse({"--method": method}, "without -o FILE")
    where = find_model(model, TASKS)
    require_format(output)
    trace = _traced(where, source, layer, threads)
    if output is not None and len(trace.labels) < LEAST_STATES:
        raise DataError(f"the text has {len(trace.labels)} symbols, and -o needs at least {LEAST_STATES}")
    chosen = _units(units, trace.states)
    if console.is_terminal():
        for unit in chosen:
            console.print_text(_heading(unit))
            console.print_text(_coloured(trace.labels, trace.states[:, unit].tolist()))
    else:
        print_rows(["symbol", *(f"unit {unit}" for unit in chosen)], _rows(trace, chosen))
    if output is not None:
        _draw_states(trace, method or "pca", layer, output)
        console.say(f"picture in {output}")


def gates(
    source: TextArgument = "-",
    model: options.ModelOption = None,
    layer: LayerOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """Show how far the gates of a layer are open along a text.

    For each gate: its mean, the share of its activations below 0.1 (shut) and above 0.9 (open), and what
    it does where it is open.
    For a tagger or translator, the forward cell of its encoder reads the first line. Of slstm only the
    output gate is shown, since its other gates are exponential and have no upper end. In the picture
    dark is open; up to 120 symbols are written below it, so a line or two of text are best.

    Examples:
      echo 'Ada met Bob in Paris.' | seqtool inspect gates
      seqtool inspect gates text.txt -m runs/lm/lm-tiny -o gates.png
    """
    where = find_model(model, TASKS)
    require_format(output)
    trace = _traced(where, source, layer, threads)
    from seqtool.inspection.traces import gate_meanings, gates_along

    found = gates_along(trace)
    if not found:
        raise UsageError(f"{where}: the cells of this model have no gates; try seqtool inspect states")
    low, high = SATURATED
    meanings = gate_meanings(trace.cell)
    rows = []
    for name, opened in found.items():
        shares = [f"{float(each.double().mean()):.3f}" for each in (opened, opened < low, opened > high)]
        rows.append([name, *shares, meanings.get(name, "")])
    print_rows(["gate", "mean", f"below {low}", f"above {high}", "where it is open"], rows)
    if output is not None:
        from seqtool.inspection.state_figures import gate_figure

        matrices = {name: opened.double().numpy() for name, opened in found.items()}
        gate_figure(matrices, trace.labels, output, title=f"Gates of layer {layer}", meanings=meanings)
        console.say(f"picture in {output}")


def _traced(where: Path, source: str, layer: int, threads: int) -> Trace:
    """Trace the layer over the text of a file or standard input."""
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tasks import TASKS as TABLE
    from seqtool.text.lines import lines_of

    configure(threads)
    model = api.load_single(where, device="cpu", precision="fp32")
    lines = list(itertools.islice(lines_of(source), MOST_LINES))
    if not any(line.strip() for line in lines):
        raise DataError(
            f"{'standard input' if source == '-' else source}: no text; give a line that is not empty"
        )
    trace: Trace = TABLE[api.task_of(where)]().trace(model, lines, layer)
    return trace


def _units(given: list[int] | None, states: Tensor) -> list[int]:
    """The units to show, of states [T, D]."""
    width = states.shape[1]
    for unit in given or ():
        if unit >= width:
            raise UsageError(
                f"--unit {unit}: the layer has {width} units; give a number from 0 to {width - 1}"
            )
    if given:
        return given
    ranked = states.double().var(0, unbiased=False).argsort(descending=True)
    return [int(unit) for unit in ranked[:UNITS]]


def _rows(trace: Trace, units: list[int]) -> list[list[str]]:
    """One row per symbol with the values of the units."""
    return [
        [label, *(f"{float(state[unit]):.3f}" for unit in units)]
        for label, state in zip(trace.labels, trace.states, strict=True)
    ]


def _heading(unit: int) -> Text:
    """The line above a unit's text."""
    from rich.text import Text

    return Text(f"unit {unit}", style="bold")


def _coloured(labels: list[str], values: list[float]) -> Text:
    """The text on red where the unit is above 0 and on blue where it is below, by strength."""
    from rich.text import Text

    from seqtool.inspection.traces import separator_of

    largest = max(max(map(abs, values)), 1e-6)
    apart = separator_of(labels)
    result = Text()
    for label, value in zip(labels, values, strict=True):
        strength = round(abs(value) / largest * SHADES)
        faded = 255 - 40 * strength
        colour = f"rgb(255,{faded},{faded})" if value > 0 else f"rgb({faded},{faded},255)"
        shown = console.printable(label)
        result.append(shown, style=f"black on {colour}" if strength else "")
        result.append(apart)
    return result


def _draw_states(trace: Trace, method: Literal["pca", "tsne"], layer: int, output: Path) -> None:
    """Draw all states of the layer on a plane."""
    from seqtool.inspection.state_figures import projected, state_figure

    plane = projected(trace.states.double().numpy(), method)
    title = f"States of layer {layer} after each symbol ({plane.method})"
    state_figure(plane, trace.labels, trace.groups, output, title=title, grouped_by=trace.grouped_by)
