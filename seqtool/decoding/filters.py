"""Filters of sampling: the scores of symbols that must not be drawn become -inf.

Filters are applied in the order of the arguments, each to the distribution that the earlier ones have left.
Of equally probable symbols, those with smaller ids are kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.decoding.ranking import top_per_row
from seqtool.errors import UsageError


def check_filters(*, top_k: int, top_p: float, min_p: float, typical: float) -> None:
    """Check the ranges of the filters' parameters.

    Raises:
        UsageError: a parameter is out of range.
    """
    if top_k < 0:
        raise UsageError(f"top-k {top_k}: must be 0 (off) or more")
    for name, value in (("top-p", top_p), ("typical", typical)):
        if not 0 < value <= 1:
            raise UsageError(f"{name} {value}: must be more than 0 and at most 1 (off)")
    if not 0 <= min_p <= 1:
        raise UsageError(f"min-p {min_p}: must be between 0 (off) and 1")


def filtered(
    scores: Tensor, *, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, typical: float = 1.0
) -> Tensor:
    """Scores with -inf for symbols that must not be drawn; at least one symbol per row is kept.

    Args:
        scores: Raw scores, [N, V]; float64 if the sets of symbols have to be exact.
        top_k: Keep the k most probable symbols; 0 = all.
        top_p: Keep the smallest set of most probable symbols whose probabilities sum to at least this value,
            in (0, 1] (Holtzman et al. 2020, section 3.1); 1 = all.
        min_p: Keep symbols whose probability is at least this fraction of the largest one, in [0, 1] (Nguyen
            et al. 2024, section 3); 0 = all.
        typical: Keep the smallest set of symbols whose surprisal is closest to the entropy and whose
            probabilities sum to at least this value, in (0, 1] (Meister et al. 2023, section 4); 1 = all.

    Returns:
        Filtered scores, [N, V].

    Raises:
        UsageError: a parameter is out of range.
    """
    check_filters(top_k=top_k, top_p=top_p, min_p=min_p, typical=typical)
    if 0 < top_k < scores.shape[1]:
        values, places = top_per_row(scores, top_k)
        scores = torch.full_like(scores, -torch.inf).scatter_(1, places, values)
    if top_p < 1:
        scores = _fewest(scores, -scores, top_p)
    if min_p > 0:
        least = scores.amax(1, keepdim=True) + torch.log(scores.new_tensor(min_p))
        scores = scores.masked_fill(scores < least, -torch.inf)
    if typical < 1:
        log_p = scores.log_softmax(1)
        surprise = -log_p
        entropy = (log_p.exp() * surprise).nansum(1, keepdim=True)  # 0 x inf counts as 0
        scores = _fewest(scores, (surprise - entropy).abs(), typical)
    return scores


def weights_of(scores: Tensor) -> Tensor:
    """exp(score - largest score): probabilities up to a factor, independent of the padding."""
    return (scores - scores.amax(1, keepdim=True)).exp()


def _fewest(scores: Tensor, order: Tensor, mass: float) -> Tensor:
    """Keep the smallest set of symbols, in ascending `order`, with the probability `mass`; at least one."""
    places = order.sort(dim=1, stable=True).indices  # [N, V]
    weights = weights_of(scores).gather(1, places)
    total = weights.cumsum(1)
    before = total - weights
    leave = torch.zeros_like(scores, dtype=torch.bool)
    out = before >= mass * total[:, -1:]
    out[:, 0] = False
    return scores.masked_fill(leave.scatter_(1, places, out), -torch.inf)
