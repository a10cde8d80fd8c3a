"""Two small problems that only a cell with a long memory solves, and a way to train cells on them.

adding: two numbers of a sequence are marked; the target is their sum (Hochreiter and Schmidhuber 1997,
experiment 4, as in Le et al. 2015, section 4.1). Always guessing the mean gives the variance of the sum of
two uniform numbers, 1/6, as the mean squared error.

copying: ten symbols, a long pause, then the same symbols in the same order (Hochreiter and Schmidhuber 1997,
experiment 2, as in Arjovsky et al. 2016, section 5.1). Guessing costs log 8 nats per symbol.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.errors import UsageError
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS
from seqtool.nn.recurrence import Stack

REMEMBERED, KINDS = 10, 8  # symbols to copy, and the size of their alphabet
HELD_OUT, CLIP = 512, 1.0  # sequences that losses are measured on; largest norm of a gradient


class Problem(ABC):
    """Random sequences, and what a network should output for them.

    Args:
        length: Number of steps over which something has to be remembered.
    """

    inputs: int  # width of the input vectors, I
    outputs: int  # width of the output vectors, O
    guessing: float  # loss of the best constant guess, the baseline
    loss_name: str  # the loss with its unit

    def __init__(self, length: int) -> None:
        self.length = length

    @abstractmethod
    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random inputs [B, T, I] and their targets, for B = `rows` sequences."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the batch, given outputs [B, T, O] and targets."""


class Adding(Problem):
    """The adding problem, as described at the top of this file."""

    inputs, outputs, guessing, loss_name = 2, 1, 1 / 6, "mean squared error"

    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs: a number and a mark at each step, [B, T, 2], with one mark in each half. Targets: [B]."""
        numbers, marks = torch.rand(rows, self.length, generator=source), torch.zeros(rows, self.length)
        half = self.length // 2
        for first, last in ((0, half), (half, self.length)):
            places = torch.randint(first, last, (rows, 1), generator=source)
            marks.scatter_(1, places, 1.0)
        return torch.stack([numbers, marks], 2), (numbers * marks).sum(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the output at the last step."""
        return functional.mse_loss(outputs[:, -1, 0], targets)


class Copying(Problem):
    """The copying problem, as described at the top of this file."""

    inputs, outputs, guessing, loss_name = KINDS + 2, KINDS, math.log(KINDS), "loss (nats per symbol)"

    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """One-hot inputs: the symbols, blanks, a start sign, blanks during the output. Targets: [B, 10]."""
        remembered = torch.randint(KINDS, (rows, REMEMBERED), generator=source)
        symbols = torch.full((rows, self.length + 2 * REMEMBERED), KINDS)
        symbols[:, :REMEMBERED] = remembered
        symbols[:, self.length + REMEMBERED - 1] = KINDS + 1
        return functional.one_hot(symbols, self.inputs).float(), remembered

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy in nats per symbol, over the last ten steps."""
        return functional.cross_entropy(outputs[:, -REMEMBERED:].transpose(1, 2), targets)


PROBLEMS: dict[str, Callable[[int], Problem]] = {"adding": Adding, "copying": Copying}


class Trained(NamedTuple):
    """A cell's layers after training on a problem."""

    stack: Stack
    losses: list[tuple[int, float]]  # update and held-out loss of each evaluation
    seconds: float  # of the training


def size_of(name: str, inputs: int, hidden: int, layers: int = 1) -> int:
    """Number of parameters of layers of a cell; the fixed weights of echo_state count too."""

    def one(inputs: int) -> int:
        if name == "echo_state":
            return hidden * (inputs + hidden)
        return CELLS[name].parameter_count(inputs, hidden)

    return one(inputs) + (layers - 1) * one(hidden)


def width_for(name: str, inputs: int, parameters: int, layers: int = 1) -> int:
    """The largest width H at which layers of a cell have at most so many parameters.

    Raises:
        UsageError: layers of width 1 have more already.
    """
    width = 1
    least = size_of(name, inputs, width, layers)
    if least > parameters:
        raise UsageError(
            f"--parameters {parameters}: {name} of width 1 with {inputs} inputs has {least} already; "
            f"give --parameters {least} or more"
        )
    while size_of(name, inputs, width + 1, layers) <= parameters:
        width += 1
    return width


def learn(
    name: str,
    problem: Problem,
    *,
    hidden: int,
    layers: int,
    updates: int,
    seed: int = 1,
    rows: int = 64,
    learning_rate: float = 3e-3,
    evaluations: int = 20,
) -> Trained:
    """Train layers of a cell and a linear output layer with Adam, the learning rate falling linearly to 0.

    Args:
        name: Name of the cell, a key of `CELLS`.
        problem: The problem to learn.
        hidden: Width of the layers.
        layers: Number of layers.
        updates: Number of updates, each on new sequences.
        seed: Random seed of weights and sequences.
        rows: Sequences per update.
        learning_rate: Learning rate of the first update.
        evaluations: Number of measurements of the held-out loss, about evenly spaced.
    """
    torch.manual_seed(seed)
    source = torch.Generator().manual_seed(seed)
    held_out = problem.draw(HELD_OUT, torch.Generator().manual_seed(seed + 1))
    stack = Stack(LayerOptions(name), inputs=problem.inputs, hidden=hidden, layers=layers)
    output = nn.Linear(hidden, problem.outputs)
    learned = [*stack.parameters(), *output.parameters()]
    optimizer = torch.optim.Adam(learned, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, updates)
    losses, started = [], time.monotonic()
    for update in range(updates + 1):
        if update % max(updates // evaluations, 1) == 0 or update == updates:
            losses.append((update, _measured(stack, output, problem, held_out)))
        if update == updates:
            break
        inputs, targets = problem.draw(rows, source)
        optimizer.zero_grad()
        problem.loss(output(_read(stack, inputs)), targets).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, CLIP)
        optimizer.step()
        schedule.step()
    return Trained(stack.eval(), losses, time.monotonic() - started)


@torch.no_grad()
def _measured(stack: Stack, output: nn.Linear, problem: Problem, held_out: tuple[Tensor, Tensor]) -> float:
    """Loss on held-out sequences, in evaluation mode."""
    inputs, targets = held_out
    stack.eval()
    found = float(problem.loss(output(_read(stack, inputs)), targets))
    stack.train()
    return found


def _read(stack: Stack, inputs: Tensor) -> Tensor:
    """Outputs [B, T, H] of the topmost layer, from the initial state."""
    values: Tensor = stack(inputs, stack.initial(len(inputs), inputs))[0]
    return values
