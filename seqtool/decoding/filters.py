"""Which symbols may be drawn: scores with -inf where a filter leaves a symbol out.

Filters come one after the other, in the order of the arguments, each over the distribution that
the ones before have left. Of equally probable symbols the smaller id stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.decoding.ranking import top_per_row
from seqtool.errors import UsageError


def check_filters(*, top_k: int, top_p: float, min_p: float, typical: float) -> None:
    """Refuse what is out of its range.

    Raises:
        UsageError: it is.
    """
    if top_k < 0:
        raise UsageError(f"top-k {top_k}: 0 (off) or more is allowed")
    for name, value in (("top-p", top_p), ("typical", typical)):
        if not 0 < value <= 1:
            raise UsageError(f"{name} {value}: more than 0 and at most 1 (off) is allowed")
    if not 0 <= min_p <= 1:
        raise UsageError(f"min-p {min_p}: 0 (off) to 1 is allowed")


def filtered(
    scores: Tensor, *, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, typical: float = 1.0
) -> Tensor:
    """Scores with -inf for what must not be drawn; the most probable symbol, or the most typical, stays.

    Args:
        scores: Raw, [N, V]; in float64 where what a filter leaves has to be exact.
        top_k: The k most probable symbols; 0 = all.
        top_p: The fewest most probable symbols whose probabilities add up to p (Holtzman et al.
            2020, section 3.1); 1 = all.
        min_p: Symbols at least so probable as this share of the most probable one (Nguyen et al.
            2024, section 3); 0 = all.
        typical: The fewest symbols with a probability of so much together whose surprise is closest
            to the entropy (Meister et al. 2023, section 4); 1 = all.

    Raises:
        UsageError: a filter is out of its range.
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
        entropy = (log_p.exp() * surprise).nansum(1, keepdim=True)  # 0 x inf counts nothing
        scores = _fewest(scores, (surprise - entropy).abs(), typical)
    return scores


def weights_of(scores: Tensor) -> Tensor:
    """exp(score - the largest): probabilities but for a factor, the same whatever the padding."""
    return (scores - scores.amax(1, keepdim=True)).exp()


def _fewest(scores: Tensor, order: Tensor, mass: float) -> Tensor:
    """The first symbols in rising `order` that have so much of the probability; at least one."""
    places = order.sort(dim=1, stable=True).indices
    weights = weights_of(scores).gather(1, places)
    total = weights.cumsum(1)
    before = total - weights
    leave = torch.zeros_like(scores, dtype=torch.bool)
    out = before >= mass * total[:, -1:]
    out[:, 0] = False
    return scores.masked_fill(leave.scatter_(1, places, out), -torch.inf)
