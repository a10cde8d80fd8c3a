from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import SettingsError
from seqtool.settings import read_toml, validate
from seqtool.tagging.batches import encode
from seqtool.tagging.data import load_training_data
from seqtool.tagging.evaluator import BIASES, MOVES, Evaluator, biases_of
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import TrainingBatches
from seqtool.text import tag_scheme
from seqtool.text.tag_scheme import Scheme
from tests.listeners import Listener
from tests.tagging.tiny_tagger import (
    CPU,
    LEARN,
    SENTENCES,
    Row,
    as_parts_of_speech,
    assert_equal_weights,
    in_scheme,
    tables,
    tags_of,
    tiny_data,
    tiny_settings,
    tokens_of,
    train_tiny,
    untrained,
    weights_of,
    write_columns,
)

# Each value of each choice at least once, most pairs too.
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("ner", {"cell": "lstm", "characters": "none", "output": "crf"}),
    ("ner", {"cell": "lstm", "characters": "rnn", "output": "softmax"}),
    ("ner", {"cell": "gru", "characters": "cnn", "output": "crf"}),
    ("ner", {"cell": "gru", "characters": "rnn", "output": "crf", "layers": 2, "residual": True}),
    ("ner", {"cell": "lstm", "characters": "cnn", "output": "softmax", "layers": 2, "word_embedding": 0}),
    ("pos", {"cell": "lstm", "characters": "cnn", "output": "crf", "layers": 2, "residual": True}),
    ("pos", {"cell": "gru", "characters": "none", "output": "softmax"}),
    ("pos", {"cell": "gru", "characters": "rnn", "output": "crf", "shape_embedding": 0}),
]


# --- learning ---


@pytest.mark.parametrize(("task", "model"), KINDS, ids=str)
def test_ten_sentences_can_be_memorised(tmp_path: Path, task: str, model: dict[str, Any]) -> None:
    sentences = SENTENCES if task == "ner" else as_parts_of_speech()
    run = train_tiny(tmp_path, sentences, task, model=model, training=LEARN)
    assert run.model.tag(tokens_of()) == tags_of(sentences)
    assert run.result.metrics["accuracy"] == 1.0
    assert (run.result.metrics.get("f1") == 1.0) == (task == "ner")


@pytest.mark.parametrize(
    "training",
    [
        {"mention_replacement": 0.3, "lowercase": 0.1, "epochs": 45},
        {"average": "ema", "average_decay": 0.9, "accumulation": 2, "epochs": 60},
    ],
    ids=["augmentation", "averaging"],
)
def test_ten_sentences_can_be_memorised_with_every_help(tmp_path: Path, training: dict[str, Any]) -> None:
    model = {"characters": "cnn", "dropout": 0.1, "word_dropout": 0.02, "singleton_dropout": 0.05}
    training = {"evaluate_every": 20, "learning_rate": 0.05, **training}
    run = train_tiny(tmp_path, model={**model, "hidden": 16}, training=training)
    assert run.model.tag(tokens_of()) == tags_of()


def shuffled_corpus(seed: int, shuffled: bool) -> list[list[Row]]:
    """Words of one letter whose tag is their case, or random."""
    source = random.Random(seed)
    result = []
    for _ in range(60):
        letters = [source.choice("abcdefgABCDEFG") for _ in range(6)]
        tags = ["UPPER" if letter.isupper() else "lower" for letter in letters]
        if shuffled:
            tags = [source.choice(("UPPER", "lower")) for _ in letters]
        result.append(list(zip(letters, tags, strict=True)))
    return result


@pytest.mark.parametrize(("shuffled", "low", "high"), [(False, 0.99, 1.0), (True, 0.4, 0.6)])
def test_true_labels_are_learned_and_shuffled_ones_score_at_chance(
    tmp_path: Path, shuffled: bool, low: float, high: float
) -> None:
    dev = write_columns(tmp_path / "dev.conll", shuffled_corpus(2, shuffled))
    run = train_tiny(
        tmp_path,
        shuffled_corpus(1, shuffled),
        "pos",
        data={"dev": str(dev)},
        vocabulary={"lowercase": False},
        training={"epochs": 5, "batch_tokens": 64, "evaluate_every": 100},
    )
    assert low <= run.result.metrics["accuracy"] <= high


def test_files_of_every_scheme_give_the_same_model_and_their_own_tags(tmp_path: Path) -> None:
    schemes: tuple[Scheme, ...] = ("iob2", "iob1", "iobes", "bilou")
    runs = {scheme: train_tiny(tmp_path / scheme, in_scheme(scheme)) for scheme in schemes}
    spans = [tag_scheme.spans(tags, "iob2") for tags in runs["iob2"].model.tag(tokens_of())]
    assert sum(map(len, spans)) > 3
    for scheme, run in runs.items():
        assert_equal_weights(weights_of(run), weights_of(runs["iob2"]))
        assert run.model.vocabularies.tags.symbols == runs["iob2"].model.vocabularies.tags.symbols
        assert run.model.scheme == scheme
        for tags, found in zip(run.model.tag(tokens_of()), spans, strict=True):
            assert tags == tag_scheme.from_spans(found, len(tags), scheme)


def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(tmp_path: Path) -> None:
    model = {"characters": "rnn", "dropout": 0.3, "word_dropout": 0.2}
    first, second = (train_tiny(tmp_path / name, model=model) for name in "ab")
    assert_equal_weights(weights_of(first), weights_of(second))
    recipe = {**tables(tmp_path / "a" / "train.conll", model=model), "seed": 2}
    other = api.train(recipe, output=tmp_path / "c")
    with pytest.raises(AssertionError):
        assert_equal_weights(weights_of(first), weights_of(other))


def test_the_dev_part_adds_nothing_to_the_vocabularies(tmp_path: Path) -> None:
    dev = write_columns(tmp_path / "dev.conll", [[("Kyoto", "B-GPE"), ("ω", "O")]])
    listener = Listener()
    run = train_tiny(tmp_path, data={"dev": str(dev)}, options={"reporter": listener})
    vocabularies = run.model.vocabularies
    assert "kyoto" not in vocabularies.words
    assert "ω" not in vocabularies.characters
    assert "S-GPE" not in vocabularies.tags
    assert "ada" in vocabularies.words
    assert (
        "dev has tags that do not occur in training; each counts as an error: B-GPE (1)" in listener.messages
    )
    assert run.result.metrics["f1"] == 0.0


def test_entities_of_the_training_part_are_kept_with_the_model(tmp_path: Path) -> None:
    run = train_tiny(tmp_path)
    assert run.model.training_entities >= {("PER", "Ada Lovelace"), ("LOC", "New York City")}
    assert len(run.model.training_entities) == 13


def test_the_model_folder_of_a_run_is_the_model_of_the_run(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, training=LEARN)
    loaded = api.load(tmp_path / "run", device="cpu", precision="fp32")
    assert_equal_weights(loaded.network.state_dict(), weights_of(run))
    assert loaded.description.to_config() == run.model.description.to_config()
    assert loaded.training_entities == run.model.training_entities
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| f1 | 1.0000 |" in card
    assert f"train: 10 sentences, {sum(map(len, SENTENCES))} tokens" in card


# --- entity bias ---


def test_the_search_for_biases_climbs_from_the_best_common_one_type_by_type() -> None:
    model = untrained()
    sentences = tiny_data().train

    def f1(biases: dict[str, float]) -> float:
        return Evaluator(model, sentences, biases)()["f1"]

    common = max(BIASES, key=lambda bias: (f1(dict.fromkeys(model.types, bias)), -bias))
    expected = dict.fromkeys(model.types, common)
    for kind in model.types:
        moves = [expected, *({**expected, kind: expected[kind] + move} for move in MOVES)]
        expected = max(moves, key=f1)  # the first of several equal ones: no change
    auto = Evaluator(model, sentences, "auto")()
    assert biases_of(auto) == expected
    assert auto["f1"] == f1(expected)
    assert BIASES[0] == 0.0
    assert len(model.types) > 1


def test_a_number_is_the_bias_of_every_type_and_a_table_is_filled_up_with_zeros() -> None:
    model = untrained()
    first, *others = model.types
    assert biases_of(Evaluator(model, tiny_data().train, 1.5)()) == dict.fromkeys(model.types, 1.5)
    assert biases_of(Evaluator(model, tiny_data().train, {first: 2.0})()) == {
        first: 2.0,
        **dict.fromkeys(others, 0.0),
    }


def test_a_bias_for_a_type_that_is_not_there_is_refused_with_the_nearest_name() -> None:
    model = untrained()
    with pytest.raises(SettingsError, match=f"no such entity type.*did you mean '{model.types[0]}'"):
        Evaluator(model, tiny_data().train, {model.types[0] + "s": 1.0})


def test_a_bias_moves_the_entities_of_its_own_type_only() -> None:
    model = untrained()
    first = model.types[0]
    names = model.vocabularies.tags.symbols
    change = model.biased(torch.zeros(1, 1, len(names)), {first: 2.0})[0, 0]
    expected = [2.0 if tag[0] in "BS" and tag[2:] == first else 0.0 for tag in names]
    assert change.tolist() == expected


def test_each_evaluation_sees_the_weights_of_its_time() -> None:
    model = untrained()
    evaluator = Evaluator(model, tiny_data().train, 0.0)
    before = evaluator()
    assert model.network.forms.words is not None
    with torch.no_grad():
        model.network.forms.words.weight.mul_(-5)
    after = evaluator()
    assert after != before
    assert after == Evaluator(model, tiny_data().train, 0.0)()


def test_where_no_bias_changes_a_tag_none_is_taken() -> None:
    model = untrained()
    with torch.no_grad():
        model.network.output.weight.mul_(1000)
    found = [Evaluator(model, tiny_data().train, bias)()["f1"] for bias in BIASES]
    assert len(set(found)) == 1
    assert set(biases_of(Evaluator(model, tiny_data().train, "auto")()).values()) == {0.0}


def test_a_perfect_model_needs_no_bias(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, training=LEARN)
    assert set(biases_of(run.result.metrics).values()) == {0.0}
    assert set(run.model.description.entity_bias.values()) == {0.0}


def test_a_bias_of_the_recipe_is_used_and_stored(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, decoding={"entity_bias": 50.0})
    assert set(run.model.description.entity_bias.values()) == {50.0}
    assert all(tag != "O" for tags in run.model.tag(tokens_of()) for tag in tags)


def test_the_evaluator_reports_what_predict_gives() -> None:
    model = untrained()
    sentences = list(tiny_data().train)
    metrics = Evaluator(model, sentences, 0.0)()
    own = [list(s.tags or ()) for s in sentences]
    found = [tag_scheme.from_spans(p.spans, len(p.tags), "iobes") for p in model.predict(sentences)]
    right = sum(a == b for x, y in zip(own, found, strict=True) for a, b in zip(x, y, strict=True))
    assert metrics["accuracy"] == pytest.approx(right / sum(map(len, own)))
    table = model.vocabularies.form_table(model.description.vocabulary)
    corpus = encode(sentences, model.vocabularies, table, with_tags=True)
    with torch.inference_mode():
        loss = model.network.loss(corpus.batch(range(len(sentences))))
    assert metrics["loss"] == pytest.approx(float(loss.total) / loss.count, rel=1e-5)
    gold_spans = [{*tag_scheme.spans(row, "iobes")} for row in own]
    found_spans = [{*tag_scheme.spans(row, "iobes")} for row in found]
    correct = sum(len(a & b) for a, b in zip(gold_spans, found_spans, strict=True))
    assert metrics["recall"] == pytest.approx(correct / sum(map(len, gold_spans)))


def test_the_loss_leaves_out_what_the_model_can_never_give() -> None:
    model = untrained()
    sentences = list(tiny_data().train)
    odd = replace(sentences[0], tags=("S-NEW",) * len(sentences[0].tokens))
    broken = replace(sentences[0], tags=("I-PER",) * len(sentences[0].tokens))
    known = Evaluator(model, sentences[1:], 0.0)()["loss"]
    assert Evaluator(model, [odd, broken, *sentences[1:]], 0.0)()["loss"] == pytest.approx(known, rel=1e-6)
    assert "loss" not in Evaluator(model, [odd], 0.0)()


# --- partial annotation ---


def test_partial_annotation_is_learned_from_end_to_end(tmp_path: Path) -> None:
    """Other sentences decide open tags: there the same words are fully annotated."""
    partial: list[list[Row]] = [
        [("Ada", "B-PER|B-ORG"), ("met", "?"), ("Babbage", "?")],
        [("Hopper", "?"), ("left", "O"), ("London", "B-LOC|B-PER")],
    ]
    listener = Listener()
    dev = write_columns(tmp_path / "dev.conll", SENTENCES)
    run = train_tiny(
        tmp_path,
        [*SENTENCES, *partial],
        data={"dev": str(dev)},
        training=LEARN,
        options={"reporter": listener},
    )
    assert run.result.metrics["f1"] == 1.0
    assert listener.losses[-1] < 0.1 < listener.losses[0]
    assert run.model.tag([["Hopper", "left", "London"]]) == [["B-PER", "O", "B-LOC"]]


def test_partial_parts_of_speech_are_learned_from_too(tmp_path: Path) -> None:
    sentences = [*as_parts_of_speech(), [("she", "NOUN|X"), ("left", "?")]]
    dev = write_columns(tmp_path / "dev.conll", as_parts_of_speech())
    run = train_tiny(tmp_path, sentences, "pos", data={"dev": str(dev), "partial": True}, training=LEARN)
    assert run.result.metrics["accuracy"] == 1.0
    assert "NOUN|X" not in run.model.vocabularies.tags


def test_a_partial_dev_part_is_scored_where_it_is_complete(tmp_path: Path) -> None:
    dev = write_columns(tmp_path / "dev.conll", [*SENTENCES, [("Ada", "?"), ("in", "B-LOC|O")]])
    run = train_tiny(tmp_path, data={"dev": str(dev)}, training=LEARN)
    assert run.result.metrics["f1"] == 1.0


# --- class weights ---


def test_class_weights_with_partial_annotation_are_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="class_weights cannot be used with partial tags"):
        train_tiny(tmp_path, [*SENTENCES, [("x", "?")]], training={"class_weights": {"PER": 2.0}})


def test_a_weight_for_a_class_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"class_weights\.PERS: neither .*; did you mean 'PER'\?"):
        train_tiny(tmp_path, training={"class_weights": {"PERS": 2.0}})


def test_class_weights_change_what_is_learned(tmp_path: Path) -> None:
    """The same word with two tags equally often: the weight decides."""
    sentences = [[("x", "A"), ("y", "C")], [("x", "B"), ("y", "C")]] * 5
    for favoured in "AB":
        run = train_tiny(
            tmp_path / favoured,
            sentences,
            "pos",
            training={"class_weights": {favoured: 5.0}, "epochs": 30, "evaluate_every": 100},
        )
        assert run.model.tag([["x", "y"]]) == [[favoured, "C"]]


# --- batches of an epoch ---


def epoch_text(batches: Any) -> list[Any]:
    return [
        [batch.forms.characters.tolist(), batch.rows.tolist(), batch.tags.tolist(), batch.mask.tolist()]
        for batch in batches
    ]


@pytest.mark.parametrize("training", [{}, {"lowercase": 0.5, "mention_replacement": 0.5}], ids=str)
def test_the_batches_of_an_epoch_do_not_depend_on_earlier_epochs(training: dict[str, Any]) -> None:
    settings = tiny_settings(training=training)
    data = tiny_data()
    vocabularies = untrained(data).vocabularies

    def batches() -> TrainingBatches:
        corpus = encode(
            data.train, vocabularies, vocabularies.form_table(settings.vocabulary), with_tags=True
        )
        return TrainingBatches(vocabularies, data, corpus, settings, CPU)

    through = batches()
    epochs = [epoch_text(through(number)) for number in range(5)]
    assert epoch_text(batches()(4)) == epochs[4]
    assert epochs[3] != epochs[4]
    tokens = sum(map(len, SENTENCES))
    assert all(sum(sum(map(sum, mask)) for *_, mask in epoch) >= tokens - 5 for epoch in epochs)


def test_batches_can_be_sliced() -> None:
    settings = tiny_settings()
    data = tiny_data()
    vocabularies = untrained(data).vocabularies
    corpus = encode(data.train, vocabularies, vocabularies.form_table(settings.vocabulary), with_tags=True)
    batches = TrainingBatches(vocabularies, data, corpus, settings, CPU)(0)
    assert epoch_text(batches[1:3]) == epoch_text(list(batches))[1:3]
    assert all(batch.mask.numel() <= 16 for batch in batches)


# --- what a run leaves behind ---


def test_a_run_says_what_it_held_out(tmp_path: Path) -> None:
    listener = Listener()
    train_tiny(tmp_path, data={"dev": None}, options={"reporter": listener})
    assert any(text.startswith("no dev file: the last 1 ") for text in listener.messages)


def test_metrics_are_logged_as_json_with_the_bias(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    metrics = [event["metrics"] for event in events if event["event"] == "evaluation"]
    assert len(metrics) == 3
    names = {name for name in metrics[0] if not name.startswith("entity_bias.")}
    assert names == {"loss", "precision", "recall", "f1", "accuracy"}
    assert len(metrics[0]) > len(names)


def test_settings_can_be_validated_from_what_a_run_stored(tmp_path: Path) -> None:
    run = train_tiny(tmp_path)
    stored = read_toml(run.path / "recipe.toml")
    settings = validate(TaggerSettings, stored, "recipe")
    assert (
        load_training_data(settings).fingerprint()
        == load_training_data(tiny_settings(tmp_path / "train.conll")).fingerprint()
    )
