from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch

from seqtool.errors import DataError, UsageError
from seqtool.tagging import prediction
from seqtool.tagging.decoding import Prediction
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_scheme import Scheme
from seqtool.text.tokenizer import tokenize
from tests.tagging.tiny_tagger import (
    WORDS,
    as_parts_of_speech,
    double,
    in_scheme,
    model_with_columns,
    random_sentences,
    tiny_data,
    tokens_of,
    untrained,
    with_columns,
)

SHORT = random_sentences(12, longest=4)


# --- removing entities of low confidence ---


def test_min_confidence_takes_back_exactly_the_doubtful_spans() -> None:
    model = untrained()
    sentences = random_sentences(40)
    everything = model.predict(sentences, confidence=True)
    values = sorted(value for found in everything for value in found.span_confidence or [])
    assert len(values) > 20
    least = values[len(values) // 2]
    for before, after in zip(everything, model.predict(sentences, min_confidence=least), strict=True):
        pairs = zip(before.spans, before.span_confidence or [], strict=True)
        kept = [(span, value) for span, value in pairs if value >= least]
        assert after.spans == [span for span, _ in kept]
        assert after.span_confidence == pytest.approx([value for _, value in kept])
        assert after.tags == tag_scheme.from_spans(after.spans, len(before.tags), "iob2")


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_spans_next_to_one_that_was_taken_back_stay_valid(scheme: Scheme) -> None:
    model = untrained(tiny_data(in_scheme(scheme), scheme))
    for found in model.predict(random_sentences(40), min_confidence=0.4):
        assert tag_scheme.first_problem(found.tags, scheme) is None
        assert tag_scheme.spans(found.tags, scheme) == found.spans


# --- independence of the batch ---


@pytest.mark.parametrize(
    "model_settings",
    [
        {"characters": "rnn"},
        {"characters": "cnn", "cell": "gru"},
        {"characters": "rnn", "cell": "gru", "layers": 2, "residual": True},
        {"output": "softmax"},
    ],
    ids=str,
)
def test_tags_do_not_depend_on_the_batch(model_settings: dict[str, Any]) -> None:
    model = untrained(model=model_settings)
    sentences = random_sentences(80, longest=20)
    expected = [found.tags for found in model.predict(sentences, batch_tokens=1)]
    assert len({tag for tags in expected for tag in tags}) >= 5
    order = random.Random(1).sample(range(80), 80)
    for budget in (7, 64, 4096):
        assert [found.tags for found in model.predict(sentences, batch_tokens=budget)] == expected
        shuffled = model.predict([sentences[i] for i in order], batch_tokens=budget)
        assert [found.tags for found in shuffled] == [expected[i] for i in order]


def test_confidences_do_not_depend_on_the_batch() -> None:
    model = double(untrained(model={"characters": "rnn"}))
    sentences = random_sentences(30)
    alone = model.predict(sentences, confidence=True, kbest=3, batch_tokens=1)
    for one, other in zip(alone, model.predict(sentences, confidence=True, kbest=3), strict=True):
        assert other.token_confidence == pytest.approx(one.token_confidence, abs=1e-9)
        assert other.span_confidence == pytest.approx(one.span_confidence, abs=1e-9)
        assert [tags for tags, _ in other.alternatives or []] == [tags for tags, _ in one.alternatives or []]


def test_empty_sentences_stay_empty_and_in_place() -> None:
    model = untrained()
    empty = TaggedSentence(())
    (sentence,) = random_sentences(1)
    found = model.predict([empty, sentence, empty])
    assert [p.tags for p in found] == [[], model.predict([sentence])[0].tags, []]
    assert model.predict([empty], confidence=True) == [Prediction([], [], [], [])]
    assert model.predict([empty], kbest=2) == [Prediction([], [], alternatives=[([], 1.0)])]
    assert model.predict([]) == []


def test_tag_takes_plain_tokens() -> None:
    model = untrained()
    assert model.tag(tokens_of()) == [p.tags for p in model.predict(tiny_data().train)]
    assert model.tag([[], ["Paris"]])[0] == []


def test_one_very_long_sentence_is_a_batch_of_its_own() -> None:
    model = untrained()
    long = TaggedSentence(tuple(itertools.islice(itertools.cycle(WORDS), 3000)))
    found = model.predict([*SHORT, long], batch_tokens=64)
    assert len(found[-1].tags) == 3000
    assert found[:-1] == model.predict(SHORT)


# --- the cache of forms ---


def test_the_cache_changes_no_tag_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sentences = random_sentences(60)
    fresh = untrained(model={"characters": "rnn"})
    expected = []
    for sentence in sentences:
        fresh.forget()
        expected += fresh.predict([sentence])
    assert fresh.predict(sentences) == expected  # everything cached
    monkeypatch.setattr(prediction, "CACHED_FORMS", 5)
    sizes = []
    for sentence, wanted in zip(sentences, expected, strict=True):
        assert fresh.predict([sentence]) == [wanted]
        sizes.append(len(fresh._forms))
        assert len(fresh._forms.vectors) <= 2 * sizes[-1]  # the room for new forms is bounded, too
    assert max(sizes[1:]) <= 5 + max(len(set(s.tokens)) for s in sentences)
    assert sorted(sizes) != sizes  # the cache was emptied


def test_new_weights_need_forgotten_forms() -> None:
    model = untrained()
    before = model.predict(SHORT)
    assert model.network.forms.words is not None
    with torch.no_grad():
        model.network.forms.words.weight.mul_(-5)
    assert model.predict(SHORT) == before  # from the cache
    model.forget()
    assert model.predict(SHORT) != before


def test_a_huge_number_of_new_forms_is_encoded_in_pieces() -> None:
    model = untrained(model={"characters": "cnn"})
    tokens = [f"w{number}" for number in range(5000)]
    together = model.tag([[token] for token in tokens])
    model.forget()
    assert model.tag([[token] for token in reversed(tokens)]) == together[::-1]


# --- the scheme of the files ---


def test_tags_come_back_in_the_scheme_of_the_files() -> None:
    sentences = random_sentences(60)
    wanted = [found.spans for found in untrained().predict(sentences)]
    assert sum(map(len, wanted)) > 50
    for scheme in ("iob1", "iob2", "iobes", "bilou"):
        model = untrained(tiny_data(in_scheme(scheme), scheme))
        for found, spans in zip(model.predict(sentences), wanted, strict=True):
            assert found.spans == spans
            assert found.tags == tag_scheme.from_spans(spans, len(found.tags), scheme)


# --- feature columns ---


def test_extra_columns_are_read() -> None:
    model = model_with_columns()
    sentences = with_columns(random_sentences(40))
    swapped = [TaggedSentence(s.tokens, None, s.features[::-1]) for s in sentences]
    assert model.predict(sentences) != model.predict(swapped)
    assert model.predict(sentences) == model.predict(sentences, batch_tokens=1)


def test_extra_columns_are_required() -> None:
    model = model_with_columns()
    with pytest.raises(DataError, match=r"^sentence 1: 0 feature columns, but the model reads 2$"):
        model.tag([["Paris"]])


def test_text_in_entities_out_with_their_characters_and_confidence() -> None:
    model = untrained()
    texts = ["Ada  met Grace in London.", "", "in Paris"]
    found = model.entities(texts)
    assert [len(row) for row in found][1] == 0 and any(found)
    for text, row in zip(texts, found, strict=True):
        words = tokenize(text)
        (prediction,) = model.predict([TaggedSentence(tuple(word.text for word in words))], confidence=True)
        assert [entity.type for entity in row] == [span.type for span in prediction.spans]
        for entity, span, value in zip(row, prediction.spans, prediction.span_confidence or (), strict=True):
            assert entity.text == text[entity.start : entity.end]
            assert (entity.start, entity.end) == (words[span.start].start, words[span.end - 1].end)
            assert entity.confidence == pytest.approx(value, abs=1e-6)
    least = max(entity.confidence for row in found for entity in row)
    assert sum(map(len, model.entities(texts, min_confidence=least - 1e-6))) == 1


def test_text_where_tokens_are_expected_is_refused_with_the_right_call() -> None:
    model = untrained()
    for wrong in ("Ada has", ["Ada has"]):
        with pytest.raises(UsageError, match=r'tagger\.tag\(\[\["Ada", "has"\]\]\); for plain text write'):
            model.tag(wrong)
    with pytest.raises(UsageError, match=r"a single text is given, .*tagger\.entities\(\["):
        model.entities("Ada lives in London.")
    parts_of_speech = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    with pytest.raises(UsageError, match="tags single tokens, not entities"):
        parts_of_speech.entities(["Ada lives."])
