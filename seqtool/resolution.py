"""From a recipe, files and `--set` to the complete settings of a run, and back to a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqtool.bundled import recipe_names, recipe_path
from seqtool.errors import SettingsError, UsageError, nearest
from seqtool.settings import apply_overrides, read_toml, validate
from seqtool.tasks import TASKS, Task
from seqtool.text import data_files

Files = str | Path | Sequence[str | Path]  # one file, or source and target
SOURCES = (
    "train",
    "dev",
    "test",
    "local",
    "hub",
    "installed",
)  # keys of [data] that files on the command line replace


def resolve_settings(
    task: str,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    files: Mapping[str, Files | None] | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Any:
    """Complete settings: built-in default < recipe < `overrides` < `flags`; paths made absolute.

    Paths in a recipe are relative to its file, all others to the working directory.

    Args:
        task: Name in `TASKS`.
        recipe: Name of a bundled recipe, a TOML file, or its tables; None = the task's default
            recipe, or built-in settings when `files` are given.
        files: train, dev and test files, which replace the recipe's data; a pair of files is
            the source and target of a translator.
        overrides: `KEY=VALUE`, as for `--set`.
        flags: Dotted key to value.

    Raises:
        UsageError: no such recipe.
        SettingsError: every problem at once.
    """
    spec, overrides = TASKS[task](), list(overrides)
    own = {name: _absolute(path, Path.cwd()) for name, path in (files or {}).items() if path is not None}
    if recipe is None and not own:
        recipe = spec.default_recipe
    tables, folder, where = _tables(recipe, task)
    if tables.get("task", task) != task:
        raise SettingsError(f"{where}: a recipe of task {tables['task']!r}, expected {task!r}")
    tables = _with_absolute_paths({"task": task, "name": "custom", **tables}, spec, folder)
    if own:
        kept = {key: value for key, value in _table(tables, "data").items() if key not in SOURCES}
        tables["data"] = {**kept, **own}
    tables = apply_overrides(tables, overrides)
    for key, value in (flags or {}).items():
        if value is not None:
            tables = _put(tables, key.split("."), value)
    complete = _with_absolute_paths(tables, spec, Path.cwd())
    typed = [override.partition("=")[0].strip() for override in overrides]
    settings = validate(spec.settings, complete, where, typed)
    if settings.task != task:
        raise SettingsError(f"{where}: task = {settings.task!r}, but `seqtool train {task}` was typed")
    located: Any = settings.model_copy(update={"data": data_files.locate(settings.data, folder)})
    return located


def recipe_text(settings: Any) -> str:
    """Settings as the TOML of a recipe; what is None is left out."""
    import tomli_w

    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True, by_alias=True))


def settings_of_run(model: Path) -> Any:
    """The recipe beside a model, for its data."""
    recipe = (model.parent if model.name == "model" else model) / "recipe.toml"
    if not recipe.is_file():
        raise UsageError(
            f"{model}: no recipe beside the model; name the data, as in `seqtool evaluate FILE -m MODEL`"
        )
    tables = read_toml(recipe)
    return validate(TASKS[_known_task(tables, str(recipe))]().settings, tables, str(recipe))


def _tables(recipe: str | Path | Mapping[str, Any] | None, task: str) -> tuple[dict[str, Any], Path, str]:
    """Tables of a recipe, the folder of its relative paths, and its name for messages."""
    if recipe is None:
        return {}, Path.cwd(), "settings"
    if isinstance(recipe, Mapping):
        return dict(recipe), Path.cwd(), "settings"
    path = Path(recipe)
    if path.suffix != ".toml":
        if path.is_dir() and (path / "recipe.toml").is_file() and str(recipe) not in recipe_names():
            path = path / "recipe.toml"
        elif str(recipe) not in recipe_names():
            raise UsageError(
                f"{recipe}: no bundled recipe of that name{nearest(str(recipe), recipe_names())}, "
                "and not a .toml file; see `seqtool recipes list` (an option such as --train takes one file)"
            )
        else:
            path = recipe_path(str(recipe))
    return read_toml(path), path.parent.absolute(), str(path)


def task_of_recipe(recipe: str | Path | Mapping[str, Any] | None) -> str:
    """The task that a recipe names.

    Raises:
        SettingsError: none, or one that there is not.
        UsageError: no such recipe.
    """
    tables, _, where = _tables(recipe, "")
    return _known_task(tables, where)


def _known_task(tables: Mapping[str, Any], where: str) -> str:
    task = tables.get("task")
    if task not in TASKS:
        raise SettingsError(f"{where}: task {task!r}, expected one of {', '.join(TASKS)}")
    return str(task)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A table of a recipe; empty where something else stands in its place, which validation reports."""
    value = tables.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _with_absolute_paths(tables: Mapping[str, Any], spec: Task, folder: Path) -> dict[str, Any]:
    result = dict(tables)
    for name, key in spec.paths:
        path = _table(result, name).get(key)
        if isinstance(path, str) or _is_pair(path):
            result[name] = {**result[name], key: _absolute(path, folder)}
    return result


def _absolute(path: Any, folder: Path) -> str | list[str]:
    """A path, or a pair of them, relative to a folder."""
    if isinstance(path, str | Path):
        return str((folder / path).absolute())
    return [str((folder / each).absolute()) for each in path]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def require_files(settings: Any) -> None:
    """Every file that is named exists: said before a run folder is made, or hours are spent.

    Raises:
        UsageError: one does not.
    """
    spec = TASKS[settings.task]()
    for table, key in spec.paths:
        named = getattr(getattr(settings, table), key)
        for name in [named] if isinstance(named, str) else named or ():
            if not (Path(name).is_file() or (spec.reads_folders and Path(name).is_dir())):
                folder = Path(name).is_dir()
                raise UsageError(f"{name}: {'is a folder; expected a file' if folder else 'no such file'}")


def _put(tables: dict[str, Any], parents: list[str], value: Any) -> dict[str, Any]:
    first, *rest = parents
    below = _put(_table(tables, first), rest, value) if rest else value
    return {**tables, first: below}
