"""The folder of one run: who may write it, what is in it, and which run is the newest.

    recipe.toml   manifest.json   metrics.jsonl   model/   state/   plots/

`--overwrite` replaces a run as late as it can: `model/` stays loadable until the new model
folder takes its place in one move; `state/`, `metrics.jsonl` and `plots/` go when the first
update of the new run is due, not before its data was read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from seqtool.errors import BusyError, ModelError, StorageError, UsageError
from seqtool.files import Lock, remove_leftovers, safe_name, storage_errors, write_durably, write_json
from seqtool.training import distributed

ROOT = Path("runs")
LATEST = "latest"
LOCK = ".lock"
CONTENTS = ("recipe.toml", "manifest.json", "metrics.jsonl", "model", "state")  # any of these makes it a run


class RunFolder:
    """An open run folder, locked against every other process until `close`."""

    def __init__(self, path: Path, lock: Lock | None = None, created: bool = False) -> None:
        self.path = path
        self.recipe_text = ""  # what recipe.toml is to say; it is written when the first update is due
        self._lock = lock
        self._created = created

    @classmethod
    def create(
        cls,
        output: Path | None,
        *,
        task: str,
        name: str,
        root: Path = ROOT,
        resume: bool = False,
        overwrite: bool = False,
    ) -> RunFolder:
        """Make or open the folder of a run and lock it; nothing in it is changed yet.

        Args:
            output: The folder asked for; None = `root/task/name`, or the first free `name-2`, `-3`, ...
            task: Name of the task, a plain file name.
            name: Name of the run, a plain file name.
            root: Where runs without an `output` go.
            resume: Open the run that is there (without `output`: the last of `name`, `name-2`, ...).
            overwrite: Take the folder even if it holds a run.

        Raises:
            UsageError: `output` holds a run already, or is a file.
            StorageError: the folder cannot be written.
            BusyError: another process is at work in it.
        """
        if output is not None:
            return _open(output, taken_is_fine=resume or overwrite)
        try:
            base, name = root / safe_name(task), safe_name(name)
        except ModelError as error:
            raise UsageError(f"the name of a run names its folder: {error}") from None
        names = (name if n == 1 else f"{name}-{n}" for n in itertools.count(1))
        if overwrite:
            return _open(base / name, taken_is_fine=True)
        if resume:
            taken = list(itertools.takewhile(lambda taken: holds_run(base / taken), names))
            return _open(base / (taken[-1] if taken else name), taken_is_fine=True)
        return _open_first_free([base / name for name in itertools.islice(names, 10_000)])

    @classmethod
    def create_for_all(cls, output: Path | None, *, device: torch.device, **options: Any) -> RunFolder:
        """`create` on process 0; the other processes of the run get the same folder, not to be written.

        Args:
            output: As for `create`.
            device: Of this process; its process group carries the path to the others.
            options: As for `create`.
        """
        if distributed.rank() == 0:
            run = cls.create(output, **options)
            distributed.text_of_first(str(run.path), device)
            return run
        return cls(Path(distributed.text_of_first("", device)))

    @property
    def writes(self) -> bool:
        """Whether this process holds the folder and so writes what is in it."""
        return self._lock is not None

    @property
    def recipe(self) -> Path:
        """The complete resolved settings, as TOML."""
        return self.path / "recipe.toml"

    @property
    def manifest(self) -> Path:
        """Command, versions, device, seed, data digests, signatures, wall time."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One JSON object an event, one event a line."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The finished model, self-contained."""
        return self.path / "model"

    @property
    def state(self) -> Path:
        """What `--resume` needs."""
        return self.path / "state"

    @property
    def plots(self) -> Path:
        """Pictures."""
        return self.path / "plots"

    def clear_training(self) -> None:
        """Remove what an earlier run left behind, all but its model, recipe and manifest."""
        with storage_errors(self.path):
            for folder in (self.state, self.plots):
                if folder.exists():
                    shutil.rmtree(folder)
            self.metrics.unlink(missing_ok=True)

    def write_recipe(self) -> None:
        """Replace recipe.toml durably; a run that is refused leaves the old one."""
        if self.recipe_text:
            write_durably(self.recipe, self.recipe_text.encode("utf-8"))

    def write_manifest(self, values: dict[str, Any]) -> None:
        """Replace manifest.json durably."""
        write_json(self.manifest, values)

    def append_event(self, event: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl; it is in the file when this returns."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
        with storage_errors(self.metrics), self.metrics.open("ab") as file:
            file.write(line.encode("utf-8"))

    def events_size(self) -> int:
        """Bytes in metrics.jsonl; a checkpoint notes it."""
        with storage_errors(self.metrics):
            return self.metrics.stat().st_size if self.metrics.exists() else 0

    def truncate_events(self, size: int) -> None:
        """Cut metrics.jsonl back to `size` bytes: what came after the checkpoint will come again."""
        if self.events_size() > size:
            with storage_errors(self.metrics), self.metrics.open("r+b") as file:
                file.truncate(size)

    def mark_finished(self, *, task: str, root: Path = ROOT) -> None:
        """Name this run in `root/task/latest`, if it lies in that folder."""
        base = root / task
        if self.path.resolve().parent == base.resolve():
            write_durably(base / LATEST, (self.path.resolve().name + "\n").encode("utf-8"))

    def close(self) -> None:
        """Let others in; a folder made here that nothing was written to is removed again."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            if self._created:
                with contextlib.suppress(OSError):
                    self.path.rmdir()  # refuses unless it is empty

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def holds_run(path: Path) -> bool:
    """Whether anything of a run is in the folder."""
    return any((path / name).exists() for name in CONTENTS)


def require_no_run(path: Path) -> None:
    """See to it that a new run may go into a folder.

    Raises:
        UsageError: it holds a run.
    """
    if holds_run(path):
        raise UsageError(
            f"{path}: holds a run already; continue it with --resume, replace it with --overwrite, "
            "or give another folder"
        )


def find_latest(task: str, *, root: Path = ROOT) -> Path | None:
    """The newest finished run of a task under `root`; None if there is none."""
    marker = root / task / LATEST
    if not marker.is_file():
        return None
    with storage_errors(marker):
        name = marker.read_text(encoding="utf-8", errors="replace").strip()
    run = root / task / name
    plain = bool(name) and "/" not in name and not name.startswith(".")
    return run if plain and (run / "model").is_dir() else None


def _open(path: Path, *, taken_is_fine: bool) -> RunFolder:
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: a file, expected a folder for the run")
    created = not path.exists()
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path, _locked(path), created)
    if not taken_is_fine:
        try:
            require_no_run(path)
        except UsageError:
            run.close()
            raise
    for written in (run.recipe, run.manifest):
        remove_leftovers(written)
    return run


def _open_first_free(candidates: list[Path]) -> RunFolder:
    for path in candidates:
        with contextlib.suppress(UsageError, BusyError):
            return _open(path, taken_is_fine=False)
    raise StorageError(f"{candidates[0]}: no free name left; remove old runs or give a folder with -o")


def _locked(path: Path) -> Lock:
    lock = Lock(path / LOCK)
    if not lock.acquire():
        raise BusyError(f"{path}: another run is at work in this folder; wait for it or give another folder")
    return lock
