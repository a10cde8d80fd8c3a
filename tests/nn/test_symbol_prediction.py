"""Predicting the symbols around each one from an encoder's states: equal to a sum, blind to padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqtool.nn.symbol_prediction import SymbolPrediction

HIDDEN, WIDTH, SYMBOLS = 4, 3, 7


@pytest.fixture
def layer() -> SymbolPrediction:
    torch.manual_seed(1)
    layer = SymbolPrediction(HIDDEN, WIDTH, SYMBOLS).double()
    torch.nn.init.normal_(layer.bias)
    return layer


def drawn(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, symbols and mask of some texts, and the embeddings of all symbols, in float64."""
    torch.manual_seed(3)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    states = torch.randn(len(lengths), longest, 2 * HIDDEN, dtype=torch.float64)
    embeddings = torch.randn(SYMBOLS, WIDTH, dtype=torch.float64)
    return states, torch.randint(0, SYMBOLS, mask.shape), mask, embeddings


def by_hand(layer: SymbolPrediction, states: Tensor, ids: list[int], embeddings: Tensor) -> Tensor:
    """The loss of one text, symbol by symbol."""
    total = torch.zeros((), dtype=torch.float64)
    for place in range(len(ids)):
        wanted = [(1, states[place, HIDDEN:], ids[place - 1])]  # the end also stands before the beginning
        if place + 1 < len(ids):
            wanted.append((0, states[place, :HIDDEN], ids[place + 1]))
        for direction, state, target in wanted:
            scores = embeddings @ layer.maps[direction](state) + layer.bias
            total = total - (scores[target] - torch.log(torch.exp(scores).sum()))
    return total


def test_the_loss_is_the_sum_over_symbols_and_directions(layer: SymbolPrediction) -> None:
    lengths = [5, 1, 3]
    states, ids, mask, embeddings = drawn(lengths)
    expected = sum(
        by_hand(layer, states[row], ids[row, :length].tolist(), embeddings)
        for row, length in enumerate(lengths)
    )
    found = layer(states, ids, mask, embeddings)
    torch.testing.assert_close(found.total, expected, rtol=1e-12, atol=0)
    assert found.count == sum(2 * length - 1 for length in lengths)


def test_padding_changes_nothing(layer: SymbolPrediction) -> None:
    states, ids, mask, embeddings = drawn([4, 2])
    expected = layer(states, ids, mask, embeddings)
    states = states.masked_fill(~mask[:, :, None], float("nan")).requires_grad_()
    found = layer(states, ids.masked_fill(~mask, 0), mask, embeddings)
    assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(found.total, states)
    assert (gradient[~mask] == 0).all() and gradient[mask].isfinite().all()


def test_embeddings_learn_from_what_is_predicted(layer: SymbolPrediction) -> None:
    states, ids, mask, embeddings = drawn([3])
    embeddings.requires_grad_()
    (gradient,) = torch.autograd.grad(layer(states, ids, mask, embeddings).total, embeddings)
    assert (gradient.abs().sum(1) > 0).all()
