"""Every failure that a user can cause, each with its exit code.

    SeqtoolError
    ├── UsageError            2   a wrong flag, a missing file or model
    │   └── SettingsError     2   a recipe or --set value that does not hold
    ├── DataError             3   text that cannot be read as what it should be
    ├── ModelError            4   a damaged, foreign or newer model or checkpoint
    ├── StorageError          5   disk full, no permission, closed output
    ├── DivergedError         6   the loss is not a number any more
    ├── MemoryExhaustedError  7   the batch does not fit
    ├── BusyError             8   another run uses the folder
    ├── ThresholdError        9   `evaluate --min` was not met
    └── InterruptedRunError   130 or 143, after the state was saved

The message is one line: what was given, what is allowed, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SeqtoolError(Exception):
    """A failure with a readable reason; the command line prints it as one line."""

    exit_code = 1


class UsageError(SeqtoolError):
    """The command cannot be carried out as typed."""

    exit_code = 2


class SettingsError(UsageError):
    """One or more settings do not hold; the message lists all of them."""


class DataError(SeqtoolError):
    """Input text is not what it should be; the message says file and line."""

    exit_code = 3


class ModelError(SeqtoolError):
    """A model folder or checkpoint cannot be trusted."""

    exit_code = 4


class StorageError(SeqtoolError):
    """The file system refused."""

    exit_code = 5


class DivergedError(SeqtoolError):
    """Training produced a loss or gradient that is not finite."""

    exit_code = 6


class MemoryExhaustedError(SeqtoolError):
    """Not enough memory for the batch."""

    exit_code = 7


class BusyError(SeqtoolError):
    """Another process holds the run folder."""

    exit_code = 8


class ThresholdError(SeqtoolError):
    """A required score was not reached."""

    exit_code = 9


class InterruptedRunError(SeqtoolError):
    """A signal stopped the run after its state was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


FEW = 3  # names that a hint offers


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the allowed names of which it is a part, else the closest; or nothing.

    >>> nearest("hiden", ["hidden", "layers"])
    "; did you mean 'hidden'?"
    >>> nearest("layers", ["layer_norm", "encoder_layers", "decoder_layers"])
    "; did you mean 'encoder_layers' or 'decoder_layers'?"
    """
    return did_you_mean(closest(name, list(allowed)))


def closest(name: str, allowed: Sequence[str]) -> list[str]:
    """The names that `nearest` offers."""
    if name in allowed:
        return [name]
    having = [each for each in allowed if name in each.split("_")]
    return having if 0 < len(having) <= FEW else difflib.get_close_matches(name, allowed, n=1)


def did_you_mean(names: Iterable[str]) -> str:
    """The end of a message, which offers names; an empty string if there are none."""
    offered = " or ".join(map(repr, names))
    return f"; did you mean {offered}?" if offered else ""
