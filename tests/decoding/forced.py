"""An oracle: scores of given sequences, step by step, as a search would have scored them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.decoding.constraints import Live
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import NO_PENALTIES, Penalties
from seqtool.decoding.single import SingleRows
from seqtool.decoding.step import State, Step, StepResult


def score_sequences(
    step: Step,
    state: State,
    targets: Sequence[Sequence[int]],
    *,
    start: int,
    end: int,
    penalties: Penalties = NO_PENALTIES,
    source_mask: Tensor | None = None,
    keep_attention: bool = False,
) -> list[Hypothesis]:
    """Score one given sequence per sentence.

    Args:
        step: Model step for B sentences.
        state: State before the first step, one row per sentence.
        targets: Symbol ids of each of the B sequences, without start and end; the end is scored as well.
        start: Symbol that is the first input.
        end: Symbol that ends a sequence.
        penalties: Length and coverage penalties; by default the score is the log probability.
        source_mask: True at real source positions, [B, S]; None = all are. It is read for a coverage penalty,
            and for attention, which is cut to these positions.
        keep_attention: Whether hypotheses include their attention.

    Returns:
        A finished hypothesis per sentence, whose probability has to be above 0.
    """
    device = state[0].device
    widest = max((len(target) for target in targets), default=0)
    wanted = torch.tensor(
        [[*target, *[end] * (widest + 1 - len(target))] for target in targets],
        device=device,
        dtype=torch.int64,
    ).view(len(targets), widest + 1)
    lengths = torch.tensor([len(target) + 1 for target in targets], device=device)

    def given(result: StepResult, live: Live) -> tuple[Tensor, Tensor]:
        return result.scores, wanted[live.sentences, live.prefixes.shape[1]]

    rows = SingleRows(
        step,
        state,
        lengths,
        start=start,
        end=end,
        penalties=penalties,
        source_mask=source_mask,
        keep_attention=keep_attention,
    )
    return rows.run(given)
