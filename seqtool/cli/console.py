"""What people see on stderr: messages and errors. Rich is imported when there is something to print."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqtool.errors import StorageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Not printable by Unicode's table, but harmless, and part of words and emoji.
_HARMLESS = frozenset("\t\n\u00a0\u200c\u200d\u3000")

_quiet = False
_command = "seqtool"
_colour = True
_training_has_begun = False
_error_console: Console | None = None  # made when the first message is printed


def configure(*, quiet: bool, colour: bool) -> None:
    """Set what the global switches say; NO_COLOR and TERM=dumb are Rich's to respect."""
    global _quiet, _colour, _training_has_begun, _error_console
    _quiet, _colour, _training_has_begun, _error_console = quiet, colour, False, None


def is_quiet() -> bool:
    """Whether only results and errors are printed."""
    return _quiet


def error_console() -> Console:
    """Standard error, as it was when the first message was printed."""
    global _error_console
    if _error_console is None:
        from seqtool.cli.error_console import ErrorConsole

        _error_console = ErrorConsole(colour=_colour)
    return _error_console


def silence() -> None:
    """Say nothing more but errors: another process of the same run speaks."""
    global _quiet
    _quiet = True


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
        _tell(printable(message))


def warn(message: str) -> None:
    """A fact that they should not miss."""
    if not _quiet:
        _tell(("warning: ", "yellow"), printable(message))


def error(message: str) -> None:
    """The one line of a failed command."""
    line = printable(" ".join(message.splitlines()))
    _tell(f"{_command}: ", ("error: ", "bold red"), line)


def interrupted(message: str) -> None:
    """The one line of a command that a signal has ended, which is no error of anybody's."""
    _tell(f"{_command}: ", printable(message))


def _tell(*parts: str | tuple[str, str]) -> None:
    """A line of texts, some with a style."""
    from rich.text import Text

    with contextlib.suppress(OSError):  # nowhere to say it: no reason to stop
        error_console().print(Text.assemble(*parts))


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
    from rich.console import Console

    no_color = True if os.environ.get("NO_COLOR") else None
    Console(file=output(), highlight=False, soft_wrap=True, no_color=no_color).print(text)


def print_table(table: Table) -> None:
    """A table on standard output: drawn on a terminal, elsewhere one row a line with tabs between cells.

    A title stands above its rows, and an empty line after them.
    """
    stream = output()
    if stream.isatty():
        from rich.console import Console

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


def training_has_begun() -> bool:
    """Whether a run of this command has come to its first update: from there on it saves before it leaves."""
    return _training_has_begun


def note_training() -> None:
    """Remember that a run of this command has come to its first update."""
    global _training_has_begun
    _training_has_begun = True


def shown(metrics: Mapping[str, float]) -> list[str]:
    """Names of the metrics for people; a name with a dot in it is a detail, for the files alone."""
    return [name for name in metrics if "." not in name]


def figure(value: float) -> str:
    """A metric for people: four decimals, of large numbers one."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
