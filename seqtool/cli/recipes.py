"""`seqtool recipes`: lists, shows, copies and runs the bundled recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from seqtool.cli import console, options, tables, train
from seqtool.cli.help import CommandGroup
from seqtool.cli.option_groups import with_options
from seqtool.cli.run_options import RunOptions
from seqtool.errors import UsageError, nearest

app = CommandGroup(
    """List, show, copy and run the bundled recipes: complete runs, from data to model.

    Examples:
      seqtool recipes list
      seqtool recipes run ner-tiny
    """
)
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a recipe, as in `seqtool recipes list`.")
]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Task: ner, pos, translate or lm.")]


@app.command("list")
def list_recipes(json_output: options.JsonOption = False) -> None:
    """List the recipes, one per line: task, description, and where the data comes from.

    Examples:
      seqtool recipes list
      seqtool recipes list --json
    """
    from seqtool import bundled

    found = bundled.list_recipes()
    if json_output:
        console.write_result(json.dumps([facts.as_dict() for facts in found], ensure_ascii=False) + "\n")
        return
    columns = {"name": True, "task": True, "what it is": False, "data": False}
    console.print_table(tables.plain_table(columns, found))


@app.command()
def show(name: NameArgument) -> None:
    """Show a recipe as TOML.

    Examples:
      seqtool recipes show ner-tiny
      seqtool recipes show lm-shakespeare > my-recipe.toml
    """
    from seqtool import bundled

    console.write_result(bundled.recipe_text(name))


@app.command()
def settings(
    task: TaskArgument,
    word: Annotated[
        str, typer.Argument(metavar="WORD", help="List only settings with this in their key or meaning.")
    ] = "",
    json_output: options.JsonOption = False,
) -> None:
    """List the settings of a task: meaning, default and possible values.

    In a pipe there is one line per setting, with columns separated by tabs.

    Examples:
      seqtool recipes settings ner
      seqtool recipes settings translate dropout
    """
    from seqtool.settings_guide import describe_settings
    from seqtool.tasks import TASKS

    if task not in TASKS:
        raise UsageError(f"{task}: expected one of {', '.join(TASKS)}{nearest(task, TASKS)}")
    found = describe_settings(TASKS[task]().settings, word, TASKS[task]().automatic)
    if not found:
        raise UsageError(
            f"{word}: no setting of {task} has this in its key or meaning; see: "
            f"seqtool recipes settings {task}"
        )
    if json_output:
        console.write_result(json.dumps([each.as_dict() for each in found], ensure_ascii=False) + "\n")
        return
    columns = {"setting": True, "default": False, "values": False, "meaning": False}
    console.print_table(tables.plain_table(columns, found))


@app.command()
def copy(
    name: NameArgument,
    destination: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="Folder to make. Default: ./NAME.")
    ] = None,
) -> None:
    """Copy a recipe with its data, to change it.

    Examples:
      seqtool recipes copy ner-tiny
      seqtool recipes copy translate-tiny my-translator
    """
    from seqtool import bundled

    path = bundled.copy_recipe(name, destination or Path(name))
    console.write_result(f"{path}\n")
    task = bundled.describe_recipe(name).task
    console.say(f"train it with `seqtool train {task} {path}`")


@app.command()
@with_options
def run(name: NameArgument, *, options: RunOptions) -> None:
    """Train a recipe; the same as `seqtool train TASK NAME`.

    Examples:
      seqtool recipes run ner-tiny
      seqtool recipes run lm-tiny --max-minutes 3 --seed 2
    """
    from seqtool import bundled

    train.train_task(bundled.describe_recipe(name).task, name, {}, options)
