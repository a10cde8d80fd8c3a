"""README.md of a model folder: what it is, how good it was on dev, what it was made from."""

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
    more: str = "",
) -> str:
    """The text of the card.

    Args:
        settings: Of the run.
        kind: What the model is, as in "translator".
        measured: How dev was scored.
        result: How the run ended.
        facts: About the data, a line each.
        usage: A command with {} for the folder.
        more: Further sections.
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
{more}
## Use

    {usage.format("THIS_FOLDER")}
"""
