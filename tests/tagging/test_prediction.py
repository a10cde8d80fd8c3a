from __future__ import annotations

import copy
import itertools
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool.errors import DataError, ModelError, UsageError
from seqtool.nn.forward_backward import Chain
from seqtool.tagging import prediction
from seqtool.tagging.encoding import encode
from seqtool.tagging.model import Tagger
from seqtool.tagging.prediction import Prediction, TaggerDescription, TaggerModel
from seqtool.text import tagscheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tagscheme import Scheme
from seqtool.training.modelfolder import load_model_folder, save_model_folder
from tests.tagging.tiny_tagger import (
    SENTENCES,
    as_parts_of_speech,
    in_scheme,
    tiny_data,
    tokens_of,
    untrained,
)

WORDS = [token for row in SENTENCES for token, _ in row] + ["Zurich", "unseen", "x9", "日本", "#tag"]


def random_sentences(count: int, longest: int = 12, seed: int = 5) -> list[TaggedSentence]:
    source = random.Random(seed)
    return [
        TaggedSentence(tuple(source.choice(WORDS) for _ in range(source.randint(1, longest))))
        for _ in range(count)
    ]


def double(model: TaggerModel) -> TaggerModel:
    model.network.double()
    model.forget_forms()
    return model


def with_bias(model: TaggerModel, bias: float) -> TaggerModel:
    description = copy.replace(model.description, entity_bias=bias) if hasattr(copy, "replace") else None
    description = description or TaggerDescription(**{**vars(model.description), "entity_bias": bias})
    return TaggerModel(
        model.network,
        model.vocabularies,
        description,
        training_entities=model.training_entities,
        device=model.device,
        precision=model.precision,
    )


def distribution(model: TaggerModel, sentence: TaggedSentence) -> dict[tuple[str, ...], float]:
    """Probability of every possible tag path by enumeration, names as the network has them."""
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


TWO_TYPES = tiny_data((SENTENCES[8], SENTENCES[9], SENTENCES[2]))
SHORT = random_sentences(12, longest=4)
OUTPUTS = pytest.mark.parametrize("output", ["crf", "softmax"])


# --- exact confidences ---


@OUTPUTS
def test_confidences_equal_enumeration(output: str) -> None:
    model = double(untrained(TWO_TYPES, model={"output": output}))
    spans = 0
    for sentence, found in zip(SHORT, model.predict(SHORT, confidence=True), strict=True):
        exact = distribution(model, sentence)
        assert found.span_confidence is not None and found.token_confidence is not None
        own = tagscheme.from_spans(found.spans, len(found.tags), "iobes")
        for position, value in enumerate(found.token_confidence):
            expected = sum(weight for path, weight in exact.items() if path[position] == own[position])
            assert value == pytest.approx(expected, abs=1e-9)
        for span, value in zip(found.spans, found.span_confidence, strict=True):
            expected = sum(w for path, w in exact.items() if span in tagscheme.spans(path, "iobes"))
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
        expected = [tuple(tagscheme.convert(path, "iobes", "iob2")) for path, _ in ranked[:5]]
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


def test_confidences_do_not_depend_on_the_bias() -> None:
    """Token confidences are of the tags that were given, under the unbiased distribution."""
    model = double(untrained(TWO_TYPES))
    biased = with_bias(model, 3.0)
    different = 0
    for sentence, found in zip(SHORT, biased.predict(SHORT, confidence=True, kbest=1), strict=True):
        exact = distribution(model, sentence)
        for span, value in zip(found.spans, found.span_confidence or [], strict=True):
            expected = sum(w for path, w in exact.items() if span in tagscheme.spans(path, "iobes"))
            assert value == pytest.approx(expected, abs=1e-9)
        best = max(exact, key=lambda path: exact[path])
        assert found.alternatives is not None
        assert found.alternatives[0][0] == tagscheme.convert(best, "iobes", "iob2")
        different += found.alternatives[0][0] != found.tags
    assert different


def test_a_higher_bias_never_finds_fewer_entities() -> None:
    """Of all paths the one that maximises score + bias x entities: their number cannot fall."""
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


# --- taking back what is doubtful ---


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
        assert after.tags == tagscheme.from_spans(after.spans, len(before.tags), "iob2")


@pytest.mark.parametrize("scheme", ["iob1", "iob2", "iobes", "bilou"])
def test_spans_next_to_one_that_was_taken_back_stay_valid(scheme: Scheme) -> None:
    model = untrained(tiny_data(in_scheme(scheme), scheme))
    for found in model.predict(random_sentences(40), min_confidence=0.4):
        assert tagscheme.first_problem(found.tags, scheme) is None
        assert tagscheme.spans(found.tags, scheme) == found.spans


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
        fresh.forget_forms()
        expected += fresh.predict([sentence])
    assert fresh.predict(sentences) == expected  # everything cached
    monkeypatch.setattr(prediction, "CACHED_FORMS", 5)
    sizes = []
    for sentence, wanted in zip(sentences, expected, strict=True):
        assert fresh.predict([sentence]) == [wanted]
        sizes.append(len(fresh._vectors))
    assert max(sizes[1:]) <= 5 + max(len(set(s.tokens)) for s in sentences)
    assert sorted(sizes) != sizes  # it did start afresh


def test_new_weights_need_forgotten_forms() -> None:
    model = untrained()
    before = model.predict(SHORT)
    assert model.network.forms.words is not None
    with torch.no_grad():
        model.network.forms.words.weight.mul_(-5)
    assert model.predict(SHORT) == before  # from the cache
    model.forget_forms()
    assert model.predict(SHORT) != before


def test_a_huge_number_of_new_forms_is_encoded_in_pieces() -> None:
    model = untrained(model={"characters": "cnn"})
    tokens = [f"w{number}" for number in range(5000)]
    together = model.tag([[token] for token in tokens])
    model.forget_forms()
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
            assert found.tags == tagscheme.from_spans(spans, len(found.tags), scheme)


# --- extra columns ---


def with_columns(sentences: Sequence[TaggedSentence]) -> list[TaggedSentence]:
    return [
        TaggedSentence(s.tokens, s.tags, (tuple(t[0] for t in s.tokens), tuple(t[-1] for t in s.tokens)))
        for s in sentences
    ]


def model_with_columns() -> TaggerModel:
    data = tiny_data()
    part = copy.copy(data.parts["train"])
    object.__setattr__(part, "sentences", tuple(with_columns(part.sentences)))
    return untrained(type(data)({"train": part, "dev": part}, data.file_scheme))


def test_extra_columns_are_read() -> None:
    model = model_with_columns()
    sentences = with_columns(random_sentences(40))
    swapped = [TaggedSentence(s.tokens, None, s.features[::-1]) for s in sentences]
    assert model.predict(sentences) != model.predict(swapped)
    assert model.predict(sentences) == model.predict(sentences, batch_tokens=1)


def test_extra_columns_are_required() -> None:
    model = model_with_columns()
    with pytest.raises(DataError, match=r"^sentence 1: 0 extra columns, but the model reads 2$"):
        model.tag([["Paris"]])


# --- saving and loading ---


def assert_same_model(first: TaggerModel, second: TaggerModel, sentences: Sequence[TaggedSentence]) -> None:
    assert second.description.to_config() == first.description.to_config()
    assert second.description.task == first.description.task
    assert second.training_entities == first.training_entities
    assert second.predict(sentences, confidence=True, kbest=2) == first.predict(
        sentences, confidence=True, kbest=2
    )
    for one, other in zip(first.score_batches(sentences), second.score_batches(sentences), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize(
    "settings",
    [
        {"characters": "rnn", "layers": 2},
        {"characters": "cnn", "cell": "gru"},
        {"output": "softmax", "word_embedding": 0, "characters": "cnn"},
    ],
    ids=str,
)
def test_a_saved_model_is_the_same_bit_for_bit_wherever_it_is_moved(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = with_bias(untrained(model=settings), 0.5)
    model.training_entities = {("PER", "Ada Lovelace"), ("LOC", 'a "b"\u2028\\')}
    model.save(tmp_path / "model", card="a card")
    sentences = random_sentences(30)
    assert_same_model(model, TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32"), sentences)
    (tmp_path / "else where").mkdir()
    shutil.move(tmp_path / "model", tmp_path / "else where" / "m")
    moved = TaggerModel.load(tmp_path / "else where" / "m", device="cpu", precision="fp32")
    assert_same_model(model, moved, sentences)


def test_extra_columns_travel_with_the_model(tmp_path: Path) -> None:
    model = model_with_columns()
    model.save(tmp_path / "model", card="")
    loaded = TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32")
    assert [column.symbols for column in loaded.vocabularies.features] == [
        column.symbols for column in model.vocabularies.features
    ]
    assert_same_model(model, loaded, with_columns(random_sentences(20)))


def test_parts_of_speech_travel_too(tmp_path: Path) -> None:
    model = untrained(tiny_data(as_parts_of_speech(), None), "pos")
    model.save(tmp_path / "model", card="")
    loaded = TaggerModel.load(tmp_path / "model", device="cpu", precision="fp32")
    assert loaded.scheme is None
    assert_same_model(model, loaded, random_sentences(20))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"entity_bias": "much"}, "damaged or foreign"),
        ({"scheme": "iob9"}, "unknown tag scheme"),
        ({"model": {"hidden": 8, "cell": "transformer"}}, "model.cell|cell"),
        ({"vocabulary": {"lowercase": 1}}, "lowercase"),
        ({"columns": {"tag_column": "last"}}, "tag_column"),
    ],
)
def test_a_config_that_makes_no_sense_is_a_model_error(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        reload_changed(tmp_path, change)


@pytest.mark.parametrize("missing", ["name", "model", "vocabulary", "scheme", "columns", "entity_bias"])
def test_a_config_that_lacks_something_is_a_model_error(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ModelError, match="damaged or foreign"):
        reload_changed(tmp_path, {missing: None}, drop=True)


@pytest.mark.parametrize(
    "change",
    [{"hidden": 9}, {"hidden": 10**9}, {"layers": 10**9}, {"cell": "gru"}, {"characters": "rnn"}],
    ids=str,
)
def test_a_network_that_does_not_fit_the_weights_is_a_model_error(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    model = untrained()
    with pytest.raises(ModelError):
        reload_changed(tmp_path, {"model": {**model.description.to_config()["model"], **change}})


def test_a_network_that_does_not_fit_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    def build(*arguments: Any) -> Tagger:
        devices.append(torch.get_default_device().type)
        return Tagger(*arguments)

    monkeypatch.setattr(prediction, "Tagger", build)
    settings = untrained().description.to_config()["model"]
    with pytest.raises(ModelError, match="shape"):
        reload_changed(tmp_path, {"model": {**settings, "hidden": 9}})
    assert devices == ["meta"]


def reload_changed(folder: Path, change: dict[str, Any], *, drop: bool = False) -> TaggerModel:
    """Save a model, write its folder anew with another config (and good digests), load that."""
    untrained().save(folder / "m", card="")
    held = load_model_folder(folder / "m", task=("ner",))
    config = {key: value for key, value in held.config.items() if not (drop and key in change)}
    config |= {} if drop else change
    save_model_folder(
        folder / "changed", task="ner", config=config, tensors=held.tensors, texts=held.texts, card=""
    )
    return TaggerModel.load(folder / "changed", device="cpu")


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "m", task="lm", config={}, tensors={}, texts={}, card="")
    with pytest.raises(ModelError, match="lm"):
        TaggerModel.load(tmp_path / "m", device="cpu")


def test_no_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        TaggerModel.load(tmp_path / "nothing", device="cpu")


def test_the_config_is_plain_json_with_the_layout_of_the_columns(tmp_path: Path) -> None:
    untrained(data={"feature_columns": [], "tag_column": 4}).save(tmp_path / "m", card="")
    config = load_model_folder(tmp_path / "m", task=("ner",)).config
    assert config["columns"] == {"token_column": None, "tag_column": 4, "feature_columns": []}
    assert str(tmp_path) not in str(config)
