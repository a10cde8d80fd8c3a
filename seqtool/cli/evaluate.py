"""`seqtool evaluate`: scores of a model on unseen data, and its errors."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from seqtool.cli import console, options
from seqtool.cli.help import DATA, LANGUAGE_MODELS, MODEL, OUTPUT, TAGGERS, TRANSLATORS
from seqtool.cli.option_groups import flag, given, with_options
from seqtool.cli.options import find_model, require_folder
from seqtool.cli.reports import lm, tagging, translation
from seqtool.errors import ThresholdError, UsageError, counted, nearest
from seqtool.files import storage_errors, write_durably
from seqtool.text.tag_rules import SchemeChoice

if TYPE_CHECKING:
    from seqtool.evaluation.report import Evaluation

REPORTS: dict[str, ModuleType] = {"ner": tagging, "pos": tagging, "translate": translation, "lm": lm}


@dataclass(frozen=True)
class TaggerGroup:
    """Options that apply to taggers only."""

    target_precision: Annotated[
        float | None,
        typer.Option(
            max=1.0,
            metavar="P",
            help="Find the lowest --min-confidence that reaches precision P (0 to 1) on DATA.",
            rich_help_panel=TAGGERS,
        ),
    ] = None
    scheme: Annotated[
        SchemeChoice,
        typer.Option(help="Tag scheme of DATA.", rich_help_panel=TAGGERS),
    ] = "auto"
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair any number of tags of DATA that are invalid in the scheme.",
            rich_help_panel=TAGGERS,
        ),
    ] = False
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse every invalid tag of DATA; by default a few are accepted with a warning.",
            rich_help_panel=TAGGERS,
        ),
    ] = False


@dataclass(frozen=True)
class TranslatorGroup:
    """Options that apply to translators only."""

    beam: Annotated[
        int | None,
        typer.Option(
            "--beam",
            min=1,
            help="Beam size; 1 = greedy search. Default: as in the model's recipe.",
            rich_help_panel=TRANSLATORS,
        ),
    ] = None
    ter: Annotated[
        bool,
        typer.Option(
            "--ter",
            help="Also compute the translation edit rate (TER), which is slow.",
            rich_help_panel=TRANSLATORS,
        ),
    ] = False
    columns: options.PairColumnsOption = None
    languages: options.LanguagesOption = None


@dataclass(frozen=True)
class LanguageModelGroup:
    """Options that apply to language models only."""

    protocol: Annotated[
        Literal["streaming", "cold"],
        typer.Option(
            help="Carry the state through the whole text (streaming), or reset it every 256 symbols (cold).",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = "streaming"
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Adapt the model to the text while reading it (dynamic evaluation).",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = False
    cache: Annotated[
        bool,
        typer.Option(
            "--cache",
            help="Use a neural cache: favour symbols that followed similar states.",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = False
    interpolate: Annotated[
        bool,
        typer.Option(
            "--interpolate",
            help="Interpolate with the n-gram baseline; the weight is tuned on the development data.",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = False
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines/--no-baselines",
            help="Compare with baselines: an n-gram model and xz, on the same training text.",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = True
    yardsticks: Annotated[  # the name that --baselines had before
        bool | None,
        typer.Option(
            "--yardsticks/--no-yardsticks",
            hidden=True,
            help="The former name of --baselines.",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = None


@dataclass(frozen=True)
class BatchGroup:
    """Options that apply to taggers and translators."""

    batch_tokens: options.BatchTokensOption = 4096


Requirements = list[tuple[str, float]]  # metric and bound of each --min
Groups = tuple[TaggerGroup, TranslatorGroup, LanguageModelGroup, BatchGroup]
READERS: dict[type[Any], tuple[str, ...]] = {  # tasks whose models the options of a group apply to
    TaggerGroup: ("ner", "pos"),
    TranslatorGroup: ("translate",),
    LanguageModelGroup: ("lm",),
    BatchGroup: ("ner", "pos", "translate"),
}
NAMES = {"ner": "tagger", "pos": "tagger", "translate": "translator", "lm": "language model"}


@dataclass(frozen=True)
class SubjectGroup:
    """What is evaluated, and on which data."""

    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Run folder or its model/ folder. Default: $SEQTOOL_MODEL.",
            rich_help_panel=MODEL,
        ),
    ] = None
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Score this file, as `tag` or `translate` writes it, instead of a model; needs DATA.",
            rich_help_panel=DATA,
        ),
    ] = None
    task: Annotated[
        Literal["ner", "pos", "translate"] | None,
        typer.Option("--task", help="Task of --predictions, if DATA does not show it.", rich_help_panel=DATA),
    ] = None
    part: Annotated[
        Literal["test", "dev", "train"],
        typer.Option(help="Part of the recipe's data to use when DATA is not given.", rich_help_panel=DATA),
    ] = "test"
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="MODEL",
            help="Compare with this model (or file of predictions) by paired tests on the same data.",
            rich_help_panel=MODEL,
        ),
    ] = None
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap",
            min=0,
            metavar="N",
            help="Bootstrap resamples for 95 % confidence intervals; 0 = none. --against uses at least "
            "1,000.",
            rich_help_panel=OUTPUT,
        ),
    ] = 1000


@dataclass(frozen=True)
class OutputGroup:
    """What is done with the results."""

    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="METRIC=X",
            help="Exit with code 9 unless METRIC is at least X (at most X where lower is better). "
            "Repeatable.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors",
            metavar="FILE",
            help="Write the errors to this file as JSON lines, gold beside predicted; for a language "
            "model, the 1,000 lines with the most bits per character.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots", metavar="DIR", help="Draw pictures (PNG) into this folder.", rich_help_panel=OUTPUT
        ),
    ] = None
    json_output: options.JsonOption = False


@with_options
def evaluate(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DATA",
            help="Taggers: an annotated file. Translators: source and target files, or one file of "
            "pairs. Language models: texts. Default: the test part of the recipe's data.",
        ),
    ] = None,
    *,
    subject: SubjectGroup,
    output: OutputGroup,
    of_taggers: TaggerGroup,
    of_translators: TranslatorGroup,
    of_language_models: LanguageModelGroup,
    batches: BatchGroup,
    hardware: options.HardwareOptions,
) -> None:
    """Evaluate a model, or a file of predictions, on data that the model has not seen.

    Examples:
      seqtool evaluate test.conll -m runs/ner/ner-tiny --plots pictures
      seqtool evaluate test.en test.de -m runs/translate/mine --min bleu=20
    """
    if data and subject.part != "test":
        raise UsageError(
            f"--part {subject.part} is a part of the recipe's data, but DATA is given; leave one of them out"
        )
    if of_taggers.target_precision is not None and of_taggers.target_precision <= 0:
        raise UsageError(
            f"--target-precision {of_taggers.target_precision:g}: must be more than 0, at most 1"
        )
    if output.errors is not None:
        require_folder(output.errors)
    required = [_requirement(text) for text in output.minimum or ()]
    groups: Groups = (of_taggers, of_translators, of_language_models, batches)
    from seqtool.devices import configure

    configure(hardware.threads)
    if subject.predictions is not None:
        task, result = _predictions(data, subject, hardware, groups, required)
    else:
        task, result = _model(data, subject, hardware, groups, required)
    _show(result, REPORTS[task], output)
    _check(required, result)


def _model(
    data: list[Path] | None,
    subject: SubjectGroup,
    hardware: options.HardwareOptions,
    groups: Groups,
    required: Requirements,
) -> tuple[str, Evaluation]:
    """Evaluate a model; returns its task as well."""
    from seqtool import api

    if subject.task is not None:
        raise UsageError("--task goes with --predictions only, since a model knows its task; leave it out")
    where = find_model(subject.model, tuple(REPORTS), newest=False)
    task = api.task_of(where)
    chosen = _chosen(api.assessment_of(task, str(where)), task, f"{where} is", groups, required)
    return task, api.evaluate(
        where,
        data,
        part=subject.part,
        against=subject.against,
        bootstrap=subject.bootstrap,
        options=chosen,
        device=hardware.device,
        precision=hardware.precision,
    )


def _predictions(
    data: list[Path] | None,
    subject: SubjectGroup,
    hardware: options.HardwareOptions,
    groups: Groups,
    required: Requirements,
) -> tuple[str, Evaluation]:
    """Evaluate a file of predictions; returns its task as well."""
    from seqtool import api

    assert subject.predictions is not None
    if not data:
        raise UsageError(
            "--predictions needs DATA to compare with, as in: seqtool evaluate GOLD --predictions FILE"
        )
    unread = ["-m"] * (subject.model is not None) + [flag(hardware, name) for name in given(hardware)]
    if unread:
        raise UsageError(f"{unread[0]} has no effect with --predictions, which runs no model; leave it out")
    task = subject.task or _task_of_data(data)
    room = api.assessment_of(task, str(subject.predictions))
    chosen = _chosen(room, task, f"{subject.predictions} is of", groups, required)
    return task, api.evaluate_predictions(
        subject.predictions,
        data,
        task=task,
        against=subject.against,
        bootstrap=subject.bootstrap,
        options=chosen,
    )


def _task_of_data(files: list[Path]) -> str:
    """Guess from the data whether the task is tagging (ner or pos) or translation."""
    from seqtool.text.annotation import Columns, has_span_tags, read_annotated
    from seqtool.text.json_lines import is_sentence_object
    from seqtool.text.lines import lines_of
    from seqtool.text.pair_files import kind_of

    if len(files) > 1 or kind_of(files[0]) in ("tsv", "csv", "tmx"):
        return "translate"
    first = next((line for line in lines_of(files[0]) if line.strip()), "")
    if first.lstrip().startswith("{") and not is_sentence_object(first):
        return "translate"
    tags = [sentence.tags for sentence in read_annotated(files[0], Columns()).sentences if sentence.tags]
    return "ner" if has_span_tags(tags) else "pos"


def _chosen(room: Any, task: str, what: str, groups: Groups, required: Requirements) -> Any:
    """The evaluation options of a task; the metrics of --min are checked before data is read."""
    values: dict[str, Any] = {}
    for group in groups:
        readers = READERS[type(group)]
        if task in readers:
            values |= _values(group)
            continue
        for name in given(group):
            plural = " and ".join(dict.fromkeys(f"{NAMES[reader]}s" for reader in readers))
            raise UsageError(
                f"{flag(group, name)} is for {plural} only, and {what} a {NAMES[task]}; leave it out"
            )
    chosen = room.EvaluationOptions(**values)
    known = room.metric_names(task, chosen)
    for metric, _ in required:
        if metric not in known:
            hint = nearest(metric.lower(), known)
            raise UsageError(f"--min {metric}: no such metric; the metrics are {', '.join(known)}{hint}")
    return chosen


def _values(group: Any) -> dict[str, Any]:
    """The values of a group of options; lists that are typed with commas are taken apart."""
    values = asdict(group)
    if isinstance(group, TranslatorGroup):
        values["columns"] = None if group.columns is None else tuple(options.pair_columns(group.columns))
        values["languages"] = None if group.languages is None else options.pair_languages(group.languages)
    if isinstance(group, LanguageModelGroup) and (before := values.pop("yardsticks")) is not None:
        prefix = "--" if before else "--no-"
        console.warn(f"{prefix}yardsticks is now called {prefix}baselines")
        values["baselines"] = before
    return values


def _show(result: Evaluation, report: Any, output: OutputGroup) -> None:
    """Print the warnings and results, draw the pictures, and write the errors to a file."""
    for warning in result.warnings:
        console.warn(warning)
    if output.plots is not None:
        with storage_errors(output.plots):
            output.plots.mkdir(parents=True, exist_ok=True)
        report.draw(result, output.plots)
        console.say(f"pictures in {output.plots}")
    if output.errors is not None:
        rows = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in result.errors()]
        write_durably(output.errors, "".join(rows).encode())
        console.say(f"errors: {counted(len(rows), 'example')} in {output.errors}")
    if output.json_output:
        console.write_result(json.dumps(result.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
    else:
        report.show(result)


def _requirement(text: str) -> tuple[str, float]:
    """Metric and bound of a `--min`."""
    metric, separator, value = text.partition("=")
    try:
        if separator and math.isfinite(float(value)):
            return metric.strip(), float(value)
    except ValueError:
        pass
    raise UsageError(f"--min {text}: expected METRIC=X, as in --min f1=0.8")


def _check(required: Requirements, result: Evaluation) -> None:
    """Raise `ThresholdError` unless every `--min` is met."""
    missed = []
    for metric, bound in required:
        score = result.scores[metric]
        value, higher = score.value, score.higher_is_better
        if not (value >= bound if higher else value <= bound):
            missed.append(f"{metric} = {value:.4f} {'<' if higher else '>'} {bound}")
    if missed:
        raise ThresholdError("--min is not met: " + "; ".join(missed))
