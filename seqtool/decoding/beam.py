"""Beam search over any `Step`.

Hypotheses are rows [B, K] that never move except by a gather; what they consist of is kept as
back-pointers, one column of symbols and parents a step. A finished hypothesis takes no slot, and
a sentence leaves as soon as nothing that is alive can come before what it has found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import LengthPenalty, coverage_reward, length_divisor
from seqtool.decoding.step import State, Step, StepResult, select

Ids = NDArray[numpy.int64]


@dataclass(frozen=True)
class BeamOptions:
    """How to search.

    Args:
        beam: K, live hypotheses a sentence; 1 is greedy search.
        nbest: How many to return, at most `beam`.
        length_penalty: What scores are divided by.
        alpha: Its exponent.
        coverage_penalty: beta, weight of what is left out of the source.
    """

    beam: int = 5
    nbest: int = 1
    length_penalty: LengthPenalty = "average"
    alpha: float = 1.0
    coverage_penalty: float = 0.0


class _Found(NamedTuple):
    """A hypothesis by its last back-pointer."""

    score: float
    log_probability: float
    step: int  # columns of back-pointers that it is made of
    row: int  # in the last of them
    finished: bool


@dataclass
class _Trace:
    """Symbols and parents of all rows, a column a step."""

    tokens: list[Ids] = field(default_factory=list)
    parents: list[Ids] = field(default_factory=list)  # rows of the column before
    origin: Ids | None = None  # rows of the last column that the present rows are; None = all of them

    def add(self, tokens: Tensor, parents: Tensor) -> None:
        """A column."""
        self.tokens.append(tokens.cpu().numpy())
        self.parents.append(self.places(parents))
        self.origin = None

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the present rows."""
        self.origin = self.places(rows)

    def places(self, rows: Tensor) -> Ids:
        """Where present rows stand in the last column."""
        numbers: Ids = rows.cpu().numpy()
        return numbers if self.origin is None else self.origin[numbers]

    def sequence(self, step: int, row: int) -> list[int]:
        """The symbols of the row `row` of the first `step` columns."""
        result = []
        for column in reversed(range(step)):
            result.append(int(self.tokens[column][row]))
            row = int(self.parents[column][row])
        return result[::-1]


def beam_search(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_lengths: Tensor,
    options: BeamOptions,
    source_mask: Tensor,
) -> list[list[Hypothesis]]:
    """The n best sequences of each sentence, best first.

    Args:
        step: Of B sentences.
        state: Before the first step, one row a sentence.
        start: The first input.
        end: The symbol that ends a sequence.
        max_lengths: Symbols of a sequence at most, its end included, [B], at least 1.
        options: Beam and penalties.
        source_mask: Real source positions [B, S]; read only with a coverage penalty.

    Returns:
        A list a sentence, never empty: where nothing came to its end in time, what was
        alive then, not finished.
    """
    search = _Search(step, state, start, end, max_lengths, options, source_mask)
    while len(search.sentences):
        search.advance()
    return search.results()


class _Search:
    """The live part of a search, and what it has found."""

    def __init__(
        self,
        step: Step,
        state: State,
        start: int,
        end: int,
        max_lengths: Tensor,
        options: BeamOptions,
        source_mask: Tensor,
    ) -> None:
        count, device = len(max_lengths), max_lengths.device
        self.step, self.state, self.end, self.options = step, state, end, options
        self.sentences = torch.arange(count, device=device)  # that are still searched [B]
        self.limits = max_lengths
        self.mask = source_mask
        self.last = torch.full((count,), start, device=device)  # [N]
        self.live = torch.zeros(count, 1, device=device)  # log p of hypotheses [B, K]; -inf = none
        self.covered: Tensor | None = None  # attention summed over steps [N, S]
        self.length = 0  # symbols of the live hypotheses
        self.trace = _Trace()
        self.found: list[list[_Found]] = [[] for _ in range(count)]
        self.floor = torch.full((count,), -torch.inf, device=device)  # of all sentences: score to be beaten

    def advance(self) -> None:
        """One symbol more."""
        result = self.step(self.last, self.state)
        self.length += 1
        if self.options.coverage_penalty:
            assert result.attention is not None
            before = 0.0 if self.covered is None else self.covered
            self.covered = before + result.attention
        values, rows, ids = self._candidates(result)
        self._collect(values, rows, ids)
        self._go_on(values, rows, ids, result.state)
        self._release()

    def _candidates(self, result: StepResult) -> tuple[Tensor, Tensor, Tensor]:
        """The best 2K ways on of each sentence, best first: log p, rows [B x K] gone on from, symbols.

        K of them at least do not end, unless there are fewer symbols. Rows are looked through for
        their K + 1 best each, on raw scores: only these are normalised.
        """
        beam = self.options.beam
        wide = min(beam + 1, result.scores.shape[1])
        scores, ids = result.scores.topk(wide, 1)
        values = (scores - result.log_normaliser[:, None]).view(*self.live.shape, wide) + self.live[
            :, :, None
        ]
        flat = values.flatten(1)
        best, places = _stable_topk(flat, min(2 * beam, flat.shape[1]))
        slots = self.live.shape[1]
        first = torch.arange(len(flat), device=flat.device)[:, None] * slots
        rows = first + places // wide
        return best, rows, ids.view(len(flat), -1).gather(1, places)

    def _collect(self, values: Tensor, rows: Tensor, ids: Tensor) -> None:
        """Note what ends among the K best."""
        beam = self.options.beam
        ends = (ids[:, :beam] == self.end) & values[:, :beam].isfinite()
        if not ends.any():
            return
        where = ends.nonzero()
        chosen, parents = values[:, :beam][ends], rows[:, :beam][ends]
        scores = self._penalised(chosen, self.length)
        if self.covered is not None:
            mask = self.mask[where[:, 0]]
            scores = scores + coverage_reward(self.covered[parents], mask, self.options.coverage_penalty)
        sentences, places = self.sentences[where[:, 0]].tolist(), self.trace.places(parents).tolist()
        for sentence, score, value, row in zip(
            sentences, scores.tolist(), chosen.tolist(), places, strict=True
        ):
            found = self.found[sentence]
            found.append(_Found(score, value, self.length - 1, row, True))
            found.sort(key=lambda each: -each.score)
            del found[self.options.nbest :]
            if len(found) == self.options.nbest:
                self.floor[sentence] = found[-1].score

    def _go_on(self, values: Tensor, rows: Tensor, ids: Tensor, state: State) -> None:
        """The best K that do not end become the live ones."""
        alive = values.masked_fill(ids == self.end, -torch.inf)
        self.live, places = _stable_topk(alive, min(self.options.beam, alive.shape[1]))
        parents = rows.gather(1, places).flatten()
        self.last = ids.gather(1, places).flatten()
        self.trace.add(self.last, parents)
        self.state = select(state, parents)
        if self.covered is not None:
            self.covered = self.covered[parents]

    def _release(self) -> None:
        """Sentences that are done leave."""
        best = self.live[:, 0]
        full = self.limits <= self.length
        # Nothing alive can score more than its log p now, at the length that divides it most.
        hope = self._penalised(best, self.limits)
        done = full | (hope <= self.floor[self.sentences]) | best.isinf()
        if not done.any():
            return
        for position in (full & ~best.isinf()).nonzero().flatten().tolist():
            self._cut(position)
        kept = (~done).nonzero().flatten()
        slots = self.live.shape[1]
        rows = (kept[:, None] * slots + torch.arange(slots, device=kept.device)).flatten()
        self.trace.keep(rows)
        self.state, self.last = select(self.state, rows), self.last[rows]
        self.live, self.limits, self.mask = self.live[kept], self.limits[kept], self.mask[kept]
        self.sentences = self.sentences[kept]
        if self.covered is not None:
            self.covered = self.covered[rows]
        if len(kept):
            self.step.keep(kept)

    def _cut(self, position: int) -> None:
        """Where too few have come to their end at the largest length, what is alive follows them."""
        found = self.found[int(self.sentences[position])]
        slots = self.live.shape[1]
        for slot, value in enumerate(self.live[position].tolist()):
            if len(found) < self.options.nbest and value > -torch.inf:
                score = float(self._penalised(torch.tensor(value), self.length))
                found.append(_Found(score, value, self.length, position * slots + slot, False))

    def _penalised(self, values: Tensor, length: Tensor | int) -> Tensor:
        kind, alpha = self.options.length_penalty, self.options.alpha
        if isinstance(length, int):
            return values / length_divisor(kind, length, alpha)
        divisors = [length_divisor(kind, each, alpha) for each in length.tolist()]
        return values / values.new_tensor(divisors)

    def results(self) -> list[list[Hypothesis]]:
        """Everything found, as sequences."""
        return [
            [
                Hypothesis(
                    self.trace.sequence(each.step, each.row), each.score, each.log_probability, each.finished
                )
                for each in found
            ]
            for found in self.found
        ]


def _stable_topk(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`topk` along dimension 1 that takes the first of equals: the same whatever the kernel."""
    ordered, places = values.sort(dim=1, descending=True, stable=True)
    return ordered[:, :count], places[:, :count]
