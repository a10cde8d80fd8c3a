"""Greedy search, the best symbol at every step: the fast path of beam search with a beam of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.decoding.constraints import BlockedNgrams, Constraint, Live, restricted
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import NO_PENALTIES, Penalties
from seqtool.decoding.ranking import argmax_per_row
from seqtool.decoding.single import SingleRows
from seqtool.decoding.step import State, Step, StepResult


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
    """One sequence per sentence, the one that `beam_search` finds with a beam of one.

    Args:
        step: Model step for B sentences.
        state: State before the first step, one row per sentence.
        start: Symbol that is the first input.
        end: Symbol that ends a sequence.
        max_lengths: Largest number of symbols of a sequence, its end included, at least 1, [B].
        penalties: Length and coverage penalties of the scores; they do not affect a greedy search itself.
        source_mask: True at real source positions, [B, S]; None = all are.
        constraints: Constraints on the outputs.
        keep_attention: Whether hypotheses include their attention.

    Returns:
        A hypothesis per sentence.
    """

    blocking = [each for each in constraints if isinstance(each, BlockedNgrams)]

    def best(result: StepResult, live: Live) -> tuple[Tensor, Tensor]:
        if not constraints:
            return result.scores, argmax_per_row(result.scores)
        scores = restricted(result.scores, live, constraints)
        symbols = argmax_per_row(scores)
        for blocked in blocking:
            symbols = _without_repeats(symbols, scores, step, result.state, live, blocked)
        return scores, symbols

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
    return rows.run(best)


def _without_repeats(
    symbols: Tensor, scores: Tensor, step: Step, state: State, live: Live, blocked: BlockedNgrams
) -> Tensor:
    """The best symbols, except those that would complete a blocked word.

    A beam drops a hypothesis with a blocked word in favour of another one. A single row has no other, so it
    looks one step ahead, and takes the next best symbol if the model would then end the blocked word.

    Args:
        symbols: Best symbols, [B].
        scores: Scores of all symbols, [B, V].
        step: Model step; it is called only if a symbol repeats an n-gram.
        state: State after the step that gave the scores.
        live: Hypotheses before the symbols.
        blocked: The constraint.

    Returns:
        Symbols, [B]; those given where nothing else is possible.
    """
    first, left = symbols, scores.clone()
    while True:
        possible = left.gather(1, symbols[:, None])[:, 0].isfinite()  # [B]
        rows = [row for row in blocked.repeats(symbols, live) if possible[row]]
        if rows:
            following = step(symbols, state).scores  # [B, V]
            wanted = argmax_per_row(following)
            ahead = live._replace(prefixes=torch.cat([live.prefixes, symbols[:, None]], 1))
            allowed = restricted(following, ahead, [blocked]).gather(1, wanted[:, None])[:, 0].isfinite()
            rows = [row for row in rows if not allowed[row]]
        if not rows:
            return torch.where(possible, symbols, first)
        left[rows, symbols[rows]] = -torch.inf
        symbols = argmax_per_row(left)
