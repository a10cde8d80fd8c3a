"""The folder of one run: which process may write to it, what it holds, and which run is the newest.

    recipe.toml   manifest.json   metrics.jsonl   model/   state/   plots/

`--overwrite` replaces a run as late as possible: `model/` can be loaded until the new model folder
takes its place in one rename; `state/`, `metrics.jsonl` and `plots/` are deleted just before the first
update of the new run, after its data was read.
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
from seqtool.files import (
    Lock,
    read_json,
    remove_leftovers,
    safe_name,
    storage_errors,
    write_durably,
    write_json,
)
from seqtool.models.folder import CONFIG, MANIFEST, members_of
from seqtool.training import distributed

ROOT = Path("runs")
LATEST = "latest"
LOCK = ".lock"
FINISHED = "finished"  # file in state/ of a finished run: the step of its last checkpoint
CONTENTS = ("recipe.toml", "manifest.json", "metrics.jsonl", "model", "state")  # a folder with any is a run


class RunFolder:
    """A run folder, locked against all other processes until `close`.

    Args:
        path: The folder.
        lock: The lock that this process holds; None = it may not write to the folder.
        created: Whether this process made the folder; `close` removes it again if it is still empty.
    """

    def __init__(self, path: Path, lock: Lock | None = None, created: bool = False) -> None:
        self.path = path
        self.recipe_text = ""  # content of recipe.toml, which is written just before the first update
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
        """Create or open the folder of a run and lock it; what it holds is not changed yet.

        Args:
            output: The run folder; None = `root/task/name`, or the first free one of `name-2`, `name-3`, ...
            task: Name of the task, a plain file name.
            name: Name of the run, a plain file name.
            root: Folder of the runs that have no `output`.
            resume: Open the run that is there (without `output`: the last one of `name`, `name-2`, ...).
            overwrite: Open the folder even if it holds a run.

        Returns:
            The locked folder.

        Raises:
            UsageError: `output` holds a run already, or is a file; or `resume`, and its checkpoints were
                deleted.
            StorageError: the folder cannot be written.
            BusyError: another process is at work in it.
        """
        if output is not None:
            return _to_resume(output) if resume else _open(output, may_hold_run=overwrite)
        try:
            base, name = root / safe_name(task), safe_name(name)
        except ModelError as error:
            raise UsageError(f"the name of a run names its folder: {error}") from None
        names = (name if n == 1 else f"{name}-{n}" for n in itertools.count(1))
        if overwrite:
            return _open(base / name, may_hold_run=True)
        if resume:
            taken = list(itertools.takewhile(lambda taken: holds_run(base / taken), names))
            return _to_resume(base / (taken[-1] if taken else name))
        return _open_first_free([base / name for name in itertools.islice(names, 10_000)])

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open and lock a folder, whatever it holds; errors as for `create`."""
        return _open(path, may_hold_run=True)

    @classmethod
    def create_for_all(cls, output: Path | None, *, device: torch.device, **options: Any) -> RunFolder:
        """`create` on process 0; the other processes get the same folder without the right to write to it.

        Args:
            output: The run folder, or None, as for `create`.
            device: Device of this process, which its process group communicates on.
            options: The other arguments of `create`.

        Returns:
            The folder, locked by process 0.
        """
        if distributed.rank() == 0:
            run = cls.create(output, **options)
            distributed.text_of_first(str(run.path), device)
            return run
        return cls(Path(distributed.text_of_first("", device)))

    @property
    def writes(self) -> bool:
        """Whether this process holds the lock and writes to the folder; False on processes other than 0."""
        return self._lock is not None

    @property
    def recipe(self) -> Path:
        """Path of recipe.toml: the complete resolved settings."""
        return self.path / "recipe.toml"

    @property
    def manifest(self) -> Path:
        """Path of manifest.json: command, versions, device, seed, data digests, scores, wall time."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """Path of metrics.jsonl: one event per line, each a JSON object."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """Path of the folder of the finished model, which is self-contained."""
        return self.path / "model"

    @property
    def state(self) -> Path:
        """Path of the folder of checkpoints, which `--resume` needs."""
        return self.path / "state"

    def saved_steps(self) -> list[int]:
        """Steps of the checkpoints in the folder, ascending."""
        # Imported here: every command that looks for the newest run reads this file.
        from seqtool.training.checkpoint import Checkpoints

        return Checkpoints(self.state).steps()

    @property
    def is_finished(self) -> bool:
        """Whether the run is finished, and no checkpoint was saved since (by a resumed run, say)."""
        marker = self.state / FINISHED
        with storage_errors(marker):
            step = marker.read_text(encoding="utf-8").strip() if marker.is_file() else ""
        return step.isdecimal() and all(saved <= int(step) for saved in self.saved_steps())

    @property
    def is_pruned(self) -> bool:
        """Whether the run is finished and its checkpoints were deleted (`pruning.prune_state`)."""
        return self.is_finished and not self.saved_steps()

    @property
    def plots(self) -> Path:
        """Path of the folder of figures."""
        return self.path / "plots"

    def clear_training(self) -> None:
        """Delete the checkpoints, events and figures of an earlier run; model, recipe and manifest stay."""
        with storage_errors(self.path):
            for folder in (self.state, self.plots):
                if folder.exists():
                    shutil.rmtree(folder)
            self.metrics.unlink(missing_ok=True)

    def write_recipe(self) -> None:
        """Replace recipe.toml durably by `recipe_text`, if there is any."""
        if self.recipe_text:
            write_durably(self.recipe, self.recipe_text.encode("utf-8"))

    def write_manifest(self, values: dict[str, Any]) -> None:
        """Replace manifest.json durably."""
        write_json(self.manifest, values)

    def append_event(self, event: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl; it is written when this returns."""
        line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
        with storage_errors(self.metrics), self.metrics.open("ab") as file:
            file.write(line.encode("utf-8"))

    def events_size(self) -> int:
        """Bytes in metrics.jsonl, which a checkpoint records."""
        with storage_errors(self.metrics):
            return self.metrics.stat().st_size if self.metrics.exists() else 0

    def truncate_events(self, size: int) -> None:
        """Cut metrics.jsonl to `size` bytes: events after the checkpoint will be written again."""
        if self.events_size() > size:
            with storage_errors(self.metrics), self.metrics.open("r+b") as file:
                file.truncate(size)

    def mark_finished(self, *, task: str, root: Path = ROOT) -> None:
        """Mark the run as finished, and name it in `root/task/latest` if it lies in that folder."""
        steps = self.saved_steps()
        if steps:
            write_durably(self.state / FINISHED, f"{steps[-1]}\n".encode())
        base = root / task
        if self.path.resolve().parent == base.resolve():
            write_durably(base / LATEST, (self.path.resolve().name + "\n").encode("utf-8"))

    def close(self) -> None:
        """Release the lock; a folder that this process created and wrote nothing to is removed again."""
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
    """Whether a folder holds any part of a run."""
    return any((path / name).exists() for name in CONTENTS)


def require_no_run(path: Path) -> None:
    """Check that a new run may be written to a folder.

    Raises:
        UsageError: it holds a run already.
    """
    if holds_run(path):
        raise UsageError(
            f"{path}: holds a run already; continue it with --resume, replace it with --overwrite, "
            "or give another folder with -o"
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


def find_unfinished(task: str, *, root: Path = ROOT) -> Path | None:
    """The unfinished run of a task under `root` with the newest checkpoint; None if there is none."""
    folders = [path for path in (root / task).glob("*") if path.is_dir()]
    runs = [run for run in map(RunFolder, folders) if run.saved_steps() and not run.is_finished]
    return max(runs, key=lambda run: run.state.stat().st_mtime).path if runs else None


def manifest_of(model: Path) -> dict[str, Any]:
    """The manifest of a model's run: how it ended, its data; empty without a manifest.

    Args:
        model: The run folder, or the model folder inside it.
    """
    manifest = (model.absolute().parent if model.name == "model" else model) / "manifest.json"
    values = read_json(manifest) if manifest.is_file() else {}
    return dict(values) if isinstance(values, dict) and "files" not in values else {}


def _open(path: Path, *, may_hold_run: bool) -> RunFolder:
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; give a folder for the run with -o")
    created = not path.exists()
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    run = RunFolder(path, _locked(path), created)
    if not may_hold_run:
        try:
            require_no_run(path)
        except UsageError:
            run.close()
            raise
    for written in (run.recipe, run.manifest):
        remove_leftovers(written)
    return run


def require_single(path: Path, instead: str) -> None:
    """Refuse the folder of an ensemble, which holds other runs and has no training of its own.

    Args:
        path: The run folder.
        instead: What to do with its runs, in a message.

    Raises:
        UsageError: its model is an ensemble.
    """
    whole = all((path / "model" / name).is_file() for name in (CONFIG, MANIFEST))
    if whole and members_of(path):
        run = next(iter(sorted(path.glob("seed*"))), path / "seed1")
        raise UsageError(f"{path}: an ensemble, which has no training of its own; {instead}, such as {run}")


def _to_resume(path: Path) -> RunFolder:
    require_single(path, "repeat the command that made it with --resume, or resume one of its runs")
    run = _open(path, may_hold_run=True)
    if run.is_pruned:
        run.close()
        raise UsageError(
            f"{path}: this run is finished and its state was deleted, so it cannot be resumed; fine-tune its "
            "model with --init-from, or train again with --overwrite"
        )
    return run


def _open_first_free(candidates: list[Path]) -> RunFolder:
    for path in candidates:
        with contextlib.suppress(UsageError, BusyError):
            return _open(path, may_hold_run=False)
    raise StorageError(f"{candidates[0]}: no free name left; remove old runs or give a folder with -o")


def _locked(path: Path) -> Lock:
    lock = Lock(path / LOCK)
    if not lock.acquire():
        raise BusyError(
            f"{path}: another run is at work in this folder; wait for it, or give another folder with -o"
        )
    return lock
