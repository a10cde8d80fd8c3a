"""`seqtool train`: from a recipe or your own files to a model."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqtool.cli import console, train_runs
from seqtool.cli.help import CommandGroup
from seqtool.cli.option_groups import with_options
from seqtool.cli.options import LanguagesOption, PairColumnsOption, pair_settings
from seqtool.cli.run_options import RunOptions
from seqtool.cli.train_options import (
    DevFile,
    DevPair,
    DevPairFile,
    DevText,
    PairCommand,
    PairTextMinutes,
    RawText,
    RecipeArgument,
    RepairOption,
    SchemeOption,
    SourceText,
    StrictOption,
    TagColumn,
    TargetText,
    Teachers,
    TestFile,
    TestPair,
    TestPairFile,
    TestText,
    TextMinutes,
    TokenColumn,
    TrainFile,
    TrainPair,
    TrainPairFile,
    TrainText,
)
from seqtool.errors import UsageError, counted

# Options of single tasks by the setting that they override.
NAMES = {
    "data.scheme": "--scheme",
    "data.repair": "--repair",
    "data.strict": "--strict",
    "data.token_column": "--token-column",
    "data.tag_column": "--tag-column",
    "data.text": "--text",
    "data.source_text": "--source-text",
    "data.target_text": "--target-text",
    "training.text_minutes": "--text-minutes",
    "training.teachers": "--teacher",
}

app = CommandGroup(
    """Train a model from a recipe or from your own files.

    Examples:
      seqtool train ner ner-tiny
      seqtool train translate --train train.en train.de --dev dev.en dev.de
    """
)


@app.command()
@with_options
def ner(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    text: RawText = None,
    text_minutes: TextMinutes = None,
    teacher: Teachers = None,
    scheme: SchemeOption = None,
    repair: RepairOption = None,
    strict: StrictOption = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    *,
    options: RunOptions,
) -> None:
    """Train a tagger of named entities or other spans.

    Examples:
      seqtool train ner ner-tiny
      seqtool train ner --train train.conll --text raw/ -o runs/ner/mine
    """
    files = {"train": train, "dev": dev, "test": test}
    tags = {"data.scheme": scheme, "data.repair": repair, "data.strict": strict}
    raw = _raw_text(text, text_minutes, teacher)
    train_task("ner", recipe, files, options, {**tags, **raw, **_columns(token_column, tag_column)})


@app.command()
@with_options
def pos(
    recipe: RecipeArgument = None,
    train: TrainFile = None,
    dev: DevFile = None,
    test: TestFile = None,
    text: RawText = None,
    text_minutes: TextMinutes = None,
    teacher: Teachers = None,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    *,
    options: RunOptions,
) -> None:
    """Train a tagger of parts of speech: one tag per token, scored by accuracy.

    Examples:
      seqtool train pos pos-ewt
      seqtool train pos --train train.conllu --dev dev.conllu --max-minutes 10
    """
    files = {"train": train, "dev": dev, "test": test}
    raw = _raw_text(text, text_minutes, teacher)
    train_task("pos", recipe, files, options, {**raw, **_columns(token_column, tag_column)})


def _raw_text(paths: list[Path] | None, minutes: float | None, teachers: list[Path] | None) -> dict[str, Any]:
    """Settings for raw text, and for those whose opinion of it is learned."""
    return {
        "data.text": _named(paths),
        "training.text_minutes": minutes,
        "training.teachers": _named(teachers),
    }


def _named(paths: list[Path] | None) -> list[str] | None:
    """Paths as the value of a setting; None = not given."""
    return [str(path) for path in paths] if paths else None


def _columns(token: int | None, tag: int | None) -> dict[str, int | None]:
    """Settings for the columns of tokens and tags."""
    for option, column in (("--token-column", token), ("--tag-column", tag)):
        if column == 0:
            raise UsageError(f"{option} 0: expected 1 or more, or -1 for the last column")
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
    columns: PairColumnsOption = None,
    languages: LanguagesOption = None,
    source_text: SourceText = None,
    target_text: TargetText = None,
    text_minutes: PairTextMinutes = None,
    teacher: Teachers = None,
    *,
    options: RunOptions,
) -> None:
    """Train a translator from sentences to sentences: languages, spellings, inflected forms.

    Examples:
      seqtool train translate translate-tiny
      seqtool train translate --train-file pairs.tsv --target-text news/
    """
    pairs = {"train": train, "dev": dev, "test": test}
    singles = {"train": train_file, "dev": dev_file, "test": test_file}
    for part, single in singles.items():
        if single is not None and pairs[part] is not None:
            raise UsageError(f"--{part} and --{part}-file both name the {part} data; leave one of them out")
    files = {part: pairs[part] or singles[part] for part in pairs}
    raw = {
        "data.source_text": _named(source_text),
        "data.target_text": _named(target_text),
        "training.text_minutes": text_minutes,
        "training.teachers": _named(teacher),
    }
    train_task("translate", recipe, files, options, {**pair_settings(columns, languages), **raw})


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
    """Train a language model, which continues text and says how probable a text is.

    Examples:
      seqtool train lm lm-tiny
      seqtool train lm --train book.txt --max-minutes 10 -o runs/lm/mine
    """
    train_task("lm", recipe, {"train": train, "dev": dev, "test": test}, options)


def train_task(
    task: str,
    recipe: str | None,
    files: Mapping[str, Any],
    options: RunOptions,
    flags: Mapping[str, Any] | None = None,
) -> None:
    """Train one model, or several with `--seeds`.

    Args:
        task: Name of the task in `TASKS`.
        recipe: Name or file of the recipe; None = not given.
        files: Data files by part (train, dev, test), which replace the recipe's; None = not given.
        options: Options that every task has.
        flags: Settings from the options of this task alone, by dotted key; None = not given.
    """
    for part in ("dev", "test"):
        if files.get(part) is not None and files.get("train") is None:
            raise UsageError(
                f"--{part} needs --train; a recipe's own {part} data is set with --set data.{part}=FILE"
            )
    options.check()
    if options.ensemble and task == "lm":
        raise UsageError("--ensemble: language models are not averaged; leave it out")
    from seqtool import api
    from seqtool.resolution import settings_of_run
    from seqtool.training import distributed

    if not distributed.is_first():
        console.silence()
    settings = api.resolve_settings(
        task,
        recipe or _recipe_of_run(options, files),
        files=files,
        overrides=options.overrides or (),
        flags={**options.settings(), **(flags or {})},
        options={**options.names(), **NAMES},
    )
    if recipe is None and files.get("train") is None:
        _require_a_run_to_resume(settings, options)
    settings = _named_after(settings, options.output)
    if options.dry_run:
        if distributed.is_first():
            _dry_run(settings, options)
        return
    runs = train_runs.trained(settings, options)
    if not distributed.is_first():
        return
    for run in runs:
        _draw_curves(run)
        _report_state(run.path, keep=options.keep_state)
    ensemble = train_runs.ensemble_of(runs, options)
    if options.json_output:
        summary = {**train_runs.summary(runs), **(ensemble or {})}
        console.write_result(json.dumps(summary, ensure_ascii=False) + "\n")
    else:
        results = [run.path for run in runs] if ensemble is None else [ensemble["ensemble"]["path"]]
        console.write_result("".join(f"{path}\n" for path in results))
        if len(runs) == 1 and options.keep_state and _was_improving(runs[0]):
            more = train_runs.resuming(task, runs[0].path, options)
            # The limit may have been chosen from the data, which only the run's own recipe knows.
            minutes = 2 * settings_of_run(runs[0].path).training.max_minutes
            console.say(f"dev was still improving: train longer with: {more} --max-minutes {minutes:g}")
        if len(runs) > 1:
            train_runs.report_deviation(train_runs.summary(runs), ensemble)
        console.say(f"next: {runs[-1].model.usage.format(shlex.quote(str(results[-1])))}")


def _named_after(settings: Any, output: Path | None) -> Any:
    """The settings with the name of the run folder, if it was given and the run has no name of its own."""
    from seqtool.settings import UNNAMED
    from seqtool.training.settings import RUN_NAME

    name = "" if output is None else output.resolve().name
    if settings.name != UNNAMED or not re.match(RUN_NAME, name):
        return settings
    return settings.model_copy(update={"name": name})


def _recipe_of_run(options: RunOptions, files: Mapping[str, Any]) -> str | None:
    """The recipe in the run folder, which `--resume -o RUN` continues when no recipe is named."""
    output = options.output
    if output is None or not options.resume or files.get("train") is not None:
        return None
    if options.seeds > 1:
        raise UsageError(
            "--resume with --seeds: repeat the command with its recipe or files and its settings; or resume "
            f"one run: --resume -o {output}/seed1"
        )
    if not (output / "recipe.toml").is_file():
        raise UsageError(
            f"{output}: there is no run to resume; start one with a RECIPE or with --train, without --resume"
        )
    return str(output / "recipe.toml")


def _require_a_run_to_resume(settings: Any, options: RunOptions) -> None:
    """Refuse a bare `--resume` without a run of the default recipe, which would train that from the start."""
    from seqtool.training.run_folder import ROOT, find_unfinished, holds_run

    task, folder = settings.task, ROOT / settings.task / settings.name
    if not options.resume or options.output is not None or options.seeds > 1 or holds_run(folder):
        return
    found = find_unfinished(task)
    if found is None:
        raise UsageError(
            f"--resume: there is no unfinished run under {folder.parent}/; name the folder of the run: "
            f"seqtool train {task} --resume -o RUN"
        )
    raise UsageError(
        f"--resume: which run? The newest unfinished one is {found}: "
        f"seqtool train {task} --resume -o {shlex.quote(str(found))}"
    )


def _was_improving(run: Any) -> bool:
    """Whether time ran out while the last evaluation was the best so far."""
    result = run.result
    return bool(result.reason == "max_minutes" and result.best_step == result.steps)


def _report_state(run: Path, *, keep: bool) -> None:
    """Print how large the checkpoints of a finished run are, or delete them."""
    from seqtool.training.pruning import prune_state, state_size

    if not keep:
        console.say(f"{run}/state: deleted, {prune_state(run) / 1e6:,.1f} MB freed")
    elif size := state_size(run):
        console.say(
            f"{run}/state: {size / 1e6:,.1f} MB of checkpoints, needed only to train longer with --resume; "
            f"delete them with: seqtool model prune-state {shlex.quote(str(run))}"
        )


def _draw_curves(run: Any) -> None:
    """Draw the learning curves of a finished run into its folder."""
    from seqtool.inspection.learning_curves import training_curves
    from seqtool.training.run_folder import RunFolder

    folder = RunFolder(run.path)
    events = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    folder.plots.mkdir(exist_ok=True)
    training_curves(events, folder.plots / "curves.png", run.result.selected_by)


def _dry_run(settings: Any, options: RunOptions) -> None:
    """Print the resolved recipe and what the run would cost."""
    from seqtool import api
    from seqtool.training.run_folder import require_no_run

    if options.output is not None and not (options.resume or options.overwrite):
        require_no_run(options.output)
    settings, base = api.starting_from(settings, options.initial)
    resumed = options.output / "recipe.toml" if options.resume and options.output is not None else None
    estimate = api.estimate(settings, base, resumed)
    for line in estimate.facts:
        console.say(line)
    if options.json_output:
        numbers = dataclasses.asdict(estimate)
        numbers.pop("settings")
        recipe = estimate.settings.model_dump(mode="json", exclude_none=True, by_alias=True)
        console.write_result(json.dumps({**numbers, "recipe": recipe}, ensure_ascii=False) + "\n")
        return
    console.write_result(api.recipe_text(estimate.settings))
    console.write_result(
        f"\n# {estimate.parameters:,} parameters, about {estimate.megabytes:,.0f} MB of memory, "
        f"about {estimate.minutes:.1f} minutes for {counted(estimate.steps, 'update')} here\n"
    )
