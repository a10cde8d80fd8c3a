"""Greedy search: the best symbol at every step. Beam search with one hypothesis, and its fast path."""

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
    return rows.run(best, keep_impossible=False)


def _without_repeats(
    symbols: Tensor, scores: Tensor, step: Step, state: State, live: Live, blocked: BlockedNgrams
) -> Tensor:
    """The best symbols but for those that end in a word which may not stand there.

    A beam leaves a word that is blocked for a hypothesis beside it. One row has nothing beside it: it
    looks a step ahead, and takes the next best symbol where the model would then end that word.

    Args:
        symbols: The best ones [B].
        scores: That they are the best of, [B, V].
        step: Of the model; called where a symbol repeats an n-gram, and only there.
        state: After the step that gave the scores.
        live: Before the symbols.
        blocked: The constraint.

    Returns:
        [B]; as given where nothing else is possible.
    """
    first, left = symbols, scores.clone()
    while True:
        possible = left.gather(1, symbols[:, None])[:, 0].isfinite()
        rows = [row for row in blocked.repeats(symbols, live) if possible[row]]
        if rows:
            following = step(symbols, state).scores
            wanted = argmax_per_row(following)
            ahead = live._replace(prefixes=torch.cat([live.prefixes, symbols[:, None]], 1))
            allowed = restricted(following, ahead, [blocked]).gather(1, wanted[:, None])[:, 0].isfinite()
            rows = [row for row in rows if not allowed[row]]
        if not rows:
            return torch.where(possible, symbols, first)
        left[rows, symbols[rows]] = -torch.inf
        symbols = argmax_per_row(left)
