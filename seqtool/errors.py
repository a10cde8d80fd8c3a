"""Every failure that a user can cause, with its exit code.

    SeqtoolError
    ├── UsageError            2   a wrong flag, a missing file or model
    │   └── SettingsError     2   a setting of a recipe or of --set that is not valid
    ├── DataError             3   input text that is not in the expected format
    ├── ModelError            4   a damaged, foreign or newer model or checkpoint
    ├── StorageError          5   disk full, no permission, closed output
    ├── DivergedError         6   the loss or a gradient is not finite
    ├── MemoryExhaustedError  7   a batch does not fit into memory
    ├── BusyError             8   another process uses the run folder
    ├── ThresholdError        9   `evaluate --min` was not met
    └── InterruptedRunError   130 or 143, SIGINT or SIGTERM; the state is saved

A message is one line: what was given, what is allowed, where, and what to type instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class SeqtoolError(Exception):
    """Base of all failures with a message for the user, which the command line prints as one line."""

    exit_code = 1


class UsageError(SeqtoolError):
    """The command cannot be carried out as typed."""

    exit_code = 2


class SettingsError(UsageError):
    """One or more settings are not valid; the message lists all of them."""


class DataError(SeqtoolError):
    """Input text is not in the expected format; the message names the file and the line."""

    exit_code = 3


class ModelError(SeqtoolError):
    """A model folder or checkpoint is damaged, foreign, or made by a newer seqtool."""

    exit_code = 4


class StorageError(SeqtoolError):
    """A file or stream cannot be read or written, or another process of the run was lost."""

    exit_code = 5


class DivergedError(SeqtoolError):
    """Training diverged: a loss, gradient or score is not finite, or the loss is far above its start."""

    exit_code = 6


class MemoryExhaustedError(SeqtoolError):
    """There is not enough memory for a batch."""

    exit_code = 7


class BusyError(SeqtoolError):
    """Another process has locked the run folder."""

    exit_code = 8


class ThresholdError(SeqtoolError):
    """A score is below the one that `evaluate --min` requires."""

    exit_code = 9


class InterruptedRunError(SeqtoolError):
    """A run was interrupted by a signal; its state is saved, and `--resume` continues it.

    Args:
        message: After which step it was interrupted.
        signal_number: SIGINT (2) or SIGTERM (15).
        run: The run folder.
    """

    def __init__(self, message: str, signal_number: int, run: Path) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        self.run = run


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one.

    >>> counted(1, "sentence"), counted(12000, "sentence")
    ('1 sentence', '12,000 sentences')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def in_minutes(minutes: float) -> str:
    """A time in words.

    >>> in_minutes(1), in_minutes(0.5)
    ('1 minute', '0.5 minutes')
    """
    return f"{minutes:g} minute{'s' * (minutes != 1)}"


FEW = 3  # names offered at most by "did you mean"


def nearest(name: str, allowed: Iterable[str]) -> str:
    """The end of a message that offers the allowed names nearest to `name`; empty if none is near.

    Names that contain `name` as one of their words come first, otherwise the closest in spelling.

    >>> nearest("hiden", ["hidden", "layers"])
    "; did you mean 'hidden'?"
    >>> nearest("layers", ["layer_norm", "encoder_layers", "decoder_layers"])
    "; did you mean 'encoder_layers' or 'decoder_layers'?"
    """
    return did_you_mean(closest(name, list(allowed)))


def closest(name: str, allowed: Sequence[str]) -> list[str]:
    """The allowed names that `nearest` offers for `name`, at most `FEW`."""
    if name in allowed:
        return [name]
    having = [each for each in allowed if name in each.split("_")]
    return having if 0 < len(having) <= FEW else difflib.get_close_matches(name, allowed, n=1)


def did_you_mean(names: Iterable[str]) -> str:
    """The end of a message that offers `names`; empty if there are none."""
    offered = " or ".join(map(repr, names))
    return f"; did you mean {offered}?" if offered else ""
