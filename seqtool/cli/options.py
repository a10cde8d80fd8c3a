"""Options that several commands share, and how a command finds its model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import typer

from seqtool.cli import console
from seqtool.cli.help import DATA, HARDWARE, MODEL, OUTPUT
from seqtool.errors import UsageError

VARIABLE = "SEQTOOL_MODEL"
PAIR_COLUMNS = ("source", "target", "features", "-")
ModelOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Run folder or its model/ folder. Default: $SEQTOOL_MODEL, else the newest finished run.",
        rich_help_panel=MODEL,
    ),
]
TaggersOption = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Run folder or its model/ folder; several -m make an ensemble, whose scores are averaged. "
        "Default: $SEQTOOL_MODEL, else the newest finished run.",
        rich_help_panel=MODEL,
    ),
]
DEVICE_HELP = "Device: auto, cpu, cuda, cuda:N or mps."
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help=DEVICE_HELP, rich_help_panel=HARDWARE)
]
FloatPrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="PRECISION",
        help="Arithmetic: auto, fp32 or bf16. auto picks the fastest that suits the device.",
        rich_help_panel=HARDWARE,
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="PRECISION",
        help="Arithmetic: auto, fp32, bf16, or int8 (translating on a CPU). auto picks the fastest that "
        "suits the device.",
        rich_help_panel=HARDWARE,
    ),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads; 0 = all cores.", rich_help_panel=HARDWARE)
]
BatchTokensOption = Annotated[
    int,
    typer.Option(
        "--batch-tokens",
        min=1,
        help="Tokens per batch, padding included; lower it if memory runs out.",
        rich_help_panel=HARDWARE,
    ),
]
PairColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="Columns of a .tsv or .csv file of pairs, as in source,target,features; - = skip a column.",
        rich_help_panel=DATA,
    ),
]
LanguagesOption = Annotated[
    str | None,
    typer.Option(
        "--languages",
        metavar="SRC,TGT",
        help="Languages of a .jsonl, .csv or .tmx file of pairs, as in en,de.",
        rich_help_panel=DATA,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON value on standard output.", rich_help_panel=OUTPUT),
]


@dataclass(frozen=True)
class HardwareOptions:
    """Where and how a trained model computes."""

    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    threads: ThreadsOption = 0


@dataclass(frozen=True)
class FloatHardwareOptions:
    """Where and how a model computes that has no int8 arithmetic."""

    device: DeviceOption = "auto"
    precision: FloatPrecisionOption = "auto"
    threads: ThreadsOption = 0


def pair_columns(text: str) -> list[str]:
    """The columns that `--columns` names.

    Raises:
        UsageError: there is not one source, no target, or an unknown name.
    """
    names = [name.strip() for name in text.split(",")]
    once = names.count("source") == 1 and names.count("features") <= 1
    if not once or "target" not in names or set(names) - set(PAIR_COLUMNS):
        raise UsageError(
            f"--columns {text}: expected source, one or more target, optionally features, and - for a column "
            "to skip, as in --columns source,target,-"
        )
    return names


def pair_languages(text: str) -> tuple[str, str]:
    """The languages of source and target that `--languages` names.

    Raises:
        UsageError: there are not two names.
    """
    source, comma, target = (each.strip() for each in text.partition(","))
    if not (source and comma and target):
        raise UsageError(f"--languages {text}: expected two keys, as in --languages en,de")
    return source, target


def pair_settings(columns: str | None, languages: str | None) -> dict[str, list[str] | None]:
    """The settings that `--columns` and `--languages` stand for (errors of `pair_columns`, `pair_languages`).

    Args:
        columns: Argument of `--columns`; None = not given.
        languages: Argument of `--languages`; None = not given.
    """
    return {
        "data.columns": None if columns is None else pair_columns(columns),
        "data.languages": None if languages is None else list(pair_languages(languages)),
    }


def refuse(given: Mapping[str, object], where: str) -> None:
    """Refuse options that would be ignored.

    Args:
        given: Value of each option as it is typed; None or False = not given.
        where: When they have no effect, for instance `without --problem`.

    Raises:
        UsageError: one of them is given.
    """
    for name, value in given.items():
        if value is not None and value is not False:
            raise UsageError(f"{name} has no effect {where}; leave it out")


def find_taggers(given: list[Path] | None) -> list[Path]:
    """Find the taggers to use together: those that were named with -m, else as `find_model`."""
    return given or [find_model(None, ("ner", "pos"))]


def find_model(given: Path | None, tasks: Sequence[str], *, newest: bool = True) -> Path:
    """Find the model to use; unless it was named with -m, it is announced on stderr.

    Args:
        given: Argument of -m; None = not given.
        tasks: Tasks whose newest finished run may be used.
        newest: Whether the newest run may be used; otherwise it is only suggested.

    Raises:
        UsageError: there is no model; the message names the command that would train one.
    """
    if given is not None:
        return given
    if os.environ.get(VARIABLE):
        console.say(f"model: {os.environ[VARIABLE]} (from ${VARIABLE})")
        return Path(os.environ[VARIABLE])
    from seqtool.api import latest_model

    found = latest_model(tasks)
    if found is not None and not newest:
        raise UsageError(f"no model was named; choose one with -m, for instance the newest run: -m {found}")
    if found is None:
        commands = " or ".join(f"`seqtool train {task}`" for task in tasks)
        folders = ", ".join(f"runs/{task}/" for task in tasks)
        raise UsageError(
            f"no model: name one with -m MODEL, or train one with {commands} "
            f"(there is no finished run under {folders})"
        )
    console.say(f"model: {found} (the newest run)")
    return found
