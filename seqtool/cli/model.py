"""`seqtool model`: shows, verifies and averages models, and frees the disk space of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqtool.cli import console, options, tables
from seqtool.cli.help import CommandGroup
from seqtool.cli.options import find_model
from seqtool.errors import UsageError, counted
from seqtool.tasks import TASKS

if TYPE_CHECKING:
    from rich.table import Table

    from seqtool.models.facts import ModelFacts

app = CommandGroup(
    """Inspect, verify, combine and average models, and free the disk space of finished runs.

    Examples:
      seqtool model info runs/ner/ner-tiny
      seqtool model verify runs/ner/ner-tiny
    """
)
ModelArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL",
        help="Run folder or its model/ folder. Default: $SEQTOOL_MODEL, else the newest finished run.",
    ),
]


@app.command()
def info(
    model: ModelArgument = None, option: options.ModelOption = None, json_output: options.JsonOption = False
) -> None:
    """Show a model's task, settings, size, vocabularies, tags, scores and digests.

    Examples:
      seqtool model info
      seqtool model info runs/ner/ner-tiny --json
    """
    path = _model(model, option)
    from seqtool.models.facts import describe_model

    facts = describe_model(path)
    if json_output:
        console.write_result(json.dumps(facts.as_dict(), ensure_ascii=False) + "\n")
    else:
        for table in _tables(facts):
            console.print_table(table)


@app.command()
def verify(
    model: ModelArgument = None, option: options.ModelOption = None, json_output: options.JsonOption = False
) -> None:
    """Compare every file of a model with its recorded size and SHA-256.

    Examples:
      seqtool model verify
      seqtool model verify runs/ner/ner-tiny
    """
    path = _model(model, option)
    from seqtool.models.folder import find_model_folder, verify_model_folder

    names = verify_model_folder(path)
    folder = str(find_model_folder(path))
    if json_output:
        console.write_result(json.dumps({"path": folder, "verified": names}, ensure_ascii=False) + "\n")
    else:
        console.write_result("".join(f"{name}: as recorded\n" for name in names))
        console.say(f"{folder}: intact, {counted(len(names), 'file')}")


@app.command()
def average(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL", help="Run folders or their model/ folders, at least two."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Model folder to make.")],
) -> None:
    """Average the weights of several models of the same network into one model.

    Examples:
      seqtool model average runs/ner/mine/seed1 runs/ner/mine/seed2 -o averaged
      seqtool model average runs/lm/a runs/lm/b runs/lm/c -o averaged
    """
    from seqtool.models.average import average_models

    for warning in average_models(models, output):
        console.warn(warning)
    console.write_result(f"{output}\n")


@app.command()
def ensemble(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL", help="Run folders or their model/ folders, at least two."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Model folder to make.")],
) -> None:
    """Make one model of several taggers or translators, which averages their predictions.

    It is a copy, and used like any other model. `seqtool train --seeds 5 --ensemble` does the same at once.

    Examples:
      seqtool model ensemble runs/ner/a runs/ner/b runs/ner/c -o together
      seqtool model ensemble runs/translate/a runs/translate/b -o together
    """
    from seqtool.ensembles import combine

    combine(models, output)
    console.write_result(f"{output}\n")


@app.command("prune-state")
def prune(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished run.")],
    json_output: options.JsonOption = False,
) -> None:
    """Delete the checkpoints of a finished run (RUN/state).

    The model stays; only --resume needs the checkpoints.

    Examples:
      seqtool model prune-state runs/ner/ner-tiny
      seqtool model prune-state runs/lm/lm-tiny --json
    """
    from seqtool.training.pruning import prune_state

    freed = prune_state(run)
    if json_output:
        answer = {"path": str(run), "freed_bytes": freed}
        console.write_result(json.dumps(answer, ensure_ascii=False) + "\n")
    else:
        console.write_result(f"{run}/state: {freed / 1e6:,.1f} MB freed\n")


def _model(argument: Path | None, option: Path | None) -> Path:
    if argument is not None and option is not None:
        raise UsageError(f"two models were named, {argument} and -m {option}; leave one of them out")
    return find_model(argument if argument is not None else option, tuple(TASKS))


def _tables(facts: ModelFacts) -> list[Table]:
    rows: list[tuple[str, str]] = [
        ("task", facts.task),
        *(
            [("ensemble", f"{facts.members} models; settings and vocabularies are the first one's")]
            if facts.members > 1
            else []
        ),
        ("name", facts.name),
        ("made by", f"seqtool {facts.seqtool}"),
        ("size on disk", f"{facts.size / 1e6:,.2f} MB"),
    ]
    if facts.tags:
        rows.append(("tags", f"{len(facts.tags)}: {' '.join(facts.tags)}"))
    rows += [(f"dev {name}", f"{value:.4f}") for name, value in facts.dev.items()]
    rows += [(f"data {name}", _data_line(part)) for name, part in facts.data.items()]
    parts = [(name, f"{count:,}") for name, count in facts.parts.items()]
    return [
        tables.facts_table(facts.path, rows),
        tables.facts_table("parameters", [*parts, ("all", f"{facts.parameters:,}")], right=True),
        tables.facts_table(
            "vocabularies", [(name, f"{size:,}") for name, size in facts.vocabularies.items()], right=True
        ),
        tables.facts_table("settings", _flat(facts.settings)),
        tables.facts_table("SHA-256", [(name, file["sha256"]) for name, file in facts.files.items()]),
    ]


def _data_line(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    sizes = {unit: part[unit] for unit in ("sentences", "characters") if unit in part}
    size = ", ".join(f"{n:,} {unit}" if isinstance(n, int) else f"{n} {unit}" for unit, n in sizes.items())
    return f"{size}, {part.get('source')}, sha256 {part.get('sha256')}"


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted keys."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", json.dumps(value, ensure_ascii=False)))
    return rows
