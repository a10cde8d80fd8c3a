"""`seqtool evaluate`: how good a model is on data that it has not seen, and where it errs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import console, options, tables
from seqtool.cli.models import find_model
from seqtool.errors import ThresholdError, UsageError, nearest

if TYPE_CHECKING:
    from seqtool.tagging.assessment import TaggerEvaluation


def evaluate(
    data: Annotated[
        Path | None, typer.Argument(help="Annotated file; else the test part of the run's recipe.")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Run folder or its model/ folder; else $SEQTOOL_MODEL."),
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option("--min", metavar="METRIC=X", help="Exit with 9 unless METRIC is at least X."),
    ] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for pictures (PNG).")] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Resamples for 95 % intervals; 0 = none.")
    ] = 1000,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another model: paired tests on the same data.")
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Find the --min-confidence that reaches it on the data."),
    ] = None,
    part: Annotated[
        Literal["test", "dev", "train"], typer.Option(help="Part of the run's recipe, when no DATA is given.")
    ] = "test",
    scheme: Annotated[
        Literal["auto", "iob1", "iob2", "iobes", "bilou"], typer.Option(help="Tag scheme of DATA.")
    ] = "auto",
    repair: Annotated[bool, typer.Option(help="Repair invalid tag sequences of DATA.")] = False,
    batch_tokens: options.BatchTokensOption = 4096,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
    json_output: options.JsonOption = False,
) -> None:
    """Score a model on annotated data."""
    if target_precision == 0:
        raise UsageError("--target-precision 0: expected more than 0, at most 1")
    required = [_requirement(text) for text in minimum or ()]
    from seqtool import api
    from seqtool.training.devices import configure

    configure(threads)
    result = api.evaluate_tagger(
        find_model(model, ("ner", "pos"), newest=False),
        data,
        part=part,
        scheme=scheme,
        repair=repair,
        against=against,
        bootstrap=bootstrap,
        target_precision=target_precision,
        batch_tokens=batch_tokens,
        device=device,
        precision=precision,
    )
    for warning in result.warnings:
        console.warn(warning)
    known = result.as_dict()["metrics"]
    _require_known(required, known)
    if plots is not None:
        _draw(result, plots)
    if json_output:
        console.write_result(json.dumps(result.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _print(result)
    _check(required, known)


def _requirement(text: str) -> tuple[str, float]:
    metric, separator, value = text.partition("=")
    try:
        if separator and math.isfinite(float(value)):
            return metric.strip(), float(value)
    except ValueError:
        pass
    raise UsageError(f"--min {text}: expected METRIC=X, as in --min f1=0.8")


def _require_known(required: list[tuple[str, float]], metrics: dict[str, float]) -> None:
    for metric, _ in required:
        if metric not in metrics:
            hint = nearest(metric, metrics)
            raise UsageError(f"--min {metric}: no such metric{hint}; there are {', '.join(metrics)}")


def _check(required: list[tuple[str, float]], metrics: dict[str, float]) -> None:
    missed = [
        f"{metric} = {metrics[metric]:.4f} < {least}"
        for metric, least in required
        if not metrics[metric] >= least
    ]
    if missed:
        raise ThresholdError("not reached: " + "; ".join(missed))


def _draw(result: TaggerEvaluation, folder: Path) -> None:
    """Every picture that applies."""
    from seqtool.files import storage_errors
    from seqtool.inspection import figures

    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
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
    console.say(f"pictures in {folder}")


def _print(result: TaggerEvaluation) -> None:
    """Tables for people."""
    report = result.report
    console.print_table(_scores_table(result))
    if report.by_type:
        console.print_table(_types_table(report.by_type))
    for line in _remarks(result):
        console.write_result(line + "\n")


def _scores_table(result: TaggerEvaluation) -> Any:
    from rich.table import Table

    table = Table(title=tables.cell(f"{result.model} on {result.data}"), title_justify="left")
    for heading in ("metric", "value", "95 % interval", "signature"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    for name, score in result.report.scores.items():
        interval = result.intervals.get(name)
        shown = f"{interval.low:.4f} to {interval.high:.4f}" if interval else ""
        table.add_row(name, f"{score.value:.4f}", shown, score.signature)
    return table


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
        return f"no confidence threshold reaches precision {result.target_precision} here"
    found = result.target
    return (
        f"--min-confidence {found.threshold:.4f} gives precision {found.precision:.4f}, "
        f"recall {found.recall:.4f} here"
    )


def _remarks(result: TaggerEvaluation) -> list[str]:
    report, lines = result.report, []
    if report.conlleval is not None and report.conlleval_differs:
        lines.append(f"conlleval's lenient rules give f1 {report.conlleval.f1:.4f}")
    if report.seen is not None and report.unseen is not None:
        for name, counts in (("seen", report.seen), ("unseen", report.unseen)):
            lines.append(
                f"entities {name} in training: {counts.support} of the gold ones, "
                f"recall {counts.recall:.4f}, f1 {counts.f1:.4f}"
            )
    if report.errors is not None:
        lines.append("kinds: " + ", ".join(f"{kind} {count}" for kind, count in report.errors.items()))
    if report.calibration is not None:
        lines.append(f"expected calibration error {report.calibration.expected_error:.4f}")
    if result.target_precision is not None:
        lines.append(_target(result))
    return lines + [
        f"{test.method} against {result.against}: {name} {test.difference:+.4f}, p = {test.p_value:.4f}"
        for name, test in result.comparisons
    ]
