from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash of the machine leaves cannot be tested here, so nobody waits for the platter."""
    monkeypatch.setattr(os, "fsync", os.fstat)
