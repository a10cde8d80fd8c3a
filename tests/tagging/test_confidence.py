"""Posteriors and rankings against enumeration of every possible path."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seqtool.nn.forward_backward import Chain
from seqtool.tagging.batches import encode
from seqtool.tagging.prediction import TaggerModel
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme
from tests.tagging.tiny_tagger import (
    SENTENCES,
    as_parts_of_speech,
    double,
    in_scheme,
    random_sentences,
    tiny_data,
    untrained,
    with_bias,
)


def distribution(model: TaggerModel, sentence: TaggedSentence) -> dict[tuple[str, ...], float]:
    """Probability of every possible tag path by enumeration, with the network's tag names."""
    names = model.vocabularies.tags.symbols
    table = model.vocabularies.form_table(model.description.vocabulary)
    batch = encode([sentence], model.vocabularies, table, with_tags=False).batch([0])
    scores = model.network.scores(batch)[0].detach().tolist()
    start, end = (part.detach().tolist() for part in model.network.crf.chain()[1:])
    transitions = Chain(*model.network.crf.chain()).transitions.detach().tolist()
    weights = {}
    for path in itertools.product(range(len(names)), repeat=len(sentence.tokens)):
        score = start[path[0]] + end[path[-1]] + sum(scores[t][tag] for t, tag in enumerate(path))
        score += sum(transitions[a][b] for a, b in itertools.pairwise(path))
        if score > -math.inf:
            weights[tuple(names[i] for i in path)] = math.exp(score)
    total = sum(weights.values())
    return {path: weight / total for path, weight in weights.items()}


TWO = (SENTENCES[8], SENTENCES[9], SENTENCES[2])
TWO_TYPES = tiny_data(TWO)
SHORT = random_sentences(12, longest=4)
OUTPUTS = pytest.mark.parametrize("output", ["crf", "softmax"])


@OUTPUTS
def test_confidences_equal_enumeration(output: str) -> None:
    model = double(untrained(TWO_TYPES, model={"output": output}))
    spans = 0
    for sentence, found in zip(SHORT, model.predict(SHORT, confidence=True), strict=True):
        exact = distribution(model, sentence)
        assert found.span_confidence is not None and found.token_confidence is not None
        own = tag_scheme.from_spans(found.spans, len(found.tags), "iobes")
        for position, value in enumerate(found.token_confidence):
            expected = sum(weight for path, weight in exact.items() if path[position] == own[position])
            assert value == pytest.approx(expected, abs=1e-9)
        for span, value in zip(found.spans, found.span_confidence, strict=True):
            expected = sum(w for path, w in exact.items() if span in tag_scheme.spans(path, "iobes"))
            assert value == pytest.approx(expected, abs=1e-9)
            spans += 1
    assert spans >= 5


@OUTPUTS
def test_the_best_path_and_the_k_best_equal_the_sorted_enumeration(output: str) -> None:
    model = double(untrained(TWO_TYPES, model={"output": output}))
    for sentence, found in zip(SHORT, model.predict(SHORT, kbest=5), strict=True):
        ranked = sorted(distribution(model, sentence).items(), key=lambda item: -item[1])
        assert found.alternatives is not None
        assert len(found.alternatives) == min(5, len(ranked))
        expected = [tuple(tag_scheme.convert(path, "iobes", "iob2")) for path, _ in ranked[:5]]
        assert [tuple(tags) for tags, _ in found.alternatives] == expected
        assert [p for _, p in found.alternatives] == pytest.approx([w for _, w in ranked[:5]], abs=1e-9)
        assert found.tags == list(expected[0])


def test_parts_of_speech_have_exact_token_confidences() -> None:
    model = double(untrained(tiny_data(as_parts_of_speech(), None), "pos"))
    sentences = random_sentences(6, longest=3)
    for sentence, found in zip(sentences, model.predict(sentences, confidence=True, kbest=1), strict=True):
        exact = distribution(model, sentence)
        assert found.spans == [] and found.span_confidence == []
        assert found.token_confidence == pytest.approx(
            [sum(w for path, w in exact.items() if path[t] == tag) for t, tag in enumerate(found.tags)],
            abs=1e-9,
        )
        assert found.alternatives is not None
        assert found.alternatives[0][0] == found.tags


@pytest.mark.parametrize(("factor", "slack"), [(20, 1e-4), (1000, 0.1)])
def test_k_best_probabilities_descend_and_are_at_most_one_in_float32(factor: float, slack: float) -> None:
    model = untrained()
    with torch.no_grad():
        model.network.output.weight.mul_(factor)  # nearly all of the probability on one path
    for found in model.predict(random_sentences(30), kbest=20):
        assert found.alternatives
        values = [value for _, value in found.alternatives]
        assert values == sorted(values, reverse=True)
        assert values[-1] > 0 and values[0] <= 1.0
        assert sum(values) <= 1 + slack
        assert found.alternatives[0][0] == found.tags
        assert len({tuple(tags) for tags, _ in found.alternatives}) == len(values)


def test_a_sentence_of_one_token_has_no_more_alternatives_than_tags() -> None:
    model = untrained(TWO_TYPES)
    (found,) = model.predict([TaggedSentence(("Paris",))], kbest=100)
    assert found.alternatives is not None
    assert sorted(tags[0] for tags, _ in found.alternatives) == ["B-LOC", "B-PER", "O"]
    assert sum(value for _, value in found.alternatives) == pytest.approx(1.0, abs=1e-6)


@OUTPUTS
def test_a_bias_ranks_the_k_best_as_it_ranks_the_tags_and_leaves_their_probabilities(output: str) -> None:
    model = double(untrained(TWO_TYPES, model={"output": output}))
    biased = with_bias(model, 3.0)
    differs = 0
    for sentence, found in zip(SHORT, biased.predict(SHORT, kbest=6), strict=True):
        exact = distribution(model, sentence)
        favoured = {
            path: weight * math.exp(3.0 * len(tag_scheme.spans(path, "iobes")))
            for path, weight in exact.items()
        }
        ranked = sorted(favoured, key=lambda path: -favoured[path])[:6]
        assert found.alternatives is not None
        expected = [tuple(tag_scheme.convert(path, "iobes", "iob2")) for path in ranked]
        assert [tuple(tags) for tags, _ in found.alternatives] == expected
        assert [p for _, p in found.alternatives] == pytest.approx([exact[path] for path in ranked], abs=1e-9)
        assert found.alternatives[0][0] == found.tags
        differs += ranked[0] != max(exact, key=lambda path: exact[path])
    assert differs


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes"])
@pytest.mark.parametrize("bias", [0.0, 2.0])
def test_where_a_span_was_taken_back_the_confidence_is_that_of_the_tag_given(
    scheme: Scheme, bias: float
) -> None:
    model = with_bias(double(untrained(tiny_data(in_scheme(scheme, TWO), scheme))), bias)
    taken_back = 0
    before = model.predict(SHORT)
    for sentence, found, whole in zip(SHORT, model.predict(SHORT, min_confidence=0.5), before, strict=True):
        exact = distribution(model, sentence)
        own = tag_scheme.from_spans(found.spans, len(found.tags), "iobes")
        assert found.token_confidence == pytest.approx(
            [sum(w for path, w in exact.items() if path[t] == tag) for t, tag in enumerate(own)], abs=1e-9
        )
        taken_back += len(whole.spans) - len(found.spans)
    assert taken_back > 3


def test_confidences_do_not_depend_on_the_bias() -> None:
    """Token confidences are those of the predicted tags, under the unbiased distribution."""
    model = double(untrained(TWO_TYPES))
    biased = with_bias(model, 3.0)
    different = 0
    for sentence, found in zip(SHORT, biased.predict(SHORT, confidence=True), strict=True):
        exact = distribution(model, sentence)
        for span, value in zip(found.spans, found.span_confidence or [], strict=True):
            expected = sum(w for path, w in exact.items() if span in tag_scheme.spans(path, "iobes"))
            assert value == pytest.approx(expected, abs=1e-9)
        best = max(exact, key=lambda path: exact[path])
        different += tag_scheme.convert(best, "iobes", "iob2") != found.tags
    assert different


def test_a_higher_bias_never_finds_fewer_entities() -> None:
    """The best path maximises score + bias x entities, so a larger bias never gives fewer entities."""
    model = untrained()
    sentences = random_sentences(60)
    counts = []
    for bias in (-50.0, -4.0, -1.0, 0.0, 1.0, 4.0, 50.0):
        found = with_bias(model, bias).predict(sentences)
        counts.append(sum(len(p.spans) for p in found))
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == sum(len(s.tokens) for s in sentences)
    assert counts[0] < counts[3] < counts[-1]


def test_bias_means_nothing_to_parts_of_speech() -> None:
    model = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    sentences = random_sentences(20)
    assert with_bias(model, 9.0).predict(sentences) == model.predict(sentences)
