"""Where the bundled recipes and vocabulary inputs are, in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

from seqtool.errors import UsageError, nearest
from seqtool.files import storage_errors

RECIPE_FILE = "recipe.toml"


def bundled_root() -> Path:
    """The folder that holds `recipes/` and `vocab/`.

    A wheel carries both inside the package, as `seqtool/_bundled`; in a checkout (an editable
    install included) they stand beside the package.
    """
    package = Path(__file__).resolve().parent
    inside = package / "_bundled"
    return inside if inside.is_dir() else package.parent


def recipe_names() -> list[str]:
    """Names of the bundled recipes, sorted: the folders of `recipes/` that hold a `recipe.toml`.

    Raises:
        UsageError: the installation carries no recipes.
        StorageError: the folder cannot be read.
    """
    folder = _folder("recipes")
    with storage_errors(folder):
        return sorted(path.parent.name for path in folder.glob(f"*/{RECIPE_FILE}"))


def recipe_path(name: str) -> Path:
    """The `recipe.toml` of the bundled recipe `name`; its data and `run.sh` stand beside it.

    Raises:
        UsageError: there is no such recipe; the message has the nearest name.
    """
    names = recipe_names()
    if name not in names:
        raise UsageError(f"{name}: no bundled recipe of that name{_hint(name, names)}")
    return _folder("recipes") / name / RECIPE_FILE


def vocabulary_names() -> list[str]:
    """Names of the bundled vocabulary inputs, sorted: paths below `vocab/`, with `/` between the parts.

    Raises:
        UsageError: the installation carries no vocabulary inputs.
        StorageError: the folder cannot be read.
    """
    folder = _folder("vocab")
    with storage_errors(folder):
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"]
    return sorted(path.relative_to(folder).as_posix() for path in files)


def vocab_path(name: str) -> Path:
    """The bundled vocabulary input `name`, as listed by `vocabulary_names`.

    Raises:
        UsageError: there is no such file; the message has the nearest name.
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
