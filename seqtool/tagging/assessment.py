"""Evaluating a trained tagger on annotated data: scores, thresholds, comparisons, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import UsageError, nearest
from seqtool.evaluation.calibration import Threshold, threshold_curve
from seqtool.evaluation.report import Evaluation, Rival
from seqtool.evaluation.score import Score
from seqtool.tagging.data import PartName, TaggingData, harmonise, load_part, read_file
from seqtool.tagging.predicted_files import read_predictions
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.remarks import unseen_remark
from seqtool.tagging.scores import TaggingReport, accuracy, best_threshold, judge, report, span_scores
from seqtool.tagging.settings import DataSettings, TaggerSettings
from seqtool.text import tag_scheme
from seqtool.text.columns import TaggedSentence
from seqtool.text.tag_rules import SCHEMES
from seqtool.text.tag_scheme import Scheme

# Settings of the training data that files given to `evaluate` are read with.
TAUGHT = {"token_column", "tag_column", "feature_columns", "partial", "tag_names", "misaligned"}
METRICS = {"ner": ("precision", "recall", "f1", "accuracy"), "pos": ("accuracy",)}


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of the evaluation of a tagger.

    Args:
        scheme: Tag scheme of the annotated file; auto = detected.
        repair: Whether to repair all tags that are invalid in the scheme, however many.
        strict: Whether to refuse every such tag; otherwise a few are read as the beginning of an entity.
        target_precision: Precision, in (0, 1], for which the lowest confidence threshold is searched; None =
            no search.
        batch_tokens: Tokens per batch, padding included.

    Raises:
        UsageError: an unknown scheme, or a precision out of range.
    """

    scheme: str = "auto"
    repair: bool = False
    strict: bool = False
    target_precision: float | None = None
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.scheme not in ("auto", *SCHEMES):
            allowed = ", ".join(("auto", *SCHEMES))
            raise UsageError(f"scheme {self.scheme!r}: expected {allowed}{nearest(self.scheme, SCHEMES)}")
        if self.repair and self.strict:
            raise UsageError("--repair mends invalid tags and --strict refuses them; leave one of them out")
        if self.target_precision is not None and not 0 < self.target_precision <= 1:
            raise UsageError(f"--target-precision {self.target_precision:g}: expected more than 0, at most 1")


class Answers(NamedTuple):
    """The predictions of a tagger, or of a file, for some sentences.

    Args:
        tags: Tags of each sentence, in the scheme of the gold tags.
        confidences: Confidence, in [0, 1], of each span of each sentence, or of each token if tags have no
            scheme; None = unknown.
    """

    tags: Sequence[Sequence[str]]
    confidences: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class TaggerEvaluation(Evaluation):
    """The evaluation of a tagger, as `seqtool evaluate` reports it.

    Args:
        report: Scores by type, confusion, kinds of errors, calibration.
        sentences: The sentences, with gold tags in the scheme of the report.
        answers: The predictions for them.
        file_scheme: Tag scheme of the annotated file; None = tags without spans.
        thresholds: Precision and recall at every confidence threshold.
        target: The lowest confidence threshold with `target_precision`; None = no threshold reaches it.
        target_precision: The precision that was asked for, in (0, 1]; None = none was.
        partial: Whether `?` and `|` in gold tags mark partial annotation rather than being part of the tag.
    """

    report: TaggingReport
    sentences: Sequence[TaggedSentence]
    answers: Answers
    file_scheme: Scheme | None = None
    thresholds: tuple[Threshold, ...] = ()
    target: Threshold | None = None
    target_precision: float | None = None
    partial: bool = True

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the metrics that are tested against another model: F1, or accuracy without spans."""
        return ("f1",) if "f1" in self.scores else ("accuracy",)

    def details(self) -> dict[str, Any]:
        """The entries of the JSON report beside the scores: the report, and the threshold asked for."""
        result = self.report.as_dict()
        if self.target_precision is not None:
            found = self.target
            result["target_precision"] = {
                "wanted": self.target_precision,
                "min_confidence": None if found is None else found.threshold,
                "precision": None if found is None else found.precision,
                "recall": None if found is None else found.recall,
            }
        return result

    def errors(self) -> Iterator[dict[str, Any]]:
        """The sentences with a wrong entity (a wrong tag without a scheme), in the order of the data."""
        find = self._token_errors if self.report.matches is None else self._span_errors
        for number, sentence in enumerate(self.sentences):
            wrong = find(number, sentence)
            if wrong:
                yield {
                    "file": sentence.source,
                    "line": sentence.line,
                    "tokens": list(sentence.tokens),
                    "gold": self._as_in_file(sentence.tags or ()),
                    "predicted": self._as_in_file(self.answers.tags[number]),
                    "errors": wrong,
                }

    def _span_errors(self, number: int, sentence: TaggedSentence) -> list[dict[str, Any]]:
        assert self.report.matches is not None and self.report.scheme is not None
        found = tag_scheme.spans(self.answers.tags[number], self.report.scheme)
        confidences = None if self.answers.confidences is None else self.answers.confidences[number]
        wrong = []
        for match in self.report.matches[number]:
            if match.kind == "correct":
                continue
            entry: dict[str, Any] = {"kind": match.kind}
            for name, span in (("gold", match.gold), ("predicted", match.predicted)):
                entry[name] = None if span is None else _entity(span, sentence)
            if match.predicted is not None and confidences is not None:
                place = found.index(tag_scheme.Span(*match.predicted))
                entry["predicted"]["confidence"] = round(confidences[place], 6)
            wrong.append(entry)
        return wrong

    def _token_errors(self, number: int, sentence: TaggedSentence) -> list[dict[str, Any]]:
        wrong = []
        pairs = zip(sentence.tokens, sentence.tags or (), self.answers.tags[number], strict=True)
        for place, (token, gold, predicted) in enumerate(pairs):
            if gold != predicted and not (self.partial and tag_scheme.is_partial(gold)):
                entry = {"token": place, "text": token, "gold": gold, "predicted": predicted}
                if self.answers.confidences is not None:
                    entry["confidence"] = round(self.answers.confidences[number][place], 6)
                wrong.append(entry)
        return wrong

    def _as_in_file(self, tags: Sequence[str]) -> list[str]:
        if self.report.scheme is None or self.file_scheme is None:
            return list(tags)
        return tag_scheme.convert(tags, self.report.scheme, self.file_scheme)


def metric_names(task: str, options: EvaluationOptions) -> tuple[str, ...]:
    """Names of the metrics of an evaluation."""
    return METRICS[task]


def evaluation_data(
    model: TaggerModel,
    files: Sequence[Path],
    options: EvaluationOptions,
    *,
    recipe: Callable[[], TaggerSettings],
    part: PartName,
) -> TaggingData:
    """Read the annotated file, or a part of the recipe's data; tags are converted to the model's scheme.

    Args:
        model: The model; the file is expected in the format of its training files.
        files: The annotated file, or empty for a part of the recipe's data.
        options: Options of the evaluation.
        recipe: Function that returns the settings of the model's run.
        part: Name of the part of the recipe's data.

    Raises:
        UsageError: there is no such file, no recipe, or more than one file.
        DataError: the file is not valid; the message names the line.
    """
    if not files:
        return load_part(recipe(), part)
    return load_evaluation_data(model, _only_one(files), options)


def load_evaluation_data(
    model: TaggerModel, path: Path, options: EvaluationOptions | None = None
) -> TaggingData:
    """Read an annotated file in the format of the training files (errors of `evaluation_data`)."""
    chosen = options or EvaluationOptions()
    columns = model.description.data.model_dump(include=TAUGHT)
    return read_gold(path, columns, chosen, spans=model.scheme is not None)


def read_gold(path: Path, columns: dict[str, Any], options: EvaluationOptions, *, spans: bool) -> TaggingData:
    """Read an annotated file with gold tags (errors of `evaluation_data`).

    Args:
        path: The annotated file.
        columns: Settings of `[data]` that name the columns of the file; empty = detected.
        options: Options of the evaluation: tag scheme and treatment of invalid tags.
        spans: Whether tags mark spans.
    """
    told = {"scheme": options.scheme, "repair": options.repair, "strict": options.strict}
    settings = DataSettings.model_validate({**columns, **told})
    part = read_file(path, "data", settings)
    return harmonise({"data": part}, settings, spans=spans)


def assess(
    model: TaggerModel,
    data: TaggingData,
    options: EvaluationOptions | None = None,
    *,
    name: str,
    bootstrap: int = 1000,
    against: tuple[str, TaggerModel] | None = None,
) -> TaggerEvaluation:
    """Evaluate a tagger on annotated sentences.

    Args:
        model: The tagger.
        data: A single part, with tags in the scheme of the model.
        options: Options of the evaluation; None = the defaults.
        name: Name of the model in the report.
        bootstrap: Number of bootstrap resamples for intervals and paired tests; 0 = no intervals.
        against: Name and model to compare with on the same sentences; None = no comparison.

    Raises:
        UsageError: one of the two models tags spans and the other single tokens.
    """
    chosen = options or EvaluationOptions()
    (part,) = data.parts.values()
    scheme = model.description.model_scheme
    rival = None
    if against is not None:
        if against[1].description.model_scheme != scheme:
            raise UsageError(
                f"--against {against[0]}: one model tags spans, the other single tokens; name a model of the "
                "same task"
            )
        rival = rival_scores(against[0], data, _answers(against[1], part.sentences, chosen), scheme)
    return judged(
        data,
        _answers(model, part.sentences, chosen),
        chosen,
        name=name,
        scheme=scheme,
        bootstrap=bootstrap,
        rival=rival,
        training_entities=model.training_entities if scheme else None,
        warnings=_unseen(data, model),
    )


def assess_predictions(
    predictions: Path,
    files: Sequence[Path],
    options: EvaluationOptions | None = None,
    *,
    task: str,
    bootstrap: int = 1000,
    against: Path | None = None,
) -> TaggerEvaluation:
    """Evaluate a file of predictions; no model is needed.

    Args:
        predictions: Tagged sentences in any format that `seqtool tag` writes.
        files: The annotated file.
        options: Options of the evaluation; None = the defaults.
        task: ner or pos.
        bootstrap: Number of bootstrap resamples for intervals and paired tests; 0 = no intervals.
        against: Other predictions for the same file, to compare with; None = no comparison.

    Raises:
        UsageError: a file is missing, or a target precision is asked for.
        DataError: a file is not valid, or the predictions are for other sentences.
    """
    chosen, spans = options or EvaluationOptions(), task == "ner"
    if chosen.target_precision is not None:
        raise UsageError("--target-precision needs the confidences of a model; give one with -m")
    data = read_gold(_only_one(files), {}, chosen, spans=spans)
    (part,) = data.parts.values()
    found = read_predictions(predictions, part, spans=spans)
    warnings, rival = list(found.warnings), None
    if against is not None:
        other = read_predictions(against, part, spans=spans)
        rival = rival_scores(str(against), data, Answers(other.tags), data.scheme)
        warnings += other.warnings
    return judged(
        data,
        Answers(found.tags),
        chosen,
        name=str(predictions),
        scheme=data.scheme,
        bootstrap=bootstrap,
        rival=rival,
        warnings=warnings,
    )


def judged(
    data: TaggingData,
    answers: Answers,
    options: EvaluationOptions,
    *,
    name: str,
    scheme: Scheme | None,
    bootstrap: int,
    rival: Rival | None,
    training_entities: set[tuple[str, str]] | None = None,
    warnings: Sequence[str] = (),
) -> TaggerEvaluation:
    """The evaluation of predictions, from a model or from a file.

    Args:
        data: A single part.
        answers: The predictions for its sentences.
        options: Options of the evaluation.
        name: Name of the model or file in the report.
        scheme: Scheme of gold and predicted tags; None = tags without spans.
        bootstrap: Number of bootstrap resamples; 0 = no intervals.
        rival: Scores to compare with; None = no comparison.
        training_entities: (type, surface form) of the entities seen in training; None = unknown.
        warnings: Warnings in addition to those of the data.
    """
    (part,) = data.parts.values()
    gold = _gold(part.sentences)
    tokens = [sentence.tokens for sentence in part.sentences]
    scored = report(
        gold,
        answers.tags,
        scheme,
        tokens=tokens,
        training_entities=training_entities,
        confidences=answers.confidences,
        partial_gold=data.partial,
    )
    thresholds: tuple[Threshold, ...] = ()
    target = None
    if answers.confidences is not None:
        known = judge(gold, answers.tags, scheme, answers.confidences, partial_gold=data.partial)
        thresholds = tuple(threshold_curve(*known))
        if options.target_precision is not None:
            target = best_threshold(*known, options.target_precision)
    return TaggerEvaluation(
        model=name,
        data=part.source,
        scores=scored.scores,
        bootstrap=bootstrap,
        rival=rival,
        warnings=(*data.warnings, *warnings),
        report=scored,
        sentences=part.sentences,
        answers=answers,
        file_scheme=data.file_scheme,
        thresholds=thresholds,
        target=target,
        target_precision=options.target_precision,
        partial=data.partial,
    )


def rival_scores(name: str, data: TaggingData, answers: Answers, scheme: Scheme | None) -> Rival:
    """The scores of other predictions for the same sentences (arguments of `judged`)."""
    (part,) = data.parts.values()
    gold = _gold(part.sentences)
    found: dict[str, Score] = {"accuracy": accuracy(gold, answers.tags, partial_gold=data.partial)}
    return Rival(name, found if scheme is None else {**span_scores(gold, answers.tags, scheme), **found})


def _answers(model: TaggerModel, sentences: Sequence[TaggedSentence], options: EvaluationOptions) -> Answers:
    """The predictions of a model, in its own tag scheme."""
    predictions = model.predict(sentences, confidence=True, batch_tokens=options.batch_tokens)
    scheme = model.description.model_scheme
    if scheme is None:
        return Answers([p.tags for p in predictions], [p.token_confidence or [] for p in predictions])
    rows = [tag_scheme.from_spans(p.spans, len(p.tags), scheme) for p in predictions]
    return Answers(rows, [p.span_confidence or [] for p in predictions])


def _gold(sentences: Sequence[TaggedSentence]) -> list[list[str]]:
    return [list(sentence.tags or ()) for sentence in sentences]


def _only_one(files: Sequence[Path]) -> Path:
    if len(files) > 1:
        raise UsageError("a tagger is evaluated on one annotated file; leave out the second file")
    return files[0]


def _entity(span: tuple[int, int, str], sentence: TaggedSentence) -> dict[str, Any]:
    start, end, kind = span
    text = " ".join(sentence.tokens[start:end])
    return {"type": kind, "first_token": start, "after_token": end, "text": text}


def _unseen(data: TaggingData, model: TaggerModel) -> list[str]:
    known = set(model.vocabularies.tags.symbols)
    lines = [
        unseen_remark(
            part, data, known, f"{part.source}: tags that the model does not have; each counts as an error"
        )
        for part in data.parts.values()
    ]
    return [line for line in lines if line]
