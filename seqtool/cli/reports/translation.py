"""Evaluation of a translator: tables and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtool.cli import console
from seqtool.cli.tables import comparison_lines, scores_table

if TYPE_CHECKING:
    from seqtool.translation.assessment import TranslatorEvaluation


def show(result: TranslatorEvaluation) -> None:
    """Print the results as tables."""
    console.print_table(scores_table(result.model, result.data, result.scores, result.intervals))
    console.print_table(_lengths_table(result))
    comparisons = comparison_lines(result.model, result.against, result.comparisons)
    searched = result.outputs.log_probabilities is not None
    outputs = "outputs of both models" if comparisons and searched else "outputs"
    for line in (f"{outputs} by {result.search}", *comparisons):
        console.write_result(line + "\n")


def draw(result: TranslatorEvaluation, folder: Path) -> None:
    """Draw all pictures that apply into a folder."""
    from seqtool.inspection import figures

    rows = [(row.label, row.value, row.sentences) for row in result.by_length]
    figures.scores_by_length(rows, folder / "by_length.png", result.leading, result.length_unit)


def _lengths_table(result: TranslatorEvaluation) -> Any:
    from rich.table import Table

    table = Table(title="by length", title_justify="left")
    for heading in (f"{result.length_unit} of the source", "sentences", result.leading):
        table.add_column(heading, justify="right")
    for row in result.by_length:
        table.add_row(row.label, f"{row.sentences:,}", f"{row.value:.2f}")
    return table
