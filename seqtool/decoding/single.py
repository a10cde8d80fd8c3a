"""One hypothesis per sentence, extended by a given rule: the rows of greedy search."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seqtool.decoding.constraints import Live
from seqtool.decoding.found import Findings, hypotheses
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import Penalties
from seqtool.decoding.step import State, Step, StepResult, select, sum_type
from seqtool.decoding.trace import Ending, Trace

# From the result of a step and the hypotheses to the scores in force, [B, V], and the chosen symbols, [B].
Pick = Callable[[StepResult, Live], tuple[Tensor, Tensor]]


class SingleRows:
    """The state of a search with one row per sentence (arguments as in `greedy_search`)."""

    def __init__(
        self,
        step: Step,
        state: State,
        limits: Tensor,
        *,
        start: int,
        end: int,
        penalties: Penalties,
        source_mask: Tensor | None,
        keep_attention: bool,
    ) -> None:
        count, device = len(limits), limits.device
        self.step, self.state, self.limits, self.end = step, state, limits, end
        self.penalties, self.source_mask, self.keep_attention = penalties, source_mask, keep_attention
        self.sentences = torch.arange(count, device=device)
        self.last = torch.full((count,), start, device=device)
        self.log_p = torch.zeros(count, device=device, dtype=sum_type(device))
        self.prefixes = self.last.new_empty(count, 0)
        self.covered: Tensor | None = None  # attention summed over steps, [B, S]
        self.trace, self.found = Trace(), Findings(count, 1)

    def run(self, pick: Pick) -> list[Hypothesis]:
        """Extend all hypotheses until every sentence is done.

        Args:
            pick: Rule that chooses the next symbols.

        Returns:
            A hypothesis per sentence; `exhausted` where its probability is 0.
        """
        while len(self.sentences):
            self._advance(pick)
            self._release()
        none = Findings(len(self.found.endings), 1)
        return [each[0] for each in hypotheses(self.trace, self.found, none, self.source_mask)]

    def _advance(self, pick: Pick) -> None:
        """Extend all hypotheses by one symbol."""
        result = self.step(self.last, self.state)
        if self.keep_attention:
            assert result.attention is not None, "this step has no attention"
            self.trace.attention.append(result.attention)
        if self.penalties.coverage:
            assert result.attention is not None, "a coverage penalty needs attention"
            self.covered = result.attention if self.covered is None else self.covered + result.attention
        scores, self.last = pick(result, Live(self.sentences, self.prefixes, self.end))
        chosen = scores.gather(1, self.last[:, None])[:, 0].to(self.log_p.dtype)
        self.log_p = self.log_p + (chosen - result.log_normaliser.to(self.log_p.dtype))
        self.state = result.state
        self.trace.add(self.last, torch.arange(len(self.last), device=self.last.device), self.log_p)
        self.prefixes = torch.cat([self.prefixes, self.last[:, None]], 1)

    def _release(self) -> None:
        """Record the sentences that are done, and remove them."""
        length = self.prefixes.shape[1]
        ended = self.last == self.end
        done = ended | (self.limits <= length) | self.log_p.isinf()
        if not done.any():
            return
        mask = None if self.source_mask is None else self.source_mask[self.sentences]
        scores = self.penalties.score(self.log_p, length, self.covered, mask)
        rows = done.nonzero()[:, 0]
        facts = (each[done].tolist() for each in (self.sentences, scores, self.log_p, ended))
        for row, sentence, score, log_p, finished in zip(rows.tolist(), *facts, strict=True):
            if log_p > -torch.inf:
                self.found.add(sentence, Ending(score, log_p, length - 1, row, finished))
        kept = (~done).nonzero()[:, 0]
        self.trace.keep(kept)
        self.sentences, self.limits = self.sentences[kept], self.limits[kept]
        if len(kept):
            self.step.keep(kept)
            self.state, self.last, self.log_p = select(self.state, kept), self.last[kept], self.log_p[kept]
            self.prefixes = self.prefixes[kept]
            self.covered = None if self.covered is None else self.covered[kept]
