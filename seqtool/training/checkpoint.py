"""Checkpoints of a run: a safetensors file and a JSON file each, the JSON file written last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from seqtool.errors import ModelError, SeqtoolError
from seqtool.files import digest, read_json, safe_name, storage_errors, write_json
from seqtool.models.tensors import read_tensors, write_tensors

FORMAT = 1
RECENT = 2  # newest checkpoints that are kept, in addition to the best
_NAME = re.compile(r"step-(\d{6,})\.json")


class Checkpoint(NamedTuple):
    """The state of a run after a number of updates: tensors by name, and JSON values."""

    step: int
    tensors: dict[str, Tensor]
    values: dict[str, Any]


def _silent(text: str) -> None:
    """The default listener for warnings."""


class Checkpoints:
    """The checkpoints in one folder: `step-000123.safetensors` with `step-000123.json`, and so on.

    The JSON file names the tensor file and holds the SHA-256 of that file and of its own values. It is
    written last, so a checkpoint exists as soon as its JSON file does; a crash before that leaves the
    earlier checkpoints untouched.

    Args:
        folder: The folder; it need not exist yet.
        warn: Function that is told of damaged checkpoints.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = _silent) -> None:
        self.folder = folder
        self.warn = warn

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, perhaps a damaged one, in ascending order."""
        if not self.folder.is_dir():
            return []
        with storage_errors(self.folder):
            matches = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        return sorted(int(match[1]) for match in matches if match)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], values: dict[str, Any], best: int | None = None
    ) -> None:
        """Write a checkpoint, then delete all but the two newest ones and the best one.

        Args:
            step: Updates made so far; checkpoints of later steps are deleted first.
            tensors: Tensors to save, by name, on any device.
            values: JSON values to save.
            best: Step of the best checkpoint; None = there is none yet.

        Raises:
            StorageError: the disk is full, ...; the earlier checkpoints are unchanged, and no temporary
                file is left.
        """
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        # A resumed run goes back behind damaged checkpoints. If they stayed, they would pass for the newest
        # ones, and every checkpoint of the run would be deleted as soon as it is written.
        self._delete(later for later in self.steps() if later > step)
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
            # If only the last fsync failed, the JSON file is in place already: then the tensors stay.
            if self._tensor_file(step) != path.name:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            raise
        self._prune(best)

    def load_newest(self) -> Checkpoint | None:
        """Load the newest intact checkpoint; damaged ones are skipped and reported through `warn`.

        Returns:
            The checkpoint, or None if the folder has none at all.

        Raises:
            ModelError: there are checkpoints, and every one is damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except SeqtoolError as error:
                self.warn(f"the checkpoint of step {step} cannot be used ({error}); trying the previous one")
        if steps:
            raise ModelError(f"{self.folder}: every checkpoint is damaged; start again with --overwrite")
        return None

    def load(self, step: int) -> Checkpoint:
        """Load the checkpoint of one step.

        Raises:
            ModelError: it is missing, damaged, foreign, or made by a newer seqtool.
            StorageError: it cannot be read.
        """
        where = self._json(step)
        if not where.is_file():
            raise ModelError(f"{where}: the checkpoint of step {step} is missing")
        entry = read_json(where)
        if not isinstance(entry, dict) or not isinstance(entry.get("format"), int):
            raise ModelError(f"{where}: not a checkpoint of seqtool")
        if entry["format"] > FORMAT:
            raise ModelError(f"{where}: made by a newer seqtool (format {entry['format']}, known: {FORMAT})")
        try:
            name, sha256 = entry["tensors"]["file"], entry["tensors"]["sha256"]
            values, whole = entry["values"], entry["values_sha256"] == _digest_of(entry["values"])
            path = self.folder / safe_name(name)
        except (KeyError, TypeError) as error:
            raise ModelError(f"{where}: damaged: {error} is missing or of the wrong type") from error
        if not whole or entry["step"] != step:
            raise ModelError(f"{where}: damaged: the digest of its values is not the recorded one")
        if not path.is_file() or digest(path) != sha256:
            raise ModelError(
                f"{path}: missing or damaged: its digest is not the one recorded in {where.name}"
            )
        return Checkpoint(step, read_tensors(path), values)

    def _json(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.json"

    def _free_name(self, step: int) -> Path:
        # A step may be saved twice, before and after its evaluation. The first tensor file stays until
        # the JSON file names the second.
        names = [f"step-{step:06d}.safetensors", f"step-{step:06d}-again.safetensors"]
        used = self._tensor_file(step)
        return self.folder / next(name for name in names if name != used)

    def _tensor_file(self, step: int) -> str | None:
        try:
            return str(read_json(self._json(step))["tensors"]["file"])
        except (SeqtoolError, KeyError, TypeError):
            return None

    def _delete(self, steps: Iterable[int]) -> None:
        with contextlib.suppress(OSError):  # what cannot be deleted now is deleted after the next save
            for step in steps:
                self._json(step).unlink()  # before its tensors: no JSON without them

    def _prune(self, best: int | None) -> None:
        steps = self.steps()
        kept = {*steps[-RECENT:], best}
        names = {self._tensor_file(step) for step in kept if step is not None}
        self._delete(step for step in steps if step not in kept)
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                stray = path.match("step-*.safetensors") and path.name not in names and None not in names
                if stray or path.match(".step-*.tmp"):
                    path.unlink()


def _digest_of(values: Any) -> str:
    canonical = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
