"""Training steps on a GPU some at a time, each such chunk compiled to few kernels.

Where no library kernel knows a cell its steps are many small operations, and a GPU waits for their
launch longer than it computes. torch.compile writes Triton kernels for a chunk of steps, forward and
backward, from `Cell.transition`. A chunk has a fixed number of steps, so that sentences of all lengths
share two compiled ones: of `CHUNK` steps, and of a single step for the rest. Compiling takes seconds,
so that only training has it; TORCH_COMPILE_DISABLE=1 (torch's own) switches it off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, State
from seqtool.nn.deferred import product_in_type_of

CHUNK = 8
COMPILED = 256  # forms at most of the one function: of each cell, number of steps, dropout on or off, ...
PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


class Pass(NamedTuple):
    """A cell prepared for one pass over time."""

    cell: Cell
    weights: list[Tensor]  # recurrent, dropped once
    products: torch.dtype  # the type in which they are multiplied


Chunk = Callable[[Pass, Tensor, State], tuple[Tensor, State]]


def worth_compiling(cell: Cell, inputs: Tensor) -> bool:
    """Whether the steps of a pass are to be compiled: in training, on a GPU, where Triton is installed."""
    training = cell.training and cell.compiles and torch.is_grad_enabled() and not PLAIN.get()
    if not training or inputs.device.type != "cuda" or find_spec("triton") is None:
        return False
    from torch._dynamo import config

    return not config.disable


@contextmanager
def plain_steps() -> Iterator[None]:
    """Nothing is compiled in here: of what is, gradients can be taken only once."""
    before = PLAIN.set(True)
    try:
        yield
    finally:
        PLAIN.reset(before)


def prepared(cell: Cell) -> Pass:
    """The cell for one pass; under autocast its products are of the type that this asks for."""
    weights: list[Tensor] = []

    def note(weight: Tensor) -> Callable[[Tensor], Tensor]:
        weights.append(cell.dropped(weight))
        return product_in_type_of(weights[-1])

    cell.transition(note)
    kind = weights[0] if weights else next(cell.parameters())  # a scan cell makes no products
    products = kind.dtype
    if torch.is_autocast_enabled(kind.device.type):
        products = torch.get_autocast_dtype(kind.device.type)
    return Pass(cell, weights, products)


def run_in_chunks(through: Pass, projected: Tensor, state: State) -> tuple[list[Tensor], State]:
    """All steps.

    Args:
        through: `prepared`.
        projected: [T, B, P], float32 or wider.
        state: Before the first step.

    Returns:
        Outputs, [B, H] each, and the state after the last step.
    """
    chunks, rest = divmod(len(projected), CHUNK)
    outputs: list[Tensor] = []
    for piece in torch.split(projected, [CHUNK] * chunks + [1] * rest):
        output, state = compiled_chunk()(through, piece, state)
        outputs.extend(output.unbind(0))
    return outputs, state


def plain_chunk(through: Pass, projected: Tensor, state: State) -> tuple[Tensor, State]:
    """Some steps: [K, B, P] and a state to outputs [K, B, H] and the state after them.

    Weights are converted here, so that the gradients of chunks are summed in full precision.
    """
    remaining = iter([weight.to(through.products) for weight in through.weights])
    step = through.cell.with_zoneout(through.cell.transition(lambda _: product_in_type_of(next(remaining))))
    outputs = []
    for each in projected.unbind(0):
        state = step(each, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


@cache
def compiled_chunk(backend: str = "inductor") -> Chunk:
    """`plain_chunk`, compiled at the first call with cells and shapes of a kind; plain where that fails."""
    from torch._dynamo import config
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._functorch import config as functional

    compiled: Chunk = torch.compile(plain_chunk, dynamic=True, fullgraph=True, backend=backend)
    broken: list[str] = []

    def run(through: Pass, projected: Tensor, state: State) -> tuple[Tensor, State]:
        if broken:
            return plain_chunk(through, projected, state)
        # Every time, since these settings are each thread's own. Cells of library kernels keep their
        # weights in an RNN module, which is never called; and a backward pass that cannot be compiled
        # is to show here.
        cells = config.patch(allow_rnn=True, recompile_limit=COMPILED)
        gradients = functional.patch(force_non_lazy_backward_lowering=True)
        try:
            with cells, gradients:
                return compiled(through, projected, state)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            broken.append(" ".join(str(error).split("\n\n")[0].split()))
            warnings.warn(f"torch.compile failed, steps are not compiled: {broken[0]}", stacklevel=2)
            return plain_chunk(through, projected, state)

    return run
