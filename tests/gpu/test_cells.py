"""Every cell, with its regularisation, on a CUDA device compared with the CPU.

These tests have never run there, because no machine of the project had a CUDA device. With
SEQTOOL_TEST_DEVICE=cpu they run on the CPU instead and pass (except for fp16, which it lacks).
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.adversarial import worst_offsets
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS, running
from seqtool.nn.cells.chunked import CHUNK
from seqtool.nn.cells.dilated import DilatedCell
from seqtool.nn.cells.running import run_cell
from seqtool.nn.divergence import symmetric_divergence
from seqtool.nn.recurrence import BidirectionalStack
from seqtool.nn.regularization import StatePenalties, drop_types
from seqtool.training.update import GradientNoise
from tests.nn.cells.making import EVERYTHING, HIDDEN, INPUTS, make_cell, some_inputs, some_state

DEVICE = torch.device(os.environ.get("SEQTOOL_TEST_DEVICE", "cuda"))
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE.type == "cuda" and not torch.cuda.is_available(),
        reason="needs a CUDA device; torch finds none here",
    ),
    # torch.compile prints harmless warnings; code that it cannot compile is an error here.
    pytest.mark.filterwarnings("ignore", "error:torch.compile failed"),
]
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}
every_cell = pytest.mark.parametrize("name", CELLS)


def results_on(device: torch.device, name: str, dilation: int = 1) -> list[Tensor | None]:
    """Outputs, the last state and all gradients, float64."""
    cell = make_cell(name)
    whole = (cell if dilation == 1 else DilatedCell(cell, dilation)).to(device)
    inputs = some_inputs(steps=CHUNK + 2).to(device).requires_grad_()
    state = some_state(cell) if dilation == 1 else whole.initial(3, inputs)
    outputs, last = run_cell(whole, inputs, tuple(part.to(device) for part in state))
    if outputs.requires_grad:
        outputs.sin().sum().backward()
    gradients = [inputs.grad, *(parameter.grad for parameter in cell.parameters())]
    return [None if each is None else each.cpu() for each in (outputs, *last, *gradients)]


@every_cell
def test_outputs_states_and_gradients_equal_those_of_the_cpu(name: str) -> None:
    for found, expected in zip(results_on(DEVICE, name), results_on(torch.device("cpu"), name), strict=True):
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "gru", "mgu", "sru"])
def test_dilated_cells_equal_those_of_the_cpu(name: str) -> None:
    for found, expected in zip(
        results_on(DEVICE, name, 2), results_on(torch.device("cpu"), name, 2), strict=True
    ):
        torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["peephole_lstm", "layernorm_lstm", "multiplicative_lstm", "mgu", "slstm"])
def test_compiled_chunks_give_what_steps_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels from torch.compile: Triton's, or those of a C++ compiler on a CPU."""
    monkeypatch.setattr(running, "worth_compiling", lambda cell, inputs: False)
    plain = results_on(DEVICE, name)
    monkeypatch.setattr(running, "worth_compiling", lambda cell, inputs: True)
    for found, expected in zip(results_on(DEVICE, name), plain, strict=True):
        torch.testing.assert_close(found, expected, **CLOSE)


@every_cell
def test_stepping_there_equals_running(name: str) -> None:
    cell = make_cell(name).eval().to(DEVICE)
    inputs = some_inputs().to(DEVICE)
    expected, _ = run_cell(cell, inputs)
    step, state = cell.stepper(), cell.initial(3, inputs)
    with torch.inference_mode():
        for number, projected in enumerate(cell.project(inputs).unbind(1)):
            state = step(projected, state)
            torch.testing.assert_close(state[0].clone(), expected[:, number].detach(), **CLOSE)


@every_cell
def test_draws_are_made_there(name: str) -> None:
    """Zoneout and recurrent dropout, forward and backward, with finite results."""
    cell = make_cell(name, zoneout=0.3, recurrent_dropout=0.3).to(DEVICE)
    outputs, state = run_cell(cell, some_inputs().to(DEVICE))
    assert outputs.device.type == DEVICE.type
    assert all(part.isfinite().all() for part in (outputs, *state))
    if outputs.requires_grad:
        outputs.sum().backward()
        assert all(each.grad is not None and each.grad.isfinite().all() for each in cell.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["lstm", "gru", "layernorm_lstm", "slstm", "sru", "mogrifier_lstm"])
def test_half_precision_comes_close(name: str, dtype: torch.dtype) -> None:
    if dtype == torch.float16 and DEVICE.type == "cpu":
        pytest.skip("the CPU's kernels have no fp16")
    cell = make_cell(name).float().eval().to(DEVICE)
    inputs = some_inputs().float().to(DEVICE)
    expected, _ = run_cell(cell, inputs)
    with torch.autocast(DEVICE.type, dtype=dtype):
        found, _ = run_cell(cell, inputs)
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)


def test_layers_with_everything_train_there() -> None:
    options = {key: EVERYTHING[key] for key in ("highway", "dilation", "learned_start")}
    layers = LayerOptions("lstm", **options)
    stack = BidirectionalStack(layers, inputs=INPUTS, hidden=HIDDEN, layers=2, dropout=0.3)
    stack = stack.double().to(DEVICE)
    mask = (torch.arange(5) < torch.tensor([5, 2, 4])[:, None]).to(DEVICE)
    outputs = stack(some_inputs().to(DEVICE), mask)
    penalty = StatePenalties(1.0, 1.0, 1.0)(outputs, outputs, mask)
    (outputs.sin().sum() + penalty).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in stack.parameters())


def test_what_stands_around_a_loss_works_there() -> None:
    inputs = some_inputs().to(DEVICE).requires_grad_()
    (offset,) = worst_offsets(inputs.sin().sum(), [inputs], 0.1)
    assert offset.device.type == DEVICE.type
    logarithms = inputs.log_softmax(2)
    assert symmetric_divergence(logarithms, logarithms.roll(1, 1)).item() > 0
    symbols = torch.zeros(3, 5, dtype=torch.long, device=DEVICE)
    assert drop_types(inputs, symbols, 4, 0.5).device.type == DEVICE.type
    gradients = [torch.zeros(7, device=device) for device in (torch.device("cpu"), DEVICE)]
    for gradient in gradients:  # the same random draw wherever it is added
        GradientNoise(0.5, 1).add([gradient], 3)
    assert gradients[0].equal(gradients[1].cpu())
