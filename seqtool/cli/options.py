"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from seqtool.errors import StorageError

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


def require_folder(output: Path) -> None:
    """Before anything is computed.

    Raises:
        StorageError: there is no folder to put the file into.
    """
    if not output.parent.is_dir():
        raise StorageError(f"{output}: there is no folder {output.parent}")
