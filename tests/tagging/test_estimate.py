from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seqtool.tagging.train import build_model, prepare
from seqtool.text.batching import training_batches
from seqtool.training.job import TIMED_UPDATES, estimate
from tests.tagging.tiny_tagger import CPU, SENTENCES, load_data, tiny_data, tiny_settings, write_columns


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_estimate_gives_all_figures_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.chdir(tmp_path)
    train = write_columns(tmp_path / "train.conll")
    settings = tiny_settings(train, training={"precision": precision}, model={"characters": "cnn"})
    data = load_data(train)
    found = estimate(prepare(settings, data))
    assert [path.name for path in tmp_path.iterdir()] == ["train.conll"]
    assert found.parameters == sum(p.numel() for p in build_model(settings, data, CPU).network.parameters())
    few = f"only about {found.steps} updates in all; lower --batch-tokens or raise --epochs"
    same = (
        "the development data is the training data, so scores on it say nothing about other text; name other "
        "data with --dev, or leave --dev out to hold some out"
    )
    remark = "dev has only 13 entities: an F1 of 0.80 on it means 0.53 to 0.93 (95 % interval); "
    remark += "give a larger one with --dev FILE"
    assert found.facts == (*data.describe(), same, remark, few)
    assert 10 < found.megabytes < 100_000
    assert 0 < found.minutes < 1


@pytest.mark.parametrize(("accumulation", "limit"), [(1, 0), (2, 0), (3, 0), (1, 5), (1, 10_000)])
def test_steps_are_those_of_the_run(accumulation: int, limit: int) -> None:
    training = {"accumulation": accumulation, "max_steps": limit, "epochs": 4}
    batches = len(training_batches([len(row) for row in SENTENCES], budget=16, seed=1, epoch=0))
    expected = 4 * -(-batches // accumulation)
    found = estimate(prepare(tiny_settings(training=training), tiny_data()))
    assert found.steps == (min(limit, expected) if limit else expected)


def test_an_estimate_needs_no_more_batches_than_there_are() -> None:
    found = estimate(prepare(tiny_settings(training={"batch_tokens": 10_000}), tiny_data()))
    assert found.steps == 3
    assert TIMED_UPDATES > 1


def test_warnings_about_the_data_are_among_the_facts(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.conll")
    data = load_data(train, data={"dev": None})
    assert any("held out" in fact for fact in estimate(prepare(tiny_settings(train), data)).facts)


def test_an_estimate_does_not_move_a_run(tmp_path: Path) -> None:
    settings, data = tiny_settings(), tiny_data()
    torch.manual_seed(1)
    before = build_model(settings, data, CPU).network.state_dict()
    estimate(prepare(settings, data))
    torch.manual_seed(1)
    after = build_model(settings, data, CPU).network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
