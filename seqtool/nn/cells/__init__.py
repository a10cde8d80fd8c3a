"""The recurrent cells, by the name that settings use for them (`model.cell`)."""

from __future__ import annotations

from seqtool.nn.cell_options import PLAIN, CellOptions, refusal
from seqtool.nn.cells.batchnorm import BatchNormLSTMCell
from seqtool.nn.cells.cell import Cell, ScanCell, State, TableCell
from seqtool.nn.cells.dilated import DilatedCell
from seqtool.nn.cells.echo import EchoStateCell
from seqtool.nn.cells.elman import IRNNCell, RNNCell
from seqtool.nn.cells.gru import GRUCell
from seqtool.nn.cells.gru_variants import LightGRUCell, MGUCell, OriginalGRUCell
from seqtool.nn.cells.initializers import initialise
from seqtool.nn.cells.layernorm import LayerNormGRUCell, LayerNormLSTMCell
from seqtool.nn.cells.lstm import LSTMCell
from seqtool.nn.cells.memories import CappedLSTMCell, CoupledLSTMCell, NoForgetLSTMCell, PeepholeLSTMCell
from seqtool.nn.cells.multiplicative import MogrifierLSTMCell, MultiplicativeLSTMCell, ProjectedLSTMCell
from seqtool.nn.cells.scans import MinGRUCell, MinLSTMCell, QRNN1Cell, QRNNCell, SRUCell
from seqtool.nn.cells.slstm import SLSTMCell
from seqtool.nn.meta_device import only_shapes

CELLS: dict[str, type[TableCell]] = {
    "rnn": RNNCell,
    "irnn": IRNNCell,
    "lstm": LSTMCell,
    "lstm_no_forget": NoForgetLSTMCell,
    "coupled_lstm": CoupledLSTMCell,
    "capped_lstm": CappedLSTMCell,
    "peephole_lstm": PeepholeLSTMCell,
    "projected_lstm": ProjectedLSTMCell,
    "multiplicative_lstm": MultiplicativeLSTMCell,
    "mogrifier_lstm": MogrifierLSTMCell,
    "layernorm_lstm": LayerNormLSTMCell,
    "batchnorm_lstm": BatchNormLSTMCell,
    "slstm": SLSTMCell,
    "minlstm": MinLSTMCell,
    "gru": GRUCell,
    "gru_original": OriginalGRUCell,
    "layernorm_gru": LayerNormGRUCell,
    "light_gru": LightGRUCell,
    "mgu": MGUCell,
    "mingru": MinGRUCell,
    "sru": SRUCell,
    "qrnn": QRNNCell,
    "qrnn1": QRNN1Cell,
    "echo_state": EchoStateCell,
}


def build_cell(
    name: str, inputs: int, hidden: int, *, options: CellOptions = PLAIN, dilation: int = 1
) -> Cell:
    """A cell of the table, initialised for training.

    Args:
        name: Name of the cell in `CELLS`.
        inputs: Width I of an input.
        hidden: Width H of the output.
        options: Initialisation and regularisation of the cell.
        dilation: Number of steps that its recurrence reaches back, at least 1.

    Raises:
        ValueError: an option has no effect on this cell.
    """
    reason = refusal([name], options, dilated=[name] if dilation > 1 else [])
    if reason is not None:
        raise ValueError(reason)
    cell = CELLS[name](inputs, hidden, options=options)
    if not only_shapes():
        initialise(cell, options)
    return cell if dilation == 1 else DilatedCell(cell, dilation)


__all__ = ["CELLS", "Cell", "ScanCell", "State", "build_cell"]
