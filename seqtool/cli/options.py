"""Options that several commands share, declared once, and which model a command means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Optional

import typer

from seqtool.cli import console
from seqtool.errors import StorageError, UsageError

VARIABLE = "SEQTOOL_MODEL"
ModelOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--model", "-m", help="Run folder or its model/ folder; else $SEQTOOL_MODEL, else the newest run."
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision", help="auto, fp32, bf16 or (translators at work, CPU) int8; auto is the fast one."
    ),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="Processor threads; 0 = all cores.")]
BatchTokensOption = Annotated[
    int, typer.Option("--batch-tokens", min=1, help="Tokens of a batch, padding included.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@dataclass(frozen=True)
class HardwareOptions:
    """Where and how a trained model computes."""

    device: DeviceOption = "auto"
    precision: PrecisionOption = "auto"
    threads: ThreadsOption = 0


def require_folder(output: Path) -> None:
    """Before anything is computed.

    Raises:
        StorageError: there is no folder to put the file into.
    """
    if not output.parent.is_dir():
        raise StorageError(f"{output}: there is no folder {output.parent}")


def find_model(given: Path | None, tasks: Sequence[str], *, newest: bool = True) -> Path:
    """The model to use; a choice that was not typed is announced on stderr.

    Args:
        given: What -m says.
        tasks: Whose newest run may stand in.
        newest: False where a run must be named; the newest one is then only proposed.

    Raises:
        UsageError: there is none; the message has the command that would make one.
    """
    if given is not None:
        return given
    if os.environ.get(VARIABLE):
        console.say(f"model: {os.environ[VARIABLE]} (from ${VARIABLE})")
        return Path(os.environ[VARIABLE])
    from seqtool.api import latest_model

    found = latest_model(tasks)
    if found is not None and not newest:
        raise UsageError(f"which model? give one with -m, as in `-m {found}` (the newest run)")
    if found is None:
        commands = " or ".join(f"`seqtool train {task}`" for task in tasks)
        folders = ", ".join(f"runs/{task}/" for task in tasks)
        raise UsageError(
            f"no model: give one with -m, or make one with {commands} (nothing finished under {folders})"
        )
    console.say(f"model: {found} (the newest run)")
    return found
