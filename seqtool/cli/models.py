"""Which model a command means: -m, $SEQTOOL_MODEL, the newest finished run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from seqtool.cli import console
from seqtool.errors import UsageError

VARIABLE = "SEQTOOL_MODEL"


def find_model(given: Path | None, tasks: Sequence[str], *, newest: bool = True) -> Path:
    """The model to use; a choice that was not typed is announced on stderr.

    Args:
        given: What -m says.
        tasks: Whose newest run may stand in.
        newest: False where a run must be named; the newest one is then only proposed.

    Raises:
        UsageError: there is none; the message has the command that would make one.
    """
    if given is not None:
        return given
    if os.environ.get(VARIABLE):
        console.say(f"model: {os.environ[VARIABLE]} (from ${VARIABLE})")
        return Path(os.environ[VARIABLE])
    from seqtool.api import latest_model

    found = latest_model(tasks)
    if found is not None and not newest:
        raise UsageError(f"which model? give one with -m, as in `-m {found}` (the newest run)")
    if found is None:
        commands = " or ".join(f"`seqtool train {task}`" for task in tasks)
        folders = ", ".join(f"runs/{task}/" for task in tasks)
        raise UsageError(
            f"no model: give one with -m, or make one with {commands} (nothing finished under {folders})"
        )
    console.say(f"model: {found} (the newest run)")
    return found
