"""Training: the state is carried on, the gradient is not, and resuming changes nothing."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seqtool import api
from seqtool.errors import DataError, InterruptedRunError, SettingsError, UsageError
from seqtool.lm.batches import TrainingWindows, Window
from seqtool.lm.data import Part, load_training_data
from seqtool.lm.model import LanguageNetwork, detached
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.scoring import Reader
from seqtool.lm.settings import LanguageModelSettings, LanguageModelTraining, VocabularySettings
from seqtool.lm.train import Evaluator, StreamLoss, build_model, fine_tuning_settings, prepare
from seqtool.lm.vocabulary import START, Symbols
from seqtool.settings import read_toml, validate
from seqtool.training.job import TrainedRun, estimate
from tests.listeners import Listener, StopAt
from tests.lm.tiny_text import (
    CPU,
    TEXT,
    assert_equal_weights,
    last_state,
    network_of,
    random_ids,
    tables,
    tiny_data,
    tiny_settings,
    train_tiny,
    weights_of,
)

SYMBOLS = Symbols.build([TEXT], VocabularySettings())


def loss_of(network: LanguageNetwork, **training: Any) -> StreamLoss:
    return StreamLoss(network, validate(LanguageModelTraining, training, "training"), SYMBOLS)


def windows_of(parallel_groups: int = 1, length: int = 200, **training: Any) -> TrainingWindows:
    given = {"window": 7, "batch_tokens": 28, **training}
    return TrainingWindows(
        [random_ids(length)],
        is_stream=True,
        settings=validate(LanguageModelTraining, given, "training"),
        seed=1,
        parallel_groups=parallel_groups,
        device=CPU,
    )


def gradients_of(network: LanguageNetwork) -> list[Tensor]:
    found = [value.grad.clone() for value in network.parameters() if value.grad is not None]
    network.zero_grad()
    return found


def assert_close(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# --- the loss of a stream ---


@pytest.mark.parametrize("model", [{}, {"cell": "gru"}, {"learned_start": True}], ids=str)
def test_a_window_goes_on_from_the_state_of_the_one_before_and_its_gradient_does_not(
    model: dict[str, Any],
) -> None:
    network = network_of(**model)
    first, second = windows_of()(0)[:2]
    loss = loss_of(network)
    loss(first).total.backward()
    gradients_of(network)
    total = loss(second).total
    total.backward()
    found = gradients_of(network)

    _, states = network(first.inputs, network.initial(len(first.inputs)))
    outputs, _ = network(second.inputs, detached(states))
    expected = network.cross_entropy(outputs.features.flatten(0, 1), second.targets.flatten())
    expected.backward()
    assert_close(total.detach(), expected.detach())
    assert_close(found, gradients_of(network))
    alone = loss_of(network)(second).total
    assert abs(float((alone - total).detach())) > 1e-3


def test_a_fresh_window_begins_anew() -> None:
    network = network_of()
    loss, (first, *_) = loss_of(network), windows_of()(0)
    begun, again = float(loss(first).total.detach()), float(loss(first).total.detach())
    assert begun == again
    assert float(loss(first._replace(fresh=False)).total.detach()) != begun


def test_groups_do_not_share_their_states() -> None:
    network = network_of()
    first, second, other = windows_of()(0)[:3]
    loss = loss_of(network)
    expected = [float(loss(window).total.detach()) for window in (first, second)]
    loss = loss_of(network)
    loss(other._replace(fresh=True, group=1))
    found = [float(loss(first).total.detach())]
    loss(other._replace(group=1))
    found.append(float(loss(second).total.detach()))
    assert found == expected


def test_rows_that_have_ended_leave_and_the_others_go_on() -> None:
    network = network_of()
    inputs, targets = torch.tensor([[START, 4, 5], [START, 6, 0]]), torch.tensor([[4, 5, 1], [6, 7, 0]])
    more = Window(torch.tensor([[1, 8]]), torch.tensor([[8, 4]]), False, 0)
    loss = loss_of(network)
    both = loss(Window(inputs, targets, True, 0))
    assert both.count == 5
    found = loss(more).total
    alone = loss_of(network)
    alone(Window(inputs[:1], targets[:1], True, 0))
    assert_close(found.detach(), alone(more).total.detach())


@pytest.mark.parametrize("penalty", [0.0, 2.0])
@pytest.mark.parametrize("accumulation", [2, 3])
def test_accumulating_groups_equals_one_batch_with_all_their_rows(accumulation: int, penalty: float) -> None:
    """Gradients of every update in a whole epoch of a stream."""
    penalties = {"activation_penalty": penalty, "slowness_penalty": penalty}
    network = network_of()
    apart, together = loss_of(network, **penalties), loss_of(network, **penalties)
    small = windows_of(accumulation)(0)
    large = windows_of(batch_tokens=28 * accumulation)(0)
    assert len(small) == accumulation * len(large)
    for number, window in enumerate(large):
        parts = [apart(part) for part in small[number * accumulation : (number + 1) * accumulation]]
        for part in parts:
            part.total.backward()
        found = gradients_of(network)
        whole = together(window)
        whole.total.backward()
        assert sum(part.count for part in parts) == whole.count
        assert_close(sum(part.total.detach() for part in parts), whole.total.detach())
        assert_close(found, gradients_of(network))


def test_uneven_documents_add_up_to_one_batch_penalties_included() -> None:
    inputs = torch.tensor([[START, 4, 5, 6], [START, 6, 7, 0], [START, 8, 0, 0], [START, 0, 0, 0]])
    targets = torch.tensor([[4, 5, 6, 1], [6, 7, 7, 0], [8, 4, 0, 0], [5, 0, 0, 0]])
    network = network_of()
    loss = loss_of(network, activation_penalty=2.0, slowness_penalty=1.0)
    whole = loss(Window(inputs, targets, True, 0))
    parts = [
        loss(Window(inputs[rows, :steps], targets[rows, :steps], True, 0))
        for rows, steps in ((slice(0, 1), 4), (slice(1, 3), 3), (slice(3, 4), 1))
    ]
    assert whole.count == sum(part.count for part in parts)
    assert_close(whole.total.detach(), sum(part.total.detach() for part in parts))


# --- the state of the loss ---


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_what_is_remembered_comes_back_bit_for_bit(cell: str, accumulation: int) -> None:
    network = network_of(cell=cell).float()
    windows = windows_of(accumulation)(0)
    loss, again = loss_of(network), loss_of(network)
    for window in windows[: 2 * accumulation]:
        loss(window)
    saved = {name: tensor.clone() for name, tensor in loss.tensors().items()}
    assert len(saved) == accumulation * 2 * (2 if cell == "lstm" else 1)
    again.restore(saved)
    assert_equal_weights(again.tensors(), saved)
    for window in windows[2 * accumulation :]:
        assert float(loss(window).total.detach()) == float(again(window).total.detach())
    again.restore({})
    assert again.tensors() == {}


def test_every_process_has_the_same_names_for_its_own_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with accumulation 2: the first has groups 0 and 2, the second 1 and 3."""
    network, windows = network_of(), windows_of(4)(0)
    monkeypatch.setattr("seqtool.training.distributed.world_size", lambda: 2)
    names = []
    for rank in (0, 1):
        monkeypatch.setattr("seqtool.training.distributed.rank", lambda rank=rank: rank)
        loss, again = loss_of(network), loss_of(network)
        for window in (*windows[rank:4:2], *windows[4 + rank : 8 : 2]):
            loss(window)
        names.append(list(loss.tensors()))
        again.restore(loss.tensors())
        for window in windows[8 + rank : 12 : 2]:
            assert float(loss(window).total.detach()) == float(again(window).total.detach())
    assert names[0] == names[1]


# --- learning ---


# Enough training to memorise the text, with one evaluation at the end.
LEARN: dict[str, Any] = {"epochs": 80, "window": 32, "learning_rate": 0.03, "evaluate_every": 1000}
DEEP: dict[str, Any] = {"cell": "gru", "tied": True, "layers": 2, "residual": True}


@pytest.mark.parametrize(
    ("model", "training", "vocabulary"),
    [
        ({}, {}, {}),
        (DEEP, {"average": "ema", "average_decay": 0.9}, {}),
        ({"embedding": 0, "learned_start": True}, {"accumulation": 2, "batch_tokens": 32}, {}),
        ({"adaptive": True}, {"epochs": 160}, {"kind": "word"}),
        ({"weight_drop": 0.1}, {"window_jitter": 0.1}, {"kind": "sentencepiece", "size": 60}),
    ],
    ids=["lstm", "gru", "one-hot", "words", "pieces"],
)
def test_a_tiny_text_can_be_memorised(
    tmp_path: Path, model: dict[str, Any], training: dict[str, Any], vocabulary: dict[str, Any]
) -> None:
    model = {"hidden": 48, **model}
    run = train_tiny(tmp_path, model=model, training={**LEARN, **training}, vocabulary=vocabulary)
    assert run.result.metrics["nats_per_character"] < 0.1


def test_shuffled_text_scores_at_the_entropy_of_its_characters(tmp_path: Path) -> None:
    source = random.Random(1)
    letters = [source.choices("abcdef", weights=[16, 8, 4, 2, 1, 1], k=4000) for _ in range(2)]
    texts = ["".join(each) + "\n" for each in letters]
    (tmp_path / "dev.txt").write_text(texts[1])
    data = {"dev": str(tmp_path / "dev.txt")}
    training = {"epochs": 4, "batch_tokens": 256, "learning_rate": 0.01}
    run = train_tiny(tmp_path, texts[0], data=data, training=training)
    counts = Counter(texts[0])
    entropy = -sum(math.log(counts[letter] / len(texts[0])) for letter in texts[1]) / len(texts[1])
    assert run.result.metrics["nats_per_character"] == pytest.approx(entropy, rel=0.03)


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("documents", ["file", "paragraph", "line"])
def test_documents_are_learned_from(tmp_path: Path, documents: str, accumulation: int) -> None:
    text = TEXT.replace("\ndeath", "\n\ndeath")
    training = {
        "accumulation": accumulation,
        "epochs": 12,
        "activation_penalty": 0.01,
        "slowness_penalty": 0.01,
        "curriculum": "length" if documents == "line" else "none",
    }
    listener = Listener()
    run = train_tiny(tmp_path, text, {"reporter": listener}, data={"documents": documents}, training=training)
    assert all(map(math.isfinite, listener.losses))
    assert listener.evaluations[-1]["loss"] < 0.9 * listener.evaluations[0]["loss"]
    assert run.model.description.data.documents == documents


def test_a_run_repeats_bit_for_bit_and_another_seed_does_not(tmp_path: Path) -> None:
    model = {"dropout": 0.3, "word_dropout": 0.2, "weight_drop": 0.2}
    first, second = (train_tiny(tmp_path / name, model=model) for name in "ab")
    assert_equal_weights(weights_of(first), weights_of(second))
    text = str(tmp_path / "a" / "text.txt")
    other: Any = api.train({**tables(text, model=model), "seed": 2}, output=tmp_path / "c")
    with pytest.raises(AssertionError):
        assert_equal_weights(weights_of(first), weights_of(other))


def test_the_dev_part_adds_nothing_to_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("Ωdd ones out: @#%\n")
    listener = Listener()
    options = {"reporter": listener}
    run = train_tiny(tmp_path, TEXT, options, data={"dev": str(tmp_path / "dev.txt")})
    assert set(run.model.symbols.codec.symbols[4:]) == set(TEXT)
    assert f"vocabulary: {4 + len(set(TEXT))} symbols (character)" in listener.messages
    assert any(text.startswith("only about ") for text in listener.messages)
    assert any(text.startswith("train: ") for text in listener.messages)


@pytest.mark.parametrize(
    ("text", "sections", "error", "message"),
    [
        ("a\n", {}, DataError, "2 symbols of training text; expected at least"),
        (
            TEXT,
            {"model": {"adaptive": True, "cutoffs": [500]}},
            SettingsError,
            r"cutoffs = \[500\]: expected less",
        ),
    ],
    ids=["text", "cutoffs"],
)
def test_what_cannot_be_trained_on_is_an_error(
    tmp_path: Path, text: str, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    sections = {**sections, "training": {"accumulation": 2}}
    with pytest.raises(error, match=message):
        train_tiny(tmp_path, text, **sections)


# --- evaluations ---


@pytest.mark.parametrize("kind", ["character", "sentencepiece"])
@pytest.mark.parametrize("documents", ["stream", "line"])
def test_the_evaluator_reports_what_a_reader_gives(documents: str, kind: str) -> None:
    vocabulary = {"kind": kind, **({"size": 50} if kind == "sentencepiece" else {})}
    data = tiny_data(documents=documents)
    settings = tiny_settings(vocabulary=vocabulary, data={"documents": documents})
    torch.manual_seed(1)
    model = build_model(settings, data, CPU)
    evaluate = Evaluator(model, data.dev, is_stream=documents == "stream")
    metrics = evaluate()
    reader = Reader(model.network, CPU)
    nats, count = 0.0, 0
    for document in data.dev.documents:  # with fewer symbols than the warm-up
        reader.reset()
        found = reader.read(model.symbols.encode(document))
        nats, count = nats - float(found.sum()), count + len(found)
    assert metrics["loss"] == pytest.approx(nats / count, rel=1e-6)
    assert metrics["nats_per_character"] == pytest.approx(nats / len(TEXT), rel=1e-6)
    assert metrics["bits_per_character"] == metrics["nats_per_character"] / math.log(2)
    assert metrics["perplexity"] == math.exp(metrics["loss"])
    assert (count == len(TEXT)) == (kind == "character")


def test_the_evaluator_estimates_a_long_stream_closely() -> None:
    """Reading in 32 pieces after a warm-up gives nearly the same as reading in one piece."""
    text = TEXT * 60
    model = build_model(tiny_settings(), tiny_data(text), CPU)
    metrics = Evaluator(model, Part("dev", (text,), "memory", "whole"), is_stream=True)()
    exact = -Reader(model.network, CPU).read(model.symbols.encode(text)).mean()
    assert metrics["loss"] == pytest.approx(float(exact), rel=1e-4)


def test_the_best_weights_by_dev_are_kept(tmp_path: Path) -> None:
    (tmp_path / "dev.txt").write_text("quite another text, of other words\n")
    listener = Listener()
    data = {"dev": str(tmp_path / "dev.txt")}
    run = train_tiny(tmp_path, TEXT, {"reporter": listener}, data=data, training={"epochs": 12})
    losses = [metrics["loss"] for metrics in listener.evaluations]
    assert run.result.metrics["loss"] == min(losses) < losses[-1]
    dev = load_training_data(tiny_settings(str(tmp_path / "text.txt"), data=data)).dev
    again = Evaluator(run.model, dev, is_stream=True)()
    assert again["loss"] == run.result.metrics["loss"]


# --- resuming ---


STEPS = 12  # two epochs of six updates; evaluations at 4, 8 and 12
DROPS = {"dropout": 0.3, "embedding_dropout": 0.2, "word_dropout": 0.2, "weight_drop": 0.2, "layers": 2}
TWELVE: dict[str, Any] = {
    "epochs": 2,
    "window": 12,
    "batch_tokens": 48,
    "evaluate_every": 4,
    "schedule": "step",
    "decay_steps": 4,
}
ASGD = {"average": "asgd", "average_patience": 1}
RESUMED: dict[str, dict[str, Any]] = {
    "stream": {"model": DROPS, "training": {**TWELVE, "average": "ema", "average_decay": 0.9}},
    "accumulation": {
        "model": {**DROPS, "cell": "gru", "learned_start": True},
        "training": {
            **TWELVE,
            "accumulation": 2,
            "batch_tokens": 24,
            "average": "asgd",
            "average_patience": 1,
        },
    },
    "lines": {
        "model": DROPS,
        "data": {"documents": "line"},
        "training": {**TWELVE, "batch_tokens": 60, "slowness_penalty": 1.0},
    },
}


def stopped_and_resumed(folder: Path, step: int, sections: Mapping[str, Any]) -> TrainedRun[LanguageModel]:
    with pytest.raises(InterruptedRunError):
        train_tiny(folder, TEXT, {"reporter": StopAt(step)}, **sections)
    torch.manual_seed(99)
    return train_tiny(folder, TEXT, {"resume": True}, **sections)


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_stopped_at_any_step_ends_as_one_that_was_not(tmp_path: Path, name: str) -> None:
    sections = RESUMED[name]
    whole = train_tiny(tmp_path / "whole", **sections)
    expected = last_state(tmp_path / "whole")
    steps = whole.result.steps
    assert steps == STEPS or name == "lines"
    for step in range(1, steps, 1 if name == "stream" else 3):
        folder = tmp_path / f"stopped-{step}"
        run = stopped_and_resumed(folder, step, sections)
        assert run.result.metrics == whole.result.metrics
        assert_equal_weights(weights_of(run), weights_of(whole))
        assert_equal_weights(last_state(folder), expected)
    assert any(key.startswith("carried/") for key in expected)


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_forgets_the_state_of_its_stream_ends_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Negative control: a checkpoint without the state of the loss does not reproduce the run."""
    sections = RESUMED[name]
    train_tiny(tmp_path / "whole", **sections)
    monkeypatch.setattr(StreamLoss, "tensors", lambda self: {})
    forgets = False
    for step in (2, 3, 4):  # in the middle of an epoch; with lines, not every batch continues the one before
        stopped_and_resumed(tmp_path / f"stopped-{step}", step, sections)
        before, after = last_state(tmp_path / "whole"), last_state(tmp_path / f"stopped-{step}")
        forgets |= any(not torch.equal(before[key], after[key]) for key in after)
    assert forgets


def test_a_checkpoint_holds_the_state_of_every_layer_and_row(tmp_path: Path) -> None:
    sections = RESUMED["stream"]
    with pytest.raises(InterruptedRunError):
        train_tiny(tmp_path, TEXT, {"reporter": StopAt(3)}, **sections)
    state = last_state(tmp_path)
    names = [key for key in state if key.startswith("carried/")]
    assert sorted(names) == sorted(f"carried/0.{layer}.{part}/0" for layer in range(2) for part in range(2))
    assert all(state[key].shape == (4, 24) for key in names)
    assert all(state[key].any() for key in names)


def test_resuming_with_other_settings_or_data_is_refused_with_the_difference(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    with pytest.raises(UsageError, match="window was 16, is 17"):
        train_tiny(tmp_path, TEXT, {"resume": True}, training={"window": 17})
    with pytest.raises(UsageError, match="data"):
        train_tiny(tmp_path, TEXT + "more\n", {"resume": True})


# --- fine-tuning ---


def test_fine_tuning_keeps_network_and_symbols_and_starts_from_the_weights(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "model": {"cell": "gru", "hidden": 20, "tied": True},
        "vocabulary": {"min_count": 2},
    }
    first = train_tiny(tmp_path / "first", **own)
    listener = Listener()
    (tmp_path / "more.txt").write_text("a new king, and new crown\n" * 5)
    recipe = tables(str(tmp_path / "more.txt"), training={"epochs": 15})
    recipe["model"] = {}
    start = tmp_path / "first" / "run"
    tuned: Any = api.train(recipe, output=tmp_path / "second", initial=start, reporter=listener)
    assert isinstance(tuned.model, LanguageModel)
    assert tuned.model.symbols.to_files() == first.model.symbols.to_files()
    assert tuned.model.description.model == first.model.description.model
    assert tuned.model.description.vocabulary == first.model.description.vocabulary
    assert listener.losses[-1] < 0.8 * listener.losses[0]
    assert listener.losses[0] < math.log(
        len(tuned.model.symbols)
    )  # the initial model is already better than chance
    stored = read_toml(tmp_path / "second" / "recipe.toml")
    assert stored["model"]["cell"] == "gru"


def test_fine_tuning_for_no_time_changes_nothing(tmp_path: Path) -> None:
    first = train_tiny(tmp_path / "first")
    options = {"initial": tmp_path / "first" / "run"}
    tuned = train_tiny(tmp_path / "second", TEXT, options, training={"learning_rate": 1e-30, "epochs": 1})
    assert_equal_weights(weights_of(tuned), weights_of(first))


def test_fine_tuning_refuses_another_network_or_vocabulary_and_names_each_difference() -> None:
    base = build_model(tiny_settings(), tiny_data(), CPU)
    settings = tiny_settings(model={"hidden": 30}, vocabulary={"min_count": 2})
    with pytest.raises(SettingsError) as raised:
        fine_tuning_settings(settings, base)
    message = str(raised.value)
    assert message.startswith("--init-from keeps network and vocabulary; leave out: ")
    assert "model.hidden = 30, the model has 24" in message
    assert "vocabulary.min_count = 2, the model has 1" in message
    assert "embedding" not in message
    assert fine_tuning_settings(tiny_settings(), base).model == base.description.model
    assert fine_tuning_settings(settings, None) is settings


# --- what a run leaves behind ---


@pytest.mark.parametrize("vocabulary", [{}, {"kind": "sentencepiece", "size": 60}, {"kind": "word"}], ids=str)
@pytest.mark.parametrize("model", [{"learned_start": True}, {"adaptive": True}, {"embedding": 0}], ids=str)
def test_the_model_folder_of_a_run_is_the_model_of_the_run(
    tmp_path: Path, model: dict[str, Any], vocabulary: dict[str, Any]
) -> None:
    run = train_tiny(tmp_path, model=model, vocabulary=vocabulary, training={"epochs": 1})
    loaded = LanguageModel.load(tmp_path / "run", device="cpu")
    assert_equal_weights(loaded.network.state_dict(), weights_of(run))
    assert loaded.description.to_config() == run.model.description.to_config()
    ids = run.model.symbols.encode(TEXT)
    np.testing.assert_array_equal(loaded.reader().read(ids), run.model.reader().read(ids))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert f"| nats_per_character | {run.result.metrics['nats_per_character']:.4f} |" in card
    assert f"- train: {len(TEXT)} characters" in card
    assert "A seqtool language model, trained on" in card


def test_settings_can_be_validated_from_what_a_run_stored(tmp_path: Path) -> None:
    run = train_tiny(tmp_path, model={"tied": True})
    settings = validate(LanguageModelSettings, read_toml(run.path / "recipe.toml"), "recipe")
    text = str(tmp_path / "text.txt")
    assert settings.model.tied
    assert load_training_data(settings).fingerprint() == load_training_data(tiny_settings(text)).fingerprint()


@pytest.mark.parametrize("data", [{}, {"documents": "line"}], ids=["stream", "lines"])
def test_an_estimate_knows_how_many_updates_a_run_has(tmp_path: Path, data: dict[str, Any]) -> None:
    training = {"accumulation": 2, "batch_tokens": 32}
    run = train_tiny(tmp_path, data=data, training=training)
    settings = tiny_settings(str(tmp_path / "text.txt"), data=data, training=training)
    found = estimate(prepare(settings, load_training_data(settings)))
    assert found.steps == run.result.steps
    assert found.parameters == sum(value.numel() for value in run.model.network.parameters())
    assert math.isfinite(found.minutes)
    assert any(fact.startswith("vocabulary: ") for fact in found.facts)
