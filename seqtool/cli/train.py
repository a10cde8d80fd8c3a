"""`seqtool train`: from a recipe or your own files to a model."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from seqtool.cli import console
from seqtool.cli.option_groups import with_options
from seqtool.cli.run_options import RunOptions
from seqtool.errors import InterruptedRunError, UsageError

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
            f"{option} {files[0]} {files[1]}: expected two files, SRC TGT; one file of pairs is "
            f"{option}-file {files[0]}, and a file whose name begins with - is ./{files[1]}"
        )
    return files


class PairCommand(TyperCommand):
    """A command with options that take two files each."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the parser does, but with the remedy where the last option has one file only."""
        option, file = args[-2:] if len(args) > 1 else ("", "")
        if option in ("--train", "--dev", "--test") and not file.startswith("-"):
            raise UsageError(
                f"{option} {file}: expected two files, SRC TGT; one file of pairs (.tsv, .csv, .jsonl, .tmx) "
                f"is {option}-file {file}"
            )
        return super().parse_args(ctx, args)


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
TrainPairFile = Annotated[
    Path | None, typer.Option("--train-file", help="One file of pairs instead: .tsv, .csv, .jsonl or .tmx.")
]
DevPairFile = Annotated[
    Path | None, typer.Option("--dev-file", help="One file of pairs instead: .tsv, .csv, .jsonl or .tmx.")
]
TestPairFile = Annotated[
    Path | None, typer.Option("--test-file", help="One file of pairs instead: .tsv, .csv, .jsonl or .tmx.")
]
TrainText = Annotated[
    Path | None, typer.Option("--train", help="Training text: a file (also .gz) or a folder of them.")
]
DevText = Annotated[
    Path | None, typer.Option("--dev", help="Development text; without it 10 % are held out.")
]
TestText = Annotated[Path | None, typer.Option("--test", help="Test text, for `evaluate`.")]
SchemeOption = Annotated[
    str | None,
    typer.Option("--scheme", help="Tag scheme: auto, iob1, iob2, iobes, bilou, bmes, or io for bare types."),
]
RepairOption = Annotated[
    bool | None, typer.Option("--repair", help="Repair any number of tags that are invalid in the scheme.")
]
StrictOption = Annotated[
    bool | None,
    typer.Option("--strict", help="Refuse every tag that is invalid in the scheme; else a few are read."),
]
TokenColumn = Annotated[
    int | None, typer.Option("--token-column", help="Column of the token, from 1, or from -1 backwards.")
]
TagColumn = Annotated[
    int | None, typer.Option("--tag-column", help="Column of the tag, from 1, or from -1 backwards.")
]


@app.command()
@with_options
def ner(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    scheme: SchemeOption = None,
    repair: RepairOption = None,
    strict: StrictOption = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    *,
    options: RunOptions,
) -> None:
    """Named entities and other spans."""
    files = {"train": train, "dev": dev, "test": test}
    tags = {"data.scheme": scheme, "data.repair": repair, "data.strict": strict}
    train_task("ner", recipe, files, options, {**tags, **_columns(token_column, tag_column)})


@app.command()
@with_options
def pos(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    *,
    options: RunOptions,
) -> None:
    """Parts of speech: one tag per token, scored by accuracy."""
    files = {"train": train, "dev": dev, "test": test}
    train_task("pos", recipe, files, options, _columns(token_column, tag_column))


def _columns(token: int | None, tag: int | None) -> dict[str, int | None]:
    """Settings of where tokens and tags stand."""
    for option, column in (("--token-column", token), ("--tag-column", tag)):
        if column == 0:
            raise UsageError(f"{option} 0: expected a column from 1, or from -1 backwards")
    return {"data.token_column": token, "data.tag_column": tag}


@app.command(cls=PairCommand)
@with_options
def translate(
    recipe: RecipeArgument = None,
    train: TrainPair = None,
    dev: DevPair = None,
    test: TestPair = None,
    train_file: TrainPairFile = None,
    dev_file: DevPairFile = None,
    test_file: TestPairFile = None,
    *,
    options: RunOptions,
) -> None:
    """Sentences to sentences: languages, spellings, inflected forms."""
    pairs = {"train": train, "dev": dev, "test": test}
    singles = {"train": train_file, "dev": dev_file, "test": test_file}
    for part, single in singles.items():
        if single is not None and pairs[part] is not None:
            raise UsageError(f"--{part} and --{part}-file both name the {part} data: give one of them")
    train_task("translate", recipe, {part: pairs[part] or singles[part] for part in pairs}, options)


@app.command()
@with_options
def lm(
    recipe: RecipeArgument = None,
    train: TrainText = None,
    dev: DevText = None,
    test: TestText = None,
    *,
    options: RunOptions,
) -> None:
    """Language models: text that goes on, and how probable a text is."""
    train_task("lm", recipe, {"train": train, "dev": dev, "test": test}, options)


def train_task(
    task: str,
    recipe: str | None,
    files: Mapping[str, Any],
    options: RunOptions,
    flags: Mapping[str, Any] | None = None,
) -> None:
    """One run or several, from what was typed.

    Args:
        task: Name in `TASKS`.
        recipe: As typed.
        files: By part, what takes the place of the recipe's data; None = nothing.
        options: Those that every task has.
        flags: By dotted key, the settings of options that this task alone has; None = not given.
    """
    for part in ("dev", "test"):
        if files.get(part) is not None and files.get("train") is None:
            raise UsageError(
                f"--{part} needs --train; a recipe's own {part} data is set with --set data.{part}=FILE"
            )
    options.check()
    from seqtool import api
    from seqtool.training import distributed

    if not distributed.is_first():
        console.silence()
    settings = api.resolve_settings(
        task,
        recipe or _recipe_of_run(options, files),
        files=files,
        overrides=options.overrides or (),
        flags={**options.settings(), **(flags or {})},
    )
    if options.dry_run:
        if distributed.is_first():
            _dry_run(settings, options)
        return
    runs = [_one_run(settings, options, number) for number in range(options.seeds)]
    if not distributed.is_first():
        return
    for run in runs:
        _draw_curves(run, api.shown_metric(settings))
        _report_state(run.path, keep=options.keep_state)
    if options.json_output:
        console.write_result(json.dumps(_summary(runs), ensure_ascii=False) + "\n")
    else:
        console.write_result("".join(f"{run.path}\n" for run in runs))
        console.say(f"next: {runs[-1].model.USAGE.format(shlex.quote(str(runs[-1].path)))}")
        if len(runs) > 1:
            _say_spread(_summary(runs))


def _recipe_of_run(options: RunOptions, files: Mapping[str, Any]) -> str | None:
    """`--resume -o RUN` alone means the run's own recipe, and never another one."""
    output = options.output
    if output is None or not options.resume or files.get("train") is not None or options.seeds > 1:
        return None
    if not (output / "recipe.toml").is_file():
        raise UsageError(f"{output}: no run to continue here; name the recipe or the files of a new one")
    return str(output / "recipe.toml")


def _one_run(settings: Any, options: RunOptions, number: int) -> Any:
    """One of the runs of `--seeds N`, or the only one."""
    from seqtool import api
    from seqtool.cli.training_display import training_reporter

    output = options.output
    if options.seeds > 1:
        seed = settings.seed + number
        name = f"{settings.name}-seed{seed}"
        settings = settings.model_copy(update={"seed": seed, "name": name})
        output = None if output is None else output / f"seed{seed}"
        console.say(f"run {number + 1} of {options.seeds}, seed {seed}")
    metric = api.shown_metric(settings)
    reporter = training_reporter(metric)
    try:
        run = api.train(
            settings,
            output=output,
            resume=options.resume,
            overwrite=options.overwrite,
            initial=options.initial,
            reporter=reporter,
            track=options.track,
        )
    except InterruptedRunError as error:
        error.args = (f"{error}; continue with: {_resuming(settings.task, error.run, options)}",)
        raise
    finally:
        getattr(reporter, "close", lambda: None)()
    return run


def _resuming(task: str, run: Path, options: RunOptions) -> str:
    """The command that continues an interrupted run; its settings and data are in the folder."""
    if options.seeds > 1:
        return f"the same command with --resume{' in place of --overwrite' if options.overwrite else ''}"
    initial = [] if options.initial is None else ["--init-from", str(options.initial)]
    return shlex.join(["seqtool", "train", task, "--resume", "-o", str(run), *initial])


def _report_state(run: Path, *, keep: bool) -> None:
    """Say how large the checkpoints of a finished run are, or delete them."""
    from seqtool.training.pruning import prune_state, state_size

    if not keep:
        console.say(f"{run}/state: deleted, {prune_state(run) / 1e6:,.1f} MB freed")
    elif size := state_size(run):
        console.say(
            f"{run}/state: {size / 1e6:,.1f} MB of checkpoints, needed only to train longer with --resume; "
            f"delete them with: seqtool model prune-state {shlex.quote(str(run))}"
        )


def _draw_curves(run: Any, metric: str) -> None:
    from seqtool.inspection.learning_curves import training_curves
    from seqtool.training.run_folder import RunFolder

    folder = RunFolder(run.path)
    events = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    folder.plots.mkdir(exist_ok=True)
    training_curves(events, folder.plots / "curves.png", metric)


def _dry_run(settings: Any, options: RunOptions) -> None:
    from seqtool import api
    from seqtool.training.run_folder import require_no_run

    if options.output is not None and not (options.resume or options.overwrite):
        require_no_run(options.output)
    settings, base = api.starting_from(settings, options.initial)
    estimate = api.estimate(settings, base)
    for line in estimate.facts:
        console.say(line)
    if options.json_output:
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
