"""Inputs in batches, from files in wide windows and from pipes as they come; results to a pipe or a file."""

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
from seqtool.cli.help import OUTPUT
from seqtool.errors import UsageError

Item = TypeVar("Item")

WINDOW = 16  # batches of a file whose items are sorted by length together

InputsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files (also .gz) or folders of files; - or nothing = standard input.",
    ),
]


@dataclass(frozen=True)
class OutputOptions:
    """Where results go."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file, completely or not at all. Default: standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file of -o.", rich_help_panel=OUTPUT)
    ] = False

    def check(self) -> None:
        """Check, before any work, that the output can be written.

        Raises:
            UsageError: the file exists, is a folder, or its folder does not exist; or --overwrite is given
                without -o.
        """
        from seqtool.text.output import require_free

        if self.overwrite and self.output is None:
            raise UsageError(
                "--overwrite replaces the file of -o, which is not given; add -o FILE, or leave "
                "--overwrite out"
            )
        if self.output is not None:
            require_free(self.output, self.overwrite)

    def check_pair(self) -> None:
        """As `check`, for the pair of files that brat needs.

        Raises:
            UsageError: -o is not given or does not end in .ann, or one of the files exists.
        """
        from seqtool.text.output import require_free
        from seqtool.text.standoff import ANNOTATION, TEXT

        if self.output is None or self.output.suffix != ANNOTATION:
            raise UsageError(
                "--format brat writes a pair of files, annotation and text: give -o NAME.ann, and the text "
                "goes to NAME.txt"
            )
        self.check()
        require_free(self.output.with_suffix(TEXT), self.overwrite)

    @contextmanager
    def opened_pair(self) -> Iterator[Callable[[str, str], None]]:
        """A function that writes to the output, and to the text beside it (brat), if there is any."""
        from seqtool.text.output import open_durably
        from seqtool.text.standoff import ANNOTATION, TEXT

        with self.opened() as put:
            if self.output is None or self.output.suffix != ANNOTATION:
                yield lambda text, beside: put(text)
                return
            with open_durably(self.output.with_suffix(TEXT)) as file:

                def both(text: str, beside: str) -> None:
                    put(text)
                    _write_bytes(file, beside)

                yield both

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], None]]:
        """A function that writes results: to standard output at once, or to a file when all are there."""
        if self.output is None:
            yield _write_at_once
            return
        from seqtool.text.output import open_durably

        with open_durably(self.output) as file:
            # Bytes that are not UTF-8 are written as they came, as on standard output.
            yield lambda text: _write_bytes(file, text)


def inputs_of(given: Sequence[str] | None) -> list[str]:
    """List the input files; a folder stands for its files in order of their names, without hidden ones.

    Args:
        given: Files and folders as they were typed; nothing means standard input.

    Returns:
        Paths of files; `-` is standard input.

    Raises:
        UsageError: standard input is named twice, one of several files is missing, or a folder has no files.
    """
    result: list[str] = []
    for name in given or ["-"]:
        if name != "-" and "\0" not in name and Path(name).is_dir():
            files = sorted(path for path in Path(name).iterdir() if path.is_file())
            files = [path for path in files if not path.name.startswith(".")]
            if not files:
                raise UsageError(f"{name}: the folder has no files; name a file, or a folder of files")
            result += map(str, files)
        else:
            result.append(name)
    if result.count("-") > 1:
        raise UsageError("-: standard input can be read only once; name it once")
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
    """The items of several files in groups, one file after the other; see `groups_of`.

    Args:
        sources: Paths of files; `-` is standard input.
        read: Reads the items of a stream; its second argument is the name for messages.
        size: Size of an item in a batch.
        budget: Largest size of a batch.
    """
    from seqtool.text.lines import open_input

    for source in sources:
        stream = open_input(source)
        # A pipe is left open: closing it would wait for the thread that reads it.
        with stream if is_regular_file(stream) else nullcontext():
            items = read(stream, "standard input" if source == "-" else source)
            yield from groups_of(items, stream, size=size, budget=budget)


def groups_of(
    items: Iterator[Item], stream: BinaryIO, *, size: Callable[[Item], int], budget: int
) -> Iterator[list[Item]]:
    """Items in groups, in order; those of a pipe do not wait for input that has not come yet.

    Args:
        items: Items that are read from `stream`.
        stream: Open input.
        size: Size of an item in a batch.
        budget: Largest size of a batch.
    """
    from seqtool.text.streaming import groups, ready_groups

    gather = groups if is_regular_file(stream) else ready_groups
    return gather(items, size=size, budget=WINDOW * budget)


def is_regular_file(stream: BinaryIO) -> bool:
    """Whether a stream is a regular file, whose next line is always ready."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except io.UnsupportedOperation:
        return False


def make_folder(path: Path) -> None:
    """Make a folder for pictures, unless it exists."""
    from seqtool.files import storage_errors

    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def _write_at_once(text: str) -> None:
    console.write_result(text)
    console.output().flush()


def _write_bytes(file: BinaryIO, text: str) -> None:
    file.write(text.encode("utf-8", errors="surrogateescape"))
