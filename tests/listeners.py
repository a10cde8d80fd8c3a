"""Listeners for the runs of tests: one records the events, one interrupts."""

from __future__ import annotations

import os
import signal

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
