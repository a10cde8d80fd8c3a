"""The result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Hypothesis:
    """A sequence found by a search."""

    tokens: list[int]  # symbol ids without start and end
    score: float  # score that it was ranked by
    log_probability: float  # nats, the end symbol included
    finished: bool  # False if it was cut at the largest length
    token_log_probabilities: list[float] = field(default_factory=list)  # nats, with the end symbol's
    attention: NDArray[numpy.float32] | None = None  # [T, S], with the step of the end symbol
    unmet: bool = False  # whether requested phrases are missing
    exhausted: bool = False  # whether constraints left nothing, so that there are no tokens


def exhausted() -> Hypothesis:
    """The result for a sentence for which constraints left nothing."""
    return Hypothesis([], -numpy.inf, -numpy.inf, finished=False, exhausted=True)
