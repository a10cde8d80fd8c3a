"""Results to a file that is whole or not there at all, however much of it there is."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from seqtool.errors import UsageError
from seqtool.files import storage_errors, sync_folder


def require_free(path: Path, overwrite: bool) -> None:
    """See to it before any work that `path` may be written.

    Raises:
        UsageError: it exists and `overwrite` is false, or it is a folder, or its folder is missing.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder")
    if _is_regular(path) and not overwrite:
        raise UsageError(f"{path}: exists already; replace it with --overwrite, or give another name")


@contextlib.contextmanager
def open_durably(path: Path) -> Iterator[BinaryIO]:
    """A file for writing that takes the place of `path` at the end, if all went well.

    As `seqtool.files.write_durably`, for content that does not fit into memory. A device or a
    named pipe is written to as it is.

    Raises:
        StorageError: the disk is full, the folder cannot be written, ...
    """
    if path.exists() and not _is_regular(path):
        with storage_errors(path), path.open("wb") as device:
            yield device
        return
    target = path.resolve()  # a symbolic link stays one
    with storage_errors(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_folder(target.parent)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _umask() -> int:
    # The only portable way to read the umask is to set it; it is put back at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
