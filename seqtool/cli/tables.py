"""Tables for the terminal or a pipe; text from data is escaped on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from seqtool.cli import console

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from seqtool.evaluation.score import Score
    from seqtool.evaluation.significance import Interval, PairedTest

SIGNIFICANT = 0.05  # p below which a difference is called significant


def cell(value: object) -> Text:
    """A cell that shows text literally, without markup; control characters are escaped on a terminal."""
    from rich.text import Text

    text = str(value)
    return Text(console.printable(text) if console.output().isatty() else text)


def plain_table(columns: Mapping[str, bool], rows: Iterable[Iterable[object]]) -> Table:
    """A table of texts without borders.

    Args:
        columns: Whether the cells of a column stay on one line, by heading.
        rows: Values of each row, one per column.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading, whole in columns.items():
        table.add_column(heading, no_wrap=whole, overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def facts_table(title: str, rows: Iterable[tuple[str, object]], *, right: bool = False) -> Table:
    """A table of names and values.

    Args:
        title: Title above the table.
        rows: Name and value of each row.
        right: Whether to right-align the values, as for numbers.
    """
    from rich.table import Table

    table = Table(title=cell(title), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right" if right else "left", overflow="fold")
    for name, value in rows:
        table.add_row(cell(name), cell(value))
    return table


def scores_table(
    model: str, data: str, scores: Mapping[str, Score], intervals: Mapping[str, Interval]
) -> Table:
    """A table with one row per score: value, confidence interval, signature."""
    from rich.table import Table

    table = Table(title=cell(f"{model} on {data}"), title_justify="left")
    for heading in ("metric", "value", "95 % interval", "signature"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for name, score in scores.items():
        interval = intervals.get(name)
        shown = f"{console.figure(interval.low)} to {console.figure(interval.high)}" if interval else ""
        table.add_row(name, console.figure(score.value), shown, score.signature)
    return table


def comparison_lines(
    model: str, against: str | None, comparisons: Iterable[tuple[str, PairedTest]]
) -> list[str]:
    """One line per paired test, saying which of the two models is better, and how sure that is."""
    from seqtool.evaluation.score import higher_is_better

    lines = []
    for name, test in comparisons:
        better = model if (test.difference > 0) == higher_is_better(name) else against
        doubt = "" if test.p_value < SIGNIFICANT else ", but not significantly"
        verdict = f"{better} is better{doubt}" if test.difference else "no difference"
        lines.append(
            f"{name} of {model} minus {name} of {against}: {test.difference:+.4f}; {verdict} "
            f"(p = {test.p_value:.4f}, {test.method})"
        )
    return lines
