"""Greedy search: the best symbol at every step. Beam search with one hypothesis, and its fast path."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from seqtool.decoding.constraints import Constraint, Live, restricted
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import NO_PENALTIES, Penalties
from seqtool.decoding.ranking import argmax_per_row
from seqtool.decoding.single import SingleRows
from seqtool.decoding.step import State, Step


def greedy_search(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_lengths: Tensor,
    penalties: Penalties = NO_PENALTIES,
    source_mask: Tensor | None = None,
    constraints: Sequence[Constraint] = (),
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """One sequence a sentence (arguments and results as of `beam_search`).

    Args:
        step: Of B sentences.
        state: Before the first step, one row a sentence.
        start: The first input.
        end: The symbol that ends a sequence.
        max_lengths: Symbols of a sequence at most, its end included, [B], at least 1.
        penalties: What scores are made of; they do not steer a greedy search.
        source_mask: Real source positions [B, S]; None = all are.
        constraints: What outputs must be like.
        keep_attention: Whether hypotheses shall have their attention.
    """

    def best(scores: Tensor, live: Live) -> tuple[Tensor, Tensor]:
        if constraints:
            scores = restricted(scores, live, constraints)
        return scores, argmax_per_row(scores)

    rows = SingleRows(
        step,
        state,
        max_lengths,
        start=start,
        end=end,
        penalties=penalties,
        source_mask=source_mask,
        keep_attention=keep_attention,
    )
    return rows.run(best, keep_impossible=False)
