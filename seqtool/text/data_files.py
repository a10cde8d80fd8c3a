"""The parts of a data set, for every task: the files they come from, and what is held out for dev."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from seqtool.errors import DataError, UsageError
from seqtool.files import storage_errors
from seqtool.settings import Settings

Item = TypeVar("Item")
DataType = TypeVar("DataType", bound=Settings)

DATA_VARIABLE = "SEQTOOL_DATA"
HELD_OUT = 0.1  # fraction of the training part, taken from its end if there is no development part
PartName = Literal["train", "dev", "test"]
PARTS: tuple[PartName, ...] = ("train", "dev", "test")


class LocalFolder(Settings):
    """Files below the folder that the environment variable SEQTOOL_DATA names, preferred to the hub."""

    folder: str = Field(description="Folder below $SEQTOOL_DATA.")


class AnyPart(Protocol):
    """What the parts of a data set have in common for all tasks."""

    @property
    def source(self) -> str:
        """Where the part was read from, for messages."""

    @property
    def digest(self) -> str:
        """SHA-256 digest of what was read, or the revision of a data set on the hub."""

    @property
    def size(self) -> int:
        """Number of items: sentences, pairs or characters."""

    def describe(self) -> str:
        """A description of one line, for the user."""


PartType = TypeVar("PartType", bound=AnyPart)


@dataclass(frozen=True)
class DataSet(Generic[PartType]):
    """The parts of a data set, by name, and warnings about them."""

    parts: dict[str, PartType]
    warnings: tuple[str, ...] = ()

    def fingerprint(self) -> dict[str, str]:
        """Digest of each part, for the manifest and for `--resume`."""
        return {name: part.digest for name, part in self.parts.items()}

    def describe(self) -> list[str]:
        """A description of one line for each part, for the user."""
        return [part.describe() for part in self.parts.values()]


Read = Callable[[Any, PartName], PartType]  # from a `[data]` table and a name to the part in its files
HoldOut = Callable[[PartType], tuple[PartType, PartType]]  # from a part to its beginning and its end


def training_parts(
    data: Any, read: Read[PartType], hold_out: HoldOut[PartType], items: str
) -> tuple[dict[str, PartType], tuple[str, ...]]:
    """The training and development parts of a `[data]` table, and a remark if one is held out of the other.

    Args:
        data: The `[data]` table.
        read: Reads a part.
        hold_out: Splits the development part off the training part; used if no development file is named.
        items: Name of the items of a part, such as "sentences".

    Raises:
        UsageError, DataError: as `read` and `hold_out`.
    """
    train = read(data, "train")
    if not _holds_out(data):
        dev = read(data, "dev")
        return {"train": train, "dev": dev}, same_content(train, dev) if data.train is not None else ()
    train, dev = hold_out(train)
    remark = f"no dev file: the last {dev.size:,} of the training {items} are held out for it"
    return {"train": train, "dev": dev}, (remark,)


def same_content(train: AnyPart, dev: AnyPart) -> tuple[str, ...]:
    """A warning if the development part is the training part; the digests must be those of their contents."""
    if train.digest != dev.digest:
        return ()
    return (
        "the development data is the training data, so scores on it say nothing about other text; name other "
        "data with --dev, or leave --dev out to hold some out",
    )


def single_part(data: Any, name: PartName, read: Read[PartType], hold_out: HoldOut[PartType]) -> PartType:
    """One part of a `[data]` table, as a training run reads it.

    Args:
        data: The `[data]` table.
        name: Name of the part.
        read: Reads a part.
        hold_out: As in `training_parts`.

    Raises:
        UsageError, DataError: as `read` and `hold_out`.
    """
    if name == "test" or not _holds_out(data):
        return read(data, name)
    train, dev = hold_out(read(data, "train"))
    return train if name == "train" else dev


def _holds_out(data: Any) -> bool:
    return data.train is not None and data.dev is None


def locate(data: DataType, folder: Path) -> DataType:
    """Data settings with absolute paths, so that a resolved recipe means the same files from any folder.

    Files named in the recipe are preferred to `local` (if its folder exists below $SEQTOOL_DATA), and `local`
    to the hub.

    Args:
        data: The `[data]` table of a recipe: train, dev and test (a file, files or None), local, hub.
        folder: Folder to which the table's relative paths refer.
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


def files_below(path: Path) -> Iterator[Path]:
    """The file itself, or all files below a folder, sorted by name, without hidden ones.

    Raises:
        UsageError: the folder contains no files.
        StorageError: it cannot be read.
    """
    if not path.is_dir():
        yield path
        return
    with storage_errors(path):
        names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    found = [path / name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not found:
        raise UsageError(f"{path}: this folder contains no files")
    yield from found


def missing_part(data: Any, name: str) -> UsageError:
    """The error for a part of a `[data]` table that has no files."""
    if data.local is not None and data.hub is None and data.train is None:
        return UsageError(
            f"the recipe's data is {data.local.folder}/ below ${DATA_VARIABLE}; set that variable"
        )
    if name == "test":  # which only an evaluation asks for
        return UsageError(
            "this run has no test part; name a file, or use the part that training was tuned on: --part dev"
        )
    return UsageError(f"the recipe names no {name} data; name a file")


def hold_out(items: Sequence[Item], source: str, what: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split items into all but the last tenth, and the last tenth.

    Args:
        items: Items of the training part.
        source: Where they come from, for messages.
        what: What one item is called in messages.

    Raises:
        DataError: there are fewer than two items.
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
