"""Training steps on a GPU some at a time, each such chunk compiled to few kernels.

Where no library kernel knows a cell its steps are many small operations, and a GPU waits for their
launch longer than it computes. torch.compile writes Triton kernels for a chunk of steps, forward and
backward, from `Cell.transition`. A chunk has a fixed number of steps, so that sentences of all lengths
share two compiled ones: of `CHUNK` steps, and of a single step for the rest. Compiling takes seconds,
so that only training has it; TORCH_COMPILE_DISABLE=1 (torch's own) switches it off.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from seqtool.nn.cells.cell import Cell, State
from seqtool.nn.deferred import product_in_type_of

CHUNK = 8
COMPILED = 64  # forms at most of the one function: of each cell, number of steps, dropout on or off, ...
Chunk = Callable[[Cell, list[Tensor], Tensor, State], tuple[Tensor, State]]


def worth_compiling(cell: Cell, inputs: Tensor) -> bool:
    """Whether the steps of a pass are to be compiled: in training, on a GPU, where Triton is installed."""
    training = cell.training and torch.is_grad_enabled()
    return training and cell.compiles and inputs.device.type == "cuda" and find_spec("triton") is not None


def used_weights(cell: Cell) -> list[Tensor]:
    """The recurrent weights for one pass over time: dropped once, in the type of its products."""
    weights: list[Tensor] = []

    def note(weight: Tensor) -> Callable[[Tensor], Tensor]:
        used = cell.dropped(weight)
        if torch.is_autocast_enabled(weight.device.type):
            used = used.to(torch.get_autocast_dtype(weight.device.type))
        weights.append(used)
        return product_in_type_of(used)

    cell.transition(note)
    return weights


def run_in_chunks(
    cell: Cell, weights: list[Tensor], projected: Tensor, state: State
) -> tuple[list[Tensor], State]:
    """All steps.

    Args:
        cell: Whose steps they are.
        weights: `used_weights`.
        projected: [T, B, P], float32 or wider.
        state: Before the first step.

    Returns:
        Outputs, [B, H] each, and the state after the last step.
    """
    chunks, rest = divmod(len(projected), CHUNK)
    outputs: list[Tensor] = []
    for piece in torch.split(projected, [CHUNK] * chunks + [1] * rest):
        output, state = compiled_chunk()(cell, weights, piece, state)
        outputs.extend(output.unbind(0))
    return outputs, state


def plain_chunk(cell: Cell, weights: list[Tensor], projected: Tensor, state: State) -> tuple[Tensor, State]:
    """Some steps: [K, B, P] and a state to outputs [K, B, H] and the state after them."""
    remaining = iter(weights)
    step = cell.zoned(cell.transition(lambda _: product_in_type_of(next(remaining))))
    outputs = []
    for each in projected.unbind(0):
        state = step(each, state)
        outputs.append(state[0])
    return torch.stack(outputs), state


@cache
def compiled_chunk(backend: str = "inductor") -> Chunk:
    """`plain_chunk`, compiled at the first call with cells and shapes of a kind; plain where that fails."""
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException
    from torch._functorch import config as functional_config

    config.allow_rnn = True  # the cells of library kernels keep their weights in one; it is never called
    config.recompile_limit = max(config.recompile_limit, COMPILED)
    functional_config.donated_buffer = False  # adversarial training goes back through a graph twice
    compiled: Chunk = torch.compile(plain_chunk, dynamic=True, fullgraph=True, backend=backend)
    broken: list[str] = []

    def run(cell: Cell, weights: list[Tensor], projected: Tensor, state: State) -> tuple[Tensor, State]:
        if not broken:
            try:
                return compiled(cell, weights, projected, state)
            except TorchDynamoException as error:
                broken.append(" ".join(str(error).split("\n\n")[0].split()))
                warnings.warn(f"torch.compile failed, steps are not compiled: {broken[0]}", stacklevel=2)
        return plain_chunk(cell, weights, projected, state)

    return run
