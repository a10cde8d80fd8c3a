"""Progress of a training run on stderr: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from seqtool.cli import console
from seqtool.cli.console import figure, say, shown
from seqtool.errors import counted
from seqtool.training.progress import EvaluationReport, FitResult, SilentReporter, StepReport

ROWS_SHOWN = 12  # evaluations shown in the live table
SECONDS_BETWEEN_LINES = 15.0  # of progress, if stderr is not a terminal
SECONDS_TO_FIRST_LINE = 4.0  # which says early how long the run will take


def training_reporter() -> Any:
    """The reporter that suits stderr: live on a terminal, plain lines elsewhere, silent with `--quiet`."""
    if console.is_quiet():
        return QuietReporter()
    screen = console.error_console()
    live = screen.is_terminal and not screen.is_dumb_terminal
    return LiveReporter() if live else LineReporter()


class QuietReporter(SilentReporter):
    """Prints nothing."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Record that training has begun."""
        console.note_training()


class LineReporter:
    """Prints a line from time to time."""

    def __init__(self) -> None:
        self._total = self._first = 0  # updates of the whole run; those made before this command
        self._next = 0.0  # when the next line is due

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Print the size of the run."""
        console.note_training()
        self._total, self._first = total_steps, step
        self._next = time.monotonic() + SECONDS_TO_FIRST_LINE
        start = f", from {step}" if step else ""
        say(f"{counted(parameters, 'parameter')}, at most {counted(total_steps, 'update')}{start}")

    def step(self, report: StepReport) -> None:
        """Print a line, unless the last one is recent."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_LINES
        say(f"step {report.step}/{self._total}, loss {report.loss:.4f}, {_duration(report.left)} left")

    def evaluation(self, report: EvaluationReport) -> None:
        """Print a line for each evaluation."""
        values = ", ".join(f"{name} {figure(report.metrics[name])}" for name in shown(report.metrics))
        mark = " (best)" if report.improved else ""
        say(
            f"epoch {report.epoch}, step {report.step}, train loss {report.train_loss:.4f}, "
            f"dev: {values}{mark}, {_duration(report.seconds)}"
        )

    def message(self, text: str) -> None:
        """Print a message."""
        say(text)

    def finished(self, result: FitResult) -> None:
        """Print how training ended."""
        value = figure(result.metrics.get(result.selected_by, float("nan")))
        best = f"best {result.selected_by} {value} at step {result.best_step}"
        if self._first == result.steps:
            say(f"nothing was left to train; {best}")
        else:
            say(f"finished after {_duration(result.seconds)} ({result.reason}); {best}")


class LiveReporter(LineReporter):
    """Draws a live table of evaluations and a progress bar with the time left."""

    def __init__(self) -> None:
        super().__init__()
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
        """Start the display."""
        super().started(total_steps, step, parameters)
        if self._task is not None:  # a run may be several jobs, one after the other
            self._progress.remove_task(self._task)
            self._rows = []
        self._task = self._progress.add_task("training", total=total_steps, completed=step, facts="")
        self._live = Live(
            self._table(), console=console.error_console(), refresh_per_second=5, transient=False
        )
        self._live.start()

    def step(self, report: StepReport) -> None:
        """Advance the progress bar."""
        assert self._task is not None
        facts = f"{_duration(report.left)} left  epoch {report.epoch}  loss {report.loss:.4f}"
        self._progress.update(self._task, completed=report.step, facts=facts)

    def evaluation(self, report: EvaluationReport) -> None:
        """Add a row to the table."""
        self._rows.append(report)
        if self._live is not None:
            self._live.update(self._table())

    def message(self, text: str) -> None:
        """Print a message above the table."""
        say(text)

    def finished(self, result: FitResult) -> None:
        """Stop the display, leaving its last state on the screen."""
        self.close()
        super().finished(result)

    def close(self) -> None:
        """Stop the display."""
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
