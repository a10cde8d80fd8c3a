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
MOST_LINES = 100  # of a text that are read
LEAST_STATES = 3
SATURATED = (0.1, 0.9)  # below the one a gate is shut, above the other open (Karpathy et al. 2016)
SHADES = 5  # of each colour
UNITS = 3  # shown unless they are named

LayerOption = Annotated[int, typer.Option("--layer", min=1, help="Which, from below.")]
TextArgument = Annotated[str, typer.Argument(metavar="[INPUT]", help="File (also .gz); - is standard input.")]


def states(
    source: TextArgument = "-",
    model: options.ModelOption = None,
    layer: LayerOption = 1,
    units: Annotated[
        list[int] | None,
        typer.Option("--unit", min=0, help="Units to show, from 0; else those that vary most."),
    ] = None,
    method: Annotated[
        Literal["pca", "tsne"], typer.Option("--method", help="How to draw the plane.")
    ] = "pca",
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """What the units of a layer do along a text, and all its states on a plane.

    On a terminal the text is coloured: red above 0, blue below. In a pipe: a line a symbol, the
    units' values after it. A language model reads up to 100 lines; of a tagger or translator the
    encoder is shown, over the first line.
    """
    where = find_model(model, TASKS)
    require_format(output)
    trace = _traced(where, source, layer, threads)
    if output is not None and len(trace.labels) < LEAST_STATES:
        raise DataError(f"the text has {len(trace.labels)} symbols: a picture needs {LEAST_STATES} at least")
    chosen = _units(units, trace.states)
    if console.is_terminal():
        for unit in chosen:
            console.print_text(_heading(unit))
            console.print_text(_coloured(trace.labels, trace.states[:, unit].tolist()))
    else:
        print_rows(["symbol", *(f"unit {unit}" for unit in chosen)], _rows(trace, chosen))
    if output is not None:
        _draw_states(trace, method, output)
        console.say(f"picture in {output}")


def gates(
    source: TextArgument = "-",
    model: options.ModelOption = None,
    layer: LayerOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """How far the gates of a layer are open along a text.

    The mean of each gate, and the shares of its units and steps below 0.1 and above 0.9. Of a
    tagger or translator: the encoder's cell that reads ahead, over the first line. Of slstm the output
    gate alone: the others are exponential, and have no end to be near to. A line or two of text make the
    best picture: up to 120 symbols are named below it.
    """
    where = find_model(model, TASKS)
    require_format(output)
    trace = _traced(where, source, layer, threads)
    from seqtool.inspection.traces import gates_along

    found = gates_along(trace)
    if not found:
        raise UsageError("this model's cells have no gates to show")
    low, high = SATURATED
    rows = [
        [name, *(f"{float(each.double().mean()):.3f}" for each in (opened, opened < low, opened > high))]
        for name, opened in found.items()
    ]
    print_rows(["gate", "mean", f"below {low}", f"above {high}"], rows)
    if output is not None:
        from seqtool.inspection.state_figures import gate_figure

        matrices = {name: opened.double().numpy() for name, opened in found.items()}
        gate_figure(matrices, trace.labels, output, title="How far gates are open")
        console.say(f"picture in {output}")


def _traced(where: Path, source: str, layer: int, threads: int) -> Trace:
    """The layer over the text that is given."""
    from seqtool import api
    from seqtool.devices import configure
    from seqtool.tasks import TASKS as TABLE
    from seqtool.text.lines import lines_of

    configure(threads)
    model = api.load(where, device="cpu", precision="fp32")
    lines = list(itertools.islice(lines_of(source), MOST_LINES))
    if not any(line.strip() for line in lines):
        raise DataError(f"{'standard input' if source == '-' else source}: no text")
    trace: Trace = TABLE[api.task_of(where)]().trace(model, lines, layer)
    return trace


def _units(given: list[int] | None, states: Tensor) -> list[int]:
    width = states.shape[1]
    for unit in given or ():
        if unit >= width:
            raise UsageError(f"--unit {unit}: the layer has {width} units, from 0")
    if given:
        return given
    ranked = states.double().var(0, unbiased=False).argsort(descending=True)
    return [int(unit) for unit in ranked[:UNITS]]


def _rows(trace: Trace, units: list[int]) -> list[list[str]]:
    return [
        [label, *(f"{float(state[unit]):.3f}" for unit in units)]
        for label, state in zip(trace.labels, trace.states, strict=True)
    ]


def _heading(unit: int) -> Text:
    from rich.text import Text

    return Text(f"unit {unit}", style="bold")


def _coloured(labels: list[str], values: list[float]) -> Text:
    """Each symbol on red where the unit is above 0, on blue where it is below, the more the stronger."""
    from rich.text import Text

    largest = max(max(map(abs, values)), 1e-6)
    # Words are set apart; characters and pieces bring their own spaces.
    apart = " " if all(label.strip() for label in labels) and any(len(label) > 1 for label in labels) else ""
    result = Text()
    for label, value in zip(labels, values, strict=True):
        strength = round(abs(value) / largest * SHADES)
        faded = 255 - 40 * strength
        colour = f"rgb(255,{faded},{faded})" if value > 0 else f"rgb({faded},{faded},255)"
        shown = console.printable(label)
        result.append(shown, style=f"black on {colour}" if strength else "")
        result.append(apart)
    return result


def _draw_states(trace: Trace, method: Literal["pca", "tsne"], output: Path) -> None:
    from seqtool.inspection.state_figures import projected, state_figure

    points, how = projected(trace.states.double().numpy(), method)
    state_figure(points, trace.labels, trace.groups, output, title=f"States: {how}")
