"""Lines of a file in wide windows, lines of anything else as they come."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

Item = TypeVar("Item")

WINDOW = 16  # batches of a file that are sorted by length together


def groups_of(
    items: Iterator[Item], stream: BinaryIO, *, size: Callable[[Item], int], budget: int
) -> Iterator[list[Item]]:
    """Items that are worked on together, in order; from a pipe nothing waits for what has not come yet.

    Args:
        items: Read from `stream`.
        stream: What they come from.
        size: What an item takes in a batch.
        budget: Size of a batch.
    """
    from seqtool.text.streaming import groups, ready_groups

    gather = groups if is_regular_file(stream) else ready_groups
    return gather(items, size=size, budget=WINDOW * budget)


def is_regular_file(stream: BinaryIO) -> bool:
    """Whether a stream is always ready."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:
        return False


def make_folder(path: Path) -> None:
    """A folder for pictures, if it is not there yet."""
    from seqtool.files import storage_errors

    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
