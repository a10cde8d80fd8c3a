"""`seqtool evaluate`: how good a model is on data that it has not seen, and where it errs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seqtool.cli import console, options
from seqtool.cli.options import find_model
from seqtool.cli.reports import lm, tagging, translation
from seqtool.errors import ModelError, ThresholdError, UsageError, nearest
from seqtool.files import storage_errors
from seqtool.text.tag_rules import SchemeChoice

BATCH_TOKENS = 4096
LESS_IS_BETTER = (
    "ter",
    "loss",
    "nats_per_character",
    "bits_per_character",
    "bits_per_byte",
    "perplexity",
    "perplexity_per_word",
)

ProtocolOption = Annotated[
    Literal["streaming", "cold"],
    typer.Option(help="A language model's state goes through the text, or starts anew every 256 symbols."),
]
AdaptOption = Annotated[
    bool, typer.Option("--adapt", help="A language model learns from the text while reading it.")
]
CacheOption = Annotated[
    bool, typer.Option("--cache", help="What followed similar states of a language model counts.")
]
InterpolateOption = Annotated[
    bool,
    typer.Option("--interpolate", help="A language model mixed with the n-gram, as is best on dev."),
]
YardsticksOption = Annotated[
    bool, typer.Option(help="An n-gram and xz of the same training text beside a language model.")
]
RepairOption = Annotated[
    bool, typer.Option("--repair", help="Repair any number of tags of DATA that are invalid in the scheme.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse every tag of DATA that is invalid; else a few are read.")
]
TargetPrecisionOption = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Find the --min-confidence that reaches it on the data."),
]


def evaluate(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Annotated file, source and target, or texts, read as one; else the recipe's test part."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="Run folder or its model/ folder; else $SEQTOOL_MODEL."),
    ] = None,
    minimum: Annotated[
        list[str] | None,
        typer.Option(
            "--min",
            metavar="METRIC=X",
            help="Exit with 9 unless METRIC is at least X; at most, where less is better.",
        ),
    ] = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for pictures (PNG).")] = None,
    bootstrap: Annotated[
        int,
        typer.Option(
            "--bootstrap", min=0, help="Resamples for 95 % intervals; 0 = none. --against has 1,000 at least."
        ),
    ] = 1000,
    against: Annotated[
        Path | None, typer.Option("--against", help="Another model: paired tests on the same data.")
    ] = None,
    target_precision: TargetPrecisionOption = None,
    part: Annotated[
        Literal["test", "dev", "train"], typer.Option(help="Part of the run's recipe, when no DATA is given.")
    ] = "test",
    scheme: Annotated[SchemeChoice, typer.Option(help="Tag scheme of DATA.")] = "auto",
    repair: RepairOption = False,
    strict: StrictOption = False,
    beam: Annotated[
        int | None, typer.Option("--beam", min=1, help="Hypotheses of a translator; 1 = greedy.")
    ] = None,
    ter: Annotated[bool, typer.Option("--ter", help="Translation edit rate too, which is slow.")] = False,
    protocol: ProtocolOption = "streaming",
    adapt: AdaptOption = False,
    cache: CacheOption = False,
    interpolate: InterpolateOption = False,
    yardsticks: YardsticksOption = True,
    batch_tokens: options.BatchTokensOption = BATCH_TOKENS,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "auto",
    threads: options.ThreadsOption = 0,
    json_output: options.JsonOption = False,
) -> None:
    """Score a model on data that it has not seen."""
    typed = dict(locals())
    if target_precision == 0:
        raise UsageError("--target-precision 0: expected more than 0, at most 1")
    if data and part != "test":
        raise UsageError(f"--part {part} is of the run's recipe, and DATA is given; leave one of them out")
    required = [_requirement(text) for text in minimum or ()]
    from seqtool import api
    from seqtool.devices import configure

    configure(threads)
    where = find_model(model, tuple(EVALUATORS), newest=False)
    task = api.task_of(where)
    if task not in EVALUATORS:
        raise ModelError(f"{where}: a model for {task!r}, expected one for {' or '.join(EVALUATORS)}")
    result, report = EVALUATORS[task](where, typed)
    _finish(result, report, required, plots, json_output)


COMMON = ("part", "against", "bootstrap", "device", "precision")  # options of every task

# Options that only one kind of model reads, with what they are when they were not given.
OF_TAGGERS = {"target_precision": None, "scheme": "auto", "repair": False, "strict": False}
OF_TRANSLATORS = {"beam": None, "ter": False}
OF_LANGUAGE_MODELS = {
    "protocol": "streaming",
    "adapt": False,
    "cache": False,
    "interpolate": False,
    "yardsticks": True,
}


def _tagger(where: Path, typed: dict[str, Any]) -> tuple[Any, Any]:
    from seqtool import api

    data = typed["data"] or []
    if len(data) > 1:
        raise UsageError(f"a second data file is for translators only, and {where} is a tagger; leave it out")
    _refuse(typed, OF_TRANSLATORS, where, "a tagger", "translators")
    _refuse(typed, OF_LANGUAGE_MODELS, where, "a tagger", "language models")
    own = {name: typed[name] for name in (*OF_TAGGERS, "batch_tokens", *COMMON)}
    return api.evaluate_tagger(where, data[0] if data else None, **own), tagging


def _translator(where: Path, typed: dict[str, Any]) -> tuple[Any, Any]:
    from seqtool import api

    _refuse(typed, OF_TAGGERS, where, "a translator", "taggers")
    _refuse(typed, OF_LANGUAGE_MODELS, where, "a translator", "language models")
    own = {name: typed[name] for name in (*OF_TRANSLATORS, "batch_tokens", *COMMON)}
    return api.evaluate_translator(where, typed["data"], **own), translation


def _language_model(where: Path, typed: dict[str, Any]) -> tuple[Any, Any]:
    from seqtool import api

    _refuse(typed, OF_TAGGERS, where, "a language model", "taggers")
    _refuse(typed, OF_TRANSLATORS, where, "a language model", "translators")
    _refuse(typed, {"batch_tokens": BATCH_TOKENS}, where, "a language model", "taggers and translators")
    own = {name: typed[name] for name in (*OF_LANGUAGE_MODELS, *COMMON)}
    return api.evaluate_language_model(where, typed["data"], **own), lm


EVALUATORS = {"ner": _tagger, "pos": _tagger, "translate": _translator, "lm": _language_model}


def _finish(
    result: Any, report: Any, required: list[tuple[str, float]], plots: Path | None, json_output: bool
) -> None:
    """Say what was found, draw it, and hold it against what was required."""
    for warning in result.warnings:
        console.warn(warning)
    known = result.as_dict()["metrics"]
    _require_known(required, known)
    if plots is not None:
        with storage_errors(plots):
            plots.mkdir(parents=True, exist_ok=True)
        report.draw(result, plots)
        console.say(f"pictures in {plots}")
    if json_output:
        console.write_result(json.dumps(result.as_dict(), ensure_ascii=False, allow_nan=False) + "\n")
    else:
        report.show(result)
    _check(required, known)


def _refuse(typed: dict[str, Any], options: dict[str, Any], where: Path, kind: str, readers: str) -> None:
    """An option that says nothing about this kind of model is not accepted and ignored."""
    for name, default in options.items():
        if typed[name] != default:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for {readers} only, and {where} is {kind}; leave it out")


def _requirement(text: str) -> tuple[str, float]:
    metric, separator, value = text.partition("=")
    try:
        if separator and math.isfinite(float(value)):
            return metric.strip(), float(value)
    except ValueError:
        pass
    raise UsageError(f"--min {text}: expected METRIC=X, as in --min f1=0.8")


def _require_known(required: list[tuple[str, float]], metrics: dict[str, float]) -> None:
    for metric, _ in required:
        if metric not in metrics:
            hint = nearest(metric, metrics)
            raise UsageError(f"--min {metric}: no such metric{hint}; there are {', '.join(metrics)}")


def _check(required: list[tuple[str, float]], metrics: dict[str, float]) -> None:
    missed = []
    for metric, bound in required:
        value, less = metrics[metric], metric in LESS_IS_BETTER
        if not (value <= bound if less else value >= bound):
            missed.append(f"{metric} = {value:.4f} {'>' if less else '<'} {bound}")
    if missed:
        raise ThresholdError("not reached: " + "; ".join(missed))
