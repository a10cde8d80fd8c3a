"""Options of `seqtool evaluate`, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from seqtool.cli import options
from seqtool.cli.help import DATA, LANGUAGE_MODELS, MODEL, OUTPUT, TAGGERS, TRANSLATORS
from seqtool.cli.rescoring import LM_HELP, WEIGHT_HELP
from seqtool.text.tag_rules import SchemeChoice


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
    lm: Annotated[
        Path | None, typer.Option("--lm", metavar="MODEL", help=LM_HELP, rich_help_panel=TRANSLATORS)
    ] = None
    lm_weight: Annotated[
        str | None,
        typer.Option("--lm-weight", metavar="auto|X", help=WEIGHT_HELP, rich_help_panel=TRANSLATORS),
    ] = None
    columns: options.PairColumnsOption = None
    languages: options.LanguagesOption = None
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag",
            metavar="NAME",
            help="Tag of all pairs of DATA, for a model of several languages or tasks. Default: the first "
            "feature of each pair.",
            rich_help_panel=TRANSLATORS,
        ),
    ] = None


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
    yardsticks: Annotated[  # hidden, so that older scripts still run
        bool | None,
        typer.Option(
            "--yardsticks/--no-yardsticks",
            hidden=True,
            help="Another name of --baselines.",
            rich_help_panel=LANGUAGE_MODELS,
        ),
    ] = None


@dataclass(frozen=True)
class BatchGroup:
    """Options that apply to taggers and translators."""

    batch_tokens: options.BatchTokensOption = 4096


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
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the file of --errors.", rich_help_panel=OUTPUT),
    ] = False
    plots: Annotated[
        Path | None,
        typer.Option(
            "--plots", metavar="DIR", help="Draw pictures (PNG) into this folder.", rich_help_panel=OUTPUT
        ),
    ] = None
    json_output: options.JsonOption = False
