"""A trained translator against references: scores with signatures, intervals, comparisons, by length."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtool.evaluation.by_length import LengthRow, score_by_length
from seqtool.evaluation.score import Score
from seqtool.evaluation.significance import (
    Interval,
    PairedTest,
    bootstrap_interval,
    paired_bootstrap,
    paired_randomisation,
)
from seqtool.evaluation.text_scores import copy_scores, text_scores
from seqtool.text.parallel import SentencePair
from seqtool.translation.data import TranslationData, describe_dropped, read_files
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions

SEED = 1  # of the resampling, so that a figure can be had again
SCORES = ("bleu", "bleu_lowercase", "chrf", "exact_match")


@dataclass(frozen=True)
class TranslatorEvaluation:
    """All that `seqtool evaluate` says about a translator."""

    model: str
    data: str
    scores: dict[str, Score]
    intervals: dict[str, Interval]
    by_length: tuple[LengthRow, ...]  # the first score, by words of the source
    search: str  # how the outputs were found
    warnings: tuple[str, ...] = ()
    against: str | None = None
    comparisons: tuple[tuple[str, PairedTest], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        result: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "search": self.search,
            "metrics": {name: score.value for name, score in self.scores.items()},
            "signatures": {name: score.signature for name, score in self.scores.items()},
            "intervals": {
                name: {"low": interval.low, "high": interval.high, "level": interval.level}
                for name, interval in self.intervals.items()
            },
            "by_length": [row._asdict() for row in self.by_length],
        }
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


def load_evaluation_data(model: TranslatorModel, paths: Sequence[Path]) -> TranslationData:
    """Pairs laid out as the training files were.

    Raises:
        UsageError: there is no such file.
        DataError: it is not what it should be, with its line.
    """
    part = read_files(paths, model.description.data, "data", to_be_scored=True)
    return TranslationData({"data": part}, describe_dropped(part))


def assess(
    model: TranslatorModel,
    data: TranslationData,
    *,
    name: str,
    options: SearchOptions,
    ter: bool = False,
    bootstrap: int = 1000,
    against: tuple[str, TranslatorModel] | None = None,
    batch_tokens: int = 4096,
) -> TranslatorEvaluation:
    """Score a translator in every way that applies.

    Args:
        model: To be scored.
        data: With one part.
        name: Of the model, for the report.
        options: Of the search.
        ter: Whether to compute TER too, which is slow.
        bootstrap: Resamples for the intervals and the paired tests; 0 = no intervals.
        against: Name and model to compare with, on the same pairs.
        batch_tokens: Padded symbols a batch.
    """
    (part,) = data.parts.values()
    names = (*SCORES, *(["ter"] if ter else []))
    scores = _scores(model, part.pairs, options, names, batch_tokens)
    comparisons: tuple[tuple[str, PairedTest], ...] = ()
    if against is not None:
        other = _scores(against[1], part.pairs, options, SCORES, batch_tokens)
        comparisons = _compare(scores, other, max(bootstrap, 1000))
    lengths = [len(pair.source.split()) for pair in part.pairs]
    return TranslatorEvaluation(
        model=name,
        data=part.source,
        scores=scores,
        intervals={
            key: bootstrap_interval(score, seed=SEED, samples=bootstrap)
            for key, score in scores.items()
            if bootstrap
        },
        by_length=tuple(score_by_length(scores["bleu"], lengths)),
        search=model.describe_search(options),
        warnings=data.warnings,
        against=None if against is None else against[0],
        comparisons=comparisons,
    )


def _scores(
    model: TranslatorModel,
    pairs: Sequence[SentencePair],
    options: SearchOptions,
    names: Collection[str],
    batch_tokens: int,
) -> dict[str, Score]:
    found = model.search(pairs, options, batch_tokens=batch_tokens)
    outputs = [translations[0].text if translations else "" for translations in found]
    scores = text_scores(outputs, [pair.references for pair in pairs], names)
    # Of several references the first says what should have been copied.
    copied = copy_scores([pair.source for pair in pairs], outputs, [pair.target or "" for pair in pairs])
    return {**scores, "copy_precision": copied.precision, "copy_recall": copied.recall}


def _compare(
    own: dict[str, Score], other: dict[str, Score], samples: int
) -> tuple[tuple[str, PairedTest], ...]:
    tests = []
    for name in ("bleu", "chrf", "exact_match"):
        tests.append((name, paired_bootstrap(own[name], other[name], seed=SEED, samples=samples)))
        tests.append((name, paired_randomisation(own[name], other[name], seed=SEED)))
    return tuple(tests)
