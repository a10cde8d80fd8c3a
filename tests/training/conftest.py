from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of the machine cannot be tested here, so fsync does nothing."""
    monkeypatch.setattr(os, "fsync", os.fstat)
