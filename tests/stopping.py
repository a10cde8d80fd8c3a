"""Interruptions for tests that resume."""

from __future__ import annotations

import os
import signal

from seqtool.training.progress import SilentReporter, StepReport


class StopAt(SilentReporter):
    """Presses Ctrl-C during an update."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, report: StepReport) -> None:
        if report.step == self._step:
            os.kill(os.getpid(), signal.SIGINT)
