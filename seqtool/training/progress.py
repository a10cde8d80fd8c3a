"""The progress of a run, and those who are told of it: displays, TensorBoard, Python programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from seqtool.errors import UsageError


class StepReport(NamedTuple):
    """One update."""

    step: int  # updates so far, including this one
    epoch: int  # from 1
    loss: float  # mean training loss of this update, nats per unit
    unit: str  # token, sentence or character
    units: int  # number of units in the batches of this update
    learning_rate: float
    gradient_norm: float  # before clipping
    seconds: float  # since the first update, evaluations included
    left: float  # estimated seconds to the end of the run, unless early stopping ends it before


class EvaluationReport(NamedTuple):
    """One evaluation."""

    step: int
    epoch: int  # from 1
    train_loss: float  # mean training loss since the previous evaluation, nats per unit
    metrics: dict[str, float]
    learning_rate: float  # of the last update
    improved: bool  # whether this evaluation is the best so far
    seconds: float  # since the first update, evaluations included


class FitResult(NamedTuple):
    """How a run ended; the model holds its best weights by then."""

    metrics: dict[str, float]  # of the best evaluation
    best_step: int  # updates before the best evaluation
    steps: int  # updates of the whole run
    epochs: float  # passes over the training data, fractions included
    seconds: float  # since the first update, evaluations included
    selected_by: str  # name of the metric that selects the best evaluation
    reason: str  # setting that ended the run: epochs, max_steps, max_minutes or patience


class Reporter(Protocol):
    """Is told of the progress of a run. With several processes, only that of process 0 is told."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Training starts.

        Args:
            total_steps: Updates of the whole run, unless time or early stopping ends it before.
            step: Updates made before, in a run that is resumed; otherwise 0.
            parameters: Number of trainable parameters.
        """

    def step(self, report: StepReport) -> None:
        """An update was made."""

    def evaluation(self, report: EvaluationReport) -> None:
        """The model was evaluated on dev."""

    def message(self, text: str) -> None:
        """There is a message for the user, one line."""

    def finished(self, result: FitResult) -> None:
        """Training is finished."""


class SilentReporter:
    """Ignores everything; a base class for reporters that use only part of it."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Do nothing."""

    def step(self, report: StepReport) -> None:
        """Do nothing."""

    def evaluation(self, report: EvaluationReport) -> None:
        """Do nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def finished(self, result: FitResult) -> None:
        """Do nothing."""


class TensorBoardReporter:
    """Writes learning curves for TensorBoard, and passes everything on to another reporter.

    Args:
        folder: Folder of the event files.
        inner: The other reporter.
        every: Updates per point of the training curves, at least 1.

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
        """Write the loss, the learning rate and the gradient norm, once per `every` updates."""
        if report.step % self._every == 0:
            self._write("train/loss", report.loss, report.step)
            self._write("train/learning_rate", report.learning_rate, report.step)
            self._write("train/gradient_norm", report.gradient_norm, report.step)
        self._inner.step(report)

    def evaluation(self, report: EvaluationReport) -> None:
        """Write every metric."""
        for name, value in report.metrics.items():
            self._write(f"dev/{name}", value, report.step)
        self._inner.evaluation(report)

    def message(self, text: str) -> None:
        """Pass it on."""
        self._inner.message(text)

    def finished(self, result: FitResult) -> None:
        """Close the event file."""
        self._writer.close()
        self._inner.finished(result)

    def _write(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self._writer.add_scalar(name, value, step)
