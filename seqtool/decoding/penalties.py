"""What makes scores of hypotheses fair: to their length, and to what they leave out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqtool.errors import UsageError

LengthPenalty = Literal["wu", "average", "none"]


@dataclass(frozen=True)
class Penalties:
    """score = log p / divisor(|Y|) + coverage reward, |Y| with the end symbol.

    Args:
        length: What log probabilities are divided by, see `length_divisor`.
        alpha: Its exponent, at least 0.
        coverage: beta of `coverage_reward`, at least 0; 0 = attention is not looked at.

    Raises:
        UsageError: a weight is negative or not a number.
    """

    length: LengthPenalty = "average"
    alpha: float = 1.0
    coverage: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("length", self.alpha), ("coverage", self.coverage)):
            if not 0 <= value < float("inf"):
                raise UsageError(f"{name} penalty {value}: 0 or more is allowed")

    def score(
        self, log_p: Tensor, length: int | Tensor, covered: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """What hypotheses are ranked by.

        Args:
            log_p: Nats, [...].
            length: |Y|; a tensor is as wide as log_p.
            covered: Attention summed over steps, [..., S]; needed with a coverage penalty only.
            mask: Real source positions, as wide as `covered`; None = all.
        """
        score = log_p / length_divisor(self.length, length, self.alpha)
        if self.coverage:
            assert covered is not None, "a coverage penalty needs attention"
            score = score + coverage_reward(covered.to(log_p.dtype), mask, self.coverage)
        return score

    def score_at_most(self, log_p: Tensor, limits: Tensor) -> Tensor:
        """What hypotheses with this log p now can score in the end, when they may have so many symbols.

        Log p can only fall, and coverage costs at least nothing; the longest are divided by most.
        """
        return log_p / length_divisor(self.length, limits, self.alpha)


NO_PENALTIES = Penalties("none")


def length_divisor(kind: LengthPenalty, length: int | Tensor, alpha: float) -> float | Tensor:
    """What a log probability is divided by.

    Args:
        kind: wu = ((5 + |Y|) / 6)^alpha (Wu et al. 2016, equation 14), average = |Y|^alpha, none = 1.
        length: |Y|, symbols with the end one, at least 1.
        alpha: 0 = no normalisation.
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
        mask: Real source positions, as wide; None = all are.
        beta: Weight.
    """
    tiny = torch.finfo(torch.float32).tiny  # what was never looked at costs 87 nats, not infinity
    logs = covered.clamp(min=tiny, max=1.0).log()
    if mask is not None:
        logs = logs.masked_fill(~mask, 0.0)
    # One after the other: a plain sum adds up in an order that depends on the padding.
    return beta * logs.cumsum(-1)[..., -1]
