"""How threads wait for each other is set before torch reads it, unless the user has set it."""

from __future__ import annotations

import os

import pytest

from seqtool.cli import app


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "100000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_wait_briefly(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "to be taken away again")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["seqtool", "--version"])
    with pytest.raises(SystemExit):
        app.main()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
