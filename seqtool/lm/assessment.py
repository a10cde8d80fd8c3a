"""A trained language model against a text: figures with signatures, intervals, yardsticks, comparisons."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtool.errors import UsageError
from seqtool.evaluation.score import Score
from seqtool.evaluation.significance import (
    Interval,
    PairedTest,
    bootstrap_interval,
    paired_bootstrap,
    paired_randomisation,
)
from seqtool.lm.baselines import Yardsticks
from seqtool.lm.data import Part, read_files
from seqtool.lm.prediction import LanguageModel, LanguageModelDescription
from seqtool.lm.scores import Protocol, TextScores, evaluate_text

SEED = 1  # of the resampling, so that a figure can be had again
FEWEST = 5  # documents or blocks: an interval from fewer says less than it seems to
COMPARED = "nats_per_character"  # the figure that does not depend on a model's symbols


@dataclass(frozen=True)
class LanguageModelEvaluation:
    """All that `seqtool evaluate` says about a language model."""

    model: str
    data: str
    text: TextScores
    scores: dict[str, Score]
    intervals: dict[str, Interval]
    warnings: tuple[str, ...] = ()
    against: str | None = None
    comparisons: tuple[tuple[str, PairedTest], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        text = self.text
        result: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "protocol": text.fingerprint.protocol,
            "fingerprint": text.fingerprint.model_dump(),
            "metrics": {name: score.value for name, score in self.scores.items()},
            "signatures": {name: score.signature for name, score in self.scores.items()},
            "intervals": {
                name: {"low": interval.low, "high": interval.high, "level": interval.level}
                for name, interval in self.intervals.items()
            },
            "resampled": text.resampled,
            "counts": {
                "documents": len(text.documents),
                "symbols": text.symbols,
                "characters": text.characters,
                "bytes": text.bytes,
                "words": text.words,
                "unknown": text.unknown,
            },
            "yardsticks": dict(text.yardsticks),
        }
        if text.mixture is not None:
            result["mixture"] = dataclasses.asdict(text.mixture)
        if self.against is not None:
            result["against"] = {
                "model": self.against,
                "difference": f"{self.model} minus {self.against}",
                "tests": [
                    {"metric": name, "method": test.method, "difference": test.difference, "p": test.p_value}
                    for name, test in self.comparisons
                ],
            }
        return result


def load_evaluation_data(model: LanguageModel, paths: Sequence[Path]) -> Part:
    """A text, read as the training text was: its documents, normalisation and case.

    Raises:
        UsageError: there is no such file.
        DataError: it is not UTF-8 text, or there is nothing in it.
    """
    return read_files(paths, model.description.data, "data")


def assess(
    model: LanguageModel,
    part: Part,
    *,
    name: str,
    protocol: Protocol,
    yardsticks: Yardsticks | None = None,
    interpolate_on: Part | None = None,
    bootstrap: int = 1000,
    against: tuple[str, LanguageModel] | None = None,
) -> LanguageModelEvaluation:
    """Score a language model in every way that applies.

    Args:
        model: To be scored.
        part: The text.
        name: Of the model, for the report.
        protocol: How the text is read, by both models.
        yardsticks: To stand beside the figures; of the symbols of `model`.
        interpolate_on: Held-out text on which the weight of a mixture with the n-gram is found.
        bootstrap: Resamples for the intervals and the paired tests; 0 = no intervals, and there are
            none of fewer than `FEWEST` documents or blocks.
        against: Name and model to compare with; its symbols may be different ones.

    Raises:
        UsageError: the two models read texts differently.
    """
    if against is not None:
        _require_same_reading((name, model), against)
    text = evaluate_text(model, part, protocol, yardsticks=yardsticks, interpolate_on=interpolate_on)
    scores, warnings = text.scores(), text.warnings
    comparisons: tuple[tuple[str, PairedTest], ...] = ()
    if against is not None:
        other = evaluate_text(against[1], part, protocol)
        warnings += tuple(f"{against[0]}: {warning}" for warning in other.warnings)
        comparisons = _compare(scores[COMPARED], other.scores()[COMPARED], max(bootstrap, 1000))
    return LanguageModelEvaluation(
        model=name,
        data=part.source,
        text=text,
        scores=scores,
        intervals={
            key: bootstrap_interval(score, seed=SEED, samples=bootstrap)
            for key, score in scores.items()
            if bootstrap and len(score.statistics) >= FEWEST
        },
        warnings=warnings,
        against=None if against is None else against[0],
        comparisons=comparisons,
    )


def _require_same_reading(own: tuple[str, LanguageModel], other: tuple[str, LanguageModel]) -> None:
    """One text for both: what is a document, a character, a capital letter."""
    for key in sorted(LanguageModelDescription.KEPT["data"]):
        values = [getattr(model.description.data, key) for _, model in (own, other)]
        if values[0] != values[1]:
            raise UsageError(
                f"{own[0]} has data.{key} = {values[0]!r}, {other[0]} {values[1]!r}: they do not read the "
                "same text, so their figures cannot be compared"
            )


def _compare(own: Score, other: Score, samples: int) -> tuple[tuple[str, PairedTest], ...]:
    return (
        (own.name, paired_bootstrap(own, other, seed=SEED, samples=samples)),
        (own.name, paired_randomisation(own, other, seed=SEED)),
    )
