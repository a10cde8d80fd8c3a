"""Messages and errors on stderr, results on stdout. Rich is imported when there is something to print."""

from __future__ import annotations

import contextlib
import math
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
    """Apply the global switches; Rich itself respects NO_COLOR and TERM=dumb."""
    global _quiet, _colour, _training_has_begun, _error_console
    _quiet, _colour, _training_has_begun, _error_console = quiet, colour, False, None


def has_colour() -> bool:
    """Whether colours were not switched off with `--no-color`."""
    return _colour


def is_quiet() -> bool:
    """Whether only results and errors are printed."""
    return _quiet


def error_console() -> Console:
    """The Rich console of standard error, made for the first message."""
    global _error_console
    if _error_console is None:
        from seqtool.cli.error_console import ErrorConsole

        _error_console = ErrorConsole(colour=_colour)
    return _error_console


def silence() -> None:
    """Print nothing but errors from now on; another process of the same run reports its progress."""
    global _quiet
    _quiet = True


def name_command(name: str) -> None:
    """Set the command that error messages begin with, as in `seqtool tag: error: ...`.

    Args:
        name: Words after `seqtool`, as in `train ner`; empty for seqtool itself.
    """
    global _command
    _command = f"seqtool {name}".rstrip()


def command() -> str:
    """The command as it was typed, for instance `seqtool tag`."""
    return _command


def say(message: str) -> None:
    """Print a message on stderr, unless `--quiet` was given."""
    if not _quiet:
        _tell(printable(message))


def warn(message: str) -> None:
    """Print a warning on stderr, unless `--quiet` was given."""
    if not _quiet:
        _tell(("warning: ", "yellow"), printable(message))


def error(message: str) -> None:
    """Print the one line with which a failed command ends."""
    line = printable(" ".join(message.splitlines()))
    _tell(f"{_command}: ", ("error: ", "bold red"), line)


def interrupted(message: str) -> None:
    """Print the one line with which an interrupted command ends; it is not an error."""
    _tell(f"{_command}: ", printable(message))


def _tell(*parts: str | tuple[str, str]) -> None:
    """Print one line of texts, some of which have a style."""
    from rich.text import Text

    with contextlib.suppress(OSError):  # a closed stderr is no reason to stop
        error_console().print(Text.assemble(*parts))


def printable(text: str) -> str:
    """Text with control characters escaped, so that data cannot control the terminal or reverse its text."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode() for c in text
    )


def output() -> Any:
    """Standard output, for results.

    Raises:
        StorageError: standard output is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise StorageError("standard output is closed")
    return sys.stdout


def write_result(text: str) -> None:
    """Write results to standard output; on a terminal, control characters are escaped."""
    stream = output()
    stream.write(printable(text) if stream.isatty() else text)


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return bool(output().isatty())


def print_text(text: Text) -> None:
    """Print one line with colours on standard output."""
    from rich.console import Console

    no_color = True if os.environ.get("NO_COLOR") else None
    Console(file=output(), highlight=False, soft_wrap=True, no_color=no_color).print(text)


def print_table(table: Table) -> None:
    """Print a table on standard output.

    On a terminal it is drawn. In a pipe or file there is one line per row with tabs between the cells; a
    title stands on a line above the rows, with an empty line after them.
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
    """The text of a cell with tabs and line breaks escaped, so that it stays one field of one line."""
    return str(cell).replace("\t", "\\t").replace("\n", "\\n")


def training_has_begun() -> bool:
    """Whether this command's training has made its first update; from then on it saves before it stops."""
    return _training_has_begun


def note_training() -> None:
    """Record that this command's training has made its first update."""
    global _training_has_begun
    _training_has_begun = True


def shown(metrics: Mapping[str, float]) -> list[str]:
    """Names of the metrics to print; a name with a dot is a detail that only the files record.

    The loss of a language model of characters is its nats per character, and its perplexity says the same.
    """
    loss, nats = (metrics.get(name, math.nan) for name in ("loss", "nats_per_character"))
    repeated = ("loss", "perplexity") if math.isclose(loss, nats, rel_tol=1e-6) else ()
    return [name for name in metrics if "." not in name and name not in repeated]


def figure(value: float) -> str:
    """A metric as it is printed: with four decimals, or one if it is 1,000 or more."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
