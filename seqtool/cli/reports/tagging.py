"""Evaluation of a tagger: tables, remarks, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtool.cli import console, tables
from seqtool.cli.tables import comparison_lines, scores_table

if TYPE_CHECKING:
    from seqtool.tagging.assessment import TaggerEvaluation

KINDS = {"both": "type and boundary"}  # kinds of error whose name does not explain itself


def draw(result: TaggerEvaluation, folder: Path) -> None:
    """Draw all pictures that apply into a folder."""
    from seqtool.inspection import figures

    report = result.report
    figures.confusion_matrix(report.confusion.labels, report.confusion.counts, folder / "confusion.png")
    figures.scores_by_type(report.by_type, folder / "by_type.png")
    if report.errors is not None:
        figures.errors_by_kind(
            {str(kind): count for kind, count in report.errors.items()}, folder / "errors.png"
        )
    if report.calibration is not None and report.calibration.count:
        calibration = report.calibration
        figures.reliability_diagram(calibration.bins, calibration.expected_error, folder / "reliability.png")
    if result.thresholds:
        figures.confidence_threshold_curve(result.thresholds, folder / "thresholds.png")


def show(result: TaggerEvaluation) -> None:
    """Print the results as tables."""
    report = result.report
    console.print_table(scores_table(result.model, result.data, report.scores, result.intervals))
    if report.by_type:
        console.print_table(_types_table(report.by_type))
    for line in _remarks(result):
        console.write_result(line + "\n")


def _types_table(by_type: Any) -> Any:
    from rich.table import Table

    table = Table(title="by type", title_justify="left")
    for heading in ("type", "precision", "recall", "f1", "gold", "predicted", "correct"):
        table.add_column(heading, justify="left" if heading == "type" else "right")
    for name, counts in by_type.items():
        figures = [f"{value:.4f}" for value in (counts.precision, counts.recall, counts.f1)]
        numbers = map(str, (counts.support, counts.predicted, counts.correct))
        table.add_row(tables.cell(name), *figures, *numbers)
    return table


def _target(result: TaggerEvaluation) -> str:
    if result.target is None:
        return f"no --min-confidence reaches precision {result.target_precision} on this data"
    found, predicted = result.target, result.thresholds[-1].kept
    nouns = "tags" if result.report.matches is None else "entities"
    return (
        f"--min-confidence {found.threshold:.4f} gives precision {found.precision:.4f}, "
        f"recall {found.recall:.4f} on this data and keeps {found.kept:,} of the {predicted:,} predicted "
        f"{nouns}; it is the lowest confidence at which precision is at least {result.target_precision:g}"
    )


def _remarks(result: TaggerEvaluation) -> list[str]:
    report, lines = result.report, []
    counted = report.tokens - report.tokens_left_out
    left_out = (
        f"; {report.tokens_left_out:,} partially annotated ones are left out"
        if report.tokens_left_out
        else ""
    )
    lines.append(f"accuracy counts {counted:,} of {report.tokens:,} tokens{left_out}")
    if report.conlleval is not None and report.conlleval_differs:
        lines.append(f"conlleval's lenient rules give f1 {report.conlleval.f1:.4f}")
    if report.seen is not None and report.unseen is not None:
        for name, counts in (("seen", report.seen), ("unseen", report.unseen)):
            lines.append(
                f"entities {name} in training: {counts.support} gold, "
                f"recall {counts.recall:.4f}, f1 {counts.f1:.4f}"
            )
    if report.errors is not None:
        kinds = (f"{KINDS.get(kind, kind)} {count}" for kind, count in report.errors.items())
        lines.append("errors by kind: " + ", ".join(kinds))
    if report.calibration is not None:
        lines.append(f"expected calibration error {report.calibration.expected_error:.4f}")
    if result.target_precision is not None:
        lines.append(_target(result))
    return lines + comparison_lines(result.model, result.against, result.comparisons)
