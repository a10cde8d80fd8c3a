"""SIGINT and SIGTERM as a wish that the loop grants between two updates."""

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
    """The signal that came, 0 while none did."""

    signal_number: int = 0


@contextlib.contextmanager
def noted_signals() -> Iterator[Interruption]:
    """Inside, the first SIGINT or SIGTERM is only noted; the second ends the process at once.

    Signals reach the main thread only; in another one nothing is caught.
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
