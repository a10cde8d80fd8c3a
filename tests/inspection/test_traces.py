"""Gates and states of a layer along a text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seqtool.inspection.state_figures import gate_figure, projected, state_figure
from seqtool.inspection.traces import Trace, gate_meanings, gates_along
from seqtool.nn.cells import CELLS
from seqtool.nn.cells.dilated import DilatedCell
from seqtool.nn.cells.running import run_cell_plainly
from tests.nn.cells.making import HIDDEN, make_cell, some_inputs, some_state

GATED = [name for name in CELLS if CELLS[name].gates]
UNGATED = {"rnn", "irnn", "echo_state"}


def trace_of(name: str) -> Trace:
    cell = make_cell(name).eval()
    inputs, start = some_inputs(batch=1, steps=4), some_state(cell, batch=1)
    outputs, _ = run_cell_plainly(cell, inputs, start)
    return Trace(["a"] * 4, ["letter"] * 4, outputs[0], cell, inputs, start)


def test_all_cells_but_those_without_gates_name_them():
    assert set(CELLS) - set(GATED) == UNGATED
    assert all(gates_along(trace_of(name)) == {} for name in UNGATED)


@pytest.mark.parametrize("name", GATED)
def test_every_sigmoid_of_a_step_has_a_name_and_a_value_for_each_unit(name: str):
    found = gates_along(trace_of(name))
    assert list(found) == [gate for gates in CELLS[name].gates for gate in gates]
    width = {"projected_lstm": HIDDEN * 3 // 2}.get(name, HIDDEN)
    for gate, opened in found.items():
        assert opened.shape == (4, 3 if gate.endswith("input") else width)
        assert ((opened > 0) & (opened < 1)).all()


def test_gates_of_an_lstm_are_those_of_its_equations():
    trace = trace_of("lstm")
    found = gates_along(trace)
    weights = dict(trace.cell.named_parameters())
    hidden = trace.start[0]
    for step in range(4):
        total = trace.inputs[:, step] @ weights["kernel.weight_ih_l0"].T + weights["kernel.bias_ih_l0"]
        total = total + hidden @ weights["kernel.weight_hh_l0"].T + weights["kernel.bias_hh_l0"]
        i, f, _, o = total.sigmoid().chunk(4, 1)
        for gate, expected in zip(("input gate", "forget gate", "output gate"), (i, f, o), strict=True):
            torch.testing.assert_close(found[gate][step], expected[0].detach())
        hidden = trace.states[step : step + 1]


@pytest.mark.parametrize(
    ("name", "gate"), [("gru", "update gate"), ("mgu", "share kept (1 - f)"), ("light_gru", "update gate")]
)
def test_a_gate_that_keeps_the_state_is_the_one_that_its_name_says(name: str, gate: str):
    trace = trace_of(name)
    keep = trace.cell.keep_gate
    with torch.no_grad():
        trace.cell.gate_biases()[keep.block].fill_(-60.0 if keep.writes else 60.0)
    assert gates_along(trace)[gate].min().item() > 0.99


def test_states_are_put_on_a_plane(tmp_path: Path):
    source = np.random.default_rng(1)
    along = np.concatenate([source.normal(size=(40, 1)) * [[3.0, 0, 0, 0]], np.zeros((1, 4))])
    plane = projected(along + 0.01 * source.normal(size=(41, 4)), "pca")
    assert abs(np.corrcoef(plane.points[:, 0], along[:, 0])[0, 1]) > 0.999
    assert plane.axes == tuple(
        f"principal component {number} ({share} % of the variance)" for number, share in ((1, 100), (2, 0))
    )
    first = projected(along, "tsne")
    assert first.points.shape == (41, 2)
    assert first.method == "t-SNE, perplexity 13.3"
    np.testing.assert_array_equal(first.points, projected(along, "tsne").points)
    groups = [f"kind {number % 9}" for number in range(41)]
    labels = ["<b>", "\n", " "] * 13 + ["x", "y"]
    state_figure(plane, labels, groups, tmp_path / "s.svg", title="States", grouped_by="kind")
    text = (tmp_path / "s.svg").read_text()
    assert "others" in text
    assert "kind 0" in text
    assert "kind 8" not in text


@pytest.mark.parametrize("steps", [3, 300])
def test_gates_are_drawn_with_the_text_where_there_is_room(tmp_path: Path, steps: int):
    gates = {name: np.full((steps, 5), 0.5) for name in ("input gate", "output gate")}
    gate_figure(gates, ["Ada", "met", "\n"] * (steps // 3), tmp_path / "g.svg", title="Gates")
    text = (tmp_path / "g.svg").read_text()
    assert ("Ada" in text) == (steps == 3)
    assert ("position in the text (symbols)" in text) == (steps == 300)


def test_gates_of_a_dilated_cell_are_those_of_the_cell_inside():
    cell = DilatedCell(make_cell("gru").eval(), 2)
    inputs = some_inputs(batch=1, steps=4)
    start = cell.initial(1, inputs)
    outputs, _ = run_cell_plainly(cell, inputs, start)
    found = gates_along(Trace(["a"] * 4, ["letter"] * 4, outputs[0], cell, inputs, start))
    assert list(found) == ["reset gate", "update gate"]


def test_every_gate_of_every_cell_says_what_it_does_where_it_is_open():
    for name, kind in CELLS.items():
        cell = kind(3, 4)
        named = {gate for gates in cell.gates for gate in gates if not gate.startswith("round ")}
        assert gate_meanings(cell).keys() == named, name
    assert gate_meanings(CELLS["lstm"](3, 4))["forget gate"] == "keeps the memory"
    assert gate_meanings(CELLS["gru"](3, 4))["update gate"] == "keeps the old value"
    for name, gate in (("mingru", "update gate"), ("mgu", "forget gate")):
        assert gate_meanings(CELLS[name](3, 4))[gate] == "takes the new value"
