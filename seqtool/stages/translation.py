"""The stage of a translator that is given raw text: encoder and decoder learn from it as language models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from seqtool.errors import DataError, in_minutes
from seqtool.stages.whole import Whole
from seqtool.training import job
from seqtool.training.job import Estimate, Job
from seqtool.training.progress import FitResult
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.pretraining import prepare_pretraining, texts_of

FOLDER = "pretraining"  # in a run folder


def plan(settings: Any) -> list[str]:
    """A line for the user: what is learned before the pairs, and how long that takes at most."""
    learns = {"encoder": settings.data.source_text, "decoder": settings.data.target_text}
    halves = " and the ".join(half for half, text in learns.items() if text)
    minutes = in_minutes(settings.training.text_minutes)
    return [f"first the {halves} on raw text, in at most {minutes}, then the translator on pairs"]


def described(stages: int) -> str:
    """The stages in a few words, for an estimate."""
    return "raw text first"


def carry_out(whole: Whole) -> dict[str, Any]:
    """Let the translator learn from raw text.

    Returns:
        What `prepare` takes beside settings and data.
    """
    settings, folder = whole.settings, whole.run.path / FOLDER
    if whole.run.writes:
        _require_text(settings)
    whole.begin()
    whole.carry_out(partial(prepare_pretraining, settings, whole.data), folder)
    return {"pretrained": TranslatorModel.load(folder, device=str(whole.device))}


def estimated(
    settings: Any, data: Any, prepare: Callable[..., Job[Any, Any]]
) -> tuple[list[Estimate], dict[str, Any]]:
    """The estimate of the stage; nothing is written to the run folder.

    Args:
        settings: Settings of the run.
        data: Its pairs.
        prepare: What prepares the last job; an untrained translator does for an estimate.

    Returns:
        The estimate, and nothing in place of what `carry_out` returns.
    """
    _require_text(settings)
    return [job.estimate(prepare_pretraining(settings, data))], {}


def remarks(whole: Whole, found: FitResult) -> list[str]:
    """Nothing to say at the end."""
    return []


def _require_text(settings: Any) -> None:
    """Check, before anything is written, that there is text on each side that was named.

    Raises:
        DataError: there is none.
        UsageError: a folder is empty.
    """
    for names in (settings.data.source_text, settings.data.target_text):
        if names and next(texts_of(names), None) is None:
            raise DataError(f"{' and '.join(names)}: contains no text")
