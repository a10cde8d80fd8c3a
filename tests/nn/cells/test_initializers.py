"""Initialisers and initial biases that the settings choose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from seqtool.nn.cell_options import WITHOUT, CellOptions
from seqtool.nn.cells import CELLS, Cell, build_cell
from seqtool.nn.cells.running import run_cell

LEARNED_INPUTS = [name for name in CELLS if name not in WITHOUT["input_init"]]
RECURRENT = [name for name in CELLS if name not in WITHOUT["recurrent_init"]]
GATED = [name for name in CELLS if name not in WITHOUT["forget_bias"]]


def built(name: str, hidden: int = 40, inputs: int = 60, **options: object) -> Cell:
    torch.manual_seed(0)
    return build_cell(name, inputs, hidden, options=CellOptions(**options))  # type: ignore[arg-type]


def check(block: Tensor, kind: str) -> None:
    outputs, inputs = block.shape
    small = block.T @ block if outputs >= inputs else block @ block.T
    if kind == "orthogonal":
        torch.testing.assert_close(small, torch.eye(len(small)), rtol=0, atol=1e-4)
    elif kind == "identity":
        assert block.equal(torch.eye(outputs, inputs))
    else:
        variance = 2 / (inputs + outputs) if kind == "xavier" else 2 / inputs
        assert block.abs().max().item() <= math.sqrt(3 * variance)
        assert block.var().item() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("name", LEARNED_INPUTS)
@pytest.mark.parametrize("kind", ["xavier", "kaiming", "orthogonal"])
def test_every_block_of_the_input_starts_as_asked(name: str, kind: str):
    cell = built(name, input_init=kind)
    for block in cell.input_blocks():
        check(block.detach(), kind)


@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("kind", ["orthogonal", "identity", "xavier", "kaiming"])
def test_every_block_of_the_state_starts_as_asked(name: str, kind: str):
    cell = built(name, recurrent_init=kind)
    blocks = cell.recurrent_blocks()
    assert blocks
    for block in blocks:
        check(block.detach(), kind)


@pytest.mark.parametrize("name", CELLS)
def test_the_blocks_are_all_the_matrices_but_those_that_stand_between_input_and_state(name: str):
    """No weight is left out by mistake."""
    cell = built(name)
    counted = sum(block.numel() for block in (*cell.input_blocks(), *cell.recurrent_blocks()))
    between = {"mogrifier_lstm": ("rounds",)}.get(name, ())
    matrices = sum(
        each.numel()
        for key, each in cell.named_parameters()
        if each.dim() == 2 and "peephole" not in key and not key.startswith(between or "-")
    )
    assert counted == matrices


def kept_after(cell: Cell, steps: int) -> float:
    """Share of the memory that remains after a number of inputs of zeros."""
    inputs = torch.zeros(1, steps, cell.inputs)
    found = []
    for value in (0.0, 1.0):
        state = list(cell.initial(1, inputs))
        state[cell.memory[0]] = state[cell.memory[0]] + value
        if len(cell.memory) > 1:  # a normaliser at 1
            state[2] = torch.ones_like(state[2])
        with torch.no_grad():
            _, after = run_cell(cell.eval(), inputs, tuple(state))
        found.append(after[cell.memory[0]])
    return float((found[1] - found[0]).mean())


@pytest.mark.parametrize("name", GATED)
def test_a_larger_bias_of_the_gate_that_keeps_the_state_keeps_it_longer(name: str):
    shares = []
    for bias in (-2.0, 0.0, 2.0, 5.0):
        cell = built(name, forget_bias=bias)
        with torch.no_grad():
            for block in cell.recurrent_blocks():
                block.zero_()
        shares.append(kept_after(cell, 3))
    assert shares == sorted(shares)
    assert shares[-1] > (0.28 if name == "minlstm" else 0.9)  # its input gate, half open, has a share
    assert shares[0] < 0.2


@pytest.mark.parametrize("name", GATED)
def test_chrono_starts_gates_with_the_logarithm_of_times_and_input_gates_with_the_negative(name: str):
    cell = built(name, hidden=2000, inputs=3, chrono=101)
    gate = cell.keep_gate
    assert gate is not None
    biases = [bias.detach() for bias in cell.gate_biases()]
    kept = (-1 if gate.writes else 1) * biases[gate.block]
    times = kept.exp()
    assert 1.0 <= times.min().item() <= 2.0
    assert 99.0 <= times.max().item() <= 100.0
    assert times.mean().item() == pytest.approx(50.5, rel=0.05)
    if gate.input is not None:
        assert biases[gate.input].equal(-kept)


def test_the_default_leaves_everything_as_the_cell_has_it():
    for name in CELLS:
        torch.manual_seed(0)
        plain = CELLS[name](60, 40)
        for key, value in built(name).state_dict().items():
            assert value.equal(plain.state_dict()[key])


@pytest.mark.parametrize("radius", [0.5, 1.2])
def test_the_spectral_radius_is_what_was_asked_for(radius: float):
    cell = built("echo_state", spectral_radius=radius)
    assert torch.linalg.eigvals(cell.recurrent_weight).abs().max().item() == pytest.approx(radius, rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_init": "identity"}, "input_init 'identity' is none of default, xavier, kaiming, orthogonal"),
        (
            {"recurrent_init": "x"},
            "recurrent_init 'x' is none of default, orthogonal, .*",
        ),
        ({"chrono": 2}, "chrono 2 is less than 3"),
        (
            {"chrono": 9, "forget_bias": 1.0},
            "chrono and forget_bias both set the bias of the gate that keeps the state: choose one",
        ),
        ({"spectral_radius": 0.0}, "spectral radius 0.0 is not above 0"),
    ],
)
def test_options_that_mean_nothing_are_errors(options: dict[str, object], message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        CellOptions(**options)  # type: ignore[arg-type]
