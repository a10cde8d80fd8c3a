from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.nn.crf import negative_log_likelihood
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.batches import Batch, encode
from seqtool.tagging.model import Tagger, VocabularySizes, class_weights
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.train import prepare
from seqtool.text.columns import TaggedSentence
from tests.tagging.tiny_tagger import (
    SENTENCES,
    as_parts_of_speech,
    random_sentences,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
)

KINDS: dict[str, dict[str, Any]] = {
    "lstm, character rnn": {"cell": "lstm", "characters": "rnn"},
    "gru, character rnn": {"cell": "gru", "characters": "rnn"},
    "lstm, character cnn": {"cell": "lstm", "characters": "cnn"},
    "gru, words alone": {"cell": "gru", "shape_embedding": 0},
    "lstm, characters alone": {"characters": "cnn", "word_embedding": 0, "shape_embedding": 0},
    "two residual layers": {"layers": 2, "residual": True, "characters": "rnn"},
}


def batch_of(model: TaggerModel, sentences: list[TaggedSentence]) -> Batch:
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(sentences, model.vocabularies, table, with_tags=True)
    return corpus.batch(range(len(sentences)))


def training_batch(model: TaggerModel) -> Batch:
    return batch_of(model, list(tiny_data().train))


def double(model: TaggerModel) -> TaggerModel:
    model.network.double()
    model.forget()
    return model


def wider(batch: Batch, extra: int) -> Batch:
    """The batch with more padding, whose rows point to arbitrary word forms."""
    mask = torch.nn.functional.pad(batch.mask, (0, extra))
    rows = torch.nn.functional.pad(batch.rows, (0, extra), value=len(batch.forms.words) - 1)
    features = tuple(torch.nn.functional.pad(column, (0, extra), value=1) for column in batch.features)
    return batch._replace(rows=rows, mask=mask, features=features, tags=None)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_neighbours_or_padding(kind: str) -> None:
    model = double(untrained(model=KINDS[kind]))
    sentences = list(tiny_data().train)
    together = model.network.scores(wider(batch_of(model, sentences), 3))
    for number, sentence in enumerate(sentences):
        alone = model.network.scores(batch_of(model, [sentence]))[0]
        torch.testing.assert_close(together[number, : len(alone)], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_do_not_depend_on_padding(kind: str) -> None:
    model = double(untrained(model=KINDS[kind]))
    model.network.train()  # dropout is 0
    batch = training_batch(model)
    padded = wider(batch, 3)
    assert batch.tags is not None
    gradients = []
    for each in (batch, padded._replace(tags=torch.nn.functional.pad(batch.tags, (0, 3), value=2))):
        model.network.zero_grad()
        model.network.loss(each).total.backward()  # type: ignore[no-untyped-call]
        gradients.append({name: p.grad for name, p in model.network.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert len(gradients[0]) > 5
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-10, msg=name)


def test_evaluation_is_deterministic_and_training_is_not() -> None:
    model = untrained(model={"dropout": 0.5, "word_dropout": 0.5})
    batch = training_batch(model)
    model.network.eval()
    assert torch.equal(model.network.scores(batch), model.network.scores(batch))
    model.network.train()
    assert not torch.equal(model.network.scores(batch), model.network.scores(batch))


def test_a_float64_network_has_float64_scores() -> None:
    model = double(untrained(model={"characters": "cnn"}))
    assert model.network.scores(training_batch(model)).dtype == torch.float64


def test_words_seen_once_are_dropped_more_often() -> None:
    model = untrained(model={"word_dropout": 0.05, "singleton_dropout": 0.6})
    words = model.vocabularies.words
    drop = model.network.forms.drop
    assert drop[words.id("engine")] == pytest.approx(0.6)
    assert drop[words.id("washington")] == pytest.approx(0.05)
    assert drop[words.id("in")] == pytest.approx(0.6)


@pytest.mark.parametrize(("dropout", "trained"), [(0.0, False), (0.9, True)])
def test_word_dropout_trains_the_vector_of_unknown_words(dropout: float, trained: bool) -> None:
    model = untrained(model={"word_dropout": dropout, "singleton_dropout": dropout})
    model.network.train()
    torch.manual_seed(1)
    model.network.loss(training_batch(model)).total.backward()  # type: ignore[no-untyped-call]
    words = model.network.forms.words
    assert words is not None and words.weight.grad is not None
    assert bool(words.weight.grad[0].any()) == trained
    assert bool(words.weight.grad[1:].any())


def test_nothing_is_dropped_in_evaluation() -> None:
    model = untrained(model={"word_dropout": 0.99, "singleton_dropout": 0.99, "dropout": 0.9})
    without = untrained()
    without.network.load_state_dict(model.network.state_dict())
    batch = training_batch(model)
    model.network.eval()
    assert torch.equal(model.network.scores(batch), without.network.scores(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_that_can_learn_gets_a_gradient(kind: str) -> None:
    model = untrained(model=KINDS[kind])
    model.network.train()
    model.network.loss(training_batch(model)).total.backward()  # type: ignore[no-untyped-call]
    without = {name for name, p in model.network.named_parameters() if p.requires_grad and p.grad is None}
    assert not without


def test_the_loss_is_summed_over_sentences_and_counts_real_tokens() -> None:
    model = double(untrained())
    whole = model.network.loss(training_batch(model))
    parts = [model.network.loss(batch_of(model, [sentence])) for sentence in tiny_data().train]
    assert whole.unit == "token"
    assert whole.count == sum(part.count for part in parts) == sum(map(len, SENTENCES))
    assert float(whole.total.detach()) == pytest.approx(
        float(sum(part.total.detach() for part in parts)), abs=1e-9
    )


# --- softmax ---


def softmax_model() -> tuple[TaggerModel, Batch, Tensor]:
    model = double(untrained(model={"output": "softmax"}))
    batch = training_batch(model)
    return model, batch, model.network.scores(batch).detach().log_softmax(2)


def test_a_softmax_tagger_has_no_transitions_to_learn() -> None:
    network = softmax_model()[0].network
    assert not network.crf.transitions.any()
    assert not any(p.requires_grad for p in network.crf.parameters())


def test_softmax_loss_is_cross_entropy_over_real_tokens() -> None:
    model, batch, logarithms = softmax_model()
    assert batch.tags is not None
    expected = -sum(
        float(logarithms[row, t, batch.tags[row, t]])
        for row, t in itertools.product(*map(range, batch.mask.shape))
        if batch.mask[row, t]
    )
    assert float(model.network.loss(batch).total.detach()) == pytest.approx(expected, abs=1e-9)


def test_label_smoothing_spreads_its_share_over_all_tags() -> None:
    model, batch, logarithms = softmax_model()
    plain = float(model.network.loss(batch).total.detach())
    uniform = -float(logarithms[batch.mask].mean(1).sum())
    smoothed = float(model.network.loss(batch, label_smoothing=0.2).total.detach())
    assert smoothed == pytest.approx(0.8 * plain + 0.2 * uniform, abs=1e-9)


def test_softmax_class_weights_multiply_the_loss_of_their_tokens() -> None:
    model, batch, logarithms = softmax_model()
    assert batch.tags is not None
    names = model.vocabularies.tags.symbols
    weights = class_weights({"PER": 3.0, "S-LOC": 0.5, "O": 2.0}, names, "iobes")
    expected = 0.0
    for row, t in itertools.product(*map(range, batch.mask.shape)):
        if batch.mask[row, t]:
            tag = int(batch.tags[row, t])
            name = names[tag]
            weight = 3.0 if name.endswith("PER") else {"S-LOC": 0.5, "O": 2.0}.get(name, 1.0)
            expected -= weight * float(logarithms[row, t, tag])
    assert float(model.network.loss(batch, class_weights=weights).total.detach()) == pytest.approx(
        expected, abs=1e-6
    )


# --- class weights and partial annotation ---


def test_class_weights_are_of_types_or_of_tags_and_the_tag_wins() -> None:
    weights = class_weights({"PER": 2.0, "S-PER": 5.0}, ("O", "B-PER", "S-PER", "S-LOC"), "iobes")
    assert weights is not None and weights.tolist() == [1.0, 2.0, 5.0, 1.0]
    words = class_weights({"NOUN": 2.0}, ("NOUN", "VERB"), None)
    assert words is not None and words.tolist() == [2.0, 1.0]
    assert class_weights({}, ("O",), "iobes") is None


def test_crf_class_weights_of_one_are_the_plain_loss_and_twice_is_twice() -> None:
    model = double(untrained())
    batch = training_batch(model)
    tags = len(model.vocabularies.tags)
    plain = float(model.network.loss(batch).total.detach())
    for weight in (1.0, 2.0):
        weighted = model.network.loss(batch, class_weights=torch.full((tags,), weight))
        assert float(weighted.total.detach()) == pytest.approx(weight * plain, abs=1e-8)


def test_crf_class_weights_weigh_each_factor_of_the_chain_rule() -> None:
    """log p(y) = sum_t log p(y_t | y_<t), each term by brute force over all continuations."""
    data = tiny_data((SENTENCES[8], SENTENCES[9]))  # PER and LOC: nine tags
    model = double(untrained(data))
    batch = batch_of(model, list(data.train))
    assert batch.tags is not None
    names = model.vocabularies.tags.symbols
    weights = class_weights({"PER": 3.0, "O": 0.25}, names, "iobes")
    assert weights is not None
    scores = model.network.scores(batch).detach()
    chain = Chain(*(part.detach() for part in model.network.crf.chain()))
    expected = 0.0
    for row in range(2):
        gold = batch.tags[row].tolist()
        weight = {
            (first, second): math.exp(
                float(
                    chain.start[first]
                    + scores[row, 0, first]
                    + chain.transitions[first, second]
                    + scores[row, 1, second]
                    + chain.end[second]
                )
            )
            for first in range(9)
            for second in range(9)
        }
        total = sum(weight.values())
        first = sum(value for (a, _), value in weight.items() if a == gold[0])
        expected -= float(weights[gold[0]]) * math.log(first / total)
        expected -= float(weights[gold[1]]) * math.log(weight[gold[0], gold[1]] / first)
    assert float(model.network.loss(batch, class_weights=weights).total.detach()) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("output", ["crf", "softmax"])
def test_the_loss_of_a_partial_annotation_is_below_that_of_each_of_its_readings(output: str) -> None:
    model = double(untrained(model={"output": output}))
    tokens = ("Ada", "in", "Paris")

    def loss(*tags: str) -> float:
        batch = batch_of(model, [TaggedSentence(tokens, tags)])
        return float(model.network.loss(batch).total.detach())

    readings = [loss(tag, "O", "S-LOC") for tag in ("S-PER", "S-ORG")]
    partial = loss("S-PER|S-ORG", "O", "S-LOC")
    assert partial < min(readings)
    assert math.exp(-partial) == pytest.approx(sum(math.exp(-value) for value in readings), rel=1e-9)
    assert loss("S-PER|S-ORG", "O", "?") < partial
    assert loss("?", "?", "?") == pytest.approx(0.0, abs=1e-9)


def test_a_partial_neighbour_does_not_change_the_loss_of_a_complete_sentence() -> None:
    model = double(untrained())
    complete = TaggedSentence(("Ada", "in"), ("S-PER", "O"))
    partial = TaggedSentence(("Ada", "in", "Paris", "?"), ("?", "O", "S-LOC|O", "O"))
    together = model.network.loss(batch_of(model, [complete, partial])).total.detach()
    apart = sum(model.network.loss(batch_of(model, [each])).total.detach() for each in (complete, partial))
    torch.testing.assert_close(together, apart)


def test_class_weights_with_partial_annotation_are_refused() -> None:
    model = untrained()
    batch = batch_of(model, [TaggedSentence(("Ada",), ("?",))])
    with pytest.raises(ValueError, match="class weights need full annotation"):
        model.network.loss(batch, class_weights=torch.ones(len(model.vocabularies.tags)))


def test_without_partial_annotation_the_crf_loss_is_the_negative_log_likelihood() -> None:
    model = double(untrained())
    batch = training_batch(model)
    assert batch.tags is not None
    scores = model.network.scores(batch)
    expected = negative_log_likelihood(scores, model.network.crf.chain(), batch.tags, batch.mask).sum()
    assert torch.equal(model.network.loss(batch).total, expected)


# --- tags ---


@pytest.mark.parametrize("output", ["crf", "softmax"])
def test_decoded_tags_are_valid_in_the_scheme_whatever_the_scores(output: str) -> None:
    model = untrained(model={"output": output})
    names = model.vocabularies.tags.symbols
    torch.manual_seed(3)
    scores = 10 * torch.randn(50, 6, len(names))
    paths = model.network.decode(scores, torch.ones(50, 6, dtype=torch.bool))
    for path in paths.tolist():
        tags = ["O", *(names[i] for i in path), "O"]
        for before, after in itertools.pairwise(tags):
            inside = before[0] in "BI"
            assert (after[0] in "IE") == inside, tags
            assert not inside or before[1:] == after[1:], tags


def test_without_a_scheme_any_tag_may_follow_any_other() -> None:
    model = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    assert bool(model.network.crf.allowed.all())
    scores = torch.randn(4, 5, len(model.vocabularies.tags))
    model.network.crf.transitions.data.zero_()
    model.network.crf.start.data.zero_()
    model.network.crf.end.data.zero_()
    assert torch.equal(model.network.decode(scores, torch.ones(4, 5, dtype=torch.bool)), scores.argmax(2))


# --- pretrained vectors ---


def test_pretrained_rows_are_scaled_to_the_others_and_the_rest_stays() -> None:
    model = untrained()
    words = model.network.forms.words
    assert words is not None
    before = words.weight.detach().clone()
    vectors = 100 * torch.randn(len(before), 8)
    found = torch.arange(len(before)) % 3 == 1
    model.network.load_pretrained(vectors, found, freeze=False)
    after = words.weight.detach()
    assert torch.equal(after[~found], before[~found])
    factor = after[found] / vectors[found]
    torch.testing.assert_close(factor, factor.mean().expand_as(factor))
    assert float(after[found].std()) == pytest.approx(float(before.std()), rel=1e-4)
    assert words.weight.requires_grad


def test_a_network_without_words_has_no_embedding_of_them() -> None:
    model = untrained(model={"word_embedding": 0, "characters": "rnn"})
    assert model.network.forms.words is None
    assert model.network.forms.outputs == 4 + 8  # shapes and both directions of the characters


def test_sizes_are_those_of_the_vocabularies() -> None:
    model = untrained(model={"feature_embedding": 4})
    assert VocabularySizes.of(model.vocabularies).features == ()
    sizes = VocabularySizes(5, 6, 7, (8, 9), 3, (4, 5))
    network = Tagger(sizes, model.description.model, ("A", "B", "C"), None)
    assert [embedding.num_embeddings for embedding in network.features] == [8, 9]
    assert network.encoder.layers[0].ahead.kernel.input_size == 8 + 4 + 2 * 4  # type: ignore[union-attr]


def test_predicting_words_is_for_training_alone(tmp_path: Path) -> None:
    settings = {"training": {"word_prediction": 0.5, "epochs": 1}}
    run = train_tiny(tmp_path / "with", **settings)
    assert run.model.network.word_prediction is None
    assert not [name for name in weights_of(run) if "word_prediction" in name]
    plain = train_tiny(tmp_path / "without", training={"epochs": 1})
    assert weights_of(run).keys() == weights_of(plain).keys()
    assert any(not weights_of(run)[name].equal(each) for name, each in weights_of(plain).items())


def test_the_words_to_be_predicted_are_unknown_to_the_state() -> None:
    """The forward half at a token is the same whatever follows, the backward half whatever precedes."""
    model = untrained()
    first, second = (random_sentences(1, longest=9, seed=seed)[0] for seed in (1, 2))
    whole = TaggedSentence((*first.tokens, *second.tokens))
    cut = len(first.tokens)
    model.network.eval()
    with torch.no_grad():
        both = model.network.encoded(batch_of(model, [whole])).states[0]
        before, after = (model.network.encoded(batch_of(model, [each])).states[0] for each in (first, second))
    hidden = both.shape[1] // 2
    torch.testing.assert_close(both[:cut, :hidden], before[:, :hidden])
    torch.testing.assert_close(both[cut:, hidden:], after[:, hidden:])


def test_words_that_occur_once_are_not_predicted() -> None:
    data = tiny_data()
    counts = Counter(token.lower() for sentence in data.train for token in sentence.tokens)
    job = prepare(tiny_settings(training={"word_prediction": 0.1}), data)
    objective = job.model.network.word_prediction
    assert objective is not None
    assert objective.known == 1 + sum(count > 1 for count in counts.values()) < len(counts)
