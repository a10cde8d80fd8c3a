"""Length and coverage penalties, which turn log probabilities into scores of hypotheses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqtool.errors import UsageError

LengthPenalty = Literal["wu", "average", "none"]


@dataclass(frozen=True)
class Penalties:
    """score = log p / divisor(|Y|) + coverage reward, where |Y| counts the end symbol.

    Args:
        length: Kind of length penalty, see `length_divisor`.
        alpha: Exponent of the length penalty, at least 0.
        coverage: Weight beta of `coverage_reward`, at least 0; 0 = attention is not needed.

    Raises:
        UsageError: alpha or coverage is negative or not finite.
    """

    length: LengthPenalty = "average"
    alpha: float = 1.0
    coverage: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("length", self.alpha), ("coverage", self.coverage)):
            if not 0 <= value < float("inf"):
                raise UsageError(f"{name} penalty {value}: must be 0 or more")

    def score(
        self, log_p: Tensor, length: int | Tensor, covered: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """The scores that hypotheses are ranked by.

        Args:
            log_p: Log probabilities, nats, [...].
            length: |Y|, one number or [...].
            covered: Attention summed over steps, [..., S]; needed for a coverage penalty only.
            mask: True at real source positions, [..., S]; None = all are.

        Returns:
            Scores, [...].
        """
        score = log_p / length_divisor(self.length, length, self.alpha)
        if self.coverage:
            assert covered is not None, "a coverage penalty needs attention"
            score = score + coverage_reward(covered.to(log_p.dtype), mask, self.coverage)
        return score

    def score_at_most(self, log_p: Tensor, limits: Tensor) -> Tensor:
        """Upper bound of the final scores of live hypotheses.

        A log probability can only fall, the coverage reward is at most 0, and the divisor is largest at the
        largest length.

        Args:
            log_p: Log probabilities now, nats, [...].
            limits: Largest lengths, [...].
        """
        return log_p / length_divisor(self.length, limits, self.alpha)


NO_PENALTIES = Penalties("none")


def length_divisor(kind: LengthPenalty, length: int | Tensor, alpha: float) -> float | Tensor:
    """The divisor of a log probability.

    Args:
        kind: wu = ((5 + |Y|) / 6)^alpha (Wu et al. 2016, equation 14), average = |Y|^alpha, none = 1.
        length: |Y|, number of symbols with the end symbol, at least 1.
        alpha: Exponent; 0 = no normalisation.
    """
    if kind == "none":
        return 1.0
    wide = length.double() if isinstance(length, Tensor) and length.device.type != "mps" else length
    divisor: float | Tensor = ((5.0 + wide) / 6.0) ** alpha if kind == "wu" else (1.0 * wide) ** alpha
    return divisor


def coverage_reward(covered: Tensor, mask: Tensor | None, beta: float) -> Tensor:
    """beta sum_s log min(sum_t a_ts, 1), at most 0 (Wu et al. 2016, equation 14).

    Args:
        covered: Attention summed over steps, [..., S].
        mask: True at real source positions, [..., S]; None = all are.
        beta: Weight, at least 0.

    Returns:
        Rewards, nats, [...].
    """
    tiny = torch.finfo(torch.float32).tiny  # a position without attention costs 87 nats, not infinitely many
    logs = covered.clamp(min=tiny, max=1.0).log()
    if mask is not None:
        logs = logs.masked_fill(~mask, 0.0)
    # Summed one after the other, since the order of additions in `sum` depends on the padding.
    return beta * logs.cumsum(-1)[..., -1]
