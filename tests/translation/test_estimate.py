from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.text.batching import training_batches
from seqtool.training.job import TIMED_UPDATES, estimate
from seqtool.translation.batches import encode_pairs, longer_side, shorter_side
from seqtool.translation.data import load_training_data
from seqtool.translation.train import build_model, describe_vocabularies, prepare
from tests.translation.tiny_pairs import COPYING, CPU, TEXTS, pairs_of, tiny_data, tiny_settings, write_pairs


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_estimate_gives_all_figures_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.chdir(tmp_path)
    train = write_pairs(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    settings = tiny_settings(train, training={"precision": precision}, model={"copy": True})
    data = load_training_data(settings)
    found = estimate(prepare(settings, data))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    model = build_model(settings, data, CPU)
    assert found.parameters == sum(parameter.numel() for parameter in model.network.parameters())
    few = f"only about {found.steps} updates in all; lower --batch-tokens or raise --epochs"
    vocabulary, search, few_updates = found.facts[-3:]
    assert (vocabulary, few_updates) == (describe_vocabularies(model.vocabularies), few)
    assert search.startswith("dev is scored by greedy search")
    assert 10 < found.megabytes < 100_000
    assert 0 < found.minutes < 1


@pytest.mark.parametrize(("accumulation", "limit"), [(1, 0), (2, 0), (3, 0), (1, 5), (1, 10_000)])
def test_steps_are_those_of_the_run(accumulation: int, limit: int) -> None:
    training = {"accumulation": accumulation, "max_steps": limit, "epochs": 4}
    settings = tiny_settings(training=training)
    encoded = encode_pairs(pairs_of(), build_model(settings, tiny_data(), CPU).vocabularies)
    batches = training_batches(
        [longer_side(pair) for pair in encoded],
        ties=[shorter_side(pair) for pair in encoded],
        budget=32,
        seed=1,
        epoch=0,
    )
    expected = 4 * -(-len(batches) // accumulation)
    found = estimate(prepare(settings, tiny_data()))
    assert found.steps == (min(limit, expected) if limit else expected)


def test_a_run_takes_no_longer_than_it_may() -> None:
    unlimited = estimate(prepare(tiny_settings(training={"epochs": 1000}), tiny_data()))
    limited = estimate(prepare(tiny_settings(training={"epochs": 1000, "max_minutes": 1e-3}), tiny_data()))
    assert limited.minutes == 1e-3
    assert 1 <= limited.steps < unlimited.steps
    assert unlimited.minutes > 1e-3


def test_an_estimate_needs_no_more_batches_than_there_are() -> None:
    found = estimate(prepare(tiny_settings(training={"batch_tokens": 10_000}), tiny_data()))
    assert found.steps == 3
    assert TIMED_UPDATES > 1


def test_what_is_left_out_is_among_the_facts(tmp_path: Path) -> None:
    texts = [*TEXTS, ("yes " * 40, "ja")]
    settings = tiny_settings(
        write_pairs(tmp_path, texts), data={"dev": None, "max_length": 20}, vocabulary=COPYING
    )
    facts = estimate(prepare(settings, load_training_data(settings))).facts
    assert any("held out" in fact for fact in facts)
    settings = tiny_settings(write_pairs(tmp_path, texts), data={"max_length": 20})
    facts = estimate(prepare(settings, load_training_data(settings))).facts
    assert "1 training pair with more than 20 symbols on a side left out (data.max_length)" in facts


def test_an_estimate_does_not_move_a_run() -> None:
    settings, data = tiny_settings(), tiny_data()
    torch.manual_seed(1)
    before = build_model(settings, data, CPU).network.state_dict()
    estimate(prepare(settings, data))
    torch.manual_seed(1)
    after = build_model(settings, data, CPU).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
