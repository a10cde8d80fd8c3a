"""The names of the recurrent cells, for settings, which are read before PyTorch is imported.

`seqtool.nn.cells.CELLS` maps them to the cells; a test checks that the two lists agree.
"""

from __future__ import annotations

from typing import Literal, get_args

CellName = Literal[
    "rnn",
    "irnn",
    "lstm",
    "lstm_no_forget",
    "coupled_lstm",
    "capped_lstm",
    "peephole_lstm",
    "projected_lstm",
    "multiplicative_lstm",
    "mogrifier_lstm",
    "layernorm_lstm",
    "batchnorm_lstm",
    "slstm",
    "minlstm",
    "gru",
    "gru_original",
    "layernorm_gru",
    "light_gru",
    "mgu",
    "mingru",
    "sru",
    "qrnn",
    "qrnn1",
    "echo_state",
]
CELL_NAMES: tuple[str, ...] = get_args(CellName)
CELL_HELP = "Recurrent cell; `seqtool inspect cells` describes each."

# Cells that normalise over the rows of a batch in training.
BATCH_NORMALISED = frozenset({"batchnorm_lstm", "light_gru"})
FEWEST_ROWS = 4  # fewest rows of a batch whose statistics are used
