"""`seqtool train`: from a recipe or your own files to a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from seqtool.cli import console
from seqtool.errors import UsageError

app = typer.Typer(
    help="Train a model from a recipe or from your own files.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

RecipeArgument = Annotated[
    str | None, typer.Argument(help="Bundled recipe (`seqtool recipes list`) or a TOML file.")
]
TrainFile = Annotated[Path | None, typer.Option("--train", help="Training file.")]
DevFile = Annotated[
    Path | None, typer.Option("--dev", help="Development file; without one 10 % are held out.")
]
TestFile = Annotated[Path | None, typer.Option("--test", help="Test file, for `evaluate`.")]


def _two_files(context: typer.Context, parameter: typer.CallbackParam, files: Any) -> Any:
    """The parser takes two words whatever they are: an option that stands there was meant as one."""
    option = parameter.opts[0]
    if files is not None and str(files[1]).startswith("-"):
        raise UsageError(
            f"{option} {files[0]} {files[1]}: expected two files, SRC TGT; one TSV or JSONL file is "
            f"{option}-file, and a file whose name begins with - is ./{files[1]}"
        )
    return files


TrainPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--train", metavar="SRC TGT", help="Training files.", callback=_two_files),
]
DevPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--dev",
        metavar="SRC TGT",
        help="Development files; without them 10 % are held out.",
        callback=_two_files,
    ),
]
TestPair = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--test", metavar="SRC TGT", help="Test files, for `evaluate`.", callback=_two_files),
]
TrainPairFile = Annotated[Path | None, typer.Option("--train-file", help="One TSV or JSONL file instead.")]
DevPairFile = Annotated[Path | None, typer.Option("--dev-file", help="One TSV or JSONL file instead.")]
TestPairFile = Annotated[Path | None, typer.Option("--test-file", help="One TSV or JSONL file instead.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Run folder; else runs/TASK/NAME.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, as in model.hidden=256; may be repeated."),
]
SchemeOption = Annotated[
    str | None, typer.Option("--scheme", help="Tag scheme: auto, iob1, iob2, iobes or bilou.")
]
RepairOption = Annotated[
    bool | None, typer.Option("--repair", help="Repair invalid tag sequences and count them.")
]
EpochsOption = Annotated[int | None, typer.Option("--epochs", help="Passes over the data.")]
MaxStepsOption = Annotated[int | None, typer.Option("--max-steps", help="Updates at most.")]
MaxMinutesOption = Annotated[
    float | None, typer.Option("--max-minutes", help="Minutes from the first update, at most.")
]
BatchTokensOption = Annotated[int | None, typer.Option("--batch-tokens", help="Padded tokens of a batch.")]
LearningRateOption = Annotated[float | None, typer.Option("--lr", help="Highest learning rate.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Of everything random.")]
DeviceOption = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[str | None, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", help="Processor threads.")]
DeterministicOption = Annotated[
    bool | None, typer.Option("--deterministic", help="Only operations that repeat bit for bit.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue a run; -o RUN alone names it.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the run in its folder.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, train nothing.")]
TrackOption = Annotated[str | None, typer.Option("--track", help="tensorboard.")]
InitOption = Annotated[Path | None, typer.Option("--init-from", help="A model to fine-tune.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="So many runs; mean and spread.")]
JsonOption = Annotated[bool, typer.Option("--json", help="A summary as JSON on standard output.")]


@app.command()
def ner(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    output: OutputOption = None,
    overrides: SetOption = None,
    scheme: SchemeOption = None,
    repair: RepairOption = None,
    epochs: EpochsOption = None,
    max_steps: MaxStepsOption = None,
    max_minutes: MaxMinutesOption = None,
    batch_tokens: BatchTokensOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    deterministic: DeterministicOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    track: TrackOption = None,
    init_from: InitOption = None,
    seeds: SeedsOption = 1,
    json_output: JsonOption = False,
) -> None:
    """Named entities and other spans."""
    values = dict(locals())
    _train("ner", values)


@app.command()
def pos(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    output: OutputOption = None,
    overrides: SetOption = None,
    epochs: EpochsOption = None,
    max_steps: MaxStepsOption = None,
    max_minutes: MaxMinutesOption = None,
    batch_tokens: BatchTokensOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    deterministic: DeterministicOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    track: TrackOption = None,
    init_from: InitOption = None,
    seeds: SeedsOption = 1,
    json_output: JsonOption = False,
) -> None:
    """Parts of speech: one tag a token, scored by accuracy."""
    values = dict(locals())
    _train("pos", values)


@app.command()
def translate(
    recipe: RecipeArgument = None,
    train: TrainPair = None,
    dev: DevPair = None,
    test: TestPair = None,
    train_file: TrainPairFile = None,
    dev_file: DevPairFile = None,
    test_file: TestPairFile = None,
    output: OutputOption = None,
    overrides: SetOption = None,
    epochs: EpochsOption = None,
    max_steps: MaxStepsOption = None,
    max_minutes: MaxMinutesOption = None,
    batch_tokens: BatchTokensOption = None,
    learning_rate: LearningRateOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = None,
    deterministic: DeterministicOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    dry_run: DryRunOption = False,
    track: TrackOption = None,
    init_from: InitOption = None,
    seeds: SeedsOption = 1,
    json_output: JsonOption = False,
) -> None:
    """Sentences to sentences: languages, spellings, inflected forms."""
    values = dict(locals())
    for part in ("train", "dev", "test"):
        single = values.pop(f"{part}_file")
        if single is not None and values[part] is not None:
            raise UsageError(f"--{part} and --{part}-file both name the {part} data: give one of them")
        values[part] = values[part] or single
    _train("translate", values)


# Named flag to the setting that it stands for.
FLAGS = {
    "scheme": "data.scheme",
    "repair": "data.repair",
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


def _train(task: str, values: dict[str, Any]) -> None:
    _check_usage(values)
    from seqtool import api

    settings = api.resolve_settings(
        task,
        values["recipe"] or _recipe_of_run(values),
        files={part: values[part] for part in ("train", "dev", "test")},
        overrides=values["overrides"] or (),
        flags={key: values.get(flag) for flag, key in FLAGS.items()},
    )
    if values["dry_run"]:
        _dry_run(settings, values)
        return
    runs = [_one_run(settings, values, number) for number in range(values["seeds"])]
    if values["json_output"]:
        console.write_result(json.dumps(_summary(runs), ensure_ascii=False) + "\n")
    else:
        console.write_result("".join(f"{run.path}\n" for run in runs))
        if len(runs) > 1:
            _say_spread(_summary(runs))


def _recipe_of_run(values: dict[str, Any]) -> str | None:
    """`--resume -o RUN` alone means the run's own recipe, and never another one."""
    output = values["output"]
    alone = values["resume"] and output and values["train"] is None and values["seeds"] == 1
    if not alone:
        return None
    if not (output / "recipe.toml").is_file():
        raise UsageError(f"{output}: no run to continue here; name the recipe or the files of a new one")
    return str(output / "recipe.toml")


def _check_usage(values: dict[str, Any]) -> None:
    for part in ("dev", "test"):
        if values[part] is not None and values["train"] is None:
            raise UsageError(
                f"--{part} needs --train; a recipe's own {part} data is set with --set data.{part}=FILE"
            )
    if values["resume"] and values["overwrite"]:
        raise UsageError("--resume continues a run and --overwrite replaces it: give one of them")
    if values["track"] not in (None, "tensorboard"):
        raise UsageError(f"--track {values['track']}: expected tensorboard")


def _one_run(settings: Any, values: dict[str, Any], number: int) -> Any:
    """One of the runs of `--seeds N`, or the only one."""
    from seqtool import api

    output = values["output"]
    if values["seeds"] > 1:
        seed = settings.seed + number
        name = f"{settings.name}-seed{seed}"
        settings = settings.model_copy(update={"seed": seed, "name": name})
        output = None if output is None else output / f"seed{seed}"
        console.say(f"run {number + 1} of {values['seeds']}, seed {seed}")
    reporter = console.training_reporter(api.shown_metric(settings))
    try:
        run = api.train(
            settings,
            output=output,
            resume=values["resume"],
            overwrite=values["overwrite"],
            initial=values["init_from"],
            reporter=reporter,
            track=values["track"],
        )
    finally:
        getattr(reporter, "close", lambda: None)()
    _draw_curves(run)
    return run


def _draw_curves(run: Any) -> None:
    from seqtool.inspection.figures import training_curves
    from seqtool.training.runfolder import RunFolder

    folder = RunFolder(run.path)
    events = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    folder.plots.mkdir(exist_ok=True)
    training_curves(events, folder.plots / "curves.png")


def _dry_run(settings: Any, values: dict[str, Any]) -> None:
    from seqtool import api
    from seqtool.training.runfolder import require_no_run

    if values["output"] is not None and not (values["resume"] or values["overwrite"]):
        require_no_run(values["output"])
    settings, base = api.starting_from(settings, values["init_from"])
    estimate = api.estimate(settings, base)
    for line in estimate.facts:
        console.say(line)
    if values["json_output"]:
        numbers = dataclasses.asdict(estimate)
        recipe = settings.model_dump(mode="json", exclude_none=True, by_alias=True)
        console.write_result(json.dumps({**numbers, "recipe": recipe}, ensure_ascii=False) + "\n")
        return
    console.write_result(api.recipe_text(settings))
    console.write_result(
        f"\n# {estimate.parameters:,} parameters, about {estimate.megabytes:,.0f} MB of memory, "
        f"about {estimate.minutes:.1f} minutes for {estimate.steps:,} updates here\n"
    )


def _summary(runs: list[Any]) -> dict[str, Any]:
    import statistics

    rows = [
        {
            "path": str(run.path),
            "best_step": run.result.best_step,
            "dev": run.result.metrics,
            "seconds": run.result.seconds,
            "stopped_by": run.result.reason,
        }
        for run in runs
    ]
    if len(rows) == 1:
        return rows[0]
    names = rows[0]["dev"]
    values = {name: [row["dev"][name] for row in rows] for name in names}
    return {
        "runs": rows,
        "mean": {name: statistics.mean(column) for name, column in values.items()},
        "standard_deviation": {name: statistics.stdev(column) for name, column in values.items()},
    }


def _say_spread(summary: dict[str, Any]) -> None:
    for name in console.shown(summary["mean"]):
        mean = summary["mean"][name]
        deviation = summary["standard_deviation"][name]
        runs = len(summary["runs"])
        console.say(f"dev {name}: {mean:.4f} ± {deviation:.4f} (mean, standard deviation, {runs} runs)")
