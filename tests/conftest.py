"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A machine may be busy: how long an example takes is for benchmarks to say.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
