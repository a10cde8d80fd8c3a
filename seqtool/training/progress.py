"""What a run tells whoever watches it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from seqtool.errors import UsageError


class StepReport(NamedTuple):
    """One update."""

    step: int  # updates so far, this one included
    epoch: int  # from 1
    loss: float  # nats a unit, over the batches of this update
    unit: str  # what the loss is divided by: token, sentence or character
    units: int  # what the loss was summed over in this update
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float  # since the first update, evaluations included
    left: float  # seconds to the end at this pace, if patience does not end it earlier


class EvaluationReport(NamedTuple):
    """One evaluation."""

    step: int
    epoch: int  # from 1
    train_loss: float  # nats a unit, since the evaluation before
    metrics: dict[str, float]
    learning_rate: float
    improved: bool  # whether this is the best so far
    seconds: float


class FitResult(NamedTuple):
    """How a run ended; the model holds its best weights then."""

    metrics: dict[str, float]  # of the best evaluation
    best_step: int
    steps: int
    epochs: float  # passes over the data, fractions included
    seconds: float
    reason: str  # epochs, max_steps, max_minutes or patience


class Reporter(Protocol):
    """Receives news; only process 0 has one that does something."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Training begins: expected updates, updates already done (resumed), trainable numbers."""

    def step(self, report: StepReport) -> None:
        """An update was made."""

    def evaluation(self, report: EvaluationReport) -> None:
        """The model was evaluated."""

    def message(self, text: str) -> None:
        """Something that a person should know."""

    def finished(self, result: FitResult) -> None:
        """Training is over."""


class SilentReporter:
    """Says nothing."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Nothing."""

    def step(self, report: StepReport) -> None:
        """Nothing."""

    def evaluation(self, report: EvaluationReport) -> None:
        """Nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def finished(self, result: FitResult) -> None:
        """Nothing."""


class TensorBoardReporter:
    """Writes curves for TensorBoard, and passes everything on to another reporter.

    Args:
        folder: Where the event files go.
        inner: Hears everything too.
        every: Updates between two points of the training curves.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, inner: Reporter, every: int = 10) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UsageError(
                "--track tensorboard needs the package tensorboard; install it with: pip install tensorboard"
            ) from None
        self._writer: Any = SummaryWriter(str(folder))
        self._inner = inner
        self._every = every

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Pass it on."""
        self._inner.started(total_steps, step, parameters)

    def step(self, report: StepReport) -> None:
        """Draw loss, learning rate and gradient norm."""
        if report.step % self._every == 0:
            self._draw("train/loss", report.loss, report.step)
            self._draw("train/learning_rate", report.learning_rate, report.step)
            self._draw("train/gradient_norm", report.gradient_norm, report.step)
        self._inner.step(report)

    def evaluation(self, report: EvaluationReport) -> None:
        """Draw every metric."""
        for name, value in report.metrics.items():
            self._draw(f"dev/{name}", value, report.step)
        self._inner.evaluation(report)

    def message(self, text: str) -> None:
        """Pass it on."""
        self._inner.message(text)

    def finished(self, result: FitResult) -> None:
        """Close the event file."""
        self._writer.close()
        self._inner.finished(result)

    def _draw(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self._writer.add_scalar(name, value, step)
