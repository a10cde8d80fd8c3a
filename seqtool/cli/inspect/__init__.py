"""`seqtool inspect`: pictures of what happens inside a model, one file per group of pictures."""

from __future__ import annotations

from seqtool.cli.help import CommandGroup
from seqtool.cli.inspect import attention, cells, features, layers, runs

app = CommandGroup(
    """Draw what happens inside a model: attention, states, gates, gradients, learning curves.

    Examples:
      echo 'call Anna at nine' | seqtool inspect attention
      seqtool inspect curves runs/ner/ner-tiny -o curves.png
    """
)
for command in (
    attention.attention,
    cells.cells,
    cells.gradients,
    cells.memory,
    features.features,
    layers.states,
    layers.gates,
    runs.curves,
):
    app.command()(command)
