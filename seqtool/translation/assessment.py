"""Evaluating a trained translator on sentence pairs: scores, comparisons, scores by length, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import DataError, UsageError, counted
from seqtool.evaluation.by_length import LengthRow, score_by_length
from seqtool.evaluation.report import Evaluation, Rival
from seqtool.evaluation.score import Score
from seqtool.evaluation.text_scores import bleu_informs, copy_scores, text_scores
from seqtool.text.data_files import PartName
from seqtool.text.json_lines import load
from seqtool.text.lines import lines_of
from seqtool.text.pair_files import kind_of
from seqtool.text.parallel import SentencePair
from seqtool.translation.candidates import Rescoring
from seqtool.translation.corpora import Tags
from seqtool.translation.data import (
    Part,
    TranslationData,
    are_spaced,
    load_part,
    read_files,
    warnings_about,
)
from seqtool.translation.data_settings import DataSettings
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.unseen import unseen

SCORES = ("bleu", "bleu_lowercase", "chrf", "exact_match")
OF_WORDS = ("exact_match", "edit_distance", "chrf", "bleu_lowercase", "bleu")  # where BLEU says nothing
OF_SOUNDS = ("word_error_rate", "phoneme_error_rate", "exact_match", "chrf")  # of symbols between spaces
COPIES = ("copy_precision", "copy_recall")
_NBEST = re.compile(
    r"[0-9]+\t(?P<rank>[0-9]+)\t-?(?:[0-9.]+|inf)\t(?P<text>[^\t]*)(?:\t.*)?"
)  # a line of `seqtool translate --nbest`


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of the evaluation of a translator.

    Args:
        beam: Beam size, at least 1; None = that of the recipe.
        ter: Whether to compute TER as well, which is slow.
        batch_tokens: Symbols per batch, padding included.
        columns: Columns of a file of pairs, as in `data.columns`; None = those of the training files.
        languages: Languages of a file of pairs, as in `data.languages`; None = likewise.
        rescoring: A language model that reorders the outputs of the beam; None = the translator alone. A
            model to compare with translates without it.
        tag: Tag of all pairs of the files; None = the first feature of each, if the model has tags.

    Raises:
        UsageError: a beam size below 1.
    """

    beam: int | None = None
    ter: bool = False
    batch_tokens: int = 4096
    columns: tuple[str, ...] | None = None
    languages: tuple[str, str] | None = None
    rescoring: Rescoring | None = None
    tag: str | None = None

    def __post_init__(self) -> None:
        if self.beam is not None and self.beam < 1:
            raise UsageError(f"--beam {self.beam}: expected 1 (greedy) or more")


class Outputs(NamedTuple):
    """Translations of some sources.

    Args:
        texts: The translation of each source.
        log_probabilities: Log probability of each translation, nats; None = unknown.
        search: Short description of the search that found them.
    """

    texts: Sequence[str]
    log_probabilities: Sequence[float | None] | None = None
    search: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class TranslatorEvaluation(Evaluation):
    """The evaluation of a translator, as `seqtool evaluate` reports it.

    Args:
        pairs: The sources with their references.
        outputs: The translations of the sources.
        by_length: BLEU by the number of words of the source; where BLEU says nothing (`bleu_informs`),
            exact match by its number of characters.
    """

    pairs: Sequence[SentencePair]
    outputs: Outputs
    by_length: tuple[LengthRow, ...] = ()

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the metrics that are tested against another model."""
        return tuple(name for name in self.scores if name in (*OF_SOUNDS, "bleu"))

    @property
    def leading(self) -> str:
        """Name of the metric that says most about such outputs: bleu, exact_match or word_error_rate."""
        return next(iter(self.scores))

    @property
    def length_unit(self) -> str:
        """What lengths of sources are counted in, in `by_length`."""
        return "words" if self.leading == "bleu" else "characters"

    @property
    def search(self) -> str:
        """Short description of the search that found the outputs."""
        return self.outputs.search

    def details(self) -> dict[str, Any]:
        """The entries of the JSON report beside the scores: the search, and the leading score by length."""
        rows = [row._asdict() for row in self.by_length]
        return {
            "search": self.search,
            "by_length": rows,
            "by_length_of": {"metric": self.leading, "unit": self.length_unit},
        }

    def errors(self) -> Iterator[dict[str, Any]]:
        """The outputs that differ from their reference, the one with the lowest chrF first."""
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
    """Names of the metrics that an evaluation may have; which it has depends on its data."""
    return (*dict.fromkeys((*SCORES, *OF_WORDS, *OF_SOUNDS)), *(("ter",) if options.ter else ()), *COPIES)


def evaluation_data(
    model: TranslatorModel,
    files: Sequence[Path],
    options: EvaluationOptions,
    *,
    recipe: Callable[[], TranslatorSettings],
    part: PartName,
) -> TranslationData:
    """Read the pairs of some files, or a part of the recipe's data.

    Args:
        model: The model; the files are expected in the format of its training files.
        files: Source and references, or one file of pairs, or empty for a part of the recipe's data.
        options: Options of the evaluation.
        recipe: Function that returns the settings of the model's run.
        part: Name of the part of the recipe's data.

    Raises:
        UsageError: there is no such file, or no recipe.
        DataError: a file is not valid; the message names the line.
    """
    if files:
        return load_evaluation_data(model, files, options)
    unread = next(
        (name for name in ("columns", "languages", "tag") if getattr(options, name) is not None), None
    )
    if unread is not None:
        raise UsageError(f"--{unread} is for files of pairs, and none was given; leave it out")
    return _tagged(load_part(recipe(), part), model)


def load_evaluation_data(
    model: TranslatorModel, paths: Sequence[Path], options: EvaluationOptions | None = None
) -> TranslationData:
    """Read pairs in the format of the training files (errors of `evaluation_data`)."""
    chosen = options or EvaluationOptions()
    return _tagged(read_gold(paths, model.description.data, chosen), model, chosen.tag)


def _tagged(data: TranslationData, model: TranslatorModel, tag: str | None = None) -> TranslationData:
    """Data whose pairs have the tag that a model reads (errors of `TranslatorModel.tagged`)."""
    parts = {
        name: replace(part, pairs=tuple(model.tagged(pair, tag) for pair in part.pairs))
        for name, part in data.parts.items()
    }
    return replace(data, parts=parts)


def _as_read_by(rival: TranslatorModel, pairs: Sequence[SentencePair], tags: Tags) -> list[SentencePair]:
    """The pairs as another model reads them: one without tags does not see those of this one."""
    own = [pair if tags.of(pair) in rival.tags.names else tags.without(pair) for pair in pairs]
    return [rival.tagged(pair) for pair in own]


def read_gold(
    paths: Sequence[Path], data: DataSettings, options: EvaluationOptions | None = None
) -> TranslationData:
    """Read pairs of source and reference (errors of `evaluation_data`).

    Args:
        paths: Source and references, or one file of pairs.
        data: The format of the files.
        options: Columns and languages that differ from it.
    """
    chosen = options or EvaluationOptions()
    named = {"columns": chosen.columns, "languages": chosen.languages}
    changed = {name: list(value) for name, value in named.items() if value is not None}
    part = read_files(paths, data.model_copy(update=changed), "data", to_be_scored=True)
    return TranslationData({"data": part}, warnings_about(part))


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
    """Evaluate a translator on sentence pairs.

    Args:
        model: The translator.
        data: A single part.
        options: Options of the evaluation; None = the defaults.
        name: Name of the model in the report.
        bootstrap: Number of bootstrap resamples for intervals and paired tests; 0 = no intervals.
        against: Name and model to compare with on the same pairs and by the same search; None = no
            comparison.
        search: Options of the search; None = those of the model's recipe. The beam of `options` takes
            precedence.
    """
    chosen = options or EvaluationOptions()
    (part,) = data.parts.values()
    how = search or SearchOptions.of(model.description.decoding)
    if chosen.beam is not None:
        how = replace(how, beam=chosen.beam)
    spaced = model.description.data.target_symbols == "spaces"
    outputs = _outputs(model, part.pairs, how, chosen)
    if chosen.rescoring is not None and against is not None and against[0] == name:
        name = f"{name} with {chosen.rescoring.lm.place}"
    rival = None
    if against is not None:
        pairs = _as_read_by(against[1], part.pairs, model.tags)
        others = _outputs(against[1], pairs, how, replace(chosen, rescoring=None))
        rival = rival_scores(against[0], part.pairs, others, spaced=spaced)
        if others.search != outputs.search:
            outputs = outputs._replace(search=f"{outputs.search} ({name}), {others.search} ({against[0]})")
    remarks = unseen(model.vocabularies, model.description.data.columns, part.pairs, model.tags)
    data = replace(data, warnings=(*data.warnings, *remarks))
    return judged(data, outputs, chosen, name=name, bootstrap=bootstrap, rival=rival, spaced=spaced)


def assess_predictions(
    predictions: Path,
    files: Sequence[Path],
    options: EvaluationOptions | None = None,
    *,
    task: str,
    bootstrap: int = 1000,
    against: Path | None = None,
) -> TranslatorEvaluation:
    """Evaluate a file of translations; no model is needed.

    Args:
        predictions: One translation per line of the source, or the output of `seqtool translate --nbest`.
        files: Source and references, or one file of pairs.
        options: Options of the evaluation; None = the defaults.
        task: translate.
        bootstrap: Number of bootstrap resamples for intervals and paired tests; 0 = no intervals.
        against: Other translations of the same source, to compare with; None = no comparison.

    Raises:
        UsageError: a file is missing, or a beam size is given.
        DataError: a file is not valid, or the numbers of translations and sources differ.
    """
    chosen = options or EvaluationOptions()
    if chosen.beam is not None:
        raise UsageError("--beam needs a model: give one with -m instead of --predictions, or leave it out")
    if chosen.tag is not None:
        raise UsageError("--tag needs a model: give one with -m instead of --predictions, or leave it out")
    if chosen.rescoring is not None:
        raise UsageError("--lm needs a model: give one with -m instead of --predictions, or leave it out")
    data = read_gold(files, DataSettings(), chosen)
    (part,) = data.parts.values()
    rival, spaced = None, are_spaced(part.pairs)
    if against is not None:
        rival = rival_scores(str(against), part.pairs, read_predictions(against, part), spaced=spaced)
    outputs, name = read_predictions(predictions, part), str(predictions)
    return judged(data, outputs, chosen, name=name, bootstrap=bootstrap, rival=rival, spaced=spaced)


def read_predictions(path: Path, gold: Part) -> Outputs:
    """Read the translations of sentence pairs from a file.

    Args:
        path: One translation per line; an n-best list (index, rank, score, text), of which the
            translations of rank 1 are used; or JSON objects with a `text`.
        gold: The sentence pairs, all of their files.

    Raises:
        UsageError: there is no such file.
        DataError: the numbers of translations and of lines of the source differ.
    """
    lines = list(lines_of(path))
    if kind_of(path) == "jsonl" or (lines and all(map(_is_translation, lines))):
        lines = [_text_of(line, f"{path}:{number}") for number, line in enumerate(lines, 1)]
    ranked = [_NBEST.fullmatch(line) for line in lines]
    if lines and all(ranked):
        lines = [match["text"] for match in ranked if match is not None and match["rank"] == "1"]
    if len(lines) != len(gold.pairs):
        raise DataError(
            f"{path}: {counted(len(lines), 'translation')}, but {counted(len(gold.pairs), 'line')} in "
            f"{gold.source}; expected one translation per line"
        )
    return Outputs(lines, None, "the file of predictions")


def _is_translation(line: str) -> bool:
    """Whether a line is a JSON object with a translation, whatever the name of its file."""
    if not line.startswith("{"):
        return False
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("text"), str)


def _text_of(line: str, place: str) -> str:
    """The translation in a JSON object, as `seqtool translate --format jsonl` writes it."""
    value = load(line, place)
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise DataError(f'{place}: no translation under the key \'text\', as in {{"text": "..."}}')
    return str(value["text"])


def judged(
    data: TranslationData,
    outputs: Outputs,
    options: EvaluationOptions,
    *,
    name: str,
    bootstrap: int,
    rival: Rival | None,
    spaced: bool,
) -> TranslatorEvaluation:
    """The evaluation of translations, from a model or from a file.

    Args:
        data: A single part.
        outputs: The translations of its sources.
        options: Options of the evaluation.
        name: Name of the model or file in the report.
        bootstrap: Number of bootstrap resamples; 0 = no intervals.
        rival: Scores to compare with; None = no comparison.
        spaced: Whether outputs are symbols between spaces.
    """
    (part,) = data.parts.values()
    names = _names(part.pairs, spaced=spaced)
    scores = _scores(part.pairs, outputs.texts, (*names, *(("ter",) if options.ter else ())))
    of_sentences = names[0] == SCORES[0]
    lengths = [len(pair.source.split() if of_sentences else pair.source) for pair in part.pairs]
    return TranslatorEvaluation(
        model=name,
        data=part.source,
        scores=scores,
        bootstrap=bootstrap,
        rival=rival,
        warnings=data.warnings,
        pairs=part.pairs,
        outputs=outputs,
        by_length=tuple(score_by_length(scores[names[0]], lengths)),
    )


def _names(pairs: Sequence[SentencePair], *, spaced: bool) -> tuple[str, ...]:
    """Names of the scores, the one that says most first."""
    if spaced:
        return OF_SOUNDS
    return SCORES if bleu_informs([pair.references for pair in pairs]) else OF_WORDS


def rival_scores(
    name: str, pairs: Sequence[SentencePair], outputs: Outputs, *, spaced: bool = False
) -> Rival:
    """The scores of other translations of the same pairs."""
    return Rival(name, _scores(pairs, outputs.texts, _names(pairs, spaced=spaced)))


def _outputs(
    model: TranslatorModel, pairs: Sequence[SentencePair], how: SearchOptions, options: EvaluationOptions
) -> Outputs:
    """The best translation of each source; an empty text if there is none."""
    found_by = model.search(pairs, how, rescoring=options.rescoring, batch_tokens=options.batch_tokens)
    best = [found[:1] for found in found_by]
    return Outputs(
        [found[0].text if found else "" for found in best],
        [found[0].hypothesis.log_probability if found else None for found in best],
        model.describe_search(how, options.rescoring),
    )


def _scores(pairs: Sequence[SentencePair], outputs: Sequence[str], names: Sequence[str]) -> dict[str, Score]:
    scores = text_scores(outputs, [pair.references for pair in pairs], names)
    if OF_SOUNDS[0] in names:
        return scores
    # With several references, copying is judged by the first.
    copied = copy_scores([pair.source for pair in pairs], outputs, [pair.target or "" for pair in pairs])
    return {**scores, **dict(zip(COPIES, copied, strict=True))}
