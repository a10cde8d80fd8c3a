"""The model card, README.md of a model folder: the kind of model, its scores on dev, its data."""

from __future__ import annotations

import time
from collections.abc import Iterable

from seqtool.training.progress import FitResult
from seqtool.training.settings import RunSettings


def model_card(
    settings: RunSettings,
    *,
    kind: str,
    measured: str,
    result: FitResult,
    facts: Iterable[str],
    usage: str,
) -> str:
    """The Markdown of a model card.

    Args:
        settings: Settings of the run.
        kind: Kind of model, as in "translator".
        measured: How the development part was scored; heads the table of scores.
        result: How training ended.
        facts: Facts about the data, one line each.
        usage: A command that uses the model, with {} in place of its folder.

    Returns:
        The card.
    """
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(result.metrics.items()))
    data = "\n".join(f"- {line}" for line in facts)
    return f"""# {settings.name}

A seqtool {kind}, trained on {time.strftime("%Y-%m-%d")} with seed {settings.seed}.

| {measured} | |
|---|---|
{metrics}

Best after step {result.best_step} of {result.steps} ({result.seconds / 60:.1f} minutes; stopped by
{result.reason}).

## Data

{data}

## Use

    {usage.format("THIS_FOLDER")}
"""
