"""The bundled recipes and vocabulary files, in a checkout and in an installed wheel alike."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from seqtool.errors import UsageError, nearest
from seqtool.files import storage_errors, sync_folder
from seqtool.settings import read_toml

RECIPE_FILE = "recipe.toml"


class RecipeFacts(NamedTuple):
    """What `seqtool recipes list` shows of a bundled recipe."""

    name: str
    task: str
    summary: str  # first line of its recipe.toml, a comment
    data: str  # where its data comes from

    def as_dict(self) -> dict[str, str]:
        """Plain JSON values."""
        return self._asdict()


def bundled_root() -> Path:
    """The folder of `recipes/` and `vocab/`.

    A wheel has both inside the package, in `seqtool/_bundled`; in a checkout or an editable install they
    are beside the package.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_bundled"
    return inside if inside.is_dir() else package.parent


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted: the folders of `recipes/` with a `recipe.toml`.

    Raises:
        UsageError: the installation has no recipes.
        StorageError: the folder cannot be read.
    """
    folder = _folder("recipes")
    with storage_errors(folder):
        return sorted(path.parent.name for path in folder.glob(f"*/{RECIPE_FILE}"))


def recipe_path(name: str) -> Path:
    """Path of the `recipe.toml` of a bundled recipe; its data and `run.sh` are in the same folder.

    Raises:
        UsageError: there is no such recipe; the message offers the nearest name.
    """
    names = recipe_names()
    if name not in names:
        raise UsageError(f"{name}: no bundled recipe of that name{_hint(name, names)}")
    return _folder("recipes") / name / RECIPE_FILE


def list_recipes() -> list[RecipeFacts]:
    """All bundled recipes, sorted by name.

    Raises:
        UsageError, SettingsError, StorageError: the installation is damaged.
    """
    return [describe_recipe(name) for name in recipe_names()]


def describe_recipe(name: str) -> RecipeFacts:
    """Task, summary and data of one bundled recipe; errors as for `list_recipes`."""
    path = recipe_path(name)
    tables = read_toml(path)
    return RecipeFacts(name, str(tables.get("task", "")), _summary(recipe_text(name)), _data_source(tables))


def recipe_text(name: str) -> str:
    """The TOML of a bundled recipe, including its comments.

    Raises:
        UsageError: there is no such recipe.
        StorageError: it cannot be read.
    """
    path = recipe_path(name)
    with storage_errors(path):
        return path.read_text(encoding="utf-8")


def copy_recipe(name: str, destination: Path) -> Path:
    """Copy the folder of a bundled recipe with its data, completely or not at all.

    Args:
        name: Name of the recipe.
        destination: The folder to create; it must not exist.

    Returns:
        Path of the copy's `recipe.toml`.

    Raises:
        UsageError: there is no such recipe, or the destination exists.
        StorageError: the disk is full, no permission, ...
    """
    source = recipe_path(name)
    if destination.exists() or destination.is_symlink():
        raise UsageError(
            f"{destination}: exists already; name another folder: seqtool recipes copy {name} FOLDER"
        )
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
        try:
            copy = staging / destination.name
            shutil.copytree(source.parent, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            copy.rename(destination)
            sync_folder(destination.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return destination / source.name


def vocabulary_names() -> list[str]:
    """Names of the bundled vocabulary files, sorted: their paths below `vocab/`, with `/` as separator.

    Raises:
        UsageError: the installation has no vocabulary files.
        StorageError: the folder cannot be read.
    """
    folder = _folder("vocab")
    with storage_errors(folder):
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def vocab_path(name: str) -> Path:
    """Path of a bundled vocabulary file.

    Args:
        name: One of `vocabulary_names`.

    Raises:
        UsageError: there is no such file; the message offers the nearest name.
    """
    names = vocabulary_names()
    if name not in names:
        raise UsageError(f"{name}: no bundled vocabulary of that name{_hint(name, names)}")
    return _folder("vocab") / name


def _folder(name: str) -> Path:
    folder = bundled_root() / name
    if not folder.is_dir():
        raise UsageError(f"{folder}: bundled files are missing; install seqtool again")
    return folder


def _hint(name: str, names: list[str]) -> str:
    return nearest(name, names) or f"; the bundled ones are: {', '.join(names)}"


def _summary(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _data_source(tables: dict[str, Any]) -> str:
    data = tables.get("data", {})
    sources = []
    if data.get("train"):
        sources.append("bundled")
    if data.get("installed"):
        sources.append("this Python's own texts")
    if "local" in data:
        sources.append(f"$SEQTOOL_DATA/{data['local'].get('folder', '')}")
    if "hub" in data:
        sources.append(f"hub {_hub_name(data['hub'])}")
    return ", else ".join(sources)


def _hub_name(hub: dict[str, Any]) -> str:
    """`owner/name` of a data set on the hub; if it has no id, it is taken from the address of a file."""
    for address in hub.get("files", {}).values():
        if str(address).startswith("hf://datasets/"):
            owner, name = str(address).removeprefix("hf://datasets/").split("/")[:2]
            return f"{owner}/{name.partition('@')[0]}"
    return str(hub.get("id", ""))
