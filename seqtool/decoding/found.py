"""The results of a search for each sentence, best first."""

from __future__ import annotations

import bisect

import torch
from torch import Tensor

from seqtool.decoding.hypothesis import Hypothesis, exhausted
from seqtool.decoding.trace import Ending, Trace


def _order(ending: Ending) -> tuple[bool, float]:
    return (not ending.finished, -ending.score)


class Findings:
    """The best endings of each sentence: finished ones first, then by score; of equal ones, the earlier.

    Args:
        sentences: Number of sentences.
        nbest: Number of endings to keep per sentence.
    """

    def __init__(self, sentences: int, nbest: int) -> None:
        self.nbest = nbest
        self.endings: list[list[Ending]] = [[] for _ in range(sentences)]

    def add(self, sentence: int, ending: Ending) -> None:
        """Add an ending; only the `nbest` best are kept."""
        endings = self.endings[sentence]
        bisect.insort_right(endings, ending, key=_order)
        del endings[self.nbest :]

    def full(self, sentence: int) -> bool:
        """Whether the sentence has `nbest` endings."""
        return len(self.endings[sentence]) >= self.nbest

    def to_beat(self, sentence: int) -> float:
        """The score that a new ending has to beat; -inf while there are fewer than `nbest`."""
        return self.endings[sentence][-1].score if self.full(sentence) else -float("inf")


def hypotheses(
    trace: Trace, found: Findings, spare: Findings, source_mask: Tensor | None
) -> list[list[Hypothesis]]:
    """The hypotheses of all endings.

    Args:
        trace: Back-pointers of the search.
        found: Endings that meet all requirements.
        spare: Endings that are used for a sentence without any in `found`; they are marked `unmet`.
        source_mask: True at the source positions that attention is cut to, [B, S]; None = all.

    Returns:
        Hypotheses of each sentence, best first; an `exhausted` one where there is no ending.
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
