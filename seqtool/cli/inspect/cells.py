"""`seqtool inspect cells`, `gradients` and `memory`: the recurrent cells compared."""

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
    from seqtool.inspection.problems import Problem, Trained
    from seqtool.nn.cells import Cell
    from seqtool.nn.recurrence import Stack

CELLS_HELP = "Names of cells; `seqtool inspect cells` lists them all."
CITATION = re.compile(r"([A-Z][a-z]+(?: et al\.| and [A-Z][a-z]+)?),? (\d{4})")
USUAL = ["rnn", "gru", "lstm"]
TEXTS = ("source", "what it is", "equations", "where it is open")  # columns of tables that are text
DISTANCES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # in steps, the columns of the table
FRESH = ", freshly initialised"
READ = 16  # sequences that gradients are averaged over

CellsArgument = Annotated[list[str] | None, typer.Argument(metavar="CELL", help=CELLS_HELP)]
LengthOption = Annotated[int, typer.Option("--length", min=2, help="Length of the sequences, in steps.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Random seed of weights and sequences.")
]
PictureOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Save a picture as this file, .png or .svg.")
]
LayersOption = Annotated[int, typer.Option("--layers", min=1, help="Number of layers.")]
UpdatesOption = Annotated[
    int, typer.Option("--updates", min=1, help="Number of training updates, each on new sequences.")
]


def cells(
    names: CellsArgument = None,
    parameters: Annotated[
        int,
        typer.Option(
            "--parameters",
            min=0,
            help="Choose each cell's width so that it has at most this many parameters; 0 = use --hidden.",
        ),
    ] = 0,
    hidden: Annotated[int, typer.Option("--hidden", min=1, help="Width of every cell.")] = 256,
    inputs: Annotated[int, typer.Option("--inputs", min=1, help="Width of the input vectors.")] = 256,
    layers: LayersOption = 1,
) -> None:
    """List the recurrent cells with their width, number of parameters, paper and a short description.

    The parameters of echo_state are fixed at random; all others are trained. In a pipe, one line per
    cell with columns separated by tabs.

    Examples:
      seqtool inspect cells
      seqtool inspect cells lstm gru mingru --parameters 100000
    """
    chosen = _known(names or list(CELL_NAMES))
    from seqtool.inspection.problems import size_of, width_for
    from seqtool.nn.cells import CELLS

    rows = []
    for name in chosen:
        width = width_for(name, inputs, parameters, layers) if parameters else hidden
        size = size_of(name, inputs, width, layers)
        rows.append([name, str(width), str(size), *_described(CELLS[name])])
    print_rows(["cell", "width", "parameters", "source", "what it is", "equations"], rows)


def gradients(
    names: CellsArgument = None,
    models: Annotated[
        list[Path] | None,
        typer.Option("--model", "-m", help="Language model to include, on text that it samples. Repeatable."),
    ] = None,
    length: LengthOption = 100,
    hidden: Annotated[
        int | None, typer.Option("--hidden", min=1, help="Width of the cells. Default: 128.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Number of layers of the cells. Default: 1.")
    ] = None,
    problem: Annotated[
        Literal["none", "adding", "copying"],
        typer.Option("--problem", help="Also train the cells on this problem; show before and after."),
    ] = "none",
    updates: Annotated[
        int | None,
        typer.Option(
            "--updates",
            min=1,
            help="Number of training updates of --problem, each on new sequences. Default: 1000.",
        ),
    ] = None,
    seed: SeedOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """Show how far back gradients reach: their norm at each distance from the loss.

    The gradient is taken with respect to the whole state of the layers, of an lstm hidden and cell
    state. Cells are freshly initialised and read random inputs; with --problem they are also shown
    after training on it. Without CELL and --model: rnn, gru and lstm.

    Examples:
      seqtool inspect gradients -o gradients.png
      seqtool inspect gradients lstm --problem adding --length 50 --updates 500
    """
    chosen = _known(names if names or models else USUAL)
    if not chosen:
        trained = {"--problem": problem != "none", "--updates": updates}
        built = {"--hidden": hidden, "--layers": layers}
        options.refuse(trained | built, "without CELL, since a model of -m is taken as it is")
    if problem == "none":
        options.refuse({"--updates": updates}, "without --problem")
    where = [find_model(model, ("lm",)) for model in models or ()]
    require_format(output)
    from seqtool.devices import configure
    from seqtool.inspection.cell_figures import gradient_figure

    configure(threads)
    curves: dict[str, Curve] = {}
    for name in chosen:
        curves |= _curves_of(name, problem, Shape(length, hidden or 128, layers or 1), updates or 1000, seed)
    for path in where:
        curves[str(path)] = _curve_of_model(path, length, seed)
    shown = [distance for distance in DISTANCES if distance < length]
    for name, curve in curves.items():
        if not any(curve.norms[1:]):
            console.say(f"{name}: no gradient flows from a step to the one before; only distance 0 is drawn")
    rows = [[name, *(f"{curve.norms[each]:.1e}" for each in shown)] for name, curve in curves.items()]
    print_rows(["gradient norm at distance", *map(str, shown)], rows)
    if output is not None:
        fresh = "" if not chosen or problem != "none" else ", cells freshly initialised" if where else FRESH
        gradient_figure(curves, output, title=f"How far gradients reach back{fresh}")
        console.say(f"picture in {output}")


def memory(
    names: CellsArgument = None,
    problem: Annotated[
        Literal["adding", "copying"], typer.Option("--problem", help="The problem to learn.")
    ] = "adding",
    length: LengthOption = 100,
    parameters: Annotated[
        int,
        typer.Option(
            "--parameters", min=10, help="Most parameters of each cell's layers; sets the cell's width."
        ),
    ] = 20_000,
    layers: LayersOption = 2,
    updates: UpdatesOption = 2000,
    seed: SeedOption = 1,
    output: PictureOption = None,
    threads: options.ThreadsOption = 0,
) -> None:
    """Train cells of equal size on a problem that needs memory, and compare their losses.

    adding: the sum of two marked numbers in a sequence; mean squared error, 0.1667 by guessing.
    copying: ten symbols repeated after a pause; nats per symbol, 2.079 by guessing. The table says
    at which update the loss first fell below half of guessing. Without CELL: rnn, gru and lstm.

    Examples:
      seqtool inspect memory --length 20 --updates 500
      seqtool inspect memory gru mingru --problem copying --length 20 -o memory.png
    """
    chosen = _known(names or USUAL)
    require_format(output)
    from seqtool.devices import configure
    from seqtool.inspection.cell_figures import problem_figure
    from seqtool.inspection.problems import PROBLEMS, learn, width_for

    configure(threads)
    task = PROBLEMS[problem](length)
    widths = {name: width_for(name, task.inputs, parameters, layers) for name in chosen}
    trained: dict[str, Trained] = {}
    for name, width in widths.items():
        found = learn(name, task, hidden=width, layers=layers, updates=updates, seed=seed)
        trained[name] = found
        console.say(f"{name}: width {width}, loss {found.losses[-1][1]:.4f}, {found.seconds:.0f} s")
    headings = ["cell", "width", "parameters", "loss", "updates to half of guessing", "seconds"]
    print_rows(headings, [_memory_row(name, widths[name], layers, task, trained[name]) for name in chosen])
    if output is not None:
        problem_figure(
            {name: each.losses for name, each in trained.items()},
            output,
            baseline=task.guessing,
            loss_name=task.loss_name,
            title=f"The {problem} problem over {length} steps, at most {parameters:,} parameters per cell",
        )
        console.say(f"picture in {output}")


def _memory_row(name: str, width: int, layers: int, problem: Problem, trained: Trained) -> list[str]:
    """What the table of `memory` says about one cell."""
    from seqtool.inspection.problems import size_of

    half = next((step for step, loss in trained.losses if loss < problem.guessing / 2), None)
    return [
        name,
        str(width),
        str(size_of(name, problem.inputs, width, layers)),
        f"{trained.losses[-1][1]:.4f}",
        "-" if half is None else str(half),
        f"{trained.seconds:.1f}",
    ]


def _known(names: Sequence[str] | None) -> list[str]:
    """The names without repetitions, if all are names of cells."""
    for name in names or ():
        if name not in CELL_NAMES:
            raise UsageError(
                f"no cell {name!r}; the cells are {', '.join(CELL_NAMES)}{nearest(name, CELL_NAMES)}"
            )
    return list(dict.fromkeys(names or ()))


def require_format(output: Path | None) -> None:
    """Refuse an impossible picture file before anything is computed."""
    if output is not None:
        from seqtool.inspection.canvas import format_of
        from seqtool.text.output import require_free

        format_of(output)
        require_free(output, overwrite=True)


def _described(kind: type[Cell]) -> tuple[str, str, str]:
    """Authors and year of the paper that a cell's docstring cites, its first line, and its equations."""
    words = inspect.cleandoc(kind.__doc__ or "")
    cited = CITATION.search(words, max(words.find("Reference:"), 0))
    summary, equations, *_ = words.split("\n\n")
    return (
        " ".join(cited.groups()) if cited else "",
        summary,
        "; ".join(line.rstrip(";") for line in equations.splitlines()),
    )


class Shape(NamedTuple):
    """Sizes of the networks whose gradients are compared."""

    length: int  # of the sequences, T
    hidden: int
    layers: int


def _curves_of(name: str, problem: str, shape: Shape, updates: int, seed: int) -> dict[str, Curve]:
    """Curves of a cell's layers as initialised and, if a problem is given, after training on it."""
    import torch

    from seqtool.inspection.cell_figures import Curve
    from seqtool.inspection.problems import PROBLEMS, learn
    from seqtool.nn.cell_options import LayerOptions
    from seqtool.nn.recurrence import Stack

    torch.manual_seed(seed)
    source = torch.Generator().manual_seed(seed)
    length, hidden, layers = shape
    task = None if problem == "none" else PROBLEMS[problem](length)
    width = hidden if task is None else task.inputs
    random = torch.randn(READ, length, hidden, generator=source)
    inputs = random if task is None else task.draw(READ, source)[0]
    fresh = Stack(LayerOptions(name), inputs=width, hidden=hidden, layers=layers)
    before = Curve(_norms(fresh, inputs, seed))
    if task is None:
        return {name: before}
    trained = learn(name, task, hidden=hidden, layers=layers, updates=updates, seed=seed)
    loss = f"{trained.losses[-1][1]:.4f} after {updates} updates, {task.guessing:.4f} by guessing"
    console.say(f"{name}: loss {loss}")
    untrained = f"{name}, untrained"
    after = Curve(_norms(trained.stack, inputs, seed), partner=untrained)
    return {untrained: before, f"{name}, trained": after}


def _norms(stack: Stack, inputs: Tensor, seed: int) -> list[float]:
    """Gradient norms of a stack by distance, on inputs [B, T, I]."""
    from seqtool.inspection.gradients import gradient_norms, of_stack

    stack, inputs = stack.eval().double(), inputs.double()  # float32 would lose small norms
    start = stack.initial(len(inputs), inputs)
    found: list[float] = gradient_norms(of_stack(stack), start, inputs, seed=seed).tolist()
    return found


def _curve_of_model(path: Path, length: int, seed: int) -> Curve:
    """Gradient norms of a language model that reads text sampled from itself."""
    from seqtool import api
    from seqtool.inspection.cell_figures import Curve
    from seqtool.inspection.gradients import gradient_norms, of_stack
    from seqtool.lm.tracing import own_text

    model = api.load_language_model(path, device="cpu")
    inputs, states = own_text(model, rows=READ, length=length, seed=seed)
    return Curve(
        gradient_norms(of_stack(model.network.stack), states, inputs, seed=seed).tolist(), trained=True
    )


def print_rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of text in the first column and numbers in the others."""
    from rich.table import Table

    table = Table()
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number and heading not in TEXTS else "left")
    for row in rows:
        table.add_row(*map(text_cell, row))
    console.print_table(table)
