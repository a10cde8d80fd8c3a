"""What people see on stderr: messages, errors, and the display of a training run."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from seqtool.errors import StorageError
from seqtool.training.progress import EvaluationReport, FitResult, SilentReporter, StepReport

ROWS_SHOWN = 12  # evaluations in the live table
SECONDS_BETWEEN_LINES = 15.0  # of plain progress, when stderr is no terminal

# Not printable by Unicode's table, but harmless, and part of words and emoji.
_HARMLESS = frozenset("\t\n\u00a0\u200c\u200d\u3000")


class _ErrorConsole(Console):
    """Standard error; when its reader goes away the work goes on, with nobody to tell."""

    def __init__(self, *, colour: bool = True) -> None:
        super().__init__(stderr=True, highlight=False, soft_wrap=True, no_color=None if colour else True)

    def on_broken_pipe(self) -> None:
        """Say nothing more (Rich itself would end the program)."""
        self.quiet = True


_quiet = False
_command = "seqtool"
_training_has_begun = False
stderr: Console = _ErrorConsole()


def configure(*, quiet: bool, colour: bool) -> None:
    """Set what the global switches say; NO_COLOR and TERM=dumb are Rich's to respect."""
    global _quiet, _training_has_begun, stderr
    _quiet, _training_has_begun = quiet, False
    stderr = _ErrorConsole(colour=colour)


def name_command(name: str) -> None:
    """What heads error messages, as in `seqtool tag: error: ...`; an empty name is seqtool itself."""
    global _command
    _command = f"seqtool {name}".rstrip()


def command() -> str:
    """What was typed, as in `seqtool tag`."""
    return _command


def say(message: str) -> None:
    """A fact for people."""
    if not _quiet:
        _tell(Text(printable(message)))


def warn(message: str) -> None:
    """A fact that they should not miss."""
    if not _quiet:
        _tell(Text.assemble(("warning: ", "yellow"), printable(message)))


def error(message: str) -> None:
    """The one line of a failed command."""
    line = printable(" ".join(message.splitlines()))
    _tell(Text.assemble(f"{_command}: ", ("error: ", "bold red"), line))


def _tell(text: Text) -> None:
    with contextlib.suppress(OSError):  # nowhere to say it: no reason to stop
        stderr.print(text)


def printable(text: str) -> str:
    """Text without control characters, so that no data can steer a terminal or reverse its text."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode() for c in text
    )


def output() -> Any:
    """Standard output for results; a broken or closed one is an error with exit code 5.

    Raises:
        StorageError: standard output is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise StorageError("standard output is closed")
    return sys.stdout


def write_result(text: str) -> None:
    """Results on standard output: raw into a pipe or file, control characters escaped on a terminal."""
    stream = output()
    stream.write(printable(text) if stream.isatty() else text)


def is_terminal() -> bool:
    """Whether results go to a person."""
    return bool(output().isatty())


def print_text(text: Text) -> None:
    """A line with colours on standard output."""
    no_color = True if os.environ.get("NO_COLOR") else None
    Console(file=output(), highlight=False, soft_wrap=True, no_color=no_color).print(text)


def print_table(table: Table) -> None:
    """A table on standard output: drawn on a terminal, elsewhere one row a line with tabs between cells.

    A title stands above its rows, and an empty line after them.
    """
    stream = output()
    if stream.isatty():
        colour = True if os.environ.get("NO_COLOR") else None
        Console(file=stream, highlight=False, no_color=colour).print(table)
        return
    headings = [[column.header for column in table.columns]] if table.show_header else []
    rows = zip(*(column.cells for column in table.columns), strict=True)
    lines = ["\t".join(map(_field, row)) for row in (*headings, *rows)]
    if table.title is not None:
        lines = [_field(table.title), *lines, ""]
    stream.write("".join(f"{line}\n" for line in lines))


def _field(cell: object) -> str:
    """The text of a cell, in one field of one line."""
    return str(cell).replace("\t", "\\t").replace("\n", "\\n")


def training_reporter(metric: str) -> Any:
    """The display that suits stderr: live on a terminal, plain lines elsewhere, none when quiet.

    Args:
        metric: Name of the metric that picks the best weights.
    """
    if _quiet:
        return QuietReporter()
    live = stderr.is_terminal and not stderr.is_dumb_terminal
    return LiveReporter(metric) if live else LineReporter(metric)


def training_has_begun() -> bool:
    """Whether a run of this command has come to its first update: from there on it saves before it leaves."""
    return _training_has_begun


def _note_training() -> None:
    global _training_has_begun
    _training_has_begun = True


class QuietReporter(SilentReporter):
    """Says nothing."""

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Only noted."""
        _note_training()


class LineReporter:
    """A line now and then."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._total = 0
        self._last = time.monotonic()

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Note the size of the run."""
        _note_training()
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
            console=stderr,
        )
        self._task: TaskID | None = None
        self._live: Live | None = None

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        """Open the display."""
        super().started(total_steps, step, parameters)
        self._task = self._progress.add_task("training", total=total_steps, completed=step, facts="")
        self._live = Live(self._table(), console=stderr, refresh_per_second=5, transient=False)
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


def shown(metrics: Mapping[str, float]) -> list[str]:
    """Names of the metrics for people; a name with a dot in it is a detail, for the files alone."""
    return [name for name in metrics if "." not in name]


def figure(value: float) -> str:
    """A metric for people: four decimals, of large numbers one."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
