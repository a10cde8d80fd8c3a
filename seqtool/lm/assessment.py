"""Evaluating a trained language model on a text: scores, baselines, comparisons, the worst lines."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from seqtool.errors import UsageError
from seqtool.evaluation.report import Evaluation, Rival
from seqtool.lm.baselines import Baselines
from seqtool.lm.data import Part, TextData, load_part, load_training_data, read_files
from seqtool.lm.prediction import LanguageModel, LanguageModelDescription
from seqtool.lm.scores import METRICS, Protocol, TextScores, evaluate_text
from seqtool.lm.settings import LanguageModelSettings
from seqtool.lm.text_blocks import split_lines
from seqtool.text.data_files import PartName
from seqtool.training.run_folder import manifest_of

COMPARED = "nats_per_character"  # comparable between models with different symbols
WORST = 1000  # maximum number of lines that `errors` yields


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of the evaluation of a language model.

    Args:
        protocol: streaming (the state is carried through each document) or cold (the state is reset at the
            start of every window).
        adapt: Whether the model adapts to the text while it reads it (dynamic evaluation).
        cache: Whether the neural cache is used.
        interpolate: Whether to mix the model with the n-gram, with the weight that is best on dev.
        baselines: Whether to compare with an n-gram and xz, trained on the recipe's training part; without
            that part there are no baselines.

    Raises:
        UsageError: an unknown protocol, or the protocol cold with `adapt` or `cache`.
    """

    protocol: str = "streaming"
    adapt: bool = False
    cache: bool = False
    interpolate: bool = False
    baselines: bool = True

    def __post_init__(self) -> None:
        self.reading()

    def reading(self) -> Protocol:
        """The protocol by which the text is read."""
        if self.protocol not in ("streaming", "cold"):
            raise UsageError(f"--protocol {self.protocol}: expected streaming or cold")
        cold = self.protocol == "cold"
        return Protocol("cold" if cold else "streaming", adapt=self.adapt, cache=self.cache)


@dataclass(frozen=True)
class EvaluationText:
    """The text to be scored, and the data that baselines are trained on."""

    part: Part
    training: TextData | None = None  # training and development part of the recipe; None = no baselines


@dataclass(frozen=True, kw_only=True, repr=False)
class LanguageModelEvaluation(Evaluation):
    """The evaluation of a language model, as `seqtool evaluate` reports it.

    Args:
        text: The scores of the text.
        part: The text.
    """

    FEWEST: ClassVar[int] = 5  # documents or blocks; intervals from fewer would be unreliable

    text: TextScores
    part: Part

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the metrics that are tested against another model."""
        return (COMPARED,)

    def details(self) -> dict[str, Any]:
        """The entries of the JSON report beside the scores: protocol, counts, baselines, mixture."""
        text = self.text
        result: dict[str, Any] = {
            "protocol": text.fingerprint.protocol,
            "fingerprint": text.fingerprint.model_dump(),
            "resampled": text.resampled,
            "counts": {
                "documents": len(text.documents),
                "symbols": text.symbols,
                "characters": text.characters,
                "bytes": text.bytes,
                "words": text.words,
                "unknown": text.unknown,
            },
            # The option is called --baselines; programs that read the report know the figures by this key.
            "yardsticks": dict(text.baselines),
        }
        if text.mixture is not None:
            result["mixture"] = dataclasses.asdict(text.mixture)
        return result

    def errors(self) -> Iterator[dict[str, Any]]:
        """The lines with the most nats per character, the worst first; at most `WORST`."""

        def lines() -> Iterator[tuple[float, int, int, str, float]]:
            for number, (text, costs) in enumerate(zip(self.part.documents, self.text.lines, strict=True), 1):
                for place, (line, nats) in enumerate(zip(split_lines(text), costs.tolist(), strict=True), 1):
                    yield nats / len(line), number, place, line, nats

        worst = heapq.nlargest(WORST, lines(), key=lambda row: (row[0], -row[1], -row[2]))
        for per_character, document, place, line, nats in worst:
            yield {
                "document": document,
                "line": place,
                "text": line.removesuffix("\n"),
                "nats_per_character": round(per_character, 6),
                "nats": round(nats, 6),
            }


def metric_names(task: str, options: EvaluationOptions) -> tuple[str, ...]:
    """Names of the metrics of an evaluation."""
    return METRICS


def evaluation_data(
    model: LanguageModel,
    files: Sequence[Path],
    options: EvaluationOptions,
    *,
    recipe: Callable[[], LanguageModelSettings],
    part: PartName,
) -> EvaluationText:
    """Read the text of some files, or a part of the recipe's data; and the training data of the baselines.

    Args:
        model: The model; the text is split into documents and normalised as its training text was.
        files: Files or folders, or empty for a part of the recipe's data.
        options: Options of the evaluation: whether baselines are needed.
        recipe: Function that returns the settings of the model's run.
        part: Name of the part of the recipe's data.

    Raises:
        UsageError: there is no such file, or no recipe; or the training data of a mixture is missing.
        DataError: a file is not UTF-8 text, or there is no text.
    """
    text = load_evaluation_data(model, files) if files else load_part(recipe(), part).parts[part]
    if not (options.baselines or options.interpolate):
        return EvaluationText(text)
    try:
        return EvaluationText(text, load_training_data(recipe()))
    except UsageError as error:
        if options.interpolate:
            raise UsageError(
                f"{model.place}: --interpolate needs the recipe beside the model, and its data ({error}); "
                "leave it out"
            ) from error
        return EvaluationText(text)


def load_evaluation_data(model: LanguageModel, paths: Sequence[Path]) -> Part:
    """Read a text as the training text was read: with the same documents, normalization and case.

    Args:
        model: The language model.
        paths: Files or folders.

    Raises:
        UsageError: there is no such file.
        DataError: a file is not UTF-8 text, or there is no text.
    """
    return read_files(paths, model.description.data, "data")


def assess(
    model: LanguageModel,
    data: EvaluationText,
    options: EvaluationOptions | None = None,
    *,
    name: str,
    bootstrap: int = 1000,
    against: tuple[str, LanguageModel] | None = None,
) -> LanguageModelEvaluation:
    """Evaluate a language model on a text.

    Args:
        model: The language model.
        data: The text, and the training data of the baselines.
        options: Options of the evaluation; None = the defaults.
        name: Name of the model in the report.
        bootstrap: Number of bootstrap resamples for intervals and paired tests; 0 = no intervals. A text of
            fewer than five documents or blocks has none.
        against: Name and model to compare with, whose symbols may differ; None = no comparison.

    Raises:
        UsageError: the two models split or normalise texts differently.
    """
    chosen = options or EvaluationOptions()
    if against is not None:
        _require_same_reading((name, model), against)
    training, protocol = data.training, chosen.reading()
    text = evaluate_text(
        model,
        data.part,
        protocol,
        baselines=None if training is None else _baselines(model, training),
        interpolate_on=training.dev if training is not None and chosen.interpolate else None,
    )
    text = dataclasses.replace(text, stopped_by=manifest_of(Path(model.place)).get("stopped_by", ""))
    rival, warnings = None, text.warnings
    if against is not None:
        other = evaluate_text(against[1], data.part, protocol)
        warnings += tuple(f"{against[0]}: {warning}" for warning in other.warnings)
        rival = Rival(against[0], other.scores())
    return LanguageModelEvaluation(
        model=name,
        data=data.part.source,
        scores=text.scores(),
        bootstrap=bootstrap,
        rival=rival,
        warnings=warnings,
        text=text,
        part=data.part,
    )


def _require_same_reading(own: tuple[str, LanguageModel], other: tuple[str, LanguageModel]) -> None:
    """Refuse to compare models with different settings of documents, normalization or case."""
    for key in sorted(LanguageModelDescription.KEPT["data"]):
        values = [getattr(model.description.data, key) for _, model in (own, other)]
        if values[0] != values[1]:
            raise UsageError(
                f"{own[0]} has data.{key} = {values[0]!r}, {other[0]} has {values[1]!r}: they do not read "
                "the same text, so their scores cannot be compared"
            )


def _baselines(model: LanguageModel, training: TextData) -> Baselines:
    """Baselines trained on the training part, over the symbols of the model."""
    symbols = model.symbols
    return Baselines.train(
        [symbols.encode(document) for document in training.train.documents],
        kind=symbols.codec.kind,
        size=len(symbols),
        texts=training.train.documents,
        dev=[symbols.encode(document) for document in training.dev.documents],
    )
