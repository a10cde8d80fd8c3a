"""Durable writes, strict reads, safe names: what stands between the program and a bad disk."""

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

JSON_LIMIT = 64 * 1024 * 1024  # bytes; a larger JSON file is not one of ours


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` on `path` into a `StorageError` that names it."""
    try:
        yield
    except FileExistsError as error:
        raise StorageError(f"{path}: is there already, and no folder") from error
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that a crash leaves the old file or the new one, never a mixture.

    Temporary file in the same folder, write, fsync, rename, fsync of the folder; the
    permissions follow the umask. The temporary file is removed when anything fails.

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
    """Remove the temporary files of writes of `path` that were killed; nobody may be writing it now."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        with contextlib.suppress(OSError):  # it takes up room, no more
            leftover.unlink()


def write_json(path: Path, value: Any) -> None:
    """`write_durably` of indented JSON; NaN and infinity are refused (they are not JSON)."""
    write_durably(path, (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable (fsync of the directory)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Strict JSON from a file that may be foreign: bounded size, no duplicate keys, no NaN.

    Raises:
        ModelError: too large, not UTF-8, not JSON, a duplicate key, NaN or infinity.
        StorageError: it cannot be read.
    """
    with storage_errors(path):
        if path.stat().st_size > JSON_LIMIT:
            raise ModelError(f"{path}: larger than {JSON_LIMIT} bytes; not a file of seqtool's")
        raw = path.read_bytes()
    return parse_json(raw, str(path))


def parse_json(raw: bytes, name: str) -> Any:
    """`read_json` for bytes already in memory; `name` stands in messages."""
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
    """SHA-256 of a file, hexadecimal, read in pieces.

    Raises:
        StorageError: it cannot be read.
    """
    with storage_errors(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    The kernel drops it with the process, so a file left behind by a crash blocks nobody.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting; False if another holder has it.

        Raises:
            StorageError: the file cannot be made.
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
                os.close(descriptor)  # its last holder removed the file in between: a new one is needed

    def release(self) -> None:
        """Remove the file and let go; nothing happens if the lock is not held."""
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
    """`name` if it is one plain file name, so that no manifest can point outside its folder.

    Raises:
        ModelError: empty, hidden, absolute, with a separator or a NUL.
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
        raise ValueError(f"{text} is beyond the range of numbers")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _umask() -> int:
    # The only portable way to read the umask is to set it; it is put back at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
