"""The best candidates of each sentence, from the scores of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqtool.decoding.ranking import first_of_sorted, top_per_row
from seqtool.decoding.step import StepResult


class Candidates(NamedTuple):
    """Pairs of a hypothesis and a next symbol, W per sentence, best first."""

    log_p: Tensor  # log probability, the symbol included, nats, [B, W]; -inf = no candidate
    rows: Tensor  # the hypothesis, as a row of the step's input, [B, W]
    symbols: Tensor  # [B, W]


def best_candidates(
    result: StepResult, live: Tensor, *, group: int, share: int, against: Tensor | None
) -> Candidates:
    """The best candidates of one group of hypotheses.

    Of each hypothesis the `share` + 1 best symbols are considered, which are enough for `share` symbols that
    continue and the end symbol, and only these are normalised.

    Args:
        result: Result of the step, N = B x G x L rows, with L live hypotheses per group.
        live: Log probabilities of the hypotheses, nats, [B, G, L]; -inf = no hypothesis.
        group: Number of the group, from 0.
        share: Number of hypotheses that the group may have.
        against: Penalty of each symbol in this group's ranking, nats, [B, V]; None = no penalty.

    Returns:
        Candidates with their log probabilities, ordered by log probability minus penalty, [B, W].
    """
    sentences, groups, slots = live.shape
    scores, normaliser = result.scores, result.log_normaliser
    first = (torch.arange(sentences, device=live.device) * groups + group) * slots  # [B]
    if groups > 1:
        # the rows of this group, [B x L]
        rows = (first[:, None] + torch.arange(slots, device=live.device)).flatten()
        scores, normaliser = scores[rows], normaliser[rows]
    ranked = scores
    if against is not None:
        ranked = (scores.reshape(sentences, slots, -1) - against[:, None]).flatten(0, 1)
    best, symbols = top_per_row(ranked, share + 1)  # [B x L, share + 1] each
    wide = best.shape[1]  # less than share + 1 if there are fewer symbols
    ranks = _totals(best, normaliser, live[:, group])  # [B, W] with W = L x wide
    symbols = symbols.reshape(sentences, -1)  # [B, W]
    order, places = first_of_sorted(ranks, ranks.shape[1])
    if against is not None:
        # The order is that of the penalised scores; the log probabilities are those without the penalty.
        true = scores.gather(1, symbols.reshape(len(scores), -1))
        order = _totals(true, normaliser, live[:, group]).gather(1, places)
    return Candidates(order, first[:, None] + places // wide, symbols.gather(1, places))


def without_ends(candidates: Candidates, end: int, count: int) -> Candidates:
    """The best `count` candidates that do not end, [B, count]; -inf where there are too few."""
    ends = candidates.symbols == end  # [B, W]
    # A stable sort puts those that end last, and keeps the order of the others.
    places = ends.to(torch.uint8).sort(dim=1, stable=True).indices[:, :count]
    log_p = candidates.log_p.masked_fill(ends, -torch.inf)
    return Candidates(*(each.gather(1, places) for each in (log_p, candidates.rows, candidates.symbols)))


def hamming(earlier: Sequence[Candidates], diversity: float, width: int) -> Tensor | None:
    """The penalty of each symbol for its uses by earlier groups at this step, nats, [B, V].

    Args:
        earlier: Candidates chosen for the groups before this one.
        diversity: Penalty per use, nats.
        width: Number V of symbols.

    Returns:
        The penalties; None where there are none.
    """
    if not earlier or not diversity:
        return None
    taken = torch.cat([candidates.symbols for candidates in earlier], 1)
    alive = torch.cat([candidates.log_p for candidates in earlier], 1).isfinite()
    counts = torch.zeros(len(taken), width, device=taken.device)
    return counts.scatter_add_(1, taken, diversity * alive.to(counts.dtype))


def _totals(scores: Tensor, normaliser: Tensor, live: Tensor) -> Tensor:
    """Log probabilities of hypotheses with a symbol, nats.

    Args:
        scores: Raw scores of the symbols considered, [B x L, wide].
        normaliser: Log-normaliser of each row, [B x L].
        live: Log probabilities of the hypotheses, [B, L].

    Returns:
        [B, L x wide].
    """
    steps = scores.to(live.dtype) - normaliser.to(live.dtype)[:, None]
    return (steps + live.reshape(-1, 1)).reshape(len(live), -1)
