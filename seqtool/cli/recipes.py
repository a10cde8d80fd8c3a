"""`seqtool recipes`: what is bundled, to see, to copy, to run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from seqtool.cli import console, options, tables, train
from seqtool.cli.option_groups import with_options
from seqtool.cli.run_options import RunOptions
from seqtool.errors import UsageError, nearest

app = typer.Typer(
    help="Bundled recipes: complete runs, from data to model.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of a recipe in `seqtool recipes list`.")]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="ner, pos, translate or lm.")]


@app.command("list")
def list_recipes(json_output: options.JsonOption = False) -> None:
    """One line a recipe: its task, what it is, where its data comes from."""
    from seqtool import bundled

    found = bundled.list_recipes()
    if json_output:
        console.write_result(json.dumps([facts.as_dict() for facts in found], ensure_ascii=False) + "\n")
        return
    columns = {"name": True, "task": True, "what it is": False, "data": False}
    console.print_table(tables.plain_table(columns, found))


@app.command()
def show(name: NameArgument) -> None:
    """The recipe itself, as TOML."""
    from seqtool import bundled

    console.write_result(bundled.recipe_text(name))


@app.command()
def settings(
    task: TaskArgument,
    word: Annotated[str, typer.Argument(metavar="[WORD]", help="Only those with it in key or meaning.")] = "",
    json_output: options.JsonOption = False,
) -> None:
    """Every setting of a task: what it means, its default, which values it takes.

    In a pipe: a line a setting, its columns separated by tabs.
    """
    from seqtool.settings_guide import describe_settings
    from seqtool.tasks import TASKS

    if task not in TASKS:
        raise UsageError(f"{task}: expected one of {', '.join(TASKS)}{nearest(task, TASKS)}")
    found = describe_settings(TASKS[task]().settings, word)
    if not found:
        raise UsageError(f"{word}: no setting of {task} has that in its key or meaning")
    if json_output:
        console.write_result(json.dumps([each.as_dict() for each in found], ensure_ascii=False) + "\n")
        return
    columns = {"setting": True, "default": False, "values": False, "meaning": False}
    console.print_table(tables.plain_table(columns, found))


@app.command()
def copy(
    name: NameArgument,
    destination: Annotated[
        Path | None, typer.Argument(metavar="[DEST]", help="Folder to make; else ./NAME.")
    ] = None,
) -> None:
    """A copy of the recipe and its data, to change."""
    from seqtool import bundled

    path = bundled.copy_recipe(name, destination or Path(name))
    console.write_result(f"{path}\n")
    task = bundled.describe_recipe(name).task
    console.say(f"train it with `seqtool train {task} {path}`")


@app.command()
@with_options
def run(name: NameArgument, *, options: RunOptions) -> None:
    """Train a recipe: the same as `seqtool train TASK NAME`."""
    from seqtool import bundled

    train.train_task(bundled.describe_recipe(name).task, name, {}, options)
