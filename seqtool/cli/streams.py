"""Lines of a file in wide windows, lines of anything else as they come; results to a pipe or to a file."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, TypeVar

import typer

from seqtool.cli import console
from seqtool.errors import UsageError

Item = TypeVar("Item")

WINDOW = 16  # batches of a file that are sorted by length together

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files (also .gz) or folders of files, one after the other; - is standard input.",
    ),
]


@dataclass(frozen=True)
class OutputOptions:
    """Where results go."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write here, whole or not at all; else standard output."
        ),
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False

    def check(self) -> None:
        """Refuse, before any work, what cannot be written.

        Raises:
            UsageError: the file exists, is a folder, or has no folder; or there is nothing to replace.
        """
        from seqtool.text.output import require_free

        if self.overwrite and self.output is None:
            raise UsageError("--overwrite replaces the FILE of -o, and there is none; leave it out")
        if self.output is not None:
            require_free(self.output, self.overwrite)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], None]]:
        """What writes a result: to standard output at once, or to a file that is there at the end."""
        if self.output is None:
            yield _write_at_once
            return
        from seqtool.text.output import open_durably

        with open_durably(self.output) as file:
            # Bytes of a text that were no UTF-8 leave as they came, as on standard output.
            yield lambda text: _write_bytes(file, text)


def inputs_of(given: Sequence[str] | None) -> list[str]:
    """The files that some inputs are; a folder means the files in it by name, hidden ones left out.

    Args:
        given: As typed; nothing is standard input.

    Raises:
        UsageError: standard input comes twice, one of several files is missing, or a folder has no file.
    """
    result: list[str] = []
    for name in given or ["-"]:
        if name != "-" and "\0" not in name and Path(name).is_dir():
            files = sorted(path for path in Path(name).iterdir() if path.is_file())
            files = [path for path in files if not path.name.startswith(".")]
            if not files:
                raise UsageError(f"{name}: a folder without files; expected a file, or a folder of files")
            result += map(str, files)
        else:
            result.append(name)
    if result.count("-") > 1:
        raise UsageError("-: standard input can be read once")
    for name in result if len(result) > 1 else ():
        if name != "-" and not Path(name).exists():
            raise UsageError(f"{name}: no such file")
    return result


def groups_from(
    sources: Sequence[str],
    read: Callable[[BinaryIO, str], Iterator[Item]],
    *,
    size: Callable[[Item], int],
    budget: int,
) -> Iterator[list[Item]]:
    """`groups_of` all items of some files, one file after the other.

    Args:
        sources: Files; `-` is standard input.
        read: The items of a stream with a name for messages.
        size: What an item takes in a batch.
        budget: Size of a batch.
    """
    from seqtool.text.lines import open_input

    for source in sources:
        stream = open_input(source)
        # What may pause is left open: closing it would wait for the thread that reads.
        with stream if is_regular_file(stream) else nullcontext():
            items = read(stream, "standard input" if source == "-" else source)
            yield from groups_of(items, stream, size=size, budget=budget)


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


def _write_at_once(text: str) -> None:
    console.write_result(text)
    console.output().flush()


def _write_bytes(file: BinaryIO, text: str) -> None:
    file.write(text.encode("utf-8", errors="surrogateescape"))
