"""Tables of facts; data in them is escaped on a terminal and raw in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from seqtool.cli import console


def cell(value: object) -> Text:
    """A cell that shows text as it is, markup included, and cannot steer a terminal."""
    text = str(value)
    return Text(console.printable(text) if console.output().isatty() else text)


def facts_table(title: str, rows: Iterable[tuple[str, object]], *, right: bool = False) -> Table:
    """Two columns: what, and what it is.

    Args:
        title: Stands above.
        rows: Name and value.
        right: Whether to align the values to the right, as figures are.
    """
    table = Table(title=cell(title), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right" if right else "left", overflow="fold")
    for name, value in rows:
        table.add_row(cell(name), cell(value))
    return table
