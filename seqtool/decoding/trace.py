"""Back-pointers from each row to the row that it extends, so that no prefix is ever copied."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor


class Ending(NamedTuple):
    """The end of a hypothesis, from which the trace leads back."""

    score: float
    log_p: float  # nats
    call: int  # number of the step's call that scored its last symbol, from 0
    row: int  # if finished a row of that call's input, otherwise one of the rows that continue after it
    finished: bool


class Path(NamedTuple):
    """A sequence read along a chain of back-pointers."""

    tokens: list[int]
    token_log_p: list[float]  # nats
    attention: NDArray[numpy.float32] | None  # [T, S]


@dataclass
class Trace:
    """Symbols, parents and log probabilities of all rows, one column per call of the step.

    A parent is a row of the call's input. Between two calls sentences may leave; `inputs` says which of the
    rows after a call are the rows of the next call's input (None = all).
    """

    tokens: list[Tensor] = field(default_factory=list)  # [N] each
    parents: list[Tensor] = field(default_factory=list)  # [N]
    log_p: list[Tensor] = field(default_factory=list)  # of all symbols so far, nats, [N]
    attention: list[Tensor] = field(default_factory=list)  # [N of the input, S]
    inputs: list[Tensor | None] = field(default_factory=lambda: [None])  # one more than calls done

    def add(self, tokens: Tensor, parents: Tensor, log_p: Tensor) -> None:
        """Add the rows, [N] each, that continue after a call."""
        self.tokens.append(tokens)
        self.parents.append(parents)
        self.log_p.append(log_p)
        self.inputs.append(None)

    def keep(self, rows: Tensor) -> None:
        """Keep only the given ones of the rows last added in the next call's input."""
        self.inputs[-1] = rows

    def paths(self, endings: list[Ending], widths: list[int | None]) -> list[Path]:
        """The sequences that lead to the endings.

        Args:
            endings: Ends of the hypotheses.
            widths: Number of source positions that each one's attention is cut to; None = all.
        """
        columns = [_lists(each) for each in (self.tokens, self.parents, self.log_p)]
        inputs = [None if rows is None else rows.tolist() for rows in self.inputs]
        attention = [each.float().cpu().numpy() for each in self.attention]
        return [
            _path(ending, columns, inputs, attention, width)
            for ending, width in zip(endings, widths, strict=True)
        ]

    def symbols_of(self, ending: Ending) -> list[int]:
        """The symbols of one hypothesis; slow, for comparing two of them."""
        found = []
        row = ending.row
        for column in range(ending.call - ending.finished, -1, -1):
            rows = self.inputs[column + 1] if column < ending.call else None
            row = row if rows is None else int(rows[row])
            found.append(int(self.tokens[column][row]))
            row = int(self.parents[column][row])
        return found[::-1]


def _lists(columns: list[Tensor]) -> list[list[Any]]:
    """All columns as Python numbers, transferred from the device at once."""
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
        after - before if after > -numpy.inf else after  # symbols after an impossible one get -inf
        for before, after in zip([0.0, *rising], rising, strict=False)
    ]
    return Path(found[::-1], steps, numpy.stack(looks[::-1]) if looks else None)
