"""Writing an output file of any size so that it is either complete or not there at all."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from seqtool.errors import UsageError
from seqtool.files import storage_errors, sync_folder


def require_free(path: Path, overwrite: bool) -> None:
    """Check before any work is done that `path` may be written.

    Args:
        path: The output file.
        overwrite: Whether it may replace an existing file.

    Raises:
        UsageError: the file exists and `overwrite` is false, it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; expected a file to write")
    if not path.parent.is_dir():
        raise UsageError(
            f"{path}: there is no folder {path.parent}; make it with: mkdir -p "
            f"{shlex.quote(str(path.parent))}"
        )
    if _is_regular(path) and not overwrite:
        raise UsageError(f"{path}: exists already; replace it with --overwrite, or give another name")


@contextlib.contextmanager
def open_durably(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` when it is closed without an error.

    Like `seqtool.files.write_durably`, for content that does not fit into memory. A device or a named pipe
    is written to directly.

    Raises:
        StorageError: the disk is full, the folder cannot be written, ...
    """
    if path.exists() and not _is_regular(path):
        with storage_errors(path), path.open("wb") as device:
            yield device
        return
    target = path.resolve()  # a symbolic link is kept, and the file behind it replaced
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
    # The only portable way to read the umask is to set it; it is restored at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
