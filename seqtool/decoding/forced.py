"""Given sequences scored by a model, as a search would have scored them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.decoding.found import Findings, hypotheses
from seqtool.decoding.greedy import NO_PENALTIES
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import Penalties
from seqtool.decoding.step import State, Step, select, sum_type
from seqtool.decoding.trace import Ending, Trace


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
    ).view(len(targets), -1)
    lengths = torch.tensor([len(target) + 1 for target in targets], device=device)
    sentences = torch.arange(len(targets), device=device)
    last = torch.full((len(targets),), start, device=device)
    log_p = torch.zeros(len(targets), device=device, dtype=sum_type(device))
    covered: Tensor | None = None
    trace, found = Trace(), Findings(len(targets), 1)
    for length in range(1, widest + 2):
        if not len(sentences):
            break
        result = step(last, state)
        state, last = result.state, wanted[:, length - 1]
        chosen = result.scores.gather(1, last[:, None])[:, 0].to(log_p.dtype)
        log_p = log_p + (chosen - result.log_normaliser.to(log_p.dtype))
        if keep_attention:
            assert result.attention is not None, "this step has no attention"
            trace.attention.append(result.attention)
        if penalties.coverage:
            assert result.attention is not None, "a coverage penalty needs attention"
            covered = result.attention if covered is None else covered + result.attention
        trace.add(last, torch.arange(len(last), device=device), log_p)
        done = lengths == length
        if not done.any():
            continue
        mask = None if source_mask is None else source_mask[sentences]
        scores = penalties.score(log_p, length, covered, mask)
        rows = done.nonzero()[:, 0]
        facts = (each[done].tolist() for each in (sentences, scores, log_p))
        for sentence, score, value, row in zip(*facts, rows.tolist(), strict=True):
            found.add(sentence, Ending(score, value, length - 1, row, finished=True))
        kept = (~done).nonzero()[:, 0]
        trace.keep(kept)
        sentences, lengths, wanted = sentences[kept], lengths[kept], wanted[kept]
        if len(kept):
            step.keep(kept)
            state, last, log_p = select(state, kept), last[kept], log_p[kept]
            covered = None if covered is None else covered[kept]
    return [each[0] for each in hypotheses(trace, found, Findings(len(targets), 1), source_mask)]
