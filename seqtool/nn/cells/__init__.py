"""The recurrent cells, by the name that settings use for them (`model.cell`)."""

from __future__ import annotations

from seqtool.nn.cells.cell import Cell, State
from seqtool.nn.cells.gru import GRUCell
from seqtool.nn.cells.lstm import LSTMCell

CELLS: dict[str, type[Cell]] = {"lstm": LSTMCell, "gru": GRUCell}

__all__ = ["CELLS", "Cell", "State"]
