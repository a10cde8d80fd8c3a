from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash of the machine leaves cannot be tested here, so nobody waits for the platter."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Networks of a few thousand weights are slower on two threads than on one."""
    torch.set_num_threads(1)
