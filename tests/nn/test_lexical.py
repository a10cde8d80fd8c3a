"""Lexical scores: a sum of weights of features, whatever the batch, and dropout that keeps its mean."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seqtool.nn.lexical import SCALE, LexicalFeatures, LexicalScores

OWN, AROUND, TAGS = 12, 7, 3
SLOTS, SLOTS_AROUND = 4, 2


def random_scores(window: int = 2, dropout: float = 0.0) -> LexicalScores:
    torch.manual_seed(7)
    module = LexicalScores(OWN, AROUND, TAGS, window, dropout).double()
    with torch.no_grad():
        module.own.weight[1:].normal_()
        if module.around is not None:
            module.around.weight[1:].normal_()
        module.edges.normal_()
    return module.eval()


def random_features(length: int, seed: int) -> LexicalFeatures:
    """Random features of each token of a sentence, right-padded with 0."""
    torch.manual_seed(seed)
    found = []
    for size, slots in ((OWN, SLOTS), (AROUND, SLOTS_AROUND)):
        features = torch.randint(1, size, (length, slots))
        found.append(features * (torch.arange(slots) < torch.randint(0, slots + 1, (length, 1))))
    return LexicalFeatures(*found)


def by_hand(module: LexicalScores, features: LexicalFeatures) -> Tensor:
    """Scores of one sentence as the sum over tokens, distances and features, one weight at a time, [T, K]."""
    width, length = module.window, len(features.own)
    around = torch.zeros(AROUND, 0, TAGS) if module.around is None else module.around.weight
    # Blocks for the tags of the tokens at distance -width .. -1, 1 .. width from the form.
    weight = around.view(AROUND, 2 * width, TAGS)
    block = {offset: i for i, offset in enumerate(o for o in range(-width, width + 1) if o)}
    scores = torch.zeros(length, TAGS, dtype=torch.float64)
    for token in range(length):
        for number in features.own[token].tolist():
            scores[token] += module.own.weight[number] if number else 0.0
        for distance in block:  # from the form to the token
            other = token - distance
            if other < 0:
                scores[token] += module.edges[0, distance - 1]
            elif other >= length:
                scores[token] += module.edges[1, -distance - 1]
            else:
                for number in features.around[other].tolist():
                    scores[token] += weight[number, block[distance]] if number else 0.0
    return SCALE * scores


def scored(module: LexicalScores, sentences: list[LexicalFeatures], length: int) -> Tensor:
    """Scores of sentences in one batch that is padded to a length, [B, length, K]."""
    mask = torch.stack([torch.arange(length) < len(each.own) for each in sentences])
    padded = []
    for column, slots in enumerate((SLOTS, SLOTS_AROUND)):
        table = torch.zeros(len(sentences), length, slots, dtype=torch.long)
        for row, each in enumerate(sentences):
            table[row, : len(each[column])] = each[column]
        padded.append(table.view(-1, slots))
    return module.scores(module(LexicalFeatures(*padded)).view(len(sentences), length, -1), mask)


@pytest.mark.parametrize("window", [0, 1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_scores_are_the_sum_of_the_weights_of_all_features_around_a_token(window: int, length: int) -> None:
    module = random_scores(window)
    features = random_features(length, seed=length)
    assert torch.allclose(scored(module, [features], length)[0], by_hand(module, features), atol=1e-12)


def test_scores_do_not_depend_on_the_batch_or_its_padding() -> None:
    module = random_scores()
    sentences = [random_features(length, seed=length) for length in (1, 5, 2, 3)]
    together = scored(module, sentences, 9)
    for row, features in enumerate(sentences):
        length = len(features.own)
        assert torch.equal(together[row, :length], scored(module, [features], length)[0])


def test_padding_has_no_weight_and_gets_no_gradient() -> None:
    module = random_scores()
    scored(module, [random_features(4, seed=1)], 6).sum().backward()  # type: ignore[no-untyped-call]
    assert module.around is not None
    for weight in (module.own.weight, module.around.weight):
        assert weight.grad is not None
        assert not weight.grad[0].any()
        assert weight.grad[1:].any()
        assert not weight[0].any()


def test_gradients_are_those_of_the_definition() -> None:
    module, features = random_scores(), random_features(5, seed=3)
    assert module.around is not None
    weights = (module.own.weight, module.around.weight, module.edges)
    chosen = torch.randn(5, TAGS, dtype=torch.float64)
    found = torch.autograd.grad((scored(module, [features], 5)[0] * chosen).sum(), weights)
    expected = torch.autograd.grad((by_hand(module, features) * chosen).sum(), weights)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-12)


def test_dropout_leaves_features_of_a_form_out_and_keeps_the_mean() -> None:
    module = random_scores(dropout=0.4)
    features = LexicalFeatures(*(each.clamp(min=1) for each in random_features(1, seed=5)))
    whole = module(features)
    module.train()
    drawn = torch.stack([module(features) for _ in range(4000)])
    assert len(drawn[:, 0, 0].unique()) <= 2**SLOTS
    deviation = drawn.std(0) / len(drawn) ** 0.5
    assert ((drawn.mean(0) - whole).abs() < 5 * deviation).all()


def test_new_weights_score_nothing() -> None:
    module = LexicalScores(OWN, AROUND, TAGS, 2, 0.0)
    assert not scored(module, [random_features(4, seed=2)], 4).any()


def test_the_penalty_is_that_of_the_weights_as_they_count() -> None:
    scores = LexicalScores(4, 3, 2, 1, 0.0)
    with torch.no_grad():
        scores.own.weight[1] = torch.tensor([1.0, -2.0])
        assert scores.around is not None
        scores.around.weight[2, 0] = 0.5
        scores.edges[0, 0, 1] = -1.0
    weights = [3.0, -6.0, 1.5, -3.0]  # three times the parameters
    found = scores.penalty(0.1, 0.01)
    assert found.item() == pytest.approx(0.1 * sum(map(abs, weights)) + 0.01 * sum(w * w for w in weights))
    found.backward()
    assert (
        scores.own.weight.grad is not None and scores.own.weight.grad[1, 0] > 0 > scores.own.weight.grad[1, 1]
    )
