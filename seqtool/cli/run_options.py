"""Options that every `train` command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from seqtool.cli.help import HARDWARE, OUTPUT, TRAINING
from seqtool.cli.option_groups import flag
from seqtool.cli.options import DEVICE_HELP
from seqtool.errors import UsageError


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. Those that `SETTINGS` lists override a setting of the recipe."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Run folder. Default: runs/TASK/NAME.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change any setting, as in --set model.hidden=256; `seqtool recipes settings TASK` lists "
            "them. Repeatable.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Maximum passes over the training data.", rich_help_panel=TRAINING),
    ] = None
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", help="Maximum number of updates.", rich_help_panel=TRAINING)
    ] = None
    max_minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            help="Maximum training time in minutes, evaluations included; 0 = no limit.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    batch_tokens: Annotated[
        int | None,
        typer.Option(
            "--batch-tokens", help="Tokens or symbols per batch, padding included.", rich_help_panel=TRAINING
        ),
    ] = None
    learning_rate: Annotated[
        float | None, typer.Option("--lr", help="Peak learning rate.", rich_help_panel=TRAINING)
    ] = None
    seed: Annotated[int | None, typer.Option("--seed", help="Random seed.", rich_help_panel=TRAINING)] = None
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            metavar="N",
            min=1,
            help="Train N runs with consecutive seeds; report mean and standard deviation.",
            rich_help_panel=TRAINING,
        ),
    ] = 1
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble",
            help="Make the runs of --seeds one model in the folder of -o, which averages them.",
            rich_help_panel=TRAINING,
        ),
    ] = False
    initial: Annotated[
        Path | None,
        typer.Option(
            "--init-from",
            metavar="MODEL",
            help="Fine-tune this model instead of starting from random weights.",
            rich_help_panel=TRAINING,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted run; `--resume -o RUN` needs no recipe.",
            rich_help_panel=TRAINING,
        ),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check settings and data, estimate size and time, and train nothing.",
            rich_help_panel=TRAINING,
        ),
    ] = False
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace the run in the folder of -o.", rich_help_panel=OUTPUT),
    ] = False
    track: Annotated[
        str | None,
        typer.Option(
            "--track",
            metavar="tensorboard",
            help="Also record the learning curves for TensorBoard.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    keep_state: Annotated[
        bool,
        typer.Option(
            "--keep-state/--no-keep-state",
            help="Keep the checkpoints of the finished run (RUN/state); --resume needs them to train longer.",
            rich_help_panel=OUTPUT,
        ),
    ] = True
    json_output: Annotated[
        bool,
        typer.Option("--json", help="Print a summary as JSON on standard output.", rich_help_panel=OUTPUT),
    ] = False
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help=DEVICE_HELP, rich_help_panel=HARDWARE),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="PRECISION",
            help="Arithmetic: auto, fp32, bf16 or fp16.",
            rich_help_panel=HARDWARE,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            help="CPU threads; 0 = all cores. Beside other work, 1 is often faster.",
            rich_help_panel=HARDWARE,
        ),
    ] = None
    deterministic: Annotated[
        bool | None,
        typer.Option(
            "--deterministic",
            help="Use only operations that repeat bit for bit on the same machine.",
            rich_help_panel=HARDWARE,
        ),
    ] = None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: two options exclude each other, or --track has an unknown value.
        """
        if self.resume and self.overwrite:
            raise UsageError("--resume continues a run and --overwrite replaces it; leave one of them out")
        if self.ensemble and self.seeds == 1:
            raise UsageError("--ensemble needs several runs; add --seeds 5, for instance")
        if self.ensemble and self.output is None:
            raise UsageError("--ensemble needs a folder for the runs and their ensemble; add -o RUN")
        if self.track not in (None, "tensorboard"):
            raise UsageError(f"--track {self.track}: expected --track tensorboard")

    def settings(self) -> dict[str, Any]:
        """Settings that were given as options, by dotted key."""
        given = {key: getattr(self, name) for name, key in SETTINGS.items()}
        return {key: value for key, value in given.items() if value is not None}

    def names(self) -> dict[str, str]:
        """Names of these options by the dotted key of their setting, for messages."""
        return {key: flag(self, name) for name, key in SETTINGS.items()}


# The setting that each of these options overrides.
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
