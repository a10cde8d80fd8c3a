"""Several taggers as one: the mean of scores, exact confidences, and refusals that name the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.errors import UsageError
from seqtool.nn.crf import marginals
from seqtool.tagging.data import TaggingData
from seqtool.tagging.ensemble import TaggerEnsemble
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.columns import TaggedSentence
from seqtool.text.vocabulary import Vocabulary
from tests.tagging.tiny_tagger import (
    as_parts_of_speech,
    double,
    random_sentences,
    tiny_data,
    untrained,
    with_bias,
)


def members() -> list[TaggerModel]:
    return [double(with_bias(untrained(seed=seed), seed / 2)) for seed in (1, 2, 3)]


def in_other_order(model: TaggerModel) -> TaggerModel:
    """The same tagger with its tags in reverse order."""
    names = model.vocabularies.tags.symbols
    order = torch.arange(len(names) - 1, -1, -1)
    network = model.network
    with torch.no_grad():
        network.output.weight.copy_(network.output.weight[order])
        network.output.bias.copy_(network.output.bias[order])
        for part in (network.crf.start, network.crf.end):
            part.copy_(part[order])
        network.crf.transitions.copy_(network.crf.transitions[order][:, order])
        for allowed in (network.crf.allowed_start, network.crf.allowed_end):
            allowed.copy_(allowed[order])
        network.crf.allowed.copy_(network.crf.allowed[order][:, order])
        assert network.lexical is not None and network.lexical.around is not None
        for table in (network.lexical.own.weight, network.lexical.around.weight):
            blocks = table.view(len(table), -1, len(names))
            blocks.copy_(blocks[:, :, order])
        network.lexical.edges.copy_(network.lexical.edges[:, :, order])
    return TaggerModel(
        network,
        replace(model.vocabularies, tags=Vocabulary(names[::-1])),
        model.description,
        training_entities=model.training_entities,
        device=model.device,
        precision=model.precision,
    )


def with_another_type() -> TaggingData:
    """The tiny data with another entity type."""
    data = tiny_data()
    renamed = tuple(
        replace(each, tags=tuple(tag.replace("PER", "ORG2") for tag in each.tags or ()))
        for each in data.train
    )
    part = replace(data.parts["train"], sentences=renamed)
    return replace(data, parts={"train": part, "dev": part})


def test_scores_and_chain_are_the_means_of_the_members() -> None:
    models, sentences = members(), random_sentences(30)
    found = TaggerEnsemble(models)
    alone = [list(model.score_batches(sentences)) for model in models]
    for number, (part, scores, _) in enumerate(found.score_batches(sentences)):
        assert all(each[number][0] == part for each in alone)
        mean = torch.stack([each[number][1] for each in alone]).mean(0)
        torch.testing.assert_close(scores, mean, rtol=0, atol=1e-12)
    chains = [model.chain for model in models]
    for name in ("transitions", "start", "end"):
        expected = torch.stack([getattr(chain, name) for chain in chains]).mean(0)
        assert torch.equal(getattr(found.chain, name), expected)
    assert set(found.description.entity_bias.values()) == {1.0}


def test_confidences_are_the_marginals_of_the_mean() -> None:
    found = TaggerEnsemble(members())
    sentence = random_sentences(1)[0]
    (prediction,) = found.predict([sentence], confidence=True)
    ((_, scores, mask),) = found.score_batches([sentence])
    unary = marginals(scores, found.chain, mask).unary[0]
    assert prediction.token_confidence is not None
    for probabilities, value in zip(unary.tolist(), prediction.token_confidence, strict=True):
        assert min(abs(each - value) for each in probabilities) < 1e-12


def test_tags_may_be_in_any_order() -> None:
    first, second, _ = members()
    sentences = random_sentences(20)
    expected = TaggerEnsemble([first, second]).predict(sentences, confidence=True)
    found = TaggerEnsemble([first, in_other_order(second)]).predict(sentences, confidence=True)
    for one, other in zip(expected, found, strict=True):
        assert one.tags == other.tags and one.spans == other.spans
        assert one.token_confidence == pytest.approx(other.token_confidence, abs=1e-12)


def test_an_ensemble_of_one_model_is_that_model(tmp_path: Path) -> None:
    model = untrained()
    model.save(tmp_path / "a", card="")
    sentences = random_sentences(10)
    twice = api.load_tagger([tmp_path / "a", tmp_path / "a"], precision="fp32")
    assert twice.predict(sentences) == model.predict(sentences)
    assert type(api.load_tagger([tmp_path / "a"])) is TaggerModel


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: untrained(tiny_data(as_parts_of_speech(), scheme=None), "pos"),
            "one tags entities and the other single tokens",
        ),
        (lambda: untrained(model={"document_hidden": 3}), "reads whole documents"),
        (lambda: untrained(with_another_type()), "have different tags"),
    ],
    ids=["pos", "documents", "tags"],
)
def test_models_that_cannot_be_averaged_are_refused(other: Callable[[], TaggerModel], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TaggerEnsemble([untrained(), other()])


def test_a_sentence_without_tokens_is_no_problem() -> None:
    found = TaggerEnsemble(members()).predict([TaggedSentence(()), *random_sentences(2)])
    assert found[0].tags == []
