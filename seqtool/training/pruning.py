"""The state of a run that is finished: how large it is, and how to get rid of it."""

from __future__ import annotations

import shlex
from pathlib import Path

from seqtool.errors import UsageError
from seqtool.files import storage_errors
from seqtool.settings import read_toml
from seqtool.training.run_folder import FINISHED, RunFolder, holds_run, require_single


def state_size(run: Path) -> int:
    """Bytes of the checkpoints in a run folder; 0 if there are none.

    Raises:
        StorageError: the folder cannot be read.
    """
    return sum(file.stat().st_size for file in _checkpoint_files(run))


def prune_state(run: Path) -> int:
    """Delete the checkpoints of a finished run; its model stays, but it cannot be resumed any more.

    Args:
        run: The run folder.

    Returns:
        Bytes that were freed.

    Raises:
        UsageError: not a run folder, or a run that is not finished.
        BusyError: another process is at work in the folder.
        StorageError: a file cannot be deleted.
    """
    if not holds_run(run):
        raise UsageError(f"{run}: not a run folder; name the folder that holds recipe.toml and state/")
    require_single(run, "name its runs")
    with RunFolder.open(run) as opened:
        if not opened.is_finished:
            task = read_toml(opened.recipe).get("task", "TASK")
            raise UsageError(
                f"{run}: this run is not finished, and its state is needed to finish it: "
                f"seqtool train {task} --resume -o {shlex.quote(str(run))}"
            )
        freed = 0
        # Newest checkpoint first, each JSON file before its tensors: whatever stays is a whole checkpoint.
        for file in sorted(_checkpoint_files(run), key=_order, reverse=True):
            size = file.stat().st_size
            with storage_errors(file):
                file.unlink()
            freed += size
    return freed


def _checkpoint_files(run: Path) -> list[Path]:
    state = RunFolder(run).state
    if not state.is_dir():
        return []
    with storage_errors(state):
        return [file for file in state.iterdir() if file.name != FINISHED]


def _order(file: Path) -> tuple[bool, str]:
    return file.suffix == ".json", file.name
