"""Chunks of steps, as a GPU trains on them, give what step after step gives: outputs, states, gradients.

Here the chunks are traced and differentiated by torch.compile, and run by it without writing kernels
(backend aot_eager), so that no compiler and no GPU is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.cells import CELLS, Cell, ScanCell, running
from seqtool.nn.cells.chunked import CHUNK, compiled_chunk, plain_steps, prepared, worth_compiling
from seqtool.nn.cells.running import run_cell
from tests.nn.cells.making import make_cell, some_inputs, some_state

# Of torch.compile's own tracing.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf",
    "ignore:<class 'torch.autograd.function.Function'> should not be instantiated",
)

KERNELS = {
    name for name in CELLS if not make_cell(name).runs_step_by_step and make_cell(name).fused() is not None
}
SCANS = [name for name, cell in CELLS.items() if issubclass(cell, ScanCell)]
COMPILED = [
    name if name in ("peephole_lstm", "layernorm_gru") else pytest.param(name, marks=pytest.mark.slow)
    for name in CELLS
    if name not in KERNELS.union(SCANS) and make_cell(name).compiles
]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Sets whether steps run in chunks."""
    backend = compiled_chunk.__wrapped__("aot_eager")

    def switch(on: bool) -> None:
        monkeypatch.setattr(running, "worth_compiling", lambda cell, inputs: on)
        monkeypatch.setattr("seqtool.nn.cells.chunked.compiled_chunk", lambda: backend)

    return switch


def everything(cell: Cell, steps: int = CHUNK + 2) -> list[Tensor | None]:
    """Outputs, last state, gradients of the inputs, of the first state and of all parameters."""
    torch.manual_seed(3)
    inputs = some_inputs(steps=steps).requires_grad_()
    state = tuple(part.requires_grad_() for part in some_state(cell))
    outputs, last = run_cell(cell, inputs, state)
    whole = outputs.sin().sum() + sum(part.cos().sum() for part in last)
    whole.backward()
    gradients = [each.grad for each in (inputs, *state, *cell.parameters())]
    cell.zero_grad()
    return [outputs.detach(), *(part.detach() for part in last), *gradients]


def assert_alike(chunks: Callable[[bool], None], cell: Cell, steps: int = CHUNK + 2) -> None:
    chunks(False)
    expected = everything(cell, steps)
    chunks(True)
    found = everything(cell, steps)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", COMPILED)
def test_chunks_give_what_steps_give(name: str, chunks: Callable[[bool], None]) -> None:
    assert_alike(chunks, make_cell(name))


@pytest.mark.parametrize("steps", [1, CHUNK, 2 * CHUNK + 1])
def test_any_number_of_steps(steps: int, chunks: Callable[[bool], None]) -> None:
    assert_alike(chunks, make_cell("peephole_lstm"), steps)


@pytest.mark.parametrize(
    "options",
    [{"zoneout": 0.3, "zoneout_hidden": 0.2}, {"weight_drop": 0.4, "recurrent_dropout": 0.3}],
    ids=str,
)
def test_what_is_drawn_is_drawn_alike(options: dict[str, Any], chunks: Callable[[bool], None]) -> None:
    """Weights are dropped once for the pass, not once for each chunk; the rest step by step."""
    assert_alike(chunks, make_cell("lstm" if "zoneout" in options else "peephole_lstm", **options))


@pytest.mark.parametrize("option", ["zoneout", "recurrent_dropout"])
@pytest.mark.parametrize("name", SCANS)
def test_scan_cells_that_go_by_steps_do_so_in_chunks(
    name: str, option: str, chunks: Callable[[bool], None]
) -> None:
    assert_alike(chunks, make_cell(name, **{option: 0.3}), steps=3)


def test_of_scan_cells_only_the_one_whose_gates_see_the_state_goes_in_chunks(
    chunks: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_alike(chunks, make_cell("sru"))
    passes: list[str] = []
    prepare = running.prepared
    monkeypatch.setattr(running, "prepared", lambda cell: passes.append(type(cell).__name__) or prepare(cell))
    for name in SCANS:
        run_cell(make_cell(name), some_inputs())
    assert passes == ["SRUCell"]


def test_products_have_the_type_of_autocast(chunks: Callable[[bool], None]) -> None:
    cell, inputs = make_cell("peephole_lstm", hidden=16).float(), some_inputs(steps=5 * CHUNK).float()
    results: list[Tensor] = []
    gradients: list[Tensor] = []
    for on in (False, True):
        chunks(on)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert prepared(cell).products == torch.bfloat16
            results.append(run_cell(cell, inputs)[0])
        cell.zero_grad()
        results[-1].float().square().sum().backward()
        assert cell.recurrent_weight.grad is not None
        gradients.append(cell.recurrent_weight.grad)
    assert results[0].dtype == results[1].dtype == torch.bfloat16
    torch.testing.assert_close(*results, rtol=2e-2, atol=2e-2)
    assert (gradients[1] - gradients[0]).norm() < 0.01 * gradients[0].norm()


def test_where_compiling_fails_steps_are_made_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise RuntimeError("no compiler")

    cell = make_cell("peephole_lstm")
    expected = everything(cell)
    run = compiled_chunk(broken)  # type: ignore[arg-type]
    monkeypatch.setattr(running, "worth_compiling", lambda cell, inputs: True)
    monkeypatch.setattr("seqtool.nn.cells.chunked.compiled_chunk", lambda: run)
    with pytest.warns(UserWarning, match="torch.compile failed, so steps are not compiled: .*no compiler"):
        found = everything(cell)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_only_training_on_a_gpu_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqtool.nn.cells.chunked.find_spec", lambda name: name == "triton")
    there: Any = SimpleNamespace(device=torch.device("cuda"))
    cell = make_cell("peephole_lstm")
    assert worth_compiling(cell, there)
    assert not worth_compiling(make_cell("batchnorm_lstm").train(), there)
    with torch.no_grad():
        assert not worth_compiling(cell, there)
    with plain_steps():
        assert not worth_compiling(cell, there)
    assert worth_compiling(cell, there)
    monkeypatch.setattr("torch._dynamo.config.disable", True)  # as TORCH_COMPILE_DISABLE=1 has it
    assert not worth_compiling(cell, there)
    monkeypatch.undo()
    monkeypatch.setattr("seqtool.nn.cells.chunked.find_spec", lambda name: name == "triton")
    assert not worth_compiling(cell, some_inputs())
    assert not worth_compiling(make_cell("peephole_lstm").eval(), there)
    monkeypatch.setattr("seqtool.nn.cells.chunked.find_spec", lambda name: None)
    assert not worth_compiling(cell, there)
