"""The adding and the copying problem, and learning them."""

from __future__ import annotations

import math

import pytest
import torch

from seqtool.errors import UsageError
from seqtool.inspection.problems import KINDS, REMEMBERED, Adding, Copying, learn, size_of, width_for
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS
from seqtool.nn.recurrence import Stack


def source() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_adding_marks_one_number_of_each_half_and_asks_for_their_sum():
    inputs, asked = Adding(11).draw(200, source())
    assert inputs.shape == (200, 11, 2)
    numbers, marks = inputs.unbind(2)
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert marks[:, :5].sum(1).eq(1).all()
    assert marks[:, 5:].sum(1).eq(1).all()
    torch.testing.assert_close(asked, (numbers * marks).sum(1))
    assert set(marks.argmax(1).tolist()) == set(range(5))
    assert asked.var().item() == pytest.approx(Adding.guessing, rel=0.3)
    assert Adding(5).loss(torch.ones(2, 5, 1), torch.tensor([1.0, 3.0])).item() == 2.0


def test_copying_asks_for_the_symbols_in_their_order_after_the_pause():
    inputs, asked = Copying(7).draw(50, source())
    symbols = inputs.argmax(2)
    assert inputs.shape == (50, 7 + 2 * REMEMBERED, KINDS + 2)
    assert inputs.sum(2).eq(1).all()
    assert symbols[:, :REMEMBERED].equal(asked)
    assert (symbols == KINDS + 1).sum(1).eq(1).all()
    assert (symbols[:, -REMEMBERED - 1] == KINDS + 1).all()  # right before the first symbol is asked for
    assert symbols[:, -REMEMBERED:].eq(KINDS).all()
    perfect = torch.full((50, symbols.shape[1], KINDS), -50.0)
    perfect[:, -REMEMBERED:].scatter_(2, asked[:, :, None], 50.0)
    assert Copying(7).loss(perfect, asked).item() == pytest.approx(0.0, abs=1e-6)
    assert Copying(7).loss(torch.zeros_like(perfect), asked).item() == pytest.approx(math.log(KINDS))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("layers", [1, 3])
def test_sizes_are_those_of_the_layers(name: str, layers: int):
    stack = Stack(LayerOptions(name), inputs=5, hidden=7, layers=layers)
    numbers = stack.buffers() if name == "echo_state" else stack.parameters()
    assert size_of(name, 5, 7, layers) == sum(each.numel() for each in numbers)


@pytest.mark.parametrize("name", CELLS)
def test_the_width_is_the_largest_that_fits(name: str):
    width = width_for(name, 10, 5000, layers=2)
    assert size_of(name, 10, width, 2) <= 5000 < size_of(name, 10, width + 1, 2)
    least = size_of(name, 10, 1, layers=2)
    assert width_for(name, 10, least, layers=2) == 1
    with pytest.raises(
        UsageError, match=f"^--parameters {least - 1}: {name} of width 1 with 10 inputs has {least} "
    ):
        width_for(name, 10, least - 1, layers=2)


def test_a_short_sum_is_learned_and_a_seed_repeats():
    curves = [
        learn("gru", Adding(6), hidden=16, layers=1, updates=150, seed=seed, learning_rate=0.02)
        for seed in (1, 1, 2)
    ]
    assert curves[0].losses == curves[1].losses
    assert curves[0].losses != curves[2].losses
    updates = [update for update, _ in curves[0].losses]
    assert (updates[0], updates[-1]) == (0, 150)
    assert updates == sorted(set(updates))
    assert curves[0].losses[-1][1] < Adding.guessing / 4
    assert not curves[0].stack.training


def test_short_pauses_are_bridged():
    curve = learn("lstm", Copying(1), hidden=40, layers=1, updates=150, learning_rate=0.01)
    assert curve.losses[-1][1] < 0.8 * Copying.guessing
