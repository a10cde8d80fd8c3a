"""Evaluation of a language model: scores, baselines, pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqtool.cli import console
from seqtool.cli.tables import comparison_lines, scores_table

if TYPE_CHECKING:
    from seqtool.lm.assessment import LanguageModelEvaluation


def show(result: LanguageModelEvaluation) -> None:
    """Print the results as tables."""
    console.print_table(scores_table(result.model, _data(result), result.scores, result.intervals))
    if result.text.baselines:
        console.print_table(_baselines_table(result))
    fingerprint = result.text.fingerprint
    comparisons = comparison_lines(result.model, result.against, result.comparisons)
    intervals = [f"intervals resample {result.text.resampled}"] if result.intervals else []
    for line in (fingerprint.short, *intervals, *comparisons):
        console.write_result(line + "\n")


def draw(result: LanguageModelEvaluation, folder: Path) -> None:
    """Draw all pictures that apply into a folder."""
    from seqtool.inspection import figures
    from seqtool.lm.baselines import NAMES
    from seqtool.lm.scores import CHARACTERS, NATS

    costs = [(row[CHARACTERS], row[NATS]) for row in result.text.blocks.tolist()]
    beside = {NAMES[name]: value for name, value in result.text.baselines.items()}
    title = f"{result.model} on {_data(result)}, {result.text.fingerprint.protocol}"
    figures.cost_along_text(costs, beside, folder / "along_text.png", title)


def _data(result: LanguageModelEvaluation) -> str:
    """The data of the evaluation, with the part of the recipe's data that it is."""
    part = result.part.name
    return result.data if part == "data" else f"the {part} part of {result.data}"


def _baselines_table(result: LanguageModelEvaluation) -> Any:
    from rich.table import Table

    from seqtool.lm.baselines import NAMES

    text = result.text
    table = Table(title="baselines, trained on the same text", title_justify="left")
    table.add_column("model")
    table.add_column("bits per character", justify="right")
    table.add_column("nats per character", justify="right")
    rows = {"this network": text.nats_per_character}
    rows |= {NAMES[name]: value for name, value in text.baselines.items()}
    if text.mixture is not None:
        mixture = text.mixture
        rows[f"interpolated, weight of the network {mixture.weight:.2f}"] = mixture.nats_per_character
    for name, value in rows.items():
        table.add_row(name, f"{value / math.log(2):.4f}", f"{value:.4f}")
    return table
