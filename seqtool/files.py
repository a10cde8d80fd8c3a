"""Files: durable writes, strict JSON, digests, locks and safe names."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqtool.errors import ModelError, StorageError

JSON_LIMIT = 64 * 1024 * 1024  # bytes; a larger JSON file was not written by seqtool


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` within this context into a `StorageError` that names `path`."""
    try:
        yield
    except FileExistsError as error:
        raise StorageError(f"{path}: exists already and is not a folder") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves either the old content or the new one, never a mixture.

    The content is written to a temporary file in the same folder and synchronized (fsync); then the file
    is renamed and the folder synchronized. Permissions follow the umask. If anything fails, the temporary
    file is removed.

    Args:
        path: The file, which may exist.
        content: Its new content.

    Raises:
        StorageError: the disk is full, the folder cannot be written, ...
    """
    with storage_errors(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_folder(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` that killed processes left; no process may be writing it now."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        with contextlib.suppress(OSError):  # it does no harm other than taking up space
            leftover.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with `write_durably`; NaN and infinity, which are not JSON, raise ValueError."""
    write_durably(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Make creations and renames in a folder durable (fsync of the folder)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Read JSON strictly from a file that may be foreign.

    Args:
        path: The file.

    Returns:
        The JSON value.

    Raises:
        ModelError: the file is too large, not UTF-8 or not JSON, or has a duplicate key, NaN or infinity.
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        if path.stat().st_size > JSON_LIMIT:
            raise ModelError(f"{path}: larger than {JSON_LIMIT} bytes; not a file of seqtool")
        raw = path.read_bytes()
    return parse_json(raw, str(path))


def parse_json(raw: bytes, name: str) -> Any:
    """Parse JSON strictly; `name` is the file for messages. Errors as for `read_json`."""
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{name}: damaged or foreign: {error}") from error


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; the file is read in pieces.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    The kernel releases it with the process, so a file that is left after a crash blocks nobody.

    Args:
        path: The lock file; created by `acquire` and deleted by `release`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting.

        Returns:
            Whether this object holds the lock now; False if another one holds it.

        Raises:
            StorageError: the file cannot be created.
        """
        with storage_errors(self.path):
            while True:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    return False
                except BaseException:
                    os.close(descriptor)
                    raise
                if self._is_named(descriptor):
                    self._descriptor = descriptor
                    return True
                os.close(descriptor)  # the last holder deleted the file in the meantime: create a new one

    def release(self) -> None:
        """Delete the file and release the lock; no effect if the lock is not held."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self._descriptor)
            self._descriptor = None

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False


def safe_name(name: str) -> str:
    """Check that a name is a plain file name, so that no manifest can point outside its folder.

    Returns:
        The name.

    Raises:
        ModelError: it is empty or hidden, or contains a path separator or NUL.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name or "\0" in name:
        raise ModelError(f"{name!r} is not a plain file name")
    return name


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key {repeated!r}")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of the range of floating-point numbers")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _umask() -> int:
    # The only portable way to read the umask is to set it; it is restored at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
