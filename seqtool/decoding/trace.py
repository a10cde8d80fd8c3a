"""Back-pointers: which row went on from which, so that no prefix is ever copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor


class Ending(NamedTuple):
    """A hypothesis by where it stopped."""

    score: float
    log_p: float
    call: int  # number of the step's call that scored its last symbol, from 0
    row: int  # finished: of that call's input; else among the rows that went on from it
    finished: bool


class Path(NamedTuple):
    """What was found along a chain of back-pointers."""

    tokens: list[int]
    token_log_p: list[float]
    attention: NDArray[numpy.float32] | None  # [T, S]


@dataclass
class Trace:
    """Symbols, parents and log probabilities of all rows, a column a call.

    A parent is a row of the call's input. Between two calls sentences may leave; `inputs` says
    which of the rows that went on came to be the rows of the next input.
    """

    tokens: list[Tensor] = field(default_factory=list)  # [N] each
    parents: list[Tensor] = field(default_factory=list)  # [N]
    log_p: list[Tensor] = field(default_factory=list)  # [N], of all symbols so far
    attention: list[Tensor] = field(default_factory=list)  # [N of the input, S]
    inputs: list[Tensor | None] = field(default_factory=lambda: [None])  # one more than calls done

    def add(self, tokens: Tensor, parents: Tensor, log_p: Tensor) -> None:
        """The rows [N] that go on from a call."""
        self.tokens.append(tokens)
        self.parents.append(parents)
        self.log_p.append(log_p)
        self.inputs.append(None)

    def keep(self, rows: Tensor) -> None:
        """Only these of the rows last added are in the next call's input."""
        self.inputs[-1] = rows

    def paths(self, endings: list[Ending], widths: list[int | None]) -> list[Path]:
        """What the hypotheses consist of.

        Args:
            endings: Where they stop.
            widths: Source positions of each, for the attention; None = all.
        """
        columns = [_lists(each) for each in (self.tokens, self.parents, self.log_p)]
        inputs = [None if rows is None else rows.tolist() for rows in self.inputs]
        attention = [each.float().cpu().numpy() for each in self.attention]
        return [
            _path(ending, columns, inputs, attention, width)
            for ending, width in zip(endings, widths, strict=True)
        ]

    def symbols_of(self, ending: Ending) -> list[int]:
        """The symbols of one hypothesis; slow, for where two must be compared."""
        found = []
        row = ending.row
        for column in range(ending.call - ending.finished, -1, -1):
            rows = self.inputs[column + 1] if column < ending.call else None
            row = row if rows is None else int(rows[row])
            found.append(int(self.tokens[column][row]))
            row = int(self.parents[column][row])
        return found[::-1]


def _lists(columns: list[Tensor]) -> list[list[Any]]:
    """All columns as Python numbers, fetched from the device in one piece."""
    if not columns:
        return []
    values, first, result = torch.cat(columns).tolist(), 0, []
    for column in columns:
        result.append(values[first : first + len(column)])
        first += len(column)
    return result


def _path(
    ending: Ending,
    columns: list[list[list[Any]]],
    inputs: list[list[int] | None],
    attention: list[NDArray[numpy.float32]],
    width: int | None,
) -> Path:
    tokens, parents, log_p = columns
    found: list[int] = []
    totals: list[float] = []  # log p after 1, 2, ... symbols, last first
    looks = []
    row = ending.row
    if ending.finished:  # the end symbol is in no column
        totals.append(ending.log_p)
        looks += [attention[ending.call][row, :width]] if attention else []
    for column in range(ending.call - ending.finished, -1, -1):
        # From the input of the next call to the rows that went on before it.
        rows = inputs[column + 1] if column < ending.call else None
        row = row if rows is None else rows[row]
        found.append(tokens[column][row])
        totals.append(log_p[column][row])
        row = parents[column][row]
        looks += [attention[column][row, :width]] if attention else []
    rising = totals[::-1]
    steps = [
        after - before if after > -numpy.inf else after  # nothing is known after the impossible
        for before, after in zip([0.0, *rising], rising, strict=False)
    ]
    return Path(found[::-1], steps, numpy.stack(looks[::-1]) if looks else None)
