"""Checkpoints of a run in progress: safetensors and strict JSON, the JSON written last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from seqtool.errors import ModelError, SeqtoolError
from seqtool.files import digest, read_json, safe_name, storage_errors, write_json
from seqtool.models.tensors import read_tensors, write_tensors

FORMAT = 1
RECENT = 2  # checkpoints kept beside the best
_NAME = re.compile(r"step-(\d{6,})\.json")


class Checkpoint(NamedTuple):
    """What was saved at a step: tensors by name, and everything that is not a tensor."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def _silent(text: str) -> None:
    """The default listener for warnings."""


class Checkpoints:
    """The checkpoints in one folder, `step-000123.safetensors` with `step-000123.json`.

    The JSON file names the tensor file and holds its SHA-256 and one of its own values. It is
    written last, so a checkpoint exists from the moment its JSON does; a crash before leaves
    the earlier ones untouched.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = _silent) -> None:
        self.folder = folder
        self.warn = warn

    def steps(self) -> list[int]:
        """Steps that have a checkpoint (perhaps a damaged one), oldest first."""
        if not self.folder.is_dir():
            return []
        with storage_errors(self.folder):
            matches = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], values: dict[str, Any], best: int | None = None
    ) -> None:
        """Write one checkpoint, then drop all but the last two and that of step `best`.

        Raises:
            StorageError: the disk is full, ...; the earlier checkpoints are as they were, and no
                temporary file is left.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        path = self._free_name(step)
        try:
            write_tensors(path, tensors)
            write_json(
                self._json(step),
                {
                    "format": FORMAT,
                    "step": step,
                    "tensors": {"file": path.name, "sha256": digest(path)},
                    "values": values,
                    "values_sha256": _digest_of(values),
                },
            )
        except BaseException:
            # The JSON may be in place already, when only the last fsync failed.
            if self._tensor_file(step) != path.name:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self._prune(best)

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None if there is none at all.

        A damaged one is reported through `warn` and the one before it is used.

        Raises:
            ModelError: there are checkpoints, and every one is damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except SeqtoolError as error:
                self.warn(f"the checkpoint of step {step} cannot be used ({error}); trying the one before")
        if steps:
            raise ModelError(f"{self.folder}: every checkpoint is damaged; start again with --overwrite")
        return None

    def load(self, step: int) -> Checkpoint:
        """The checkpoint of one step.

        Raises:
            ModelError: missing, damaged, foreign, or made by a newer seqtool.
            StorageError: it cannot be read.
        """
        where = self._json(step)
        if not where.is_file():
            raise ModelError(f"{where}: the checkpoint of step {step} is missing")
        entry = read_json(where)
        if not isinstance(entry, dict) or not isinstance(entry.get("format"), int):
            raise ModelError(f"{where}: not a checkpoint of seqtool's")
        if entry["format"] > FORMAT:
            raise ModelError(f"{where}: made by a newer seqtool (format {entry['format']}, known: {FORMAT})")
        try:
            name, sha256 = entry["tensors"]["file"], entry["tensors"]["sha256"]
            values, whole = entry["values"], entry["values_sha256"] == _digest_of(entry["values"])
            path = self.folder / safe_name(name)
        except (KeyError, TypeError) as error:
            raise ModelError(f"{where}: damaged: {error} is missing or of the wrong kind") from error
        if not whole or entry["step"] != step:
            raise ModelError(f"{where}: damaged: its values do not have the digest noted beside them")
        if not path.is_file() or digest(path) != sha256:
            raise ModelError(f"{path}: missing or damaged: its digest is not the one noted in {where.name}")
        return Checkpoint(step, read_tensors(path), values)

    def _json(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.json"

    def _free_name(self, step: int) -> Path:
        # A step can be saved twice (before and after its evaluation). The first tensor file
        # stays until the JSON names the second.
        names = [f"step-{step:06d}.safetensors", f"step-{step:06d}-again.safetensors"]
        used = self._tensor_file(step)
        return self.folder / next(name for name in names if name != used)

    def _tensor_file(self, step: int) -> str | None:
        try:
            return str(read_json(self._json(step))["tensors"]["file"])
        except (SeqtoolError, KeyError, TypeError):
            return None

    def _prune(self, best: int | None) -> None:
        steps = self.steps()
        kept = {*steps[-RECENT:], best}
        names = {self._tensor_file(step) for step in kept if step is not None}
        with contextlib.suppress(OSError):  # what cannot be removed now is removed at the next save
            for step in steps:
                if step not in kept:
                    self._json(step).unlink()  # before its tensors: no JSON without them
            for path in self.folder.iterdir():
                stray = path.match("step-*.safetensors") and path.name not in names and None not in names
                if stray or path.match(".step-*.tmp"):
                    path.unlink()


def _digest_of(values: Any) -> str:
    canonical = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
