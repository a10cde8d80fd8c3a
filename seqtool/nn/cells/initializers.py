"""Initialisers of weights and gates, for settings that differ from a cell's own initialisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import CellOptions
from seqtool.nn.cells.cell import Cell, KeepGate


def _kaiming(block: Tensor) -> Tensor:
    """Uniform with variance 2 / fan-in (He et al. 2015, section 2.2)."""
    return nn.init.kaiming_uniform_(block, nonlinearity="relu")


INITIALIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "xavier": nn.init.xavier_uniform_,  # Glorot and Bengio 2010, equation 16
    "kaiming": _kaiming,
    "orthogonal": nn.init.orthogonal_,  # Saxe et al. 2014
    "identity": nn.init.eye_,  # Le et al. 2015
}


@torch.no_grad()
def initialise(cell: Cell, options: CellOptions) -> None:
    """Initialise the weights, and the bias of the gate that keeps the state, as the options say.

    Args:
        cell: Cell to be changed in place.
        options: Initialisers; defaults leave the cell as it is.
    """
    for kind, blocks in (
        (options.input_init, cell.input_blocks()),
        (options.recurrent_init, cell.recurrent_blocks()),
    ):
        if kind != "default":
            for block in blocks:
                INITIALIZERS[kind](block)
    if cell.keep_gate is not None:
        _start_gates(cell, cell.keep_gate, options)


def _start_gates(cell: Cell, gate: KeepGate, options: CellOptions) -> None:
    biases = cell.gate_biases()
    sign = -1.0 if gate.writes else 1.0
    if options.forget_bias is not None:
        biases[gate.block].fill_(sign * options.forget_bias)
    if options.chrono:
        kept = torch.empty_like(biases[gate.block]).uniform_(1.0, options.chrono - 1.0).log_()
        biases[gate.block].copy_(sign * kept)
        if gate.input is not None:
            biases[gate.input].copy_(-kept)
