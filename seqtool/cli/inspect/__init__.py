"""`seqtool inspect`: pictures of what happens inside a model, one file per group of pictures."""

from __future__ import annotations

import typer

from seqtool.cli.inspect import attention, cells, layers, runs

app = typer.Typer(
    help="Draw what happens inside a model: attention, states, gates, gradients, learning curves.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
for command in (
    attention.attention,
    cells.cells,
    cells.gradients,
    cells.memory,
    layers.states,
    layers.gates,
    runs.curves,
):
    app.command()(command)
