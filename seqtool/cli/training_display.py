"""The display of a training run on stderr: live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from seqtool.cli import console
from seqtool.cli.console import figure, say, shown
from seqtool.training.progress import EvaluationReport, FitResult, SilentReporter, StepReport

ROWS_SHOWN = 12  # evaluations in the live table
SECONDS_BETWEEN_LINES = 15.0  # of plain progress, when stderr is no terminal


def training_reporter(metric: str) -> Any:
    """The display that suits stderr: live on a terminal, plain lines elsewhere, none when quiet.

    Args:
        metric: Name of the metric that picks the best weights.
    """
    if console.is_quiet():
        return QuietReporter()
    screen = console.error_console()
    live = screen.is_terminal and not screen.is_dumb_terminal
    return LiveReporter(metric) if live else LineReporter(metric)


class QuietReporter(SilentReporter):
    """Says nothing."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Only noted."""
        console.note_training()


class LineReporter:
    """A line now and then."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._total = 0
        self._last = time.monotonic()

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Note the size of the run."""
        console.note_training()
        self._total, self._last = total_steps, time.monotonic()
        say(
            f"{parameters:,} parameters, {total_steps:,} updates at most" + (f", from {step}" if step else "")
        )

    def step(self, report: StepReport) -> None:
        """A line if the last one is old."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        say(f"step {report.step}/{self._total}, loss {report.loss:.4f}, {_duration(report.left)} left")

    def evaluation(self, report: EvaluationReport) -> None:
        """A line an evaluation."""
        values = ", ".join(f"{name} {figure(report.metrics[name])}" for name in shown(report.metrics))
        mark = " (best)" if report.improved else ""
        say(
            f"epoch {report.epoch}, step {report.step}, train loss {report.train_loss:.4f}, "
            f"dev: {values}{mark}, {_duration(report.seconds)}"
        )

    def message(self, text: str) -> None:
        """A line."""
        say(text)

    def finished(self, result: FitResult) -> None:
        """How it ended."""
        value = figure(result.metrics.get(self._metric, float("nan")))
        say(
            f"finished after {_duration(result.seconds)} ({result.reason}); "
            f"best {self._metric} {value} at step {result.best_step}"
        )


class LiveReporter(LineReporter):
    """A table of the evaluations and a bar with the time left, redrawn in place."""

    def __init__(self, metric: str) -> None:
        super().__init__(metric)
        self._rows: list[EvaluationReport] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[facts]}"),
            console=console.error_console(),
        )
        self._task: TaskID | None = None
        self._live: Live | None = None

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Open the display."""
        super().started(total_steps, step, parameters)
        self._task = self._progress.add_task("training", total=total_steps, completed=step, facts="")
        self._live = Live(
            self._table(), console=console.error_console(), refresh_per_second=5, transient=False
        )
        self._live.start()

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        assert self._task is not None
        facts = f"{_duration(report.left)} left  epoch {report.epoch}  loss {report.loss:.4f}"
        self._progress.update(self._task, completed=report.step, facts=facts)

    def evaluation(self, report: EvaluationReport) -> None:
        """Add a row."""
        self._rows.append(report)
        if self._live is not None:
            self._live.update(self._table())

    def message(self, text: str) -> None:
        """A line above the table."""
        say(text)

    def finished(self, result: FitResult) -> None:
        """Leave the last state on the screen."""
        self.close()
        super().finished(result)

    def close(self) -> None:
        """Give the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _table(self) -> Group:
        table = Table(box=None, pad_edge=False)
        names = shown(self._rows[0].metrics) if self._rows else []
        for heading in ("epoch", "step", "train loss", *names, "time"):
            table.add_column(heading, justify="right")
        for row in self._rows[-ROWS_SHOWN:]:
            figures = [figure(row.metrics[name]) for name in names]
            style = "bold green" if row.improved else None
            table.add_row(
                str(row.epoch),
                str(row.step),
                f"{row.train_loss:.4f}",
                *figures,
                _duration(row.seconds),
                style=style,
            )
        return Group(table, self._progress) if self._rows else Group(self._progress)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
