"""Which files a recipe's data are, and what is held out of them: the same for every task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from seqtool.errors import DataError, UsageError
from seqtool.settings import Settings

Item = TypeVar("Item")
DataType = TypeVar("DataType", bound=Settings)

DATA_VARIABLE = "SEQTOOL_DATA"
HELD_OUT = 0.1  # of the training part, its end, when there is no dev part
PartName = Literal["train", "dev", "test"]
PARTS: tuple[PartName, ...] = ("train", "dev", "test")


def locate(data: DataType, folder: Path) -> DataType:
    """Data settings with absolute paths: a resolved recipe means the same files from anywhere.

    Named files go first, then `local` where $SEQTOOL_DATA holds its folder, then the hub.

    Args:
        data: The `[data]` table of a recipe: train, dev and test (a file, files or None), local, hub.
        folder: What its relative paths are relative to.
    """
    named: Any = data
    if named.train is None:
        root = os.environ.get(DATA_VARIABLE)
        below = Path(root) / named.local.folder if root and named.local is not None else None
        if below is None or not below.is_dir():
            return data
        folder, named = below, named.local
    files = {part: _absolute(getattr(named, part), folder) for part in PARTS}
    paths: dict[str, Any] = {part: path for part, path in files.items() if path is not None}
    return data.model_copy(update={**paths, "local": None, "hub": None})


def missing_part(data: Any, name: str) -> UsageError:
    """Why there are no files for a part of a `[data]` table."""
    if data.local is not None and data.hub is None and data.train is None:
        return UsageError(
            f"the recipe's data is {data.local.folder}/ below ${DATA_VARIABLE}; set that variable"
        )
    return UsageError(f"the recipe names no {name} data; name a file")


def hold_out(items: Sequence[Item], source: str, what: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """All but the last tenth, and that tenth.

    Args:
        items: The training part.
        source: Where it comes from, for messages.
        what: What one item is called there.

    Raises:
        DataError: fewer than two items.
    """
    if len(items) < 2:
        raise DataError(f"{source}: one {what} cannot be split into train and dev; give --dev")
    count = max(1, round(len(items) * HELD_OUT))
    return tuple(items[:-count]), tuple(items[-count:])


def _absolute(names: str | list[str] | None, folder: Path) -> str | list[str] | None:
    if names is None:
        return None
    if isinstance(names, str):
        return str((folder / names).resolve())
    return [str((folder / name).resolve()) for name in names]
