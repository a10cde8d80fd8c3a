"""Predicting the words around a token, beside its tag: equal to a sum over all words, blind to padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqtool.nn import word_prediction
from seqtool.nn.word_prediction import WordPrediction

HIDDEN, VOCABULARY = 4, 7


def drawn(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """States, words and mask of some sentences, the states in float64."""
    torch.manual_seed(3)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    states = torch.randn(len(lengths), longest, 2 * HIDDEN, dtype=torch.float64)
    return states, torch.randint(0, VOCABULARY, mask.shape), mask


@pytest.fixture
def layer() -> WordPrediction:
    torch.manual_seed(1)
    return WordPrediction(HIDDEN, VOCABULARY).double()


def by_hand(layer: WordPrediction, states: Tensor, words: list[int]) -> Tensor:
    """The loss of one sentence, word by word."""
    total = torch.zeros((), dtype=torch.float64)
    known = [word if word < layer.known else 0 for word in words]
    for place in range(len(words)):
        following = known[place + 1] if place + 1 < len(words) else layer.known
        previous = known[place - 1] if place else layer.known
        ahead, back = states[place, :HIDDEN], states[place, HIDDEN:]
        for side, state, target in ((layer.ahead, ahead, following), (layer.back, back, previous)):
            scores = side.words(torch.tanh(side.narrow(state)))
            total = total - (scores[target] - torch.log(torch.exp(scores).sum()))
    return total


@pytest.mark.parametrize("most", [7500, 5])
def test_the_loss_is_the_sum_over_tokens_and_directions(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_prediction, "WORDS", most)
    layer = WordPrediction(HIDDEN, VOCABULARY).double()
    assert layer.known == min(most, VOCABULARY)
    lengths = [5, 1, 3]
    states, words, mask = drawn(lengths)
    expected = sum(
        by_hand(layer, states[row], words[row, :length].tolist()) for row, length in enumerate(lengths)
    )
    torch.testing.assert_close(layer(states, words, mask), expected, rtol=1e-12, atol=0)


def test_padding_changes_nothing(layer: WordPrediction) -> None:
    states, words, mask = drawn([4, 2])
    expected = layer(states, words, mask)
    states = states.masked_fill(~mask[:, :, None], float("nan")).requires_grad_()
    found = layer(states, words.masked_fill(~mask, 6), mask)
    found.backward()
    assert found.equal(expected) and states.grad is not None
    assert states.grad[~mask].eq(0).all() and states.grad.isfinite().all()


def test_a_batch_is_the_sum_of_its_sentences(layer: WordPrediction) -> None:
    states, words, mask = drawn([4, 2, 3])
    alone = sum(layer(states[i : i + 1], words[i : i + 1], mask[i : i + 1]) for i in range(3))
    torch.testing.assert_close(layer(states, words, mask), alone, rtol=1e-12, atol=0)
