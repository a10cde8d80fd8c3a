"""Zoneout and recurrent dropout, of every cell."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.cell_options import WITHOUT, CellOptions
from seqtool.nn.cells import CELLS, Cell, State, build_cell
from seqtool.nn.cells.running import run_cell, run_cell_plainly
from tests.nn.cells.making import FIXED, HIDDEN, INPUTS, LEARNED, Runner, make_cell, some_inputs, some_state

every_cell = pytest.mark.parametrize("name", CELLS)
TWO_STATES = [name for name in CELLS if name not in WITHOUT["zoneout_hidden"]]
CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-10}


def one_step(cell: Cell, batch: int = 3) -> tuple[State, State]:
    """The state before a step and after it."""
    before = some_state(cell, batch)
    projected = cell.project(some_inputs(batch, steps=1, width=cell.inputs))
    return before, cell.step(projected[:, 0], before)


def memory_of(cell: Cell, state: State) -> list[Tensor]:
    return [state[part] for part in cell.memory]


# Zoneout


@every_cell
def test_in_training_each_unit_of_the_memory_stays_with_the_probability_or_moves_as_it_would(name: str):
    plain, zoned = (make_cell(name, hidden=32, zoneout=rate) for rate in (0.0, 0.3))
    before, moved = one_step(plain.eval(), batch=64)
    zoned.eval().training = True  # what is inside, statistics of the batch, stays in evaluation
    _, after = one_step(zoned, batch=64)
    parts = list(zip(*(memory_of(plain, state) for state in (before, moved, after)), strict=True))
    stays = parts[0][2] == parts[0][0]
    for old, new, found in parts:
        torch.testing.assert_close(found, torch.where(stays, old, new), rtol=1e-12, atol=1e-12)
    share, bound = stays.double().mean().item(), 4 * math.sqrt(0.21 / stays.numel())
    assert share == pytest.approx(0.3, abs=bound)
    for part in set(range(len(before))) - set(plain.memory):
        torch.testing.assert_close(after[part], moved[part], **CLOSE)  # h_t is made of the memory as it moved


@pytest.mark.parametrize("name", TWO_STATES)
def test_the_hidden_state_has_a_probability_of_its_own(name: str):
    plain, zoned = (make_cell(name, hidden=32, zoneout_hidden=rate) for rate in (0.0, 0.3))
    before, moved = one_step(plain.eval(), batch=64)
    zoned.eval().training = True
    _, after = one_step(zoned, batch=64)
    stays = after[0] == before[0]
    torch.testing.assert_close(after[0], torch.where(stays, before[0], moved[0]), rtol=1e-12, atol=1e-12)
    assert stays.double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / stays.numel()))
    torch.testing.assert_close(after[1:], moved[1:], **CLOSE)


@every_cell
def test_evaluation_takes_the_mean_of_what_training_draws(name: str):
    plain, zoned = (make_cell(name, zoneout=rate).eval() for rate in (0.0, 0.3))
    (before, moved), (_, found) = one_step(plain), one_step(zoned)
    if name == "slstm":  # c and n stand for themselves times exp(m)
        before, moved, found = ((h, c * m.exp(), n * m.exp()) for h, c, n, m in (before, moved, found))
        assert not found[1].equal(moved[1])
        pairs = [(before[part], moved[part], found[part]) for part in (1, 2)]
    else:
        pairs = [
            (old, new, mean)
            for old, new, mean in zip(
                *(memory_of(plain, each) for each in (before, moved, found)), strict=True
            )
        ]
    for old, new, mean in pairs:
        torch.testing.assert_close(mean, 0.3 * old + 0.7 * new, **CLOSE)


def test_the_mean_of_exponential_gates_stays_finite_and_its_normaliser_positive():
    cell = make_cell("slstm", zoneout=0.5).eval()
    with torch.no_grad():
        cell.bias[:HIDDEN] = 400.0
    inputs = some_inputs(steps=20)
    _, state = run_cell(cell, inputs)
    assert all(part.isfinite().all() for part in state)
    assert (state[2] > 0).all()


@every_cell
def test_a_rate_near_1_keeps_nearly_everything(name: str):
    cell = make_cell(name, zoneout=0.999999).eval()
    before, after = one_step(cell)
    if name == "slstm":  # c and n stand for themselves times exp(m)
        before, after = ((h, c * m.exp(), n * m.exp(), m) for h, c, n, m in (before, after))
        kept = [(before[part], after[part]) for part in (1, 2)]
    else:
        kept = list(zip(memory_of(cell, before), memory_of(cell, after), strict=True))
    for old, new in kept:
        torch.testing.assert_close(old, new, rtol=1e-3, atol=1e-3)


# Recurrent dropout

# Where the candidate stands: the part of the state that is a linear function of it
WRITES_TO = {name: CELLS[name].memory[0] for name in CELLS if name not in ("rnn", "irnn", "echo_state")}


def with_noise(name: str, noise: Tensor | None, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Cell:
    """A cell with this mask of recurrent dropout at every step, cut to the width asked for."""

    def given(self: Cell, like: Tensor) -> Tensor | None:
        return None if noise is None else noise[: like.shape[0], : like.shape[1]].to(like)

    monkeypatch.setattr(Cell, "noise", given)
    return make_cell(name, **options).eval()


def some_noise(batch: int = 3, width: int = 16) -> Tensor:
    return torch.rand(batch, width, generator=torch.Generator().manual_seed(8)).double() * 2


@pytest.mark.parametrize("name", WRITES_TO)
def test_noise_multiplies_what_a_step_would_write(name: str, monkeypatch: pytest.MonkeyPatch):
    part, noise = WRITES_TO[name], some_noise()
    found = {}
    for key, each in {"none": 0 * noise, "all": None, "some": noise}.items():
        cell = with_noise(name, each, monkeypatch)
        found[key] = one_step(cell)[1][part]
    share = noise[:, : found["all"].shape[1]]
    torch.testing.assert_close(found["some"], torch.lerp(found["none"], found["all"], share), **CLOSE)
    assert not found["none"].equal(found["all"])


@pytest.mark.parametrize("name", sorted(CELLS.keys() - WRITES_TO))
def test_without_a_candidate_noise_multiplies_what_is_read(name: str, monkeypatch: pytest.MonkeyPatch):
    noise = some_noise()
    _, found = one_step(with_noise(name, noise, monkeypatch))
    plain = with_noise(name, None, monkeypatch)
    (before,) = some_state(plain)
    projected = plain.project(some_inputs(steps=1))[:, 0]
    (expected,) = plain.step(projected, (before * noise[:, :HIDDEN],))
    torch.testing.assert_close(found[0], expected, **CLOSE)


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_with_noise_agree_with_finite_differences(name: str, monkeypatch: pytest.MonkeyPatch):
    cell = with_noise(name, some_noise(2), monkeypatch, inputs=2, hidden=3)
    runner = Runner(cell)
    inputs = some_inputs(batch=2, steps=3, width=2).requires_grad_()
    state = [part.requires_grad_(part.shape[1] > 1) for part in some_state(cell, batch=2)]

    def outcome(inputs: Tensor, *state: Tensor) -> Tensor:
        return runner(inputs, state)[0]

    assert torch.autograd.gradcheck(outcome, (inputs, *state))


@every_cell
def test_noise_is_drawn_for_each_step_and_keeps_the_mean(name: str):
    cell = make_cell(name, hidden=64, recurrent_dropout=0.4).train()
    like = torch.zeros(32, 64).double()
    first, second = cell.noise(like), cell.noise(like)
    assert first is not None
    assert second is not None
    assert not first.equal(second)
    kept = first != 0
    torch.testing.assert_close(first[kept], torch.full_like(first[kept], 1 / 0.6))
    assert kept.double().mean().item() == pytest.approx(0.6, abs=4 * math.sqrt(0.24 / kept.numel()))


# Both


@every_cell
@pytest.mark.parametrize(
    "options", [{"zoneout": 0.4}, {"recurrent_dropout": 0.4}, {"zoneout": 0.2, "recurrent_dropout": 0.2}]
)
def test_all_steps_at_once_equal_plain_steps_with_the_same_draws(name: str, options: dict[str, float]):
    """Outputs, states and gradients."""
    results = []
    for run in (run_cell, run_cell_plainly):
        cell, inputs = make_cell(name, **options), some_inputs().requires_grad_()
        state = some_state(cell)
        torch.manual_seed(3)
        outputs, last = run(cell, inputs, state)
        if outputs.requires_grad:
            outputs.sin().sum().backward()
        results.append([outputs, *last, inputs.grad, *(each.grad for each in cell.parameters())])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, **CLOSE)


@every_cell
def test_training_draws_anew_each_time_and_evaluation_never_draws(name: str):
    for options in ({"zoneout": 0.5}, {"recurrent_dropout": 0.5}):
        cell, inputs = make_cell(name, **options), some_inputs()
        assert cell.eval().training is False
        assert run_cell(cell, inputs)[0].equal(run_cell(cell, inputs)[0])
        cell.training = True
        assert not run_cell(cell, inputs)[0].equal(run_cell(cell, inputs)[0])
    plain = make_cell(name).eval()
    assert run_cell(cell.eval(), inputs)[0].equal(run_cell(plain, inputs)[0])  # recurrent dropout is off


@every_cell
def test_nothing_is_asked_for_that_has_no_effect(name: str):
    values: dict[str, Any] = {
        "weight_drop": 0.1, "recurrent_dropout": 0.1, "zoneout": 0.1, "zoneout_hidden": 0.1,
        "input_init": "kaiming", "recurrent_init": "kaiming", "forget_bias": 0.5, "chrono": 9,
        "spectral_radius": 0.5,
    }  # fmt: skip
    for option, value in values.items():
        options = CellOptions(**{option: value})
        if name in WITHOUT.get(option, {}):
            reason = WITHOUT[option][name]
            message = f"^{option} does not go with cell = '{name}', which {reason}; leave it out$"
            with pytest.raises(ValueError, match=message):
                build_cell(name, INPUTS, HIDDEN, options=options)
            continue
        outputs = []
        for each in (options, CellOptions()):
            torch.manual_seed(1)
            cell = build_cell(name, INPUTS, HIDDEN, options=each)
            torch.manual_seed(1)
            inputs = some_inputs().float()
            outputs.append(run_cell(cell.train(), inputs, some_states32(cell))[0])
        assert not outputs[0].equal(outputs[1]), option


def some_states32(cell: Cell) -> State:
    """A start that is not zero where it may be; a count of steps stays a count."""
    parts = some_state(cell)
    return tuple((0 * part if part.shape[1] == 1 else part).float() for part in parts)


@pytest.mark.parametrize("option", ["weight_drop", "recurrent_dropout", "zoneout", "zoneout_hidden"])
@pytest.mark.parametrize("probability", [-0.1, 1.0, math.nan])
def test_a_probability_outside_its_range_is_an_error_that_says_so(option: str, probability: float):
    message = rf"^{option.replace('_', ' ')} {probability} is not in \[0, 1\)$"
    with pytest.raises(ValueError, match=message):
        CellOptions(**{option: probability})


def test_no_gradient_goes_through_fixed_cells_with_noise_either():
    for name in FIXED:
        cell = make_cell(name, zoneout=0.3, recurrent_dropout=0.3)
        outputs, _ = run_cell(cell, some_inputs().requires_grad_())
        assert not outputs.requires_grad
