"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that a search found."""

    tokens: list[int]  # without start and end
    score: float  # what it was ranked by
    log_probability: float  # nats, the end symbol included
    finished: bool  # False: cut at the largest length
