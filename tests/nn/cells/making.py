"""Cells with random weights in float64, inputs, states, and functions that run them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import CellOptions
from seqtool.nn.cells import CELLS, Cell, State, build_cell
from seqtool.nn.cells.running import run_cell_plainly

INPUTS, HIDDEN = 3, 4
FIXED = {"echo_state"}  # nothing in them is learned, and no gradient goes through
LEARNED = [name for name in CELLS if name not in FIXED]

# Cells to be trained through a whole run: a few of them always, the others where slow tests are run.
TRAINED = [
    name if name in ("capped_lstm", "qrnn", "echo_state") else pytest.param(name, marks=pytest.mark.slow)
    for name in CELLS
]


def make_cell(
    name: str, seed: int = 0, *, inputs: int = INPUTS, hidden: int = HIDDEN, **options: Any
) -> Cell:
    """A cell with random parameters, biases included, so that none can be left out unnoticed."""
    torch.manual_seed(seed)
    cell = build_cell(name, inputs, hidden, options=CellOptions(**options)).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_()
        for key, buffer in cell.named_buffers():
            if "running" in key:  # statistics; variances are positive
                buffer.uniform_(0.5, 1.5)
    return cell.train(name not in BATCH_NORMALISED)


def some_inputs(batch: int = 3, steps: int = 5, width: int = INPUTS) -> Tensor:
    """The same ones each time."""
    return torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(1)).double()


def some_state(cell: Cell, batch: int = 3) -> State:
    """A random state that the cell could have reached."""
    source = torch.Generator().manual_seed(2)
    parts = cell.initial(batch, torch.zeros(()).double())
    random = [torch.randn(part.shape, generator=source).double() for part in parts]
    name = type(cell).__name__
    if name == "BatchNormLSTMCell":
        random[2] = torch.full_like(random[2], 2.0)  # steps
    elif name == "SLSTMCell":
        random[2] = random[2].abs() + 1  # the normaliser
    return tuple(random)


def run_by_stepper(cell: Cell, inputs: Tensor, state: State) -> tuple[Tensor, State]:
    """As the decoders do: one `stepper` a pass over time."""
    step, outputs = cell.stepper(), []
    for projected in cell.project(inputs).unbind(1):
        state = step(projected, state)
        outputs.append(state[0])
    return torch.stack(outputs, 1), state


class Runner(torch.nn.Module):
    """A cell and a function that runs it, as a module whose parameters can be passed as arguments."""

    def __init__(self, cell: Cell, run: Any = run_cell_plainly) -> None:
        super().__init__()
        self.cell, self.run = cell, run

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        result: tuple[Tensor, State] = self.run(self.cell, inputs, state)
        return result


# Everything that settings can say of layers and inputs beside the cell, by name.
STRUCTURES: dict[str, dict[str, Any]] = {
    "residual": {"residual": True},
    "highway": {"highway": True},
    "dilation": {"dilation": 2},
    "learned start": {"learned_start": True},
}
REGULARISERS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.3},
    "dropout, each step by itself": {"dropout": 0.3, "locked": False},
    "dropout of inputs": {"embedding_dropout": 0.3},
    "dropout of outputs": {"output_dropout": 0.3},
    "weight drop": {"weight_drop": 0.3},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "zoneout": {"zoneout": 0.3, "zoneout_hidden": 0.1},
    "word dropout": {"word_dropout": 0.3},
    "type dropout": {"type_dropout": 0.3},
    "input noise": {"input_noise": 0.3},
}
STARTS: dict[str, dict[str, Any]] = {
    "weights of the input": {"input_init": "kaiming"},
    "weights of the state": {"recurrent_init": "identity"},
    "forget gates": {"forget_bias": -0.5},
    "times": {"chrono": 20},
}
EVERYTHING: dict[str, Any] = {
    name: value
    for options in (STRUCTURES["highway"], STRUCTURES["dilation"], STRUCTURES["learned start"])
    for name, value in options.items()
} | {name: value for options in (*REGULARISERS.values(), STARTS["times"]) for name, value in options.items()}
