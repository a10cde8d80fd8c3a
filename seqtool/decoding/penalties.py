"""What makes scores of hypotheses fair: to their length, and to what they leave out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

LengthPenalty = Literal["wu", "average", "none"]


def length_divisor(kind: LengthPenalty, length: float, alpha: float) -> float:
    """What a log probability is divided by.

    Args:
        kind: wu = ((5 + |Y|) / 6)^alpha (Wu et al. 2016, equation 14), average = |Y|^alpha, none = 1.
        length: |Y|, symbols with the end one.
        alpha: 0 = no normalisation.
    """
    if kind == "none":
        return 1.0
    return float(((5.0 + length) / 6.0) ** alpha if kind == "wu" else length**alpha)


def coverage_reward(covered: Tensor, mask: Tensor, beta: float) -> Tensor:
    """beta sum_s log min(sum_t a_ts, 1), at most 0 (Wu et al. 2016, equation 14).

    Args:
        covered: Attention summed over steps, [..., S].
        mask: Real source positions, as wide.
        beta: Weight.
    """
    tiny = torch.finfo(covered.dtype).tiny
    return beta * (covered.clamp(min=tiny, max=1.0).log() * mask).sum(-1)
