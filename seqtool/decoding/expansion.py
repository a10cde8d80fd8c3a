"""From the scores of a step to the best candidates on of each sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.decoding.ranking import first_of_sorted, top_per_row
from seqtool.decoding.step import StepResult


class Candidates(NamedTuple):
    """Candidates on of each sentence, best first."""

    log_p: Tensor  # [B, W], with the symbol; -inf = none
    rows: Tensor  # [B, W], rows of the step's input
    symbols: Tensor  # [B, W]


def best_candidates(
    result: StepResult, live: Tensor, *, group: int, share: int, against: Tensor | None
) -> Candidates:
    """The best candidates on of one group of hypotheses, all that can be among the first 2K and more.

    Rows are looked through for their K + 1 best symbols, which is K that go on and the end, and
    only these are normalised.

    Args:
        result: Of the step, N = B x G x K rows.
        live: Log p of the hypotheses [B, G, K]; -inf = none.
        group: Which of the G.
        share: How many hypotheses the group may have.
        against: What each symbol loses in this group's ranking, nats, [B, V].
    """
    sentences, groups, slots = live.shape
    scores, normaliser = result.scores, result.log_normaliser
    first = (torch.arange(sentences, device=live.device) * groups + group) * slots
    if groups > 1:
        rows = (first[:, None] + torch.arange(slots, device=live.device)).flatten()
        scores, normaliser = scores[rows], normaliser[rows]
    ranked = scores
    if against is not None:
        ranked = (scores.reshape(sentences, slots, -1) - against[:, None]).flatten(0, 1)
    best, symbols = top_per_row(ranked, share + 1)
    wide = best.shape[1]
    ranks = _totals(best, normaliser, live[:, group])
    symbols = symbols.reshape(sentences, -1)
    order, places = first_of_sorted(ranks, ranks.shape[1])
    if against is not None:
        true = scores.gather(1, symbols.reshape(len(scores), -1))
        order = _totals(true, normaliser, live[:, group]).gather(1, places)
    return Candidates(order, first[:, None] + places // wide, symbols.gather(1, places))


def without_ends(candidates: Candidates, end: int, count: int) -> Candidates:
    """The first candidates that go on; -inf where there are too few."""
    ends = candidates.symbols == end
    places = ends.to(torch.uint8).sort(dim=1, stable=True).indices[:, :count]
    log_p = candidates.log_p.masked_fill(ends, -torch.inf)
    return Candidates(*(each.gather(1, places) for each in (log_p, candidates.rows, candidates.symbols)))


def hamming(earlier: Sequence[Candidates], diversity: float, width: int) -> Tensor | None:
    """What symbols lose for having been taken by earlier groups at this step, [B, V]."""
    if not earlier or not diversity:
        return None
    taken = torch.cat([candidates.symbols for candidates in earlier], 1)
    alive = torch.cat([candidates.log_p for candidates in earlier], 1).isfinite()
    counts = torch.zeros(len(taken), width, device=taken.device)
    return counts.scatter_add_(1, taken, diversity * alive.to(counts.dtype))


def _totals(scores: Tensor, normaliser: Tensor, live: Tensor) -> Tensor:
    """Log p of all [B x K, W] with what came before, [B, K x W]."""
    steps = scores.to(live.dtype) - normaliser.to(live.dtype)[:, None]
    return (steps + live.reshape(-1, 1)).reshape(len(live), -1)
