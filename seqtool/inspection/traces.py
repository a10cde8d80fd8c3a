"""What a layer of cells does along a text: its states and how far its gates are open."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seqtool.errors import UsageError
from seqtool.nn.cells import Cell, State
from seqtool.nn.cells.dilated import DilatedCell
from seqtool.nn.recurrence import Bidirectional

SIGMOIDS = (torch.ops.aten.sigmoid.default, torch.ops.aten.sigmoid_.default)


class Trace(NamedTuple):
    """One layer over one text."""

    labels: list[str]  # what was read at each step, [T]
    groups: list[str]  # what to tell steps apart by, [T]
    states: Tensor  # what the layer puts out, [T, D]
    cell: Cell  # of the layer; of two directions, the one that reads ahead
    inputs: Tensor  # of that cell, [1, T, I]
    start: State  # before the first step


@contextmanager
def watched(layer: Bidirectional) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Inputs and outputs, [B, T, ...] each, of the passes that are made inside."""
    found: list[tuple[Tensor, Tensor]] = []

    def note(module: object, given: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((given[0], output))

    handle = layer.register_forward_hook(note)
    try:
        yield found
    finally:
        handle.remove()


@torch.no_grad()
def gates_along(trace: Trace) -> dict[str, Tensor]:
    """How far each gate is open, in [0, 1]: by its name, [T, H].

    A step is made as it always is, and its sigmoids are looked at: no second copy of the equations. In
    float64, where every sigmoid is a gate's.
    """
    rows: dict[str, list[Tensor]] = {}
    cell = copy.deepcopy(trace.cell).double()
    gates = cell.cell.gates if isinstance(cell, DilatedCell) else cell.gates
    state = tuple(part.double() for part in trace.start)
    for projected in cell.project(trace.inputs.double()).unbind(1):
        with _Sigmoids() as seen:
            state = cell.step(projected, state)
        for names, opened in zip(gates, seen.values, strict=True):
            for name, part in zip(names, opened[0].chunk(len(names)), strict=True):
                rows.setdefault(name, []).append(part)
    return {name: torch.stack(parts) for name, parts in rows.items()}


class _Sigmoids(TorchDispatchMode):
    """Notes what every sigmoid gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[Tensor] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in SIGMOIDS:
            self.values.append(result.clone())
        return result


def require_layer(layer: int, depth: int) -> None:
    """Layers are counted from 1.

    Raises:
        UsageError: there is none of this number.
    """
    if layer > depth:
        raise UsageError(f"layer {layer}: the model has {depth}")


def kind_of(symbol: str) -> str:
    """What a symbol is, roughly, to tell states apart by.

    >>> [kind_of(each) for each in ("a", "The", "7", " ", "\\n", ",")]
    ['letter', 'letter', 'digit', 'space', 'line end', 'other']
    """
    first = symbol.strip() or symbol
    if "\n" in first:
        return "line end"
    if not first or first.isspace():
        return "space"
    return "letter" if first[0].isalpha() else "digit" if first[0].isdigit() else "other"
