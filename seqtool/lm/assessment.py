"""A trained language model against a text: scores, baselines, comparisons, and the lines that cost most."""

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

COMPARED = "nats_per_character"  # the only metric that does not depend on a model's symbols
WORST = 1000  # lines that `errors` gives


@dataclass(frozen=True)
class EvaluationOptions:
    """What the evaluation of a language model can be told.

    Args:
        protocol: streaming (the state goes through the text) or cold (it starts anew in every window).
        adapt: Dynamic evaluation: the model learns from the text while it reads.
        cache: The neural cache: what followed similar states counts.
        interpolate: Mix with the n-gram, with the weight that is best on dev.
        baselines: Train an n-gram and xz on the recipe's training part, to compare with; without that part
            there are none.

    Raises:
        UsageError: a protocol that there is not, or one that cannot adapt or have a cache.
    """

    protocol: str = "streaming"
    adapt: bool = False
    cache: bool = False
    interpolate: bool = False
    baselines: bool = True

    def __post_init__(self) -> None:
        self.reading()

    def reading(self) -> Protocol:
        """How the text is read."""
        if self.protocol not in ("streaming", "cold"):
            raise UsageError(f"protocol {self.protocol!r}: expected streaming or cold")
        cold = self.protocol == "cold"
        return Protocol("cold" if cold else "streaming", adapt=self.adapt, cache=self.cache)


@dataclass(frozen=True)
class EvaluationText:
    """The text to be scored, and what the baselines learn from."""

    part: Part
    training: TextData | None = None


@dataclass(frozen=True, kw_only=True)
class LanguageModelEvaluation(Evaluation):
    """All that `seqtool evaluate` says about a language model.

    Args:
        text: What the text cost.
        part: The text.
    """

    FEWEST: ClassVar[int] = 5  # documents or blocks: an interval from fewer says less than it seems to

    text: TextScores
    part: Part

    @property
    def compared(self) -> tuple[str, ...]:
        """What does not depend on the symbols of a model."""
        return (COMPARED,)

    def details(self) -> dict[str, Any]:
        """Protocol and fingerprint, counts, the baselines and the mixture with one."""
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
            "yardsticks": dict(text.baselines),
        }
        if text.mixture is not None:
            result["mixture"] = dataclasses.asdict(text.mixture)
        return result

    def errors(self) -> Iterator[dict[str, Any]]:
        """The lines that cost most per character, the worst first; at most `WORST`."""

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
    """The metrics that an evaluation will have."""
    return METRICS


def evaluation_data(
    model: LanguageModel,
    files: Sequence[Path],
    options: EvaluationOptions,
    *,
    recipe: Callable[[], LanguageModelSettings],
    part: PartName,
) -> EvaluationText:
    """The text of some files, or without files a part of the recipe's data; and what the baselines need.

    Args:
        model: The model that reads it.
        files: Files or folders; none = the part.
        options: Whether there are baselines.
        recipe: Gives the settings of the model's run.
        part: Part of the recipe's data.

    Raises:
        UsageError: there is no such file, or no recipe; or it is needed for a mixture and cannot be had.
        DataError: a file is not UTF-8 text, or there is nothing in it.
    """
    text = load_evaluation_data(model, files) if files else load_part(recipe(), part).parts[part]
    if not (options.baselines or options.interpolate):
        return EvaluationText(text)
    try:
        return EvaluationText(text, load_training_data(recipe()))
    except UsageError as error:
        if options.interpolate:
            raise UsageError(
                f"{model.place}: --interpolate needs the recipe beside the model, and its data ({error})"
            ) from error
        return EvaluationText(text)


def load_evaluation_data(model: LanguageModel, paths: Sequence[Path]) -> Part:
    """A text, read as the training text was: its documents, normalisation and case.

    Raises:
        UsageError: there is no such file.
        DataError: it is not UTF-8 text, or there is nothing in it.
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
    """Score a language model in every way that applies.

    Args:
        model: The language model to score.
        data: The text, and what the baselines learn from.
        options: What is asked for.
        name: Name of the model, for the report.
        bootstrap: Resamples for the intervals and the paired tests; 0 = no intervals, and there are
            none of fewer than five documents or blocks.
        against: Name and model to compare with; its symbols may be different ones.

    Raises:
        UsageError: the two models read texts differently.
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
    """One text for both: what is a document, a character, a capital letter."""
    for key in sorted(LanguageModelDescription.KEPT["data"]):
        values = [getattr(model.description.data, key) for _, model in (own, other)]
        if values[0] != values[1]:
            raise UsageError(
                f"{own[0]} has data.{key} = {values[0]!r}, {other[0]} {values[1]!r}: they do not read the "
                "same text, so their figures cannot be compared"
            )


def _baselines(model: LanguageModel, training: TextData) -> Baselines:
    """Those of the training part, over the symbols of the model."""
    symbols = model.symbols
    return Baselines.train(
        [symbols.encode(document) for document in training.train.documents],
        kind=symbols.codec.kind,
        size=len(symbols),
        texts=training.train.documents,
        dev=[symbols.encode(document) for document in training.dev.documents],
    )
