"""Initialisation of cells."""

from __future__ import annotations

import math

import pytest
import torch

from seqtool.nn.cells import CELLS, ScanCell
from seqtool.nn.cells.kernel import weights_of
from tests.nn.cells.making import FIXED, HIDDEN, INPUTS

KERNELS = {"rnn", "irnn", "lstm", "gru", "echo_state"}
# Where the bias of the forget gate begins, in units of H; and of how wide a gate is
FORGET_GATES = {
    "coupled_lstm": 0, "capped_lstm": 1, "peephole_lstm": 1, "multiplicative_lstm": 1, "mogrifier_lstm": 1,
    "layernorm_lstm": 1, "batchnorm_lstm": 1, "slstm": 1, "minlstm": 0, "qrnn": 1, "qrnn1": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_the_library_has_kernels_of_five_cells(name: str):
    assert (CELLS[name](INPUTS, HIDDEN).fused() is not None) == (name in KERNELS)


@pytest.mark.parametrize(
    "name", [name for name in CELLS if name not in FIXED and not issubclass(CELLS[name], ScanCell)]
)
def test_recurrent_weights_start_orthogonal_gate_by_gate(name: str):
    found = 0
    for key, weight in CELLS[name](6, 5).named_parameters():
        if any(
            part in key for part in ("weight_hh", "recurrent_weight", "candidate_weight", "middle_weight")
        ):
            for block in weight.split(8 if name == "projected_lstm" else 5):
                torch.testing.assert_close(block.T @ block, torch.eye(5))
                found += 1
    assert found


@pytest.mark.parametrize("name", FORGET_GATES)
def test_forget_gates_start_open_and_all_other_biases_at_0(name: str):
    bias = CELLS[name](INPUTS, HIDDEN).bias
    gates = bias.view(-1, HIDDEN)
    expected = torch.zeros_like(gates)
    expected[FORGET_GATES[name]] = 1.0
    assert gates.equal(expected)


def test_the_forget_gate_of_the_kernel_of_an_lstm_starts_open():
    cell = CELLS["lstm"](INPUTS, HIDDEN)
    _, forget_gate, _, _ = cell.project(torch.zeros(1, 1, INPUTS))[0, 0].chunk(4)
    assert forget_gate.tolist() == [1.0] * HIDDEN


def test_an_irnn_starts_as_a_sum():
    weights = weights_of(CELLS["irnn"](100, 50).kernel)
    assert weights.recurrent.equal(torch.eye(50))
    assert weights.inputs.std().item() == pytest.approx(0.001, rel=0.1)


def test_gains_of_batch_normalisation_start_small():
    cell = CELLS["batchnorm_lstm"](INPUTS, HIDDEN)
    for norm in (cell.input_norm, cell.recurrent_norm, cell.memory_norm):
        assert norm.gain.tolist() == [pytest.approx(0.1)] * len(norm.gain)


def test_an_sru_starts_uniform_with_the_variance_of_its_paper():
    weight = CELLS["sru"](300, 300).input_weight
    assert weight.abs().max().item() <= math.sqrt(3 / 300)
    assert weight.var().item() == pytest.approx(1 / 300, rel=0.05)


@pytest.mark.parametrize("inputs", [8, 100])
def test_input_weights_start_glorot_uniform(inputs: int):
    """Each block has fan-in I and fan-out H; with a window of two inputs, fan-in 2I."""
    for name in ("capped_lstm", "gru_original", "mingru", "projected_lstm", "qrnn"):
        width = 150 if name == "projected_lstm" else 100
        fan = 2 * inputs if name == "qrnn" else inputs
        weight = CELLS[name](inputs, 100).input_weight
        assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / (fan + width)), rel=0.02)


def test_an_echo_state_network_is_fixed_and_fades():
    cell = CELLS["echo_state"](INPUTS, 40)
    radius = torch.linalg.eigvals(cell.recurrent_weight).abs().max().item()
    assert radius == pytest.approx(0.9, rel=1e-4)
    assert list(cell.parameters()) == []
    assert set(cell.state_dict()) == {"input_weight", "recurrent_weight"}
