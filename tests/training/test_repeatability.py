"""Several threads share the work of an operation: in what order they finish must not show in its result."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.training.modelfolder import weights_digest


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", os.fstat)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("task", ["ner", "translate", "lm"])
def test_training_with_two_threads_gives_the_same_weights_each_time(task: str, tmp_path: Path) -> None:
    changes = ("training.max_steps=8", "threads=2", "device=cpu")
    runs = [api.train(task=task, overrides=changes, output=tmp_path / str(turn)) for turn in range(3)]
    assert len({weights_digest(run.path) for run in runs}) == 1
