"""Word vectors from characters, independent of padding and of the other words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.characters import GROUPS, CharacterCNN, CharacterRNN, in_groups

ENCODERS = {
    "cnn": lambda: CharacterCNN(characters=9, embedding=4, filters=5, widths=(2, 3, 5)),
    "lstm": lambda: CharacterRNN(LayerOptions("lstm"), characters=9, embedding=4, hidden=3),
    "gru": lambda: CharacterRNN(LayerOptions("gru"), characters=9, embedding=4, hidden=3),
}
WORDS = [[3, 1, 4, 1, 5], [2], [6, 5], [8, 7, 7]]


def make_encoder(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ENCODERS[name]().double()


def padded(words: list[list[int]], width: int) -> tuple[Tensor, Tensor]:
    rows = torch.tensor([word + [0] * (width - len(word)) for word in words])
    return rows, torch.tensor([len(word) for word in words])


@pytest.mark.parametrize("name", ENCODERS)
def test_a_word_has_the_same_vector_whatever_the_padding(name: str):
    encoder = make_encoder(name)
    alone = torch.cat([encoder(*padded([word], len(word))) for word in WORDS])
    assert alone.shape == (len(WORDS), encoder.outputs)
    for width in (5, 6, 20):
        torch.testing.assert_close(encoder(*padded(WORDS, width)), alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ENCODERS)
def test_different_words_have_different_vectors(name: str):
    vectors = make_encoder(name)(*padded([[3, 1, 4], [4, 1, 3], [3, 1], [3, 1, 4, 4]], 4))
    assert len({tuple(vector) for vector in vectors.tolist()}) == 4


@pytest.mark.parametrize("name", ENCODERS)
def test_the_padding_symbol_stays_zero_in_training(name: str):
    encoder = make_encoder(name)
    encoder(*padded(WORDS, 7)).square().sum().backward()
    assert not encoder.embedding.weight[0].any()
    assert not encoder.embedding.weight.grad[0].any()
    assert encoder.embedding.weight.grad[1].any()


def test_a_filter_answers_with_its_largest_response():
    """By definition: the largest response over all windows of the padded word, at least 0."""
    encoder = CharacterCNN(characters=9, embedding=2, filters=3, widths=(3,)).double()
    word = [5, 2, 7, 1]
    symbols = encoder.embedding.weight[[0, *word, 0]]
    (filters,) = encoder.convolutions
    windows = torch.stack([symbols[t : t + 3].t() for t in range(len(word))])
    responses = torch.einsum("wdk,fdk->wf", windows, filters.weight) + filters.bias
    torch.testing.assert_close(encoder(*padded([word], 4))[0], responses.amax(0).clamp(min=0))


@pytest.mark.parametrize("name", ENCODERS)
def test_words_in_groups_of_similar_length_have_the_vectors_of_one_call(name: str):
    encoder = make_encoder(name)
    source = torch.Generator().manual_seed(1)
    lengths = [*range(1, GROUPS[-1] + 5), 2, 30, 1, *GROUPS]
    words = [torch.randint(1, 9, (length,), generator=source).tolist() for length in lengths]
    rows = padded(words, max(lengths))
    torch.testing.assert_close(in_groups(encoder, *rows), encoder(*rows), rtol=1e-12, atol=1e-12)
    few = padded(WORDS, 5)
    torch.testing.assert_close(in_groups(encoder, *few), encoder(*few), rtol=1e-12, atol=1e-12)


def test_no_group_pads_a_word_further_than_its_limit():
    calls: list[tuple[int, int]] = []

    def encoder(characters: Tensor, lengths: Tensor) -> Tensor:
        calls.append((int(lengths.max()), characters.shape[1]))
        return lengths[:, None].double()

    lengths = [1, 40, 4, 5, 17, 18, 11]
    words = [[1] * length for length in lengths]
    assert in_groups(encoder, *padded(words, 40))[:, 0].tolist() == lengths
    assert calls == [(4, 4), (5, 7), (11, 11), (17, 17), (40, 40)]
