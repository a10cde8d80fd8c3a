from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip fsync: what remains after a crash of the machine cannot be tested here anyway."""
    monkeypatch.setattr(os, "fsync", os.fstat)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Use one thread: networks of a few thousand weights are slower on two."""
    torch.set_num_threads(1)
