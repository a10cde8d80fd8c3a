"""Resolving settings: from a recipe, files and `--set` to the complete settings of a run, and back."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtool.bundled import recipe_names, recipe_path
from seqtool.errors import SettingsError, UsageError, nearest
from seqtool.settings import UNNAMED, apply_overrides, read_toml, validate
from seqtool.settings_keys import dotted, given_keys, put
from seqtool.tasks import TASKS, Task
from seqtool.text import data_files
from seqtool.training.defaults import AUTO

Files = str | Path | Sequence[str | Path]  # one file, or source and target
# Keys of [data] that given files replace.
SOURCES = ("train", "dev", "test", "corpora", "tag", "local", "hub", "installed")


def resolve_settings(
    task: str,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, Files | None] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
) -> Any:
    """Resolve the settings of a run: `flags` take precedence over `overrides`, the recipe and the defaults.

    Relative paths in a recipe start from its file, all others from the working directory.

    Args:
        task: Name of the task, a key of `TASKS`.
        recipe: Name of a bundled recipe, a TOML file, or the tables of a recipe; None = the task's default
            recipe, or the defaults of all settings if `files` are given.
        files: Files for `train`, `dev` and `test`, which replace the recipe's data; a pair of files is
            the source and the target for a translator.
        overrides: `KEY=VALUE` each, as for `--set`.
        flags: Values of command-line options by the dotted key of their setting; None = not given.
        options: Names of these options by the same keys, for messages.

    Returns:
        The complete settings, with absolute paths.

    Raises:
        UsageError: there is no such recipe.
        SettingsError: some settings are not valid; the message lists all problems.
    """
    spec, overrides = TASKS[task](), list(overrides)
    own = {name: _absolute(path, Path.cwd()) for name, path in (files or {}).items() if path is not None}
    if recipe is None and not own:
        recipe = spec.default_recipe
    tables, folder, where = _tables(recipe, task, has_files=bool(own))
    if (other := tables.get("task", task)) != task:
        remedy = f"; use seqtool train {other}" if str(other) in TASKS else ""
        raise SettingsError(f"{where}: a recipe for task {other!r}, not {task!r}{remedy}")
    tables = _with_absolute_paths({"task": task, "name": UNNAMED, **tables}, spec, folder)
    if own:
        kept = {key: value for key, value in _table(tables, "data").items() if key not in SOURCES}
        tables["data"] = {**kept, **own}
    tables = apply_overrides(tables, overrides)
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    for key, value in given.items():
        tables = put(tables, key, value)
    complete = _with_absolute_paths(_without_auto(tables, spec), spec, Path.cwd())
    typed = [override.partition("=")[0].strip() for override in overrides]
    names = {key: name for key, name in (options or {}).items() if key in given}
    settings = validate(spec.settings, complete, where, typed, names)
    if settings.task != task:
        raise SettingsError(f"{where}: task = {settings.task!r}, but `seqtool train {task}` was typed")
    located: Any = settings.model_copy(update={"data": data_files.locate(settings.data, folder)})
    return located


def settings_of(
    recipe: str | Path | Mapping[str, Any] | Any,
    *,
    task: str | None,
    files: Mapping[str, Files | None] | None,
    overrides: list[str],
) -> Any:
    """The settings of a run, from a recipe or as they are.

    Args:
        recipe: Name of a bundled recipe, path of a TOML file, the tables of a recipe, or the complete
            settings of a run, to which the other arguments would be changes; None = the default recipe of
            `task`.
        task: Name of the task; None = that of the recipe.
        files: Files that replace the recipe's data.
        overrides: `KEY=VALUE` each, as for `--set`.

    Raises:
        UsageError: there is neither a recipe nor a task, or complete settings come with changes to them.
        SettingsError: as `resolve_settings`.
    """
    if recipe is None and task is None:
        raise UsageError('nothing to train: name a recipe, or give task="ner" or another task')
    if isinstance(recipe, str | Path | Mapping) or recipe is None:
        return resolve_settings(task or task_of_recipe(recipe), recipe, files=files, overrides=overrides)
    for name, value in {"task": task, "files": files, "overrides": overrides}.items():
        if value:
            raise UsageError(
                f"{name} changes a recipe, and complete settings are given; leave it out, or change the "
                "settings themselves"
            )
    return recipe


def recipe_text(settings: Any) -> str:
    """Settings as the TOML of a recipe; settings that are None are left out."""
    import tomli_w

    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True, by_alias=True))


def settings_of_run(model: Path, remedy: str | None = None) -> Any:
    """The settings of the run that a model is in, which name its data.

    Args:
        model: Run folder, or model folder inside one.
        remedy: What to do if there is no recipe, for the message; None = name the data to evaluate.

    Raises:
        UsageError: there is no recipe beside the model.
        SettingsError: the recipe is not valid.
    """
    recipe = (model.parent if model.name == "model" else model) / "recipe.toml"
    if not recipe.is_file():
        remedy = remedy or f"name the data: seqtool evaluate FILE -m {model}"
        raise UsageError(f"{model}: no recipe beside the model; {remedy}")
    tables = read_toml(recipe)
    return validate(TASKS[_known_task(tables, str(recipe))]().settings, tables, str(recipe))


def _tables(
    recipe: str | Path | Mapping[str, Any] | None, task: str, *, has_files: bool = False
) -> tuple[dict[str, Any], Path, str]:
    """The tables of a recipe, the folder that its relative paths start from, and its name for messages."""
    if recipe is None:
        return {}, Path.cwd(), "settings"
    if isinstance(recipe, Mapping):
        return dict(recipe), Path.cwd(), "settings"
    path = Path(recipe)
    if path.suffix != ".toml":
        if path.is_dir() and (path / "recipe.toml").is_file() and str(recipe) not in recipe_names():
            path = path / "recipe.toml"
        elif str(recipe) not in recipe_names():
            raise _no_recipe(path, task, has_files)
        else:
            path = recipe_path(str(recipe))
    return read_toml(path), path.parent.absolute(), str(path)


def _no_recipe(path: Path, task: str, has_files: bool) -> UsageError:
    """The error for a word, beside `--train` or without, that is neither a recipe's name nor a TOML file."""
    is_data = path.is_file() or (path.is_dir() and bool(task) and TASKS[task]().reads_folders)
    if is_data and has_files:
        return UsageError(
            f"{path} is a data file, not a recipe; --train, --dev and --test take one file each, or for a "
            "language model a folder of files"
        )
    if is_data and task:
        option = "--train-file" if task == "translate" else "--train"
        command = shlex.join(["seqtool", "train", task, option, str(path)])
        return UsageError(f"{path} is a data file, not a recipe: {command}")
    hint = nearest(str(path), recipe_names())
    see = " See `seqtool recipes list`" if hint else "; see `seqtool recipes list`"
    return UsageError(f"{path}: no bundled recipe of that name, and not a .toml file{hint}{see}")


def task_of_recipe(recipe: str | Path | Mapping[str, Any] | None) -> str:
    """The task of a recipe.

    Args:
        recipe: Name of a bundled recipe, a TOML file, or the tables of a recipe.

    Returns:
        Name of the task, a key of `TASKS`.

    Raises:
        SettingsError: the recipe names no task, or an unknown one.
        UsageError: there is no such recipe.
    """
    tables, _, where = _tables(recipe, "")
    return _known_task(tables, where)


def _known_task(tables: Mapping[str, Any], where: str) -> str:
    task = tables.get("task")
    if task not in TASKS:
        raise SettingsError(f"{where}: task {task!r}, expected one of {', '.join(TASKS)}")
    return str(task)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of a recipe; empty if the key holds anything else, which validation reports."""
    value = tables.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _with_absolute_paths(tables: Mapping[str, Any], spec: Task, folder: Path) -> dict[str, Any]:
    result = dict(tables)
    for name, key in spec.paths:
        outer, _, inner = key.partition(".")
        value = _table(result, name).get(outer)
        if inner and isinstance(value, list):
            result[name] = {**result[name], outer: [_located(each, inner, folder) for each in value]}
        elif isinstance(result.get(name), Mapping):
            result[name] = _located(result[name], outer, folder)
    return result


def _located(table: Any, key: str, folder: Path) -> Any:
    """A table in which the path or paths of a key are absolute; what is no table stays as it is."""
    path = table.get(key) if isinstance(table, Mapping) else None
    if isinstance(path, str) or _is_pair(path):
        return {**table, key: _absolute(path, folder)}
    return table


def _absolute(path: Any, folder: Path) -> str | list[str]:
    """A path or a pair of paths, made absolute from a folder."""
    if isinstance(path, str | Path):
        return str((folder / path).absolute())
    return [str((folder / each).absolute()) for each in path]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def require_files(settings: Any) -> None:
    """Check that all files named in the settings of a run exist, before anything is created or computed.

    Args:
        settings: Settings of a run.

    Raises:
        UsageError: a file does not exist, or is a folder where a file is needed.
    """
    spec = TASKS[settings.task]()
    for table, key in spec.paths:
        for name in _named(getattr(settings, table), key):
            if not (Path(name).is_file() or ((table, key) in spec.folders and Path(name).is_dir())):
                folder = Path(name).is_dir()
                raise UsageError(f"{name}: {'is a folder; expected a file' if folder else 'no such file'}")


def _named(table: Any, key: str) -> Iterator[str]:
    """The paths under a key of a table of settings, as in `Task.paths`."""
    outer, _, inner = key.partition(".")
    value = getattr(table, outer)
    for named in [getattr(each, inner) for each in value] if inner else [value]:
        yield from [named] if isinstance(named, str) else named or ()


def completed(settings: Any, data: Any, recorded: Path | None = None) -> tuple[Any, tuple[str, ...]]:
    """Settings with a value for everything that was left to be chosen (`Task.automatic`) and was not given.

    Args:
        settings: The settings of a run, of which some may have been given.
        data: The data of the run.
        recorded: Recipe of the run that is resumed, whose values count then; None = a new run.

    Returns:
        The complete settings, and lines for the user that say what was chosen and why.

    Raises:
        SettingsError: the given settings do not go with what was chosen.
    """
    spec = TASKS[settings.task]()
    missing = set(spec.automatic) - given_keys(settings)
    if recorded is not None and recorded.is_file():
        before = {**settings.FORMER, **dotted(read_toml(recorded))}
        missing |= settings.FORMER.keys() - given_keys(settings)
        values = {key: before[key] for key in missing & before.keys()}
        reasons: tuple[str, ...] = ()
    else:
        choice = spec.choose(settings, data)
        values = {key: value for key, value in choice.values.items() if key in missing}
        reasons = choice.reasons(values)
    if not values:
        return settings, ()
    tables = settings.model_dump(exclude_unset=True, by_alias=True)
    for key, value in values.items():
        tables = put(tables, key, value)
    return validate(spec.settings, tables, "settings"), reasons


def _without_auto(tables: dict[str, Any], spec: Task) -> dict[str, Any]:
    """The tables without the values "auto" of settings that are chosen if they are not given."""
    result = dict(tables)
    for key in spec.automatic:
        table, _, name = key.rpartition(".")
        if _table(result, table).get(name) == AUTO:
            result[table] = {each: value for each, value in result[table].items() if each != name}
    return result
