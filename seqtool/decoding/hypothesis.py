"""What a search finds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hypothesis:
    """A sequence that a search found."""

    tokens: list[int]  # without start and end
    score: float  # what it was ranked by
    log_probability: float  # nats, the end symbol included
    finished: bool  # False: cut at the largest length
    token_log_probabilities: list[float] = field(default_factory=list)  # nats, the end symbol's included
    attention: NDArray[numpy.float32] | None = None  # [T, S], the step of the end symbol included
    unmet: bool = False  # phrases that were asked for are missing
    exhausted: bool = False  # constraints left nothing: there are no tokens


def exhausted() -> Hypothesis:
    """Stands for the result where constraints left nothing."""
    return Hypothesis([], -numpy.inf, -numpy.inf, finished=False, exhausted=True)
