"""Listeners for the runs of tests: one records the events, one interrupts; and what stops any job."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from seqtool.errors import InterruptedRunError
from seqtool.training import loop
from seqtool.training.progress import EvaluationReport, SilentReporter, StepReport


class Listener(SilentReporter):
    """Records the events of a run."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.losses: list[float] = []
        self.evaluations: list[dict[str, float]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def step(self, report: StepReport) -> None:
        self.losses.append(report.loss)

    def evaluation(self, report: EvaluationReport) -> None:
        self.evaluations.append(report.metrics)


class StopAt(Listener):
    """Presses Ctrl-C during an update."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def step(self, report: StepReport) -> None:
        super().step(report)
        if report.step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


def interrupt_after(updates: int, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """Let the process be interrupted after so many updates, of whatever job they are."""
    made, update = iter(range(1_000_000)), loop.update

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(made) == updates:
            raise InterruptedRunError("interrupted", 2, run)
        return update(*args, **options)

    monkeypatch.setattr(loop, "update", interrupted)
