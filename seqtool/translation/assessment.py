"""A trained translator against references: scores, comparisons, scores by length, and where it errs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import DataError, UsageError
from seqtool.evaluation.by_length import LengthRow, score_by_length
from seqtool.evaluation.report import Evaluation, Rival
from seqtool.evaluation.score import Score
from seqtool.evaluation.text_scores import copy_scores, text_scores
from seqtool.text.data_files import PartName
from seqtool.text.lines import lines_of
from seqtool.text.parallel import SentencePair
from seqtool.translation.data import Part, TranslationData, describe_dropped, load_part, read_files
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import DataSettings, TranslatorSettings

SCORES = ("bleu", "bleu_lowercase", "chrf", "exact_match")
COPIES = ("copy_precision", "copy_recall")
_NBEST = re.compile(
    r"[0-9]+\t(?P<rank>[0-9]+)\t-?(?:[0-9.]+|inf)\t(?P<text>[^\t]*)(?:\t.*)?"
)  # of `translate`


@dataclass(frozen=True)
class EvaluationOptions:
    """What the evaluation of a translator can be told.

    Args:
        beam: Beam size, at least 1; None = as the recipe says.
        ter: Whether to compute TER too, which is slow.
        batch_tokens: Symbols per batch, padding included.

    Raises:
        UsageError: a beam of less than 1.
    """

    beam: int | None = None
    ter: bool = False
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.beam is not None and self.beam < 1:
            raise UsageError(f"--beam {self.beam}: expected 1 (greedy) or more")


class Outputs(NamedTuple):
    """Translations of some sources.

    Args:
        texts: One per source.
        log_probabilities: Of each, nats; None = unknown.
        search: How they were found, in a few words.
    """

    texts: Sequence[str]
    log_probabilities: Sequence[float | None] | None = None
    search: str = ""


@dataclass(frozen=True, kw_only=True)
class TranslatorEvaluation(Evaluation):
    """All that `seqtool evaluate` says about a translator.

    Args:
        pairs: What was translated, with the references.
        outputs: The translations.
        by_length: BLEU by the number of words of the source.
    """

    pairs: Sequence[SentencePair]
    outputs: Outputs
    by_length: tuple[LengthRow, ...] = ()

    @property
    def compared(self) -> tuple[str, ...]:
        """BLEU, chrF and exact match."""
        return ("bleu", "chrf", "exact_match")

    @property
    def search(self) -> str:
        """How the outputs were found."""
        return self.outputs.search

    def details(self) -> dict[str, Any]:
        """The search, and BLEU by length."""
        return {"search": self.search, "by_length": [row._asdict() for row in self.by_length]}

    def errors(self) -> Iterator[dict[str, Any]]:
        """Every output that is not its reference, the lowest chrF first."""
        by_sentence, right = (self.scores[name].of_each().tolist() for name in ("chrf", "exact_match"))
        for number in sorted(range(len(self.pairs)), key=lambda number: by_sentence[number]):
            if right[number]:
                continue
            pair = self.pairs[number]
            entry: dict[str, Any] = {
                "file": pair.file,
                "line": pair.line,
                "source": pair.source,
                "gold": pair.target,
                "predicted": self.outputs.texts[number],
                "chrf": round(by_sentence[number], 4),
            }
            if self.outputs.log_probabilities is not None:
                value = self.outputs.log_probabilities[number]
                entry["log_probability"] = None if value is None else round(value, 6)
            yield entry


def metric_names(task: str, options: EvaluationOptions) -> tuple[str, ...]:
    """The metrics that an evaluation will have."""
    return (*SCORES, *(("ter",) if options.ter else ()), *COPIES)


def evaluation_data(
    model: TranslatorModel,
    files: Sequence[Path],
    options: EvaluationOptions,
    *,
    recipe: Callable[[], TranslatorSettings],
    part: PartName,
) -> TranslationData:
    """The pairs of some files, or without files a part of the recipe's data.

    Args:
        model: The model whose training files say how columns are laid out.
        files: Source and target, or one file of pairs, or none.
        options: Of the evaluation; none of them is about data.
        recipe: Gives the settings of the model's run.
        part: Part of the recipe's data.

    Raises:
        UsageError: there is no such file, or no recipe.
        DataError: a file is not what it should be, with its line.
    """
    return load_evaluation_data(model, files) if files else load_part(recipe(), part)


def load_evaluation_data(model: TranslatorModel, paths: Sequence[Path]) -> TranslationData:
    """Pairs laid out as the training files were (errors of `evaluation_data`)."""
    return read_gold(paths, model.description.data)


def read_gold(paths: Sequence[Path], data: DataSettings) -> TranslationData:
    """Pairs of source and reference in some files (errors of `evaluation_data`)."""
    part = read_files(paths, data, "data", to_be_scored=True)
    return TranslationData({"data": part}, describe_dropped(part))


def assess(
    model: TranslatorModel,
    data: TranslationData,
    options: EvaluationOptions | None = None,
    *,
    name: str,
    bootstrap: int = 1000,
    against: tuple[str, TranslatorModel] | None = None,
    search: SearchOptions | None = None,
) -> TranslatorEvaluation:
    """Score a translator in every way that applies.

    Args:
        model: The translator to score.
        data: One part.
        options: What is asked for.
        name: Name of the model, for the report.
        bootstrap: Resamples for the intervals and the paired tests; 0 = no intervals.
        against: Name and model to compare with, on the same pairs and by the same search.
        search: How to search; None = as the recipe of the model says, with the beam of `options`.
    """
    chosen = options or EvaluationOptions()
    (part,) = data.parts.values()
    how = search or SearchOptions.of(model.description.decoding)
    if chosen.beam is not None:
        how = replace(how, beam=chosen.beam)
    rival = None
    if against is not None:
        rival = rival_scores(against[0], part.pairs, _outputs(against[1], part.pairs, how, chosen))
    outputs = _outputs(model, part.pairs, how, chosen)
    return judged(data, outputs, chosen, name=name, bootstrap=bootstrap, rival=rival)


def assess_predictions(
    predictions: Path,
    files: Sequence[Path],
    options: EvaluationOptions | None = None,
    *,
    task: str,
    bootstrap: int = 1000,
    against: Path | None = None,
) -> TranslatorEvaluation:
    """Score a file of translations in every way that applies; there is no model.

    Args:
        predictions: One translation per line of the source, or what `translate --nbest` writes.
        files: Source and reference, or one file of pairs.
        options: What is asked for.
        task: translate.
        bootstrap: Resamples for the intervals and the paired tests; 0 = no intervals.
        against: Other translations of the same source.

    Raises:
        UsageError: a file is missing, or a beam is asked for.
        DataError: a file is not what it should be, or there are not as many translations as sources.
    """
    chosen = options or EvaluationOptions()
    if chosen.beam is not None:
        raise UsageError("--beam needs a model; give one with -m, or leave it out with --predictions")
    data = read_gold(files, DataSettings())
    (part,) = data.parts.values()
    rival = None
    if against is not None:
        rival = rival_scores(str(against), part.pairs, read_predictions(against, part))
    outputs = read_predictions(predictions, part)
    return judged(data, outputs, chosen, name=str(predictions), bootstrap=bootstrap, rival=rival)


def read_predictions(path: Path, gold: Part) -> Outputs:
    """The translations of a file, for the pairs of another.

    Args:
        path: Lines; or an n-best list (index, rank, score, text), of which the first rank counts.
        gold: The pairs; each has the line of its source, which is the line of its translation.

    Raises:
        UsageError: there is no such file.
        DataError: there are not as many translations as lines of the source.
    """
    lines = list(lines_of(path))
    ranked = [_NBEST.fullmatch(line) for line in lines]
    if lines and all(ranked):
        lines = [match["text"] for match in ranked if match is not None and match["rank"] == "1"]
    count = gold.pairs[-1].line if gold.dropped else len(gold.pairs)
    if len(lines) != count:
        raise DataError(
            f"{path}: {len(lines)} translations, {count} lines in {gold.source}; "
            "expected one per line of the source"
        )
    numbers = [pair.line - 1 if gold.dropped else place for place, pair in enumerate(gold.pairs)]
    return Outputs([lines[number] for number in numbers], None, "the file of predictions")


def judged(
    data: TranslationData,
    outputs: Outputs,
    options: EvaluationOptions,
    *,
    name: str,
    bootstrap: int,
    rival: Rival | None,
) -> TranslatorEvaluation:
    """The evaluation of some outputs, wherever they come from.

    Args:
        data: One part.
        outputs: For its pairs.
        options: What is asked for.
        name: Name of what translated.
        bootstrap: Resamples.
        rival: What to compare with.
    """
    (part,) = data.parts.values()
    scores = _scores(part.pairs, outputs.texts, (*SCORES, *(("ter",) if options.ter else ())))
    lengths = [len(pair.source.split()) for pair in part.pairs]
    return TranslatorEvaluation(
        model=name,
        data=part.source,
        scores=scores,
        bootstrap=bootstrap,
        rival=rival,
        warnings=data.warnings,
        pairs=part.pairs,
        outputs=outputs,
        by_length=tuple(score_by_length(scores["bleu"], lengths)),
    )


def rival_scores(name: str, pairs: Sequence[SentencePair], outputs: Outputs) -> Rival:
    """The scores of somebody else's outputs for the same pairs."""
    return Rival(name, _scores(pairs, outputs.texts, SCORES))


def _outputs(
    model: TranslatorModel, pairs: Sequence[SentencePair], how: SearchOptions, options: EvaluationOptions
) -> Outputs:
    """The best translation of each source; an empty text where there is none."""
    best = [found[:1] for found in model.search(pairs, how, batch_tokens=options.batch_tokens)]
    return Outputs(
        [found[0].text if found else "" for found in best],
        [found[0].hypothesis.log_probability if found else None for found in best],
        model.describe_search(how),
    )


def _scores(pairs: Sequence[SentencePair], outputs: Sequence[str], names: Sequence[str]) -> dict[str, Score]:
    # Of several references the first says what should have been copied.
    copied = copy_scores([pair.source for pair in pairs], outputs, [pair.target or "" for pair in pairs])
    scores = text_scores(outputs, [pair.references for pair in pairs], names)
    return {**scores, **dict(zip(COPIES, copied, strict=True))}
