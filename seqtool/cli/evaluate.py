"""`seqtool evaluate`: scores of a model on unseen data, and its errors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtool.cli import console, options, rescoring
from seqtool.cli.evaluate_options import (
    BatchGroup,
    LanguageModelGroup,
    OutputGroup,
    SubjectGroup,
    TaggerGroup,
    TranslatorGroup,
)
from seqtool.cli.option_groups import flag, given, with_options
from seqtool.cli.options import find_model
from seqtool.cli.reports import lm, tagging, translation
from seqtool.errors import DataError, ThresholdError, UsageError, counted, nearest
from seqtool.files import storage_errors

if TYPE_CHECKING:
    from seqtool.evaluation.report import Evaluation
    from seqtool.translation.candidates import Rescoring

REPORTS: dict[str, ModuleType] = {"ner": tagging, "pos": tagging, "translate": translation, "lm": lm}


Requirements = list[tuple[str, float]]  # metric and bound of each --min
Groups = tuple[TaggerGroup, TranslatorGroup, LanguageModelGroup, BatchGroup]
READERS: dict[type[Any], tuple[str, ...]] = {  # tasks whose models the options of a group apply to
    TaggerGroup: ("ner", "pos"),
    TranslatorGroup: ("translate",),
    LanguageModelGroup: ("lm",),
    BatchGroup: ("ner", "pos", "translate"),
}
OF_ENTITIES = ("scheme", "repair", "strict")  # options of taggers
NAMES = {"ner": "tagger", "pos": "tagger", "translate": "translator", "lm": "language model"}


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
    _require_free_errors(output, [*(data or ()), subject.predictions, subject.against])
    required = [_requirement(text) for text in output.minimum or ()]
    rescoring.weight_of(of_translators.lm_weight, of_translators.lm)
    groups: Groups = (of_taggers, of_translators, of_language_models, batches)
    from seqtool.devices import configure

    configure(hardware.threads)
    if subject.predictions is not None:
        task, result = _predictions(data, subject, hardware, groups, required)
    else:
        task, result = _model(data, subject, output, hardware, groups, required)
    _show(result, REPORTS[task], output)
    _check(required, result)


def _require_free_errors(output: OutputGroup, inputs: Iterable[Path | None]) -> None:
    """Check that the file of `--errors` can be written, and is none of the inputs."""
    path = output.errors
    if path is None:
        if output.overwrite:
            raise UsageError(
                "--overwrite replaces the file of --errors, which is not given; add --errors FILE, or leave "
                "--overwrite out"
            )
        return
    from seqtool.text.output import require_free

    for source in inputs:
        if source is not None and path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"--errors {path}: is one of the files to evaluate; give another name")
    require_free(path, output.overwrite)


def _require_files(paths: Iterable[Path | None]) -> None:
    """Refuse standard input and pipes where files are read more than once."""
    for path in paths:
        if path is None:
            continue
        if str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            name = "standard input" if str(path) == "-" else path
            raise UsageError(
                f"{name}: a pipe can be read only once, and this evaluation reads its files more than once; "
                "save it as a file and give that"
            )


def _recipe_files(where: Path, part: str) -> list[Path]:
    """The files of a part of the recipe's data."""
    from seqtool.resolution import settings_of_run

    files = getattr(settings_of_run(where).data, part, None) or ()
    return [Path(file) for file in ([files] if isinstance(files, str) else files)]


def _model(
    data: list[Path] | None,
    subject: SubjectGroup,
    output: OutputGroup,
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
    if output.errors is not None and not data:
        _require_free_errors(output, _recipe_files(where, subject.part))
    if task != "lm":
        _require_files(data or ())
    chosen = _chosen(api.assessment_of(task, str(where)), task, f"{where} is", groups, required)
    if groups[1].lm is not None:
        chosen = replace(chosen, rescoring=_rescoring(where, groups[1], subject.part, chosen, hardware))
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


def _rescoring(
    where: Path, of_translators: TranslatorGroup, part: str, chosen: Any, hardware: options.HardwareOptions
) -> Rescoring:
    """The language model of `--lm` with its weight, which is chosen before anything is evaluated."""
    from seqtool import api
    from seqtool.translation.search import SearchOptions

    assert of_translators.lm is not None
    weight = rescoring.weight_of(of_translators.lm_weight, of_translators.lm)
    translator = api.load_translator(where, device=hardware.device, precision=hardware.precision)
    search = SearchOptions.of(translator.description.decoding)
    if chosen.beam is not None:
        search = replace(search, beam=chosen.beam)
    if weight == "auto" and part == "dev":
        console.warn(
            "the weight of the language model is chosen on dev, so its gain there says nothing about other "
            "data"
        )
    return rescoring.load_rescoring(
        translator,
        of_translators.lm,
        weight,
        search,
        hardware=hardware,
        batch_tokens=chosen.batch_tokens,
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
    _require_files([*data, subject.predictions, subject.against])
    unread = ["-m"] * (subject.model is not None) + ["--lm"] * (groups[1].lm is not None)
    unread += [flag(group, name) for group in (hardware, groups[-1]) for name in given(group)]
    if unread:
        raise UsageError(f"{unread[0]} has no effect with --predictions, which runs no model; leave it out")
    task = subject.task or _task_of_data(data)
    room = api.assessment_of(task, str(subject.predictions))
    instead = "" if subject.task else ", or add --task ner"
    chosen = _chosen(room, task, f"{subject.predictions} is of", groups, required, instead=instead)
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
    try:
        sentences = read_annotated(files[0], Columns()).sentences
    except DataError as error:
        raise DataError(
            f"{error} (translations are compared with two files, SRC TGT, or with one file of pairs: "
            f"seqtool evaluate SRC TGT --predictions FILE)"
        ) from error
    tags = [sentence.tags for sentence in sentences if sentence.tags]
    return "ner" if has_span_tags(tags) else "pos"


def _chosen(
    room: Any, task: str, what: str, groups: Groups, required: Requirements, *, instead: str = ""
) -> Any:
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
    for name in given(groups[0]) if task == "pos" else ():
        if name in OF_ENTITIES:
            raise UsageError(
                f"{flag(groups[0], name)} is for tags of entities, and {what} a tagger of single tokens, "
                f"whose tags have no scheme; leave it out{instead}"
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
        del values["lm"], values["lm_weight"]  # see `_rescoring`
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
        from seqtool.text.output import open_durably

        rows = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in result.errors()]
        with open_durably(output.errors) as file:
            file.write("".join(rows).encode())
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
        if metric not in result.scores:
            known = ", ".join(result.scores)
            raise UsageError(f"--min {metric}: not a metric of such outputs; theirs are {known}")
        score = result.scores[metric]
        value, higher = score.value, score.higher_is_better
        if not (value >= bound if higher else value <= bound):
            missed.append(f"{metric} = {value:.4f} {'<' if higher else '>'} {bound}")
    if missed:
        raise ThresholdError("--min is not met: " + "; ".join(missed))
