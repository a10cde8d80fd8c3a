"""Options of recurrent cells and layers: initialisation, regularisation and connections between layers.

Settings are read before PyTorch is imported, so nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_NAMES

InputInitializer = Literal["default", "xavier", "kaiming", "orthogonal"]
RecurrentInitializer = Literal["default", "orthogonal", "identity", "xavier", "kaiming"]
MIN_CHRONO = 3  # at 2, log(u) has a single value
PROBABILITIES = ("weight_drop", "recurrent_dropout", "zoneout", "zoneout_hidden")


@dataclass(frozen=True)
class CellOptions:
    """Initialisation and regularisation of a cell; `PLAIN` is the cell as published.

    Args:
        weight_drop: Probability of dropping a recurrent weight in training, in [0, 1); one mask for all
            steps of a forward pass (Merity et al. 2018, section 2).
        recurrent_dropout: Probability of dropping a unit of the candidate, in [0, 1), with a new mask at
            each step; cells without a candidate drop units of the previous state instead (Semeniuta et
            al. 2016, section 3).
        zoneout: Probability that a unit of the memory keeps its value at a step, in [0, 1); evaluation
            uses the expectation. The memory is the cell state where there is one, else the hidden state
            (Krueger et al. 2017, section 3).
        zoneout_hidden: The same probability for the hidden state of cells that have a cell state.
        input_init: Initialiser of the input weights, block by block; default = the cell's own.
        recurrent_init: Initialiser of the recurrent weights, block by block; default = the cell's own.
        forget_bias: Initial bias of the gate that keeps the state; None = the cell's own.
        chrono: Longest time span T, in steps, that the state is expected to bridge, at least 3: biases of
            the gates that keep the state start at log(u), with u uniform in [1, T - 1], and those of
            input gates at the negative (Tallec and Ollivier 2018, equation 16); 0 = off.
        spectral_radius: Largest absolute value of an eigenvalue of fixed recurrent weights, above 0.

    Raises:
        ValueError: a value is out of range, or both `chrono` and `forget_bias` are given.
    """

    weight_drop: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    zoneout_hidden: float = 0.0
    input_init: InputInitializer = "default"
    recurrent_init: RecurrentInitializer = "default"
    forget_bias: float | None = None
    chrono: int = 0
    spectral_radius: float = 0.9

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name.replace('_', ' ')} {getattr(self, name)} is not in [0, 1)")
        for name, kind in (("input_init", InputInitializer), ("recurrent_init", RecurrentInitializer)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {', '.join(get_args(kind))}")
        if self.chrono and self.chrono < MIN_CHRONO:
            raise ValueError(f"chrono {self.chrono} is less than {MIN_CHRONO}")
        if self.chrono and self.forget_bias is not None:
            raise ValueError(
                "chrono and forget_bias both set the bias of the gate that keeps the state: choose one"
            )
        if not self.spectral_radius > 0.0:
            raise ValueError(f"spectral radius {self.spectral_radius} is not above 0")


PLAIN = CellOptions()


@dataclass(frozen=True)
class LayerOptions:
    """The cell of recurrent layers, and how the layers are connected.

    Args:
        cell: Name of the cell.
        of_cells: Options of the cell.
        residual: Whether every layer but the first adds its input to its output.
        highway: Whether every layer but the first mixes its input and its output by a gate.
        dilation: The recurrence of layer n, counted from 0, reaches back dilation ** n steps.
        learned_start: Whether the state before the first step is learned.
        locked: Whether dropout between layers uses one mask for all steps of a sequence.

    Raises:
        ValueError: both `residual` and `highway` are set.
    """

    cell: str
    of_cells: CellOptions = PLAIN
    residual: bool = False
    highway: bool = False
    dilation: int = 1
    learned_start: bool = False
    locked: bool = True

    def __post_init__(self) -> None:
        if self.residual and self.highway:
            raise ValueError("residual and highway are two kinds of connection past a layer: choose one")


ONE_STATE = (
    "rnn", "irnn", "minlstm", "gru", "gru_original", "layernorm_gru", "light_gru", "mgu", "mingru",
    "echo_state",
)  # fmt: skip
SCANNED = ("sru", "qrnn", "qrnn1", "mingru", "minlstm")
NO_GATE = ("rnn", "irnn", "lstm_no_forget", "echo_state")
FIXED = {"echo_state": "has fixed random weights"}
NO_MATRIX = dict.fromkeys(SCANNED, "has no recurrent weights")

# For each option the cells that it has no effect on, and why: it is refused there rather than ignored.
WITHOUT: dict[str, dict[str, str]] = {
    "weight_drop": {**NO_MATRIX, "echo_state": "learns no recurrent weights"},
    "zoneout_hidden": dict.fromkeys(ONE_STATE, "has one state, to which zoneout applies"),
    "input_init": FIXED,
    "recurrent_init": {**NO_MATRIX, **FIXED},
    "forget_bias": dict.fromkeys(NO_GATE, "has no gate that keeps its state"),
    "chrono": dict.fromkeys(NO_GATE, "has no gate that keeps its state"),
    "spectral_radius": {
        name: "learns its recurrent weights" for name in CELL_NAMES if name not in ("echo_state", *SCANNED)
    }
    | NO_MATRIX,
    "dilation": dict.fromkeys(sorted(BATCH_NORMALISED), "takes statistics of all rows at one step"),
    "learned_start": {"echo_state": "lets no gradient through"},
}


def suited(cell: str, options: CellOptions) -> CellOptions:
    """The options with those that have no effect on a cell reset to their defaults."""
    lacking = {
        name: getattr(PLAIN, name) for name in WITHOUT if cell in WITHOUT[name] and hasattr(PLAIN, name)
    }
    return replace(options, **lacking)


def refusal(
    cells: Sequence[str],
    options: CellOptions,
    *,
    dilated: Sequence[str] = (),
    learned_start: bool = False,
) -> str | None:
    """Why these options cannot be used with the cells of a network; None if they can.

    An option has to have an effect on one of the cells at least.

    Args:
        cells: Names of the network's cells, the encoder's first.
        options: Options of the cells.
        dilated: Names of the cells that are to be dilated; all of them must support it.
        learned_start: Whether a start is to be learned, which the first cell must support.
    """
    given = [field.name for field in fields(options) if getattr(options, field.name) != field.default]
    readers = dict.fromkeys(given, cells)
    readers |= {"learned_start": cells[:1]} if learned_start else {}
    for name, those in readers.items():
        if all(cell in WITHOUT.get(name, {}) for cell in those):
            return _sentence(name, those[0])
    stuck = [cell for cell in dilated if cell in WITHOUT["dilation"]]
    return _sentence("dilation", stuck[0]) if stuck else None


def _sentence(name: str, cell: str) -> str:
    return f"{name} does not go with cell = {cell!r}, which {WITHOUT[name][cell]}; leave it out"
