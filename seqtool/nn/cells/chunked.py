"""Training on a GPU in chunks of steps, each chunk compiled to a few kernels.

The steps of a cell that no library kernel supports are many small operations, and a GPU spends more time on
launching them than on computing. torch.compile generates Triton kernels for a chunk of steps, forward and
backward, from `Cell.transition`. A chunk has a fixed number of steps, so that sentences of all lengths share
two compiled functions: one of `CHUNK` steps, and one of a single step for the remainder. Compiling takes
seconds, so it is done in training only; TORCH_COMPILE_DISABLE=1 (PyTorch's own variable) switches it off.
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

CHUNK = 8  # steps
COMPILED = 256  # most variants of the function: per cell, number of steps, dropout on or off, ...
PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


class Pass(NamedTuple):
    """A cell prepared for one pass over time."""

    cell: Cell
    weights: list[Tensor]  # recurrent weights after weight drop
    products: torch.dtype  # number type of the products with them


Chunk = Callable[[Pass, Tensor, State], tuple[Tensor, State]]


def worth_compiling(cell: Cell, inputs: Tensor) -> bool:
    """Whether to compile the steps of a pass: in training, on a GPU, if Triton is installed."""
    training = cell.training and cell.compiles and torch.is_grad_enabled() and not PLAIN.get()
    if not training or inputs.device.type != "cuda" or find_spec("triton") is None:
        return False
    from torch._dynamo import config

    return not config.disable


@contextmanager
def plain_steps() -> Iterator[None]:
    """Compile nothing inside, since gradients of compiled steps can be taken only once."""
    before = PLAIN.set(True)
    try:
        yield
    finally:
        PLAIN.reset(before)


def prepared(cell: Cell) -> Pass:
    """The cell for one pass; under autocast its products have autocast's number type."""
    weights: list[Tensor] = []

    def note(weight: Tensor) -> Callable[[Tensor], Tensor]:
        weights.append(cell.dropped(weight))
        return product_in_type_of(weights[-1])

    cell.transition(note)
    kind = weights[0] if weights else next(cell.parameters())  # a scan cell has no recurrent weights
    products = kind.dtype
    if torch.is_autocast_enabled(kind.device.type):
        products = torch.get_autocast_dtype(kind.device.type)
    return Pass(cell, weights, products)


def run_in_chunks(through: Pass, projected: Tensor, state: State) -> tuple[list[Tensor], State]:
    """Run all steps.

    Args:
        through: The cell, from `prepared`.
        projected: Projected inputs, [T, B, P], float32 or wider.
        state: State before the first step.

    Returns:
        Output of each step, [B, H] each, and the state after the last step.
    """
    chunks, rest = divmod(len(projected), CHUNK)
    outputs: list[Tensor] = []
    for piece in torch.split(projected, [CHUNK] * chunks + [1] * rest):
        output, state = compiled_chunk()(through, piece, state)
        outputs.extend(output.unbind(0))
    return outputs, state


def plain_chunk(through: Pass, projected: Tensor, state: State) -> tuple[Tensor, State]:
    """Run a chunk of steps.

    Weights are converted to the type of the products here, so that gradients of chunks are summed in full
    precision.

    Args:
        through: The cell, from `prepared`.
        projected: Projected inputs of C steps, [C, B, P].
        state: State before the first of them.

    Returns:
        Outputs, [C, B, H], and the state after the last of these steps.
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
    """`plain_chunk`, compiled at the first call with a kind of cell and shape; not compiled if that fails."""
    from torch._dynamo import config
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException
    from torch._functorch import config as functional

    compiled: Chunk = torch.compile(plain_chunk, dynamic=True, fullgraph=True, backend=backend)
    broken: list[str] = []

    def run(through: Pass, projected: Tensor, state: State) -> tuple[Tensor, State]:
        if broken:
            return plain_chunk(through, projected, state)
        # Set at each call, since these settings are per thread. `allow_rnn`: cells with a library kernel
        # keep their weights in an RNN module, which is never called. The second setting makes a backward
        # pass that cannot be compiled fail here, where the failure is handled.
        cells = config.patch(allow_rnn=True, recompile_limit=COMPILED)
        gradients = functional.patch(force_non_lazy_backward_lowering=True)
        try:
            with cells, gradients:
                return compiled(through, projected, state)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            broken.append(" ".join(str(error).split("\n\n")[0].split()))
            warnings.warn(f"torch.compile failed, so steps are not compiled: {broken[0]}", stacklevel=2)
            return plain_chunk(through, projected, state)

    return run
