"""What a search has found of each sentence, best first."""

from __future__ import annotations

import bisect

import torch
from torch import Tensor

from seqtool.decoding.hypothesis import Hypothesis, exhausted
from seqtool.decoding.trace import Ending, Trace


def _order(ending: Ending) -> tuple[bool, float]:
    return (not ending.finished, -ending.score)


class Findings:
    """The best endings of each sentence: finished ones first, then by score; of equals, the earlier.

    Args:
        sentences: How many.
        nbest: How many endings of each are wanted.
    """

    def __init__(self, sentences: int, nbest: int) -> None:
        self.nbest = nbest
        self.endings: list[list[Ending]] = [[] for _ in range(sentences)]

    def add(self, sentence: int, ending: Ending) -> None:
        """One more; what is not among the best is forgotten."""
        endings = self.endings[sentence]
        bisect.insort_right(endings, ending, key=_order)
        del endings[self.nbest :]

    def full(self, sentence: int) -> bool:
        """Whether there are as many as wanted."""
        return len(self.endings[sentence]) >= self.nbest

    def to_beat(self, sentence: int) -> float:
        """The score that a new ending has to beat; -inf while there are too few."""
        return self.endings[sentence][-1].score if self.full(sentence) else -float("inf")


def hypotheses(
    trace: Trace, found: Findings, spare: Findings, source_mask: Tensor | None
) -> list[list[Hypothesis]]:
    """Endings as sequences.

    Args:
        trace: Where they lead back through.
        found: What was searched for.
        spare: What stands in, `unmet`, where nothing was found.
        source_mask: Source positions that attention is cut to [B, S]; None = all.
    """
    chosen = [own or other for own, other in zip(found.endings, spare.endings, strict=True)]
    widths: list[int | None] = [None] * len(chosen)
    if source_mask is not None and trace.attention:
        widths = list(source_mask.sum(1, dtype=torch.int64).tolist())
    flat = [(ending, width) for endings, width in zip(chosen, widths, strict=True) for ending in endings]
    paths = iter(trace.paths([ending for ending, _ in flat], [width for _, width in flat]))
    result = []
    for sentence, endings in enumerate(chosen):
        unmet = not found.endings[sentence]
        row = []
        for ending in endings:
            path = next(paths)
            row.append(
                Hypothesis(
                    path.tokens,
                    ending.score,
                    ending.log_p,
                    ending.finished,
                    token_log_probabilities=path.token_log_p,
                    attention=path.attention,
                    unmet=unmet,
                )
            )
        result.append(row or [exhausted()])
    return result
