"""The options that every `train` command has: written once, as the fields of one class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from seqtool.errors import UsageError


@dataclass(frozen=True)
class RunOptions:
    """What any run may be told. A field that `SETTINGS` names overrides a setting."""

    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder; else runs/TASK/NAME.")
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting (`seqtool recipes settings TASK`), as in model.hidden=256; may be repeated.",
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the data.")] = None
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="Updates at most.")] = None
    max_minutes: Annotated[
        float | None,
        typer.Option("--max-minutes", help="Minutes from the first update, at most; 0 = no limit."),
    ] = None
    batch_tokens: Annotated[
        int | None, typer.Option("--batch-tokens", help="Tokens or symbols of a batch, with padding.")
    ] = None
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random.")] = None
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")] = None
    precision: Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")] = None
    threads: Annotated[int | None, typer.Option("--threads", help="Processor threads.")] = None
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Only operations that repeat bit for bit.")
    ] = None
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run; -o RUN alone names it.")] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in its folder.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, train nothing.")] = False
    track: Annotated[str | None, typer.Option("--track", help="tensorboard.")] = None
    initial: Annotated[Path | None, typer.Option("--init-from", help="A model to fine-tune.")] = None
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="So many runs; mean and spread.")] = 1
    keep_state: Annotated[
        bool,
        typer.Option(
            "--keep-state/--no-keep-state",
            help="Keep the checkpoints of the finished run (RUN/state); --resume needs them to train longer.",
        ),
    ] = True
    json_output: Annotated[bool, typer.Option("--json", help="A summary as JSON on standard output.")] = False

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: saying what.
        """
        if self.resume and self.overwrite:
            raise UsageError("--resume continues a run and --overwrite replaces it: give one of them")
        if self.track not in (None, "tensorboard"):
            raise UsageError(f"--track {self.track}: expected tensorboard")

    def settings(self) -> dict[str, Any]:
        """By dotted key, the settings that were given."""
        given = {key: getattr(self, name) for name, key in SETTINGS.items()}
        return {key: value for key, value in given.items() if value is not None}


# Option to the setting that it stands for.
SETTINGS = {
    "epochs": "training.epochs",
    "max_steps": "training.max_steps",
    "max_minutes": "training.max_minutes",
    "batch_tokens": "training.batch_tokens",
    "learning_rate": "training.learning_rate",
    "precision": "training.precision",
    "seed": "seed",
    "device": "device",
    "threads": "threads",
    "deterministic": "deterministic",
}
