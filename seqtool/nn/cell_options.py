"""What can be said of any recurrent cell beside its name: how it starts and how it is regularised.

Settings are read before PyTorch is imported, so nothing here needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

from seqtool.nn.cell_names import BATCH_NORMALISED, CELL_NAMES

InputInitializer = Literal["default", "xavier", "kaiming", "orthogonal"]
RecurrentInitializer = Literal["default", "orthogonal", "identity", "xavier", "kaiming"]
MIN_CHRONO = 3  # log(u) has one value only at 2
PROBABILITIES = ("weight_drop", "recurrent_dropout", "zoneout", "zoneout_hidden")


@dataclass(frozen=True)
class CellOptions:
    """Settings of a cell; `PLAIN` is the cell as its paper has it.

    Args:
        weight_drop: Probability of leaving out a recurrent weight in training, one choice for all steps
            of a pass (Merity et al. 2018, section 2).
        recurrent_dropout: Probability of leaving out a unit of what a step would write into the state, a
            choice for each step: of the candidate, or where there is none of the state that is read
            (Semeniuta et al. 2016, section 3).
        zoneout: Probability that a unit of the memory stays as it was at a step; evaluation takes the
            expectation. The memory is the cell state where there is one, else the hidden state (Krueger
            et al. 2017, section 3).
        zoneout_hidden: The same of the hidden state of cells with a cell state.
        input_init: What weights of the input start with, block by block; default = the cell's own.
        recurrent_init: The same of weights of the state.
        forget_bias: Bias that the gate which keeps the state starts with; None = the cell's own.
        chrono: Longest time T that the state is to keep something for: the gates that keep it start with
            log(u), u uniform between 1 and T - 1, and input gates with the negative (Tallec and Ollivier
            2018, equation 16); 0 = off.
        spectral_radius: Largest size of an eigenvalue of fixed recurrent weights.

    Raises:
        ValueError: a value outside its range; two settings of one bias.
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
            raise ValueError("chrono and forget_bias are two starts of one bias: choose one")
        if not self.spectral_radius > 0.0:
            raise ValueError(f"spectral radius {self.spectral_radius} is not above 0")


PLAIN = CellOptions()


@dataclass(frozen=True)
class LayerOptions:
    """What recurrent layers of any kind are made of.

    Args:
        cell: Name of the cell.
        of_cells: Its options.
        residual: Whether every layer but the first adds its input to its output.
        highway: Whether a gate mixes them instead.
        dilation: Layer n, from 0, reaches back so many steps to the power of n.
        learned_start: Whether the state before the first step is learned.
        locked: Whether dropout around them leaves out a unit at every step of a sequence or at none.
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
            raise ValueError("residual and highway are two ways past a layer: choose one")


ONE_STATE = (
    "rnn", "irnn", "minlstm", "gru", "gru_original", "layernorm_gru", "light_gru", "mgu", "mingru",
    "echo_state",
)  # fmt: skip
SCANNED = ("sru", "qrnn", "qrnn1", "mingru", "minlstm")
NO_GATE = ("rnn", "irnn", "lstm_no_forget", "echo_state")
FIXED = {"echo_state": "has fixed random weights"}
NO_MATRIX = dict.fromkeys(SCANNED, "has no recurrent weights")

# What a setting has no effect on, and why: nothing is accepted and then ignored.
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
    """The options without those that a cell has nothing for."""
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
    """Why these settings do not go with the cells of a network, the encoder's first; None if they do.

    An option is to suit one of them, dilation all that are dilated, and a learned start the first.
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
