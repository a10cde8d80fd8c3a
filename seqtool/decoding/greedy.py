"""Greedy search: the best symbol at every step. Beam search with one hypothesis, and its fast path."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seqtool.decoding.constraints import Constraint, Live, restricted
from seqtool.decoding.found import Findings, hypotheses
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import Penalties
from seqtool.decoding.ranking import argmax_per_row
from seqtool.decoding.step import State, Step, select, sum_type
from seqtool.decoding.trace import Ending, Trace

NO_PENALTIES = Penalties("none")


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
    count, device = len(max_lengths), max_lengths.device
    sentences = torch.arange(count, device=device)
    last = torch.full((count,), start, device=device)
    log_p = torch.zeros(count, device=device, dtype=sum_type(device))
    prefixes = last.new_empty(count, 0)
    covered: Tensor | None = None
    trace, found = Trace(), Findings(count, 1)
    length = 0
    while len(sentences):
        result = step(last, state)
        length += 1
        scores = result.scores
        if constraints:
            scores = restricted(scores, Live(sentences, prefixes, end), constraints)
        last = argmax_per_row(scores)
        best = scores.gather(1, last[:, None])[:, 0].to(log_p.dtype)
        log_p = log_p + (best - result.log_normaliser.to(log_p.dtype))
        if keep_attention:
            assert result.attention is not None, "this step has no attention"
            trace.attention.append(result.attention)
        if penalties.coverage:
            assert result.attention is not None, "a coverage penalty needs attention"
            covered = result.attention if covered is None else covered + result.attention
        state = result.state
        trace.add(last, torch.arange(len(last), device=device), log_p)
        if constraints:
            prefixes = torch.cat([prefixes, last[:, None]], 1)
        ended = last == end
        done = ended | (max_lengths <= length) | log_p.isinf()
        if not done.any():
            continue
        mask = None if source_mask is None else source_mask[sentences]
        values = penalties.score(log_p, length, covered, mask)
        facts = zip(
            *(each[done].tolist() for each in (sentences, values, log_p, ended)),
            done.nonzero()[:, 0].tolist(),
            strict=True,
        )
        for sentence, score, value, finished, row in facts:
            if value > -torch.inf:
                found.add(sentence, Ending(score, value, length - 1, row, finished))
        kept = (~done).nonzero()[:, 0]
        trace.keep(kept)
        sentences, max_lengths = sentences[kept], max_lengths[kept]
        if len(kept):
            step.keep(kept)
            state, last, log_p, prefixes = select(state, kept), last[kept], log_p[kept], prefixes[kept]
            covered = None if covered is None else covered[kept]
    return [each[0] for each in hypotheses(trace, found, Findings(count, 1), source_mask)]
