from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from seqtool import api
from seqtool.errors import DataError, InterruptedRunError, SettingsError, UsageError
from seqtool.evaluation.text_scores import text_scores
from seqtool.settings import read_toml, validate
from seqtool.text.parallel import SentencePair
from seqtool.translation.batches import encode_pairs, pair_batch
from seqtool.translation.data import load_training_data
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import Evaluator, TrainingBatches, fine_tuning_settings
from seqtool.translation.vocabulary import Vocabularies
from tests.listeners import Listener, StopAt
from tests.translation.tiny_pairs import (
    COPYING,
    CPU,
    LEARN,
    TEXTS,
    Texts,
    assert_equal_weights,
    last_state,
    outputs,
    pairs_of,
    sources_of,
    tables,
    targets_of,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
    write_pairs,
)

PIECES: dict[str, Any] = {"kind": "sentencepiece", "size": 60}

# --- learning ---


@pytest.mark.parametrize(
    ("model", "vocabulary", "training"),
    [
        ({"decoder": "conditional", "cell": "lstm", "tied": "all"}, {}, {"label_smoothing": 0.1}),
        ({"decoder": "bahdanau", "copy": True, "coverage": True}, COPYING, {"coverage_loss": 0.1}),
        ({"decoder": "parallel", "attention": "general"}, {}, {"average": "ema", "average_decay": 0.9}),
    ],
    ids=["conditional", "bahdanau", "parallel"],
)
def test_ten_pairs_can_be_memorised(
    tmp_path: Path, model: dict[str, Any], vocabulary: dict[str, Any], training: dict[str, Any]
) -> None:
    training = {**LEARN, "epochs": 45, **training}
    run = train_tiny(tmp_path, model=model, vocabulary=vocabulary, training=training)
    assert run.model.translate(sources_of()) == targets_of()
    assert run.result.metrics["exact_match"] == 1.0
    assert run.result.metrics["bleu"] == pytest.approx(100.0)


@pytest.mark.parametrize("decoder", ["input_feeding", "parallel"])
def test_pointer_networks_learn_to_sort(tmp_path: Path, decoder: str) -> None:
    texts = [("c a b", "a b c"), ("b a", "a b"), ("a", "a"), ("c b a", "a b c"), ("b c", "b c")] * 2
    model = {"output": "positions", "decoder": decoder}
    run = train_tiny(tmp_path, texts, model=model, training={**LEARN, "epochs": 30, "learning_rate": 0.05})
    found = run.model.search(pairs_of(texts), SearchOptions(beam=3))
    assert [best.text for (best,) in found] == targets_of(texts)
    assert all(best.hypothesis.finished for (best,) in found)


def test_a_pointer_network_refuses_what_it_cannot_give_with_its_place(tmp_path: Path) -> None:
    texts = [("a b", "b a"), ("a", "a c")]
    with pytest.raises(DataError, match=r"train\.src:2: the target has symbols that its source lacks"):
        train_tiny(tmp_path, texts, model={"output": "positions"})


def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(tmp_path: Path) -> None:
    model = {"copy": True, "dropout": 0.3, "word_dropout": 0.2}
    first, second = (train_tiny(tmp_path / name, model=model) for name in "ab")
    assert_equal_weights(weights_of(first), weights_of(second))
    other = api.train({**tables(write_pairs(tmp_path / "a"), model=model), "seed": 2}, output=tmp_path / "c")
    with pytest.raises(AssertionError):
        assert_equal_weights(weights_of(first), other.model.network.state_dict())


def test_the_dev_part_adds_nothing_to_the_vocabulary(tmp_path: Path) -> None:
    dev = write_pairs(tmp_path, [("Kyoto met Ada", "Nara traf Ada")], "dev")
    run = train_tiny(tmp_path, data={"dev": dev})
    for word in ("Kyoto", "Nara"):
        assert word not in run.model.vocabularies.source.symbols
    assert "traf" in run.model.vocabularies.target.symbols


# --- evaluations ---


def test_the_evaluator_reports_what_a_greedy_search_gives() -> None:
    model = untrained(model={"copy": True}, vocabulary=COPYING, decoding={"no_repeat_ngram": 2})
    pairs = pairs_of()
    settings = tiny_settings(model={"copy": True}, vocabulary=COPYING, decoding={"no_repeat_ngram": 2})
    with torch.no_grad():  # as the training loop calls it
        metrics = Evaluator(model, pairs, settings)()
    texts = model.translate(sources_of(), SearchOptions(beam=1, no_repeat_ngram=2))
    expected = text_scores(texts, targets_of(), ("bleu", "chrf", "exact_match"))
    assert {name: metrics[name] for name in expected} == {n: score.value for n, score in expected.items()}
    with torch.inference_mode():
        loss = model.network.loss(pair_batch(encode_pairs(pairs, model.vocabularies)))
    assert metrics["loss"] == pytest.approx(float(loss.total) / loss.count, rel=1e-5)
    assert metrics.keys() == {"loss", "bleu", "chrf", "exact_match"}


def test_each_evaluation_sees_the_weights_of_its_time() -> None:
    model = untrained()
    evaluator = Evaluator(model, pairs_of(), tiny_settings())
    with torch.no_grad():
        before = evaluator()
        model.network.target.weight.mul_(-2)
        after = evaluator()
        assert after != before
        assert after == Evaluator(model, pairs_of(), tiny_settings())()


@pytest.mark.parametrize("select", ["loss", "chrf"])
def test_the_best_weights_are_those_of_the_metric_that_was_asked_for(tmp_path: Path, select: str) -> None:
    listener = Listener()
    training = {"select": select, "epochs": 8, "evaluate_every": 3}
    run = train_tiny(tmp_path, TEXTS, {"reporter": listener}, training=training)
    values = [metrics[select] for metrics in listener.evaluations]
    assert len(set(values)) > 1
    assert run.result.metrics[select] == (min if select == "loss" else max)(values)
    with torch.no_grad():
        assert Evaluator(run.model, pairs_of(), tiny_settings())()[select] == run.result.metrics[select]


# --- what is left out, and reported ---


def test_pairs_that_are_too_long_or_too_uneven_are_counted_and_not_learned_from(tmp_path: Path) -> None:
    listener = Listener()
    long, uneven = ("yes " * 30, "ja " * 30), ("yes", "ja ja ja ja ja ja ja ja ja")
    texts = [*TEXTS, long, uneven, uneven]
    data = {"max_length": 20, "max_ratio": 4.0}
    train_tiny(tmp_path, texts, {"reporter": listener}, data=data, training={"epochs": 1})
    assert (
        "1 training pair with more than 20 symbols on a side left out (data.max_length)" in listener.messages
    )
    assert (
        "2 training pairs with one side more than 4 times the other left out (data.max_ratio)"
        in listener.messages
    )
    settings = tiny_settings(data=data)
    found = TrainingBatches(
        Vocabularies.build(pairs_of(texts), settings.vocabulary), tiny_data(pairs_of(texts)), settings, CPU
    )
    assert sum(len(batch.source) for batch in found(0)) == len(TEXTS)
    assert len(found.warnings) == 2


def test_no_pair_within_the_limits_is_an_error_that_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pair has at most 1 symbols on each side"):
        train_tiny(tmp_path, data={"max_length": 1})


def test_a_run_says_what_it_is_made_of(tmp_path: Path) -> None:
    listener = Listener()
    train_tiny(tmp_path, TEXTS, {"reporter": listener}, data={"dev": None}, vocabulary={"shared": False})
    assert "no dev file: the last 1 of the training pairs are held out for it" in listener.messages
    assert any(text.startswith("train: 9 sentence pairs, ") for text in listener.messages)
    assert any(text.startswith("vocabulary: ") and "source and" in text for text in listener.messages)
    assert any(text.startswith("only about ") for text in listener.messages)


# --- batches of an epoch ---


def batch_text(batch: Any) -> list[Any]:
    return [batch.source.tolist(), batch.symbols.tolist(), batch.inputs.tolist(), batch.target.tolist()]


def batches_of(**sections: Any) -> TrainingBatches:
    settings = tiny_settings(**sections)
    data = tiny_data()
    return TrainingBatches(Vocabularies.build(data.train, settings.vocabulary), data, settings, CPU)


@pytest.mark.parametrize("vocabulary", [{}, {**PIECES, "sampling": 0.5}], ids=["words", "drawn pieces"])
def test_the_batches_of_an_epoch_do_not_depend_on_earlier_epochs(vocabulary: dict[str, Any]) -> None:
    first, second = batches_of(vocabulary=vocabulary), batches_of(vocabulary=vocabulary)
    expected = [[batch_text(batch) for batch in first(epoch)] for epoch in range(3)]
    for epoch in (2, 0, 1, 2):
        assert [batch_text(batch) for batch in second(epoch)] == expected[epoch]
    assert expected[0] != expected[1]


def test_drawn_segmentations_differ_from_epoch_to_epoch_and_spell_the_same() -> None:
    vocabulary = {**PIECES, "sampling": 0.5}
    batches = batches_of(vocabulary=vocabulary)
    vocabularies = Vocabularies.build(tiny_data().train, tiny_settings(vocabulary=vocabulary).vocabulary)

    def sources(epoch: int) -> dict[str, list[int]]:
        rows = [row[row != 0].tolist() for batch in batches(epoch) for row in batch.source]
        return {vocabularies.source.decode(row): row for row in rows}

    assert set(sources(0)) == set(sources(1)) == set(sources_of())
    assert sum(sources(0)[text] != sources(1)[text] for text in sources_of()) >= 2


def test_a_seed_draws_the_same_segmentations_in_every_process() -> None:
    script = (
        "from seqtool.text.subwords import SentencePieceCodec, train_sentencepiece as train\n"
        f"codec = SentencePieceCodec(train({sources_of() * 3!r}, size=40, exact=False, model_type='bpe'))\n"
        "print([codec.sample('the engine stood still .', 0.3, seed) for seed in range(9)])"
    )
    command = [sys.executable, "-c", script]
    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))
    assert first == second


def test_every_pair_is_in_an_epoch_once_and_batches_keep_to_their_budget() -> None:
    for batch_tokens in (1, 16, 10_000):
        batches = batches_of(training={"batch_tokens": batch_tokens})(0)
        assert sum(len(batch.source) for batch in batches) == len(TEXTS)
        for batch in batches:
            taken = max(batch.source.shape[1], batch.target.shape[1]) * len(batch.source)
            assert taken <= batch_tokens or len(batch.source) == 1
    assert len(batches) == 1


@pytest.mark.parametrize("batch_tokens", [16, 24])
@pytest.mark.parametrize("accumulation", [1, 2, 9])
def test_a_batch_knows_the_update_it_is_for(accumulation: int, batch_tokens: int) -> None:
    batches = batches_of(training={"batch_tokens": batch_tokens, "accumulation": accumulation})
    count = len(batches(0))
    assert count % 2
    assert 2 < count < 9
    per_epoch = -(-count // accumulation)
    for epoch in range(3):
        expected = [epoch * per_epoch + number // accumulation for number in range(count)]
        assert [batch.step for batch in batches(epoch)] == expected
        assert [batch.step for batch in batches(epoch)[1:3]] == expected[1:3]


def test_batches_of_several_processes_share_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqtool.training.distributed.world_size", lambda: 2)
    batches = batches_of(training={"batch_tokens": 16, "accumulation": 2})
    count = len(batches(0))
    assert count > 4
    per_epoch = -(-count // 4)
    assert [batch.step for batch in batches(1)] == [per_epoch + number // 4 for number in range(count)]


# --- resuming ---


DROPS = {"copy": True, "coverage": True, "dropout": 0.3, "embedding_dropout": 0.2, "word_dropout": 0.2}
RESUMED: dict[str, dict[str, Any]] = {
    "dropout and averages": {
        "model": DROPS,
        "vocabulary": COPYING,
        "training": {"average": "ema", "average_decay": 0.9},
    },
    "scheduled sampling": {
        "model": DROPS,
        "training": {"teacher_forcing": {"schedule": "linear", "steps": 9}},
    },
    "drawn pieces": {
        "model": {"decoder": "parallel", "dropout": 0.3},
        "vocabulary": {**PIECES, "sampling": 0.5},
        "training": {"accumulation": 2, "batch_tokens": 40},
    },
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, name: str) -> None:
    sections = {**RESUMED[name]}
    sections["training"] = {**sections["training"], "epochs": 4, "checkpoint_every": 1}
    whole = train_tiny(tmp_path / "whole", **sections)
    expected = last_state(tmp_path / "whole")
    for step in (whole.result.steps // 2, whole.result.steps - 1):
        folder = tmp_path / f"stopped-{step}"
        with pytest.raises(InterruptedRunError):
            train_tiny(folder, TEXTS, {"reporter": StopAt(step)}, **sections)
        torch.manual_seed(99)
        run = train_tiny(folder, TEXTS, {"resume": True}, **sections)
        assert run.result.metrics == whole.result.metrics
        assert_equal_weights(weights_of(run), weights_of(whole))
        assert_equal_weights(last_state(folder), expected)


def test_scheduled_sampling_changes_what_is_learned(tmp_path: Path) -> None:
    plain = train_tiny(tmp_path / "a")
    drawn = train_tiny(tmp_path / "b", training={"teacher_forcing": {"ratio": 0.5}})
    same = train_tiny(tmp_path / "c", training={"teacher_forcing": {"ratio": 1.0}})
    assert_equal_weights(weights_of(plain), weights_of(same))
    with pytest.raises(AssertionError):
        assert_equal_weights(weights_of(plain), weights_of(drawn))


def test_resuming_with_other_settings_or_data_is_refused_with_the_difference(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    with pytest.raises(UsageError, match="hidden"):
        train_tiny(tmp_path, TEXTS, {"resume": True}, model={"hidden": 9})
    with pytest.raises(UsageError, match="data"):
        train_tiny(tmp_path, TEXTS[:9], {"resume": True})


# --- fine-tuning ---


MORE: list[Texts] = [("yes Kyoto .", "ja Ada .")] * 2


def test_fine_tuning_keeps_network_and_vocabulary_and_starts_from_the_weights(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "model": {"decoder": "parallel", "hidden": 12, "copy": True},
        "vocabulary": COPYING,
    }
    first = train_tiny(tmp_path / "first", **own)
    listener = Listener()
    recipe = {
        **tables(write_pairs(tmp_path, MORE)),
        "model": {},
        "vocabulary": {},
        "training": {"epochs": 5, "learning_rate": 0.03, "warmup_steps": 0, "average": "none"},
    }
    start = tmp_path / "first" / "run"
    tuned = api.train(recipe, output=tmp_path / "second", initial=start, reporter=listener)
    assert isinstance(tuned.model, TranslatorModel)
    assert tuned.model.vocabularies.to_files() == first.model.vocabularies.to_files()
    assert tuned.model.description.model == first.model.description.model
    assert tuned.model.description.vocabulary == first.model.description.vocabulary
    assert listener.losses[-1] < listener.losses[0]
    stored = read_toml(tmp_path / "second" / "recipe.toml")
    assert stored["model"]["decoder"] == "parallel"


def test_fine_tuning_for_no_time_changes_nothing(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "first")
    options = {"initial": tmp_path / "first" / "run"}
    tuned = train_tiny(tmp_path / "second", TEXTS, options, training={"learning_rate": 1e-30, "epochs": 1})
    assert_equal_weights(weights_of(tuned), weights_of(first))


def test_fine_tuning_refuses_another_network_or_vocabulary_and_names_each_difference() -> None:
    base = untrained(model={"copy": True})
    settings = tiny_settings(model={"hidden": 24, "copy": True}, vocabulary={"min_count": 2})
    with pytest.raises(SettingsError) as raised:
        fine_tuning_settings(settings, base)
    message = str(raised.value)
    assert message.startswith("--init-from keeps network and vocabulary; leave out: ")
    assert "model.hidden = 24, the model has 16" in message
    assert "vocabulary.min_count = 2, the model has 1" in message
    assert "copy" not in message
    assert fine_tuning_settings(tiny_settings(), base).model == base.description.model


@pytest.mark.parametrize("wrong", [{"copy": False}, {"decoder": "input_feeding"}], ids=str)
def test_fine_tuning_refuses_a_default_that_was_asked_for(wrong: dict[str, Any]) -> None:
    base = untrained(model={"copy": True, "decoder": "conditional"})
    with pytest.raises(SettingsError):
        fine_tuning_settings(tiny_settings(model=wrong), base)


# --- what a run leaves behind ---


def test_the_model_folder_of_a_run_is_the_model_of_the_run(tmp_path: Path) -> None:
    run = train_tiny(tmp_path)
    loaded = api.load_translator(tmp_path / "run", device="cpu", precision="fp32")
    assert_equal_weights(loaded.network.state_dict(), weights_of(run))
    assert loaded.description.to_config() == run.model.description.to_config()
    assert outputs(loaded.search(pairs_of())) == outputs(run.model.search(pairs_of()))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"| chrf | {run.result.metrics['chrf']:.4f} |" in card
    assert "train: 10 sentence pairs" in card


def test_metrics_are_logged_as_json(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    metrics = [event["metrics"] for event in events if event["event"] == "evaluation"]
    assert len(metrics) == 3
    assert set(metrics[0]) == {"loss", "bleu", "chrf", "exact_match"}


def test_settings_can_be_validated_from_what_a_run_stored(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, model={"copy": True})
    settings = validate(TranslatorSettings, read_toml(run.path / "recipe.toml"), "recipe")
    assert settings.model.copy_source
    assert (
        load_training_data(settings).fingerprint()
        == load_training_data(tiny_settings(write_pairs(tmp_path))).fingerprint()
    )


def test_features_are_learned_from(tmp_path: Path) -> None:
    rows = ["gehen\tV;PST\tging", "gehen\tV;PRS\tgehe", "stehen\tV;PST\tstand", "stehen\tV;PRS\tstehe"]
    file = tmp_path / "train.tsv"
    file.write_text("".join(f"{row}\n" for row in rows * 2))
    recipe = tables(
        str(file),
        data={"columns": ["source", "features", "target"]},
        vocabulary={"kind": "character"},
        model={"copy": True},
        training={**LEARN, "epochs": 60},
    )
    model = api.train(recipe, output=tmp_path / "run").model
    assert isinstance(model, TranslatorModel)
    lines = ["\t".join(row.split("\t")[:2]) for row in rows]
    assert model.translate(lines) == [row.split("\t")[2] for row in rows]
    loaded = api.load_translator(tmp_path / "run")
    assert loaded.parse(lines[0]) == SentencePair("gehen", None, ("V", "PST"), file="line", line=0)


@pytest.mark.parametrize("model", [{"copy": True}, {"output": "positions"}], ids=str)
def test_copying_from_a_vocabulary_that_folds_characters_is_refused_before_anything_is_trained(
    tmp_path: Path, model: dict[str, Any]
) -> None:
    """A ligature would come back as only some of its letters."""
    vocabulary = {"kind": "sentencepiece", "size": 40, "lowercase": True}
    with pytest.raises(
        SettingsError, match=r"--set vocabulary\.lowercase=false, or --set vocabulary\.kind=word"
    ):
        train_tiny(tmp_path, model=model, vocabulary=vocabulary)
    assert not any(tmp_path.rglob("*.safetensors"))
    for fine in ({**vocabulary, "lowercase": False}, {"kind": "word", "lowercase": True}):
        train_tiny(tmp_path / fine["kind"], model={"copy": True}, vocabulary=fine, training={"max_steps": 1})
