"""Several threads share the work of an operation: the order in which they finish must not affect results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqtool import api
from seqtool.models.folder import weights_digest
from seqtool.translation.decoders import Memory
from seqtool.translation.model import Source


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


def test_a_source_that_is_read_several_times_has_the_same_gradient_each_time() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(1)
    parts = [torch.randn(16, 20, 128, requires_grad=True) for _ in range(3)]
    source = Source(Memory(*parts, torch.ones(16, 20) > 0), torch.zeros(16, 128), torch.zeros(16, 20))
    weights = torch.randn(16 * 5, 20, 128)
    owners = torch.randint(16, (16 * 5,))
    found = set()
    for _ in range(10):
        memory = source.kept(owners).memory
        total = (weights * (memory.keys + memory.during + memory.after)).sum()
        gradients = torch.autograd.grad(total, parts)
        found.add(tuple(each.numpy().tobytes() for each in gradients))
    assert len(found) == 1
