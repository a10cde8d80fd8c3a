"""What all tests share."""

from __future__ import annotations

import signal

from hypothesis import settings

# A machine may be busy: how long an example takes is for benchmarks to say.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell starts what it puts into the background with interrupts ignored, and programs inherit that;
# tests that interrupt one need it as it is at a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
