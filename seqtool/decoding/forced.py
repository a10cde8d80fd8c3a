"""Given sequences scored by a model, as a search would have scored them."""

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
    """What the model gives one sequence of each sentence.

    Args:
        step: Of B sentences.
        state: Before the first step, one row a sentence.
        targets: B lists of ids without start and end; the end is scored, too.
        start: The first input.
        end: The symbol that ends a sequence.
        penalties: What the score is made of; as given it is log p.
        source_mask: Real source positions [B, S]; None = all are. Read only with a coverage
            penalty and for attention, which is cut to them.
        keep_attention: Whether hypotheses shall have their attention.

    Returns:
        A finished hypothesis a sentence; -inf where the model cannot write the sequence.
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
    return rows.run(given, keep_impossible=True)
