"""What a recurrent layer does along a text: its states and how far its gates are open."""

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

WORD_START = "\u2581"  # how a subword piece that begins a word is written (SentencePiece)
GATES = {  # what a gate does where it is open
    "input gate": "writes the new value into the memory",
    "forget gate": "keeps the memory",
    "output gate": "shows the memory to the layers above",
    "reset gate": "lets the old state into the new value",
    "highway gate": "shows the memory; shut, it passes the input on",
    "share kept (1 - f)": "keeps the old value",
}
SIGMOIDS = (torch.ops.aten.sigmoid.default, torch.ops.aten.sigmoid_.default)


class Trace(NamedTuple):
    """One layer over one text of T symbols."""

    labels: list[str]  # symbol read at each step, [T]
    groups: list[str]  # group by which each step is coloured, [T]
    states: Tensor  # outputs of the layer, [T, D]
    cell: Cell  # cell of the layer; the forward one of a bidirectional layer
    inputs: Tensor  # inputs of that cell, [1, T, I]
    start: State  # state before the first step
    grouped_by: str = "kind of symbol"  # what the groups are


@contextmanager
def watched(layer: Bidirectional) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Record the inputs and outputs, [B, T, ...] each, of every forward pass inside the `with` block."""
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
    """Activations of each gate, in [0, 1], by the name of the gate, [T, H] each.

    The cell makes its ordinary steps while every sigmoid is recorded, so the equations are not written a
    second time. It runs in float64, where each of its sigmoids is a gate.
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


def gate_meanings(cell: Cell) -> dict[str, str]:
    """What each gate of a cell does where it is open, by the name of the gate."""
    plain = cell.cell if isinstance(cell, DilatedCell) else cell
    taking = plain.keep_gate is not None and plain.keep_gate.writes
    moving = "takes the new value" if taking else "keeps the old value"
    special = {"forget gate": moving, "update gate": moving} if taking else {"update gate": moving}
    known = {**GATES, **special}
    return {name: known[name] for names in plain.gates for name in names if name in known}


class _Sigmoids(TorchDispatchMode):
    """Records the result of every sigmoid."""

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
    """Check the number of a layer, counted from 1.

    Raises:
        UsageError: the model has no such layer.
    """
    if layer > depth:
        layers = "1 layer" if depth == 1 else f"{depth} layers"
        raise UsageError(
            f"--layer {layer}: the model has {layers}; give --layer 1{f' to {depth}' * (depth > 1)}"
        )


def kind_of(symbol: str) -> str:
    """The kind of a symbol, by its first character.

    >>> [kind_of(each) for each in ("a", "The", "7", " ", "\\n", ",")]
    ['letter', 'letter', 'digit', 'space', 'line end', 'punctuation or sign']
    """
    first = symbol.strip() or symbol
    if "\n" in first:
        return "line end"
    if not first or first.isspace():
        return "space"
    return "letter" if first[0].isalpha() else "digit" if first[0].isdigit() else "punctuation or sign"


def separator_of(labels: Sequence[str]) -> str:
    """What stands between symbols in running text: a space between words, nothing between smaller ones.

    >>> separator_of(["Ada", "met", "Bob"]), separator_of(["\u2581A", "da"]), separator_of(list("Ada"))
    (' ', '', '')
    """
    characters = all(len(label) <= 1 for label in labels)
    own_spaces = any(WORD_START in label or not label.strip() for label in labels)
    return "" if characters or own_spaces else " "
