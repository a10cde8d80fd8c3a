"""SIGINT and SIGTERM, which the training loop acts on between two updates."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """The first signal that was received."""

    signal_number: int = 0  # 0 = none yet


@contextlib.contextmanager
def noted_signals() -> Iterator[Interruption]:
    """Within this context the first SIGINT or SIGTERM is only recorded; the second ends the process at once.

    Signals reach the main thread only; in any other thread the context does nothing.
    """
    interruption = Interruption()

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal_number = number
        for caught in SIGNALS:
            signal.signal(caught, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
