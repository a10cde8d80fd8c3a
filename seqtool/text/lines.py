"""Strict UTF-8 lines from files, gzip files and pipes, one at a time.

Only `\\n` ends a line (`\\r\\n` counts as `\\n`): U+2028, NEL, vertical tab and form feed are part of the
text. Nothing is guessed or replaced: bytes that are not UTF-8 are an error, which says where they are.
"""

from __future__ import annotations

import codecs
import gzip
import sys
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from seqtool.errors import DataError, StorageError, UsageError

NO_LIMIT = 2**62  # bytes per line
LINE_LIMIT = 1_000_000  # bytes per line; limits the memory that one line of an untrusted file can take

# First bytes of files that are not UTF-8 text. UTF-32 comes first: its mark begins with that of UTF-16.
_FOREIGN_STARTS = {
    codecs.BOM_UTF32_LE: "UTF-32 text; convert it to UTF-8",
    codecs.BOM_UTF32_BE: "UTF-32 text; convert it to UTF-8",
    codecs.BOM_UTF16_LE: "UTF-16 text; convert it to UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text; convert it to UTF-8",
    b"\x1f\x8b": "gzip data; give the file a name that ends in .gz",
}


def open_input(path: str | Path) -> BinaryIO:
    """Open a file for reading; `-` is standard input, and a name in `.gz` is decompressed while reading.

    Raises:
        UsageError: the file does not exist, or is a folder.
        StorageError: there is no permission to read it, standard input is closed, ...
    """
    if str(path) == "-":
        if sys.stdin is None or sys.stdin.closed:
            raise StorageError("standard input is closed; name a file, or pipe text in")
        return sys.stdin.buffer
    try:
        if Path(path).suffix == ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path}: is a folder; expected a file") from error
    except ValueError as error:  # a NUL in the name
        raise UsageError(f"{str(path)!r}: not a file name") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error


def lines_of(path: str | Path, limit: int = LINE_LIMIT, *, ends: bool = False) -> Generator[str, None, None]:
    """The lines of a file or of standard input (`-`), as from `read_lines`; a file is closed after use.

    Args:
        path: The file.
        limit: Longest line allowed, in bytes.
        ends: Whether to keep line ends, as in `read_lines`.

    Raises:
        UsageError, StorageError, DataError: as `open_input` and `read_lines`.
    """
    stream = open_input(path)
    try:
        yield from read_lines(stream, "standard input" if str(path) == "-" else str(path), limit, ends=ends)
    finally:
        if str(path) != "-":
            stream.close()


def text_of(path: str | Path) -> str:
    """The whole text of a file or of standard input (`-`); `\\r\\n` becomes `\\n`, nothing else is changed.

    Lines may be of any length, since the whole file is in memory anyway.

    Raises:
        UsageError, StorageError, DataError: as `open_input` and `read_lines`.
    """
    return "".join(lines_of(path, limit=NO_LIMIT, ends=True))


def read_lines(stream: BinaryIO, name: str, limit: int = LINE_LIMIT, *, ends: bool = False) -> Iterator[str]:
    """The lines of a stream, each yielded as soon as it has arrived.

    A byte-order mark at the beginning is dropped; a last line without a line end is kept.

    Args:
        stream: The bytes to read.
        name: Name of the stream for messages.
        limit: Longest line allowed, in bytes without the line end, at least 1.
        ends: Whether to keep each line's end, as `\\n`; the last line may have none.

    Raises:
        DataError: not UTF-8, a NUL byte, another encoding, a line that is too long, damaged gzip data.
        StorageError: the stream is closed or cannot be read.
    """
    offset = 0  # bytes of the stream before this line
    number = 0
    while raw := _read_raw(stream, limit, name, number + 1):
        number += 1
        if number == 1:
            _refuse_foreign(raw, name)
        content = raw.removesuffix(b"\n")
        if len(content) < len(raw):
            content = content.removesuffix(b"\r")
        if len(content) > limit:
            raise DataError(f"{name}:{number}: a line of more than {limit} bytes; expected text in lines")
        text = _decode(content, name, number, offset)
        yield f"{text}\n" if ends and raw.endswith(b"\n") else text
        offset += len(raw)


def _read_raw(stream: BinaryIO, limit: int, name: str, number: int) -> bytes:
    # Two more bytes than the limit, to leave room for the line end.
    try:
        return stream.readline(limit + 2)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{name}:{number}: damaged gzip data: {error}") from error
    except OSError as error:
        raise StorageError(f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise StorageError(f"{name}: cannot be read: {error}") from error


def _refuse_foreign(raw: bytes, name: str) -> None:
    for start, what in _FOREIGN_STARTS.items():
        if raw.startswith(start):
            raise DataError(f"{name}:1: this is {what}")


def _decode(content: bytes, name: str, number: int, offset: int) -> str:
    nul = content.find(b"\0")
    if nul >= 0:
        place = offset + nul
        raise DataError(f"{name}:{number}: a NUL byte at byte {place}; expected UTF-8 text, not binary data")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        where = f"byte {offset + error.start} (0x{content[error.start]:02x})"
        raise DataError(f"{name}:{number}: not UTF-8 at {where}; convert the file to UTF-8") from error
    return text.removeprefix("\ufeff") if number == 1 else text
