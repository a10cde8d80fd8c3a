"""Sampling: sequences drawn from the model's distribution, optionally filtered."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.filters import check_filters, filtered
from seqtool.decoding.found import Findings, hypotheses
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.randomness import gumbel
from seqtool.decoding.ranking import argmax_per_row
from seqtool.decoding.step import State, Step, StepResult, rows_of, select, sum_type
from seqtool.decoding.trace import Ending, Trace
from seqtool.errors import UsageError

BLOCK = 96  # symbols per block of `draw`


@dataclass(frozen=True)
class SamplingOptions:
    """Options of sampling.

    Args:
        temperature: Sampling temperature, at least 0, by which scores are divided; 0 = greedy.
        top_k, top_p, min_p, typical: Filters, see `filtered`; they are applied after the temperature.
        seed: Random seed.

    Raises:
        UsageError: an option is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature {self.temperature}: expected a finite number, 0 (greedy) or more")
        check_filters(top_k=self.top_k, top_p=self.top_p, min_p=self.min_p, typical=self.typical)


@torch.no_grad()
def sample(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_lengths: Tensor,
    sentence_ids: Tensor,
    samples_each: int,
    options: SamplingOptions,
    source_mask: Tensor | None = None,
    keep_attention: bool = False,
) -> list[list[Hypothesis]]:
    """Independent samples of each sentence, in the order in which they were drawn.

    Args:
        step: Model step for B sentences.
        state: State before the first step, one row per sentence.
        start: Symbol that is the first input.
        end: Symbol that ends a sequence.
        max_lengths: Largest number of symbols of a sequence, its end included, at least 1, [B].
        sentence_ids: Numbers that identify the sentences, int64, [B]. A draw depends on the seed, this
            number, the number of the sample and the step, and not on the batch.
        samples_each: Number M of samples per sentence, at least 1.
        options: Temperature, filters and seed.
        source_mask: True at the source positions that attention is cut to, [B, S]; None = all.
        keep_attention: Whether hypotheses include their attention.

    Returns:
        M hypotheses per sentence. Scores and log probabilities are the model's own, without temperature and
        filters.
    """
    sampler = _Sampler(step, state, start, end, max_lengths, sentence_ids, samples_each, options)
    while len(sampler.sentences):
        sampler.advance(keep_attention)
    return sampler.results(source_mask)


def draw(scores: Tensor, options: SamplingOptions, *counters: Tensor) -> Tensor:
    """Draw a symbol per row: first a block of symbols, then a symbol of the block, by Gumbel noise.

    The last bits of a score depend on the number of rows in its matrix product. Drawing by a cumulative sum
    and a threshold would turn these bits into another symbol wherever symbols lie close together, and did so
    for one sentence in 200; here two noisy scores would have to be equal up to those bits. Blocks are for
    speed: noise for every symbol of a large vocabulary takes longer than the network.

    Args:
        scores: Raw scores, [N, V], at least one of them finite per row.
        options: Temperature, filters and seed.
        counters: Counters that identify the draw, int64, [N] each.

    Returns:
        Symbols, [N].
    """
    if options.temperature == 0:
        return argmax_per_row(scores)
    scores = scores.to(sum_type(scores.device))
    # The largest score is made 0 before the division, so that a tiny temperature gives no NaN.
    scores = (scores - scores.amax(1, keepdim=True)) / options.temperature
    scores = filtered(
        scores, top_k=options.top_k, top_p=options.top_p, min_p=options.min_p, typical=options.typical
    )
    scores = functional.pad(scores, (0, -scores.shape[1] % BLOCK), value=-torch.inf)
    blocks = scores.view(len(scores), -1, BLOCK)  # [N, blocks, BLOCK]
    places = [counter[:, None] for counter in counters]  # [N, 1] each
    numbers = torch.arange(blocks.shape[1], device=scores.device)[None]  # [1, blocks]
    # Log probability of each block up to a constant, [N, blocks]; negative counters stand for blocks.
    totals = (blocks - blocks.amax((1, 2), keepdim=True)).exp().sum(2).log()
    chosen = (totals + gumbel(options.seed, *places, ~numbers)).argmax(1, keepdim=True)  # [N, 1]
    symbols = chosen * BLOCK + torch.arange(BLOCK, device=scores.device)  # of the block, [N, BLOCK]
    within = blocks[torch.arange(len(blocks), device=scores.device), chosen[:, 0]]  # [N, BLOCK]
    place = (within + gumbel(options.seed, *places, symbols)).argmax(1, keepdim=True)
    drawn: Tensor = symbols.gather(1, place)
    return drawn[:, 0]


class _Sampler:
    """The state of sampling (arguments as in `sample`); N = B x M rows after the first step, B before it."""

    def __init__(
        self,
        step: Step,
        state: State,
        start: int,
        end: int,
        max_lengths: Tensor,
        sentence_ids: Tensor,
        samples_each: int,
        options: SamplingOptions,
    ) -> None:
        count, device = len(max_lengths), max_lengths.device
        assert samples_each >= 1, samples_each
        self.step, self.state, self.end, self.options = step, state, end, options
        self.samples = samples_each
        self.sentences = torch.arange(count, device=device)
        self.limits, self.sentence_ids = max_lengths, sentence_ids.to(device)
        self.last = torch.full((count,), start, device=device)  # [N]
        self.log_p = torch.zeros(count, device=device, dtype=sum_type(device))  # [N]
        self.ended = torch.zeros(count, device=device, dtype=torch.bool)  # [N]
        self.length = 0
        self.trace = Trace()
        self.endings: list[list[Ending | None]] = [[None] * samples_each for _ in range(count)]

    def advance(self, keep_attention: bool) -> None:
        """Extend all samples by one symbol."""
        result = self.step(self.last, self.state)
        if keep_attention:
            assert result.attention is not None, "this step has no attention"
            self.trace.attention.append(result.attention)
        parents = torch.arange(len(self.last), device=self.last.device)
        if not self.length:  # all samples of a sentence begin in one row
            parents = parents.repeat_interleave(self.samples)
            self.log_p, self.ended = self.log_p[parents], self.ended[parents]
        self.length += 1
        self._draw(result, parents)
        self.trace.add(self.last, parents, self.log_p)
        self.state = result.state if self.length > 1 else select(result.state, parents)
        self._release(parents)

    def _draw(self, result: StepResult, parents: Tensor) -> None:
        """Draw the next symbol of each row [N] from the scores of its parent."""
        device = parents.device
        scores, normaliser = result.scores[parents], result.log_normaliser[parents]
        sentence = self.sentence_ids[self.sentences].repeat_interleave(self.samples)
        number = torch.arange(self.samples, device=device).repeat(len(self.sentences))
        when = torch.full_like(number, self.length)
        self.last = draw(scores, self.options, sentence, number, when)
        chosen = scores.gather(1, self.last[:, None])[:, 0].to(self.log_p.dtype)
        self.log_p = self.log_p + (chosen - normaliser.to(self.log_p.dtype))

    def _release(self, parents: Tensor) -> None:
        """Record the samples that have ended, and remove the sentences whose samples all have."""
        ends = self.last == self.end
        full = (self.limits <= self.length).repeat_interleave(self.samples)
        new = (ends | full) & ~self.ended
        if not new.any():
            return
        rows = new.nonzero()[:, 0]
        facts = (rows, parents[rows], self.log_p[rows], ends[rows])
        sentences = self.sentences.tolist()
        for row, parent, log_p, finished in zip(*(each.tolist() for each in facts), strict=True):
            ending = Ending(log_p, log_p, self.length - 1, parent if finished else row, finished)
            self.endings[sentences[row // self.samples]][row % self.samples] = ending
        self.ended = self.ended | new
        stays = ~self.ended.view(-1, self.samples).all(1)
        if stays.all():
            return
        kept = stays.nonzero()[:, 0]
        rows = rows_of(kept, self.samples)
        self.trace.keep(rows)
        self.sentences, self.limits = self.sentences[kept], self.limits[kept]
        if len(kept):
            self.step.keep(kept)
            self.state, self.last = select(self.state, rows), self.last[rows]
            self.log_p, self.ended = self.log_p[rows], self.ended[rows]

    def results(self, source_mask: Tensor | None) -> list[list[Hypothesis]]:
        """The samples of each sentence, in the order in which they were drawn."""
        found = Findings(len(self.endings), self.samples)
        found.endings = [[each for each in row if each is not None] for row in self.endings]
        return hypotheses(self.trace, found, Findings(len(self.endings), 1), source_mask)
