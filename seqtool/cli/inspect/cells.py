"""`seqtool inspect cells`, `gradients` and `memory`: the family of recurrent cells side by side."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from seqtool.cli import console, options
from seqtool.cli.options import find_model
from seqtool.cli.tables import cell as text_cell
from seqtool.errors import UsageError, nearest
from seqtool.nn.cell_names import CELL_NAMES

if TYPE_CHECKING:
    from torch import Tensor

    from seqtool.inspection.cell_figures import Curve
    from seqtool.inspection.problems import Course
    from seqtool.nn.cells import Cell
    from seqtool.nn.recurrence import Stack

CELLS_HELP = "Cells by name, as `seqtool inspect cells` lists them."
CITATION = re.compile(r"([A-Z][a-z]+(?: et al\.| and [A-Z][a-z]+)?),? (\d{4})")
USUAL = ["rnn", "gru", "lstm"]
DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # shown in figures
READ = 16  # rows of symbols that gradients are averaged over

CellsArgument = Annotated[list[str] | None, typer.Argument(metavar="[CELL]...", help=CELLS_HELP)]
LengthOption = Annotated[int, typer.Option("--length", min=2, help="Steps.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of weights and sequences.")]
PictureOption = Annotated[Path | None, typer.Option("--output", "-o", help="Picture to draw, .png or .svg.")]
LayersOption = Annotated[int, typer.Option("--layers", min=1, help="Layers on top of each other.")]
UpdatesOption = Annotated[int, typer.Option("--updates", min=1, help="Of training, each on new sequences.")]


def cells(
    names: CellsArgument = None,
    parameters: Annotated[
        int,
        typer.Option("--parameters", min=0, help="Give each the width with about so many; 0 = --hidden."),
    ] = 0,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="Width of all.")] = 256,
    inputs: Annotated[int, typer.Option("--inputs", min=1, help="Width of an input.")] = 256,
    layers: LayersOption = 1,
) -> None:
    """The recurrent cells: name, width, number of parameters (echo_state's are fixed), source, what each is.

    In a pipe: a line a cell, its columns separated by tabs.
    """
    chosen = _known(names or list(CELL_NAMES))
    from seqtool.inspection.problems import size_of, width_for
    from seqtool.nn.cells import CELLS

    rows = []
    for name in chosen:
        width = width_for(name, inputs, parameters, layers) if parameters else hidden
        size = size_of(name, inputs, width, layers)
        rows.append([name, str(width), str(size), *_described(CELLS[name])])
    print_rows(["cell", "width", "parameters", "source", "what it is"], rows)


def gradients(
    names: CellsArgument = None,
    models: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="Language models to draw too; they read what they write."),
    ] = None,
    length: LengthOption = 100,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="Width of the cells.")] = 128,
    layers: LayersOption = 1,
    problem: Annotated[
        Literal["none", "adding", "copying"],
        typer.Option("--problem", help="Train the cells on it too, and draw them before and after."),
    ] = "none",
    updates: UpdatesOption = 1000,
    seed: SeedOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """How far a gradient reaches back: its norm by the state at each distance from the loss.

    Cells as they start, on random inputs; with --problem also after training on it; and language
    models. The state is all that a cell hands on, of an lstm hidden and cell state. Without CELL and
    -m: rnn, gru, lstm.
    """
    chosen = _known(names if names or models else USUAL)
    where = [find_model(model, ("lm",)) for model in models or ()]
    require_format(output)
    from seqtool.devices import configure
    from seqtool.inspection.cell_figures import gradient_figure

    configure(threads)
    curves: dict[str, Curve] = {}
    for name in chosen:
        curves |= _curves_of(name, problem, Shape(length, hidden, layers), updates, seed)
    for path in where:
        curves[str(path)] = _curve_of_model(path, length, seed)
    shown = [distance for distance in DISTANCES if distance < length]
    for name, curve in curves.items():
        if not any(curve.norms[1:]):
            console.say(f"{name}: no gradient goes from a step to the one before; its line has no length")
    rows = [[name, *(f"{curve.norms[each]:.1e}" for each in shown)] for name, curve in curves.items()]
    print_rows(["norm of the gradient, steps back", *map(str, shown)], rows)
    if output is not None:
        gradient_figure(curves, output, title="How far gradients reach back")
        console.say(f"picture in {output}")


def memory(
    names: CellsArgument = None,
    problem: Annotated[
        Literal["adding", "copying"], typer.Option("--problem", help="What is to be learned.")
    ] = "adding",
    length: LengthOption = 100,
    parameters: Annotated[
        int, typer.Option("--parameters", min=10, help="Of the layers of each cell; their width follows.")
    ] = 20_000,
    layers: LayersOption = 2,
    updates: UpdatesOption = 2000,
    seed: SeedOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """How well cells of one size learn to remember: the adding and the copying problem.

    adding: the sum of two marked numbers of a sequence, mean squared error, 0.1667 by guessing.
    copying: ten symbols after a pause, nats a symbol, 2.079 by guessing. Updates to half of guessing:
    when the loss was first found below half of that. Without CELL: rnn, gru, lstm.
    """
    chosen = _known(names or USUAL)
    require_format(output)
    from seqtool.devices import configure
    from seqtool.inspection.cell_figures import course_figure
    from seqtool.inspection.problems import PROBLEMS, learn, size_of, width_for

    configure(threads)
    asked = PROBLEMS[problem](length)
    courses: dict[str, Course] = {}
    rows = []
    widths = {name: width_for(name, asked.inputs, parameters, layers) for name in chosen}
    for name, width in widths.items():
        course = learn(name, asked, hidden=width, layers=layers, updates=updates, seed=seed)
        courses[name] = course
        last = course.losses[-1][1]
        console.say(f"{name}: width {width}, loss {last:.4f}, {course.seconds:.0f} s")
        count = size_of(name, asked.inputs, width, layers)
        half = next((step for step, loss in course.losses if loss < asked.guessing / 2), None)
        found = [str(width), str(count), f"{last:.4f}", "-" if half is None else str(half)]
        rows.append([name, *found, f"{course.seconds:.1f}"])
    headings = ["cell", "width", "parameters", "loss", "updates to half of guessing", "seconds"]
    print_rows(headings, rows)
    if output is not None:
        course_figure(
            {name: course.losses for name, course in courses.items()},
            output,
            guessing=asked.guessing,
            title=f"The {problem} problem over {length} steps, about {parameters:,} parameters each",
        )
        console.say(f"picture in {output}")


def _known(names: Sequence[str] | None) -> list[str]:
    for name in names or ():
        if name not in CELL_NAMES:
            raise UsageError(
                f"no cell {name!r}{nearest(name, CELL_NAMES)}; there are {', '.join(CELL_NAMES)}"
            )
    return list(dict.fromkeys(names or ()))


def require_format(output: Path | None) -> None:
    """Before anything is computed."""
    if output is not None:
        from seqtool.inspection.canvas import format_of

        format_of(output)
        options.require_folder(output)


def _described(kind: type[Cell]) -> tuple[str, str]:
    """Authors and year of the paper that a cell's documentation names, and its first line."""
    words = inspect.cleandoc(kind.__doc__ or "")
    cited = CITATION.search(words, max(words.find("Reference:"), 0))
    return " ".join(cited.groups()) if cited else "", words.splitlines()[0]


class Shape(NamedTuple):
    """Of the networks whose gradients are compared."""

    length: int  # T
    hidden: int
    layers: int


def _curves_of(name: str, problem: str, shape: Shape, updates: int, seed: int) -> dict[str, Curve]:
    """Layers of a cell as they start, and after training."""
    import torch

    from seqtool.inspection.cell_figures import Curve
    from seqtool.inspection.problems import PROBLEMS, learn
    from seqtool.nn.cell_options import LayerOptions
    from seqtool.nn.recurrence import Stack

    torch.manual_seed(seed)
    source = torch.Generator().manual_seed(seed)
    length, hidden, layers = shape
    asked = None if problem == "none" else PROBLEMS[problem](length)
    width = hidden if asked is None else asked.inputs
    random = torch.randn(READ, length, hidden, generator=source)
    inputs = random if asked is None else asked.draw(READ, source)[0]
    fresh = Stack(LayerOptions(name), inputs=width, hidden=hidden, layers=layers)
    before = Curve(_norms(fresh, inputs, seed))
    if asked is None:
        return {name: before}
    course = learn(name, asked, hidden=hidden, layers=layers, updates=updates, seed=seed)
    loss = f"{course.losses[-1][1]:.4f} after {updates} updates, {asked.guessing:.4f} by guessing"
    console.say(f"{name}: loss {loss}")
    at_first = f"{name}, at first"
    after = Curve(_norms(course.stack, inputs, seed), partner=at_first)
    return {at_first: before, f"{name}, trained": after}


def _norms(stack: Stack, inputs: Tensor, seed: int) -> list[float]:
    from seqtool.inspection.gradients import gradient_norms, of_stack

    stack, inputs = stack.eval().double(), inputs.double()  # small norms are numbers too
    start = stack.initial(len(inputs), inputs)
    found: list[float] = gradient_norms(of_stack(stack), start, inputs, seed=seed).tolist()
    return found


def _curve_of_model(path: Path, length: int, seed: int) -> Curve:
    """A language model on text of its own."""
    from seqtool import api
    from seqtool.inspection.cell_figures import Curve
    from seqtool.inspection.gradients import gradient_norms, of_stack
    from seqtool.lm.tracing import own_text

    model = api.load_language_model(path, device="cpu")
    inputs, states = own_text(model, rows=READ, length=length, seed=seed)
    return Curve(gradient_norms(of_stack(model.network.stack), states, inputs, seed=seed).tolist())


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table, its first column text, the others figures."""
    from rich.table import Table

    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number and heading != "what it is" else "left")
    for row in rows:
        table.add_row(*map(text_cell, row))
    console.print_table(table)
