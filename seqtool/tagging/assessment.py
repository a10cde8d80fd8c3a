"""A trained tagger against annotated data: the whole report, with intervals, thresholds, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqtool.errors import UsageError
from seqtool.evaluation.calibration import Threshold, threshold_curve
from seqtool.evaluation.score import Score
from seqtool.evaluation.significance import (
    Interval,
    PairedTest,
    bootstrap_interval,
    paired_bootstrap,
    paired_randomisation,
)
from seqtool.tagging.data import TaggingData, harmonise, read_file
from seqtool.tagging.prediction import Prediction, TaggerModel
from seqtool.tagging.remarks import unseen_remark
from seqtool.tagging.scores import TaggingReport, accuracy, best_threshold, judge, report, span_scores
from seqtool.tagging.settings import DataSettings
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence

SEED = 1  # of the resampling, so that a figure can be had again


@dataclass(frozen=True)
class TaggerEvaluation:
    """All that `seqtool evaluate` says about a tagger."""

    model: str
    data: str
    report: TaggingReport
    intervals: dict[str, Interval]
    warnings: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()  # precision and recall at every confidence
    target: Threshold | None = None  # the least confidence with the precision that was asked for
    target_precision: float | None = None
    against: str | None = None
    comparisons: tuple[tuple[str, PairedTest], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        result = {"model": self.model, "data": self.data, **self.report.as_dict()}
        result["intervals"] = {
            name: {"low": interval.low, "high": interval.high, "level": interval.level}
            for name, interval in self.intervals.items()
        }
        if self.target_precision is not None:
            found = self.target
            result["target_precision"] = {
                "wanted": self.target_precision,
                "min_confidence": None if found is None else found.threshold,
                "precision": None if found is None else found.precision,
                "recall": None if found is None else found.recall,
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


def load_evaluation_data(
    model: TaggerModel, path: Path, *, scheme: str = "auto", repair: bool = False, strict: bool = False
) -> TaggingData:
    """An annotated file laid out as the training files were, tags in the scheme of the model.

    Raises:
        UsageError: there is no such file.
        DataError: it is not what it should be, with its line.
    """
    settings = DataSettings.model_validate(
        model.description.data.model_dump(
            include={"token_column", "tag_column", "feature_columns", "partial", "tag_names", "misaligned"}
        )
        | {"scheme": scheme, "repair": repair, "strict": strict}
    )
    part = read_file(path, "data", settings)
    return harmonise({"data": part}, settings, spans=model.scheme is not None)


def assess(
    model: TaggerModel,
    data: TaggingData,
    *,
    name: str,
    bootstrap: int = 1000,
    target_precision: float | None = None,
    against: tuple[str, TaggerModel] | None = None,
    batch_tokens: int = 4096,
) -> TaggerEvaluation:
    """Score a tagger in every way that applies.

    Args:
        model: To be scored.
        data: With one part, tags in the scheme of the model.
        name: Of the model, for the report.
        bootstrap: Resamples for the intervals and the paired tests; 0 = neither.
        target_precision: Find the least span confidence that reaches it, in (0, 1].
        against: Name and model to compare with, on the same sentences.
        batch_tokens: Padded tokens a batch.

    Raises:
        UsageError: the two models have different kinds of tags.
    """
    (part,) = data.parts.values()
    sentences = list(part.sentences)
    gold = [list(sentence.tags or ()) for sentence in sentences]
    scheme = model.description.model_scheme
    predictions, tags = _predict(model, sentences, batch_tokens)
    confidences = [(p.span_confidence if scheme else p.token_confidence) or [] for p in predictions]
    scored = report(
        gold,
        tags,
        scheme,
        tokens=[sentence.tokens for sentence in sentences],
        training_entities=model.training_entities if scheme else None,
        confidences=confidences,
        partial_gold=data.partial,
    )
    judged = judge(gold, tags, scheme, confidences, partial_gold=data.partial)
    target = None if target_precision is None else best_threshold(*judged, target_precision)
    comparisons: tuple[tuple[str, PairedTest], ...] = ()
    if against is not None:
        other = _other_scores(against, scheme, sentences, gold, batch_tokens, data.partial)
        comparisons = _compare(scored.scores, other, bootstrap)
    return TaggerEvaluation(
        model=name,
        data=part.source,
        report=scored,
        intervals=_intervals(scored.scores, bootstrap),
        warnings=(*data.warnings, *_unseen(data, model)),
        thresholds=tuple(threshold_curve(*judged)),
        target=target,
        target_precision=target_precision,
        against=None if against is None else against[0],
        comparisons=comparisons,
    )


def _predict(
    model: TaggerModel, sentences: Sequence[TaggedSentence], batch_tokens: int
) -> tuple[list[Prediction], list[list[str]]]:
    """Predictions, and their tags in the scheme of the model."""
    predictions = model.predict(sentences, confidence=True, batch_tokens=batch_tokens)
    scheme = model.description.model_scheme
    if scheme is None:
        return predictions, [prediction.tags for prediction in predictions]
    rows = [tag_scheme.from_spans(p.spans, len(p.tags), scheme) for p in predictions]
    return predictions, rows


def _other_scores(
    against: tuple[str, TaggerModel],
    scheme: tag_scheme.Scheme | None,
    sentences: Sequence[TaggedSentence],
    gold: Sequence[list[str]],
    batch_tokens: int,
    partial_gold: bool,
) -> dict[str, Score]:
    name, model = against
    if model.description.model_scheme != scheme:
        raise UsageError(f"--against {name}: one model tags spans, the other single tokens")
    _, tags = _predict(model, sentences, batch_tokens)
    found = {"accuracy": accuracy(gold, tags, partial_gold=partial_gold)}
    return found if scheme is None else {**span_scores(gold, tags, scheme), **found}


def _compare(
    own: dict[str, Score], other: dict[str, Score], samples: int
) -> tuple[tuple[str, PairedTest], ...]:
    metric = "f1" if "f1" in own else "accuracy"
    tests = (
        paired_bootstrap(own[metric], other[metric], seed=SEED, samples=max(samples, 1000)),
        paired_randomisation(own[metric], other[metric], seed=SEED),
    )
    return tuple((metric, test) for test in tests)


def _intervals(scores: dict[str, Score], samples: int) -> dict[str, Interval]:
    if not samples:
        return {}
    return {name: bootstrap_interval(score, seed=SEED, samples=samples) for name, score in scores.items()}


def _unseen(data: TaggingData, model: TaggerModel) -> list[str]:
    known = set(model.vocabularies.tags.symbols)
    lines = [
        unseen_remark(part, data, known, f"{part.source}: tags that the model cannot give, each an error")
        for part in data.parts.values()
    ]
    return [line for line in lines if line]
