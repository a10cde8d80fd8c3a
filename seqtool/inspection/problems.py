"""Two small problems that only a cell with a long memory solves, and a way to learn them.

adding: of a sequence of numbers two are marked; their sum is asked for at the end (Hochreiter and
Schmidhuber 1997, experiment 4, as in Le et al. 2015, section 4.1). The same guess for all has the
variance of the sum of two uniform numbers, 1/6, as its mean squared error.

copying: ten symbols, a long pause, then the symbols again in their order (Hochreiter and Schmidhuber 1997,
experiment 2, as in Arjovsky et al. 2016, section 5.1). Guessing costs log 8 nats a symbol.
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

REMEMBERED, KINDS = 10, 8  # symbols of `copying`, and how many different ones there are
HELD_OUT, CLIP = 512, 1.0  # rows that losses are measured on; largest norm of a gradient


class Problem(ABC):
    """Sequences made at random, and what is to be said of them.

    Args:
        length: Steps over which something is to be remembered.
    """

    inputs: int  # width of an input
    outputs: int  # width of what is read off the cell
    guessing: float  # loss of who does not look

    def __init__(self, length: int) -> None:
        self.length = length

    @abstractmethod
    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Inputs [B, T, I] and what is asked for."""

    @abstractmethod
    def loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Mean over the batch: outputs [B, T, O] and what was asked for."""


class Adding(Problem):
    """See the head of this file."""

    inputs, outputs, guessing = 2, 1, 1 / 6

    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """A number and a mark at each step; one mark in each half."""
        numbers, marks = torch.rand(rows, self.length, generator=source), torch.zeros(rows, self.length)
        half = self.length // 2
        for first, last in ((0, half), (half, self.length)):
            places = torch.randint(first, last, (rows, 1), generator=source)
            marks.scatter_(1, places, 1.0)
        return torch.stack([numbers, marks], 2), (numbers * marks).sum(1)

    def loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Mean squared error of what is said at the end."""
        return functional.mse_loss(outputs[:, -1, 0], asked)


class Copying(Problem):
    """See the head of this file."""

    inputs, outputs, guessing = KINDS + 2, KINDS, math.log(KINDS)

    def draw(self, rows: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """One-hot: the symbols, blanks, a sign to begin, blanks while they are said."""
        said = torch.randint(KINDS, (rows, REMEMBERED), generator=source)
        symbols = torch.full((rows, self.length + 2 * REMEMBERED), KINDS)
        symbols[:, :REMEMBERED] = said
        symbols[:, self.length + REMEMBERED - 1] = KINDS + 1
        return functional.one_hot(symbols, self.inputs).float(), said

    def loss(self, outputs: Tensor, asked: Tensor) -> Tensor:
        """Nats a symbol."""
        return functional.cross_entropy(outputs[:, -REMEMBERED:].transpose(1, 2), asked)


PROBLEMS: dict[str, Callable[[int], Problem]] = {"adding": Adding, "copying": Copying}


class Course(NamedTuple):
    """How a cell learned a problem."""

    stack: Stack
    losses: list[tuple[int, float]]  # update and held-out loss
    seconds: float


def size_of(name: str, inputs: int, hidden: int, layers: int = 1) -> int:
    """Numbers that layers of a cell learn; of fixed cells the fixed ones count."""

    def one(inputs: int) -> int:
        if name == "echo_state":
            return hidden * (inputs + hidden)
        return CELLS[name].parameter_count(inputs, hidden)

    return one(inputs) + (layers - 1) * one(hidden)


def width_for(name: str, inputs: int, numbers: int, layers: int = 1) -> int:
    """The largest width H at which layers of a cell have at most so many numbers.

    Raises:
        UsageError: with one unit a layer there are more.
    """
    width = 1
    least = size_of(name, inputs, width, layers)
    if least > numbers:
        raise UsageError(f"{numbers} parameters: {name} of width 1 with {inputs} inputs has {least} already")
    while size_of(name, inputs, width + 1, layers) <= numbers:
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
) -> Course:
    """Train layers of a cell with a linear map on top, by Adam with a linearly falling rate.

    Args:
        name: In `CELLS`.
        problem: What is learned.
        hidden: Width of the layers.
        layers: How many.
        updates: Each on new sequences.
        seed: Of weights and sequences.
        rows: Sequences of an update.
        learning_rate: The first and highest.
        evaluations: How often the held-out loss is measured.
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
        inputs, asked = problem.draw(rows, source)
        optimizer.zero_grad()
        problem.loss(output(_read(stack, inputs)), asked).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learned, CLIP)
        optimizer.step()
        schedule.step()
    return Course(stack.eval(), losses, time.monotonic() - started)


@torch.no_grad()
def _measured(stack: Stack, output: nn.Linear, problem: Problem, held_out: tuple[Tensor, Tensor]) -> float:
    inputs, asked = held_out
    stack.eval()
    found = float(problem.loss(output(_read(stack, inputs)), asked))
    stack.train()
    return found


def _read(stack: Stack, inputs: Tensor) -> Tensor:
    values: Tensor = stack(inputs, stack.initial(len(inputs), inputs))[0]
    return values
