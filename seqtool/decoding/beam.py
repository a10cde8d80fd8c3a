"""Beam search over any `Step`.

Live hypotheses are rows [B, K], reordered by gathers only; their symbols are stored as back-pointers. A
finished hypothesis occupies no slot of the beam, and a sentence leaves the batch as soon as no live
hypothesis can rank before those that it has found. With a beam of one this is greedy search.

Shapes: B sentences still searched, G groups, K beam, N = B x K rows (N = B at the first step), V symbols,
S source positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtool.decoding.constraints import Constraint, Live, restricted
from seqtool.decoding.expansion import Candidates, best_candidates, hamming, without_ends
from seqtool.decoding.found import Findings, hypotheses
from seqtool.decoding.greedy import greedy_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.lexical import Candidate, Phrase, Progress, choose
from seqtool.decoding.penalties import LengthPenalty, Penalties
from seqtool.decoding.step import State, Step, StepResult, rows_of, select, sum_type
from seqtool.decoding.trace import Ending, Trace
from seqtool.errors import UsageError


@dataclass(frozen=True)
class BeamOptions:
    """Options of beam search.

    Args:
        beam: Number K of live hypotheses per sentence, at least 1; 1 is greedy search.
        nbest: Number of hypotheses to return per sentence, 1 to `beam`.
        length_penalty: Kind of length penalty, see `length_divisor`.
        alpha: Exponent of the length penalty, at least 0.
        coverage_penalty: Weight beta of the coverage penalty, at least 0.
        groups: Number G of groups, a divisor of `beam`; more than 1 is diverse beam search.
        diversity: Penalty in nats, at least 0, for each hypothesis of an earlier group that has the same
            symbol at the same step (Vijayakumar et al. 2016, section 4, Hamming diversity). It affects the
            selection of candidates, not their scores.

    Raises:
        UsageError: an option is out of range.
    """

    beam: int = 5
    nbest: int = 1
    length_penalty: LengthPenalty = "average"
    alpha: float = 1.0
    coverage_penalty: float = 0.0
    groups: int = 1
    diversity: float = 0.5

    def __post_init__(self) -> None:
        if self.beam < 1:
            raise UsageError(f"beam {self.beam}: must be 1 or more")
        if not 1 <= self.nbest <= self.beam:
            raise UsageError(f"nbest {self.nbest}: must be between 1 and the beam, {self.beam}")
        if self.groups < 1 or self.beam % self.groups:
            raise UsageError(f"groups {self.groups}: must be a divisor of the beam, {self.beam}")
        if not 0 <= self.diversity < float("inf"):
            raise UsageError(f"diversity {self.diversity}: must be 0 or more")
        self.penalties  # noqa: B018 (checks the rest)

    @property
    def penalties(self) -> Penalties:
        """The length and coverage penalties."""
        return Penalties(self.length_penalty, self.alpha, self.coverage_penalty)


def beam_search(
    step: Step,
    state: State,
    *,
    start: int,
    end: int,
    max_lengths: Tensor,
    options: BeamOptions,
    source_mask: Tensor | None = None,
    constraints: Sequence[Constraint] = (),
    phrases: Sequence[Sequence[Sequence[int]]] | None = None,
    keep_attention: bool = False,
) -> list[list[Hypothesis]]:
    """The n best sequences of each sentence, best first, all different.

    Equal scores are ordered by parent, then by symbol, so that results do not depend on the other sentences
    of the batch.

    Args:
        step: Model step for B sentences.
        state: State before the first step, one row per sentence.
        start: Symbol that is the first input.
        end: Symbol that ends a sequence.
        max_lengths: Largest number of symbols of a sequence, its end included, at least 1, [B].
        options: Beam and penalties.
        source_mask: True at real source positions, right-padded, [B, S]; None = all are. It is read for a
            coverage penalty, and for attention, which is cut to these positions.
        constraints: Constraints on the outputs.
        phrases: For each sentence the phrases that its output must contain; not together with groups. A
            sentence for which none is found gets hypotheses without all of its phrases, marked `unmet`.
        keep_attention: Whether hypotheses include their attention.

    Returns:
        A list of hypotheses per sentence, never empty. If fewer than asked for ended in time, unfinished ones
        follow. If constraints left nothing, it is a single `exhausted` hypothesis.
    """
    if options.beam == 1 and phrases is None:
        found = greedy_search(
            step,
            state,
            start=start,
            end=end,
            max_lengths=max_lengths,
            penalties=options.penalties,
            source_mask=source_mask,
            constraints=constraints,
            keep_attention=keep_attention,
        )
        return [[each] for each in found]
    assert phrases is None or options.groups == 1, "phrases cannot be combined with groups"
    search = BeamSearch(step, state, start, end, max_lengths, options)
    search.source_mask = source_mask
    search.constraints, search.keep_attention = constraints, keep_attention
    if phrases is not None:
        search.phrases = [[tuple(phrase) for phrase in each if phrase] for each in phrases]
    return search.run()


class BeamSearch:
    """The state of a search: its live hypotheses, and those found (arguments as in `beam_search`)."""

    def __init__(
        self, step: Step, state: State, start: int, end: int, max_lengths: Tensor, options: BeamOptions
    ) -> None:
        count, device = len(max_lengths), max_lengths.device
        self.step, self.state, self.start, self.end, self.options = step, state, start, end, options
        self.penalties = options.penalties
        self.source_mask: Tensor | None = None
        self.constraints: Sequence[Constraint] = ()
        self.phrases: list[list[Phrase]] = [[] for _ in range(count)]
        self.keep_attention = False
        self.sentences = torch.arange(count, device=device)  # numbers of the sentences still searched, [B]
        self.limits = max_lengths  # [B]
        self.last = torch.full((count,), start, device=device)  # last symbols, [N]
        # Log probabilities of live hypotheses, nats, [B, G, K / G]; -inf = none. Before the first step all
        # groups share one row: [B, 1, 1].
        self.live = torch.zeros(count, 1, 1, device=device, dtype=sum_type(device))
        self.covered: Tensor | None = None  # attention summed over steps, [N, S]
        self.prefixes = self.last.new_empty(count, 0)  # symbols so far, [N, t]; updated only if needed
        self.length = 0  # number of symbols of the live hypotheses
        self.trace = Trace()
        self.found = Findings(count, options.nbest)
        self.spare = Findings(count, options.nbest)  # hypotheses without all phrases
        # The score that a new hypothesis of each sentence has to beat, [sentences at the start].
        self.floor = torch.full((count,), -torch.inf, device=device, dtype=self.live.dtype)

    def run(self) -> list[list[Hypothesis]]:
        """Search until every sentence is done."""
        self.keep_prefixes = bool(self.constraints) or any(self.phrases)
        while len(self.sentences):
            self._advance()
        return hypotheses(self.trace, self.found, self.spare, self.source_mask)

    def _advance(self) -> None:
        """Extend all live hypotheses by one symbol."""
        result = self.step(self.last, self.state)  # scores [N, V]
        self.length += 1
        if self.keep_attention:
            assert result.attention is not None, "this step has no attention"
            self.trace.attention.append(result.attention)
        if self.penalties.coverage:
            assert result.attention is not None, "a coverage penalty needs attention"
            self.covered = result.attention if self.covered is None else self.covered + result.attention
        if self.constraints:
            live = Live(self.sentences, self.prefixes, self.end)
            result = result._replace(scores=restricted(result.scores, live, self.constraints))
        groups: list[Candidates] = []
        for _ in range(self.options.groups):
            groups.append(self._expand(result, groups))
        self._extend(groups, result.state)
        self._release()

    def _expand(self, result: StepResult, earlier: Sequence[Candidates]) -> Candidates:
        """Choose the next group's hypotheses, and record those that end.

        Args:
            result: Result of the step, N rows.
            earlier: Candidates chosen for the groups before this one.

        Returns:
            The candidates that continue, [B, K / G].
        """
        share = self.options.beam // self.options.groups
        # [B, W], best first: enough that K / G are left without those that end
        candidates = best_candidates(
            result,
            self.live,
            group=min(len(earlier), self.live.shape[1] - 1),
            share=share,
            against=hamming(earlier, self.options.diversity, result.scores.shape[1]),
        )
        continuing = without_ends(candidates, self.end, share)  # [B, K / G]
        # Only hypotheses that end among the best K / G are recorded.
        ends = candidates.symbols[:, :share] == self.end  # [B, K / G]
        ends &= candidates.log_p[:, :share].isfinite()
        if any(self.phrases):  # sentences with phrases choose in their own way
            for position, sentence in enumerate(self.sentences.tolist()):
                if self.phrases[sentence]:
                    ends[position] = False
                    self._choose(position, sentence, candidates, continuing, result)
        if ends.any():
            found_in = ends.nonzero()[:, 0]  # positions of the sentences, one per ending
            self._note(
                self.found, found_in, candidates.log_p[:, :share][ends], candidates.rows[:, :share][ends]
            )
        return continuing

    def _extend(self, groups: Sequence[Candidates], state: State) -> None:
        """Make the chosen candidates the live hypotheses."""
        # G times [B, K / G] to [B, G, K / G] each
        live, rows, symbols = (torch.stack(parts, 1) for parts in zip(*groups, strict=True))
        parents = rows.flatten()  # [N]
        self.live = live
        # Rows without a hypothesis are computed as well, so they need an existing symbol as input.
        self.last = symbols.flatten().masked_fill(live.flatten().isinf(), self.start)
        self.trace.add(self.last, parents, live.flatten())
        self.state = select(state, parents)
        if self.covered is not None:
            self.covered = self.covered[parents]
        if self.keep_prefixes:
            self.prefixes = torch.cat([self.prefixes[parents], self.last[:, None]], 1)

    def _release(self) -> None:
        """Remove the sentences that are done."""
        best = self.live.flatten(1).amax(1)  # [B]
        full = self.limits <= self.length  # [B]
        # Upper bound of final scores: log p can only fall, and the divisor is largest at the limit.
        bound = self.penalties.score_at_most(best, self.limits)  # [B]
        done = full | best.isinf() | (bound <= self.floor[self.sentences])
        if self.options.beam == 1:
            done |= self.floor[self.sentences].isfinite()
        if not done.any():
            return
        for position in (full & best.isfinite()).nonzero().flatten().tolist():
            self._cut(position)
        kept = (~done).nonzero().flatten()  # positions of the sentences that stay, [B']
        rows = rows_of(kept, self.live[0].numel())  # [B' x K]
        self.trace.keep(rows)
        self.sentences, self.limits, self.live = self.sentences[kept], self.limits[kept], self.live[kept]
        if len(kept):
            self.step.keep(kept)
            self.state, self.last = select(self.state, rows), self.last[rows]
            self.prefixes = self.prefixes[rows] if self.keep_prefixes else self.prefixes
            self.covered = None if self.covered is None else self.covered[rows]

    def _note(self, findings: Findings, positions: Tensor, log_p: Tensor, rows: Tensor) -> None:
        """Record hypotheses that end at this step.

        Args:
            findings: Where to record them.
            positions: Positions of their sentences among those still searched, [M].
            log_p: Log probabilities, the end symbol included, nats, [M].
            rows: Rows of the step's input, [M].
        """
        sentences = self.sentences[positions]
        covered = None if self.covered is None else self.covered[rows]
        scores = self.penalties.score(log_p, self.length, covered, self._mask_of(sentences))
        facts = (sentences.tolist(), scores.tolist(), log_p.tolist(), rows.tolist())
        for sentence, score, value, row in zip(*facts, strict=True):
            ending = Ending(score, value, self.length - 1, row, finished=True)
            # only the groups of diverse beam search can find a sequence twice
            if self.options.groups == 1 or self._is_new(findings.endings[sentence], ending):
                findings.add(sentence, ending)
        if findings is self.found:
            to_beat = [self.found.to_beat(sentence) for sentence in facts[0]]
            self.floor[sentences] = self.floor.new_tensor(to_beat)

    def _cut(self, position: int) -> None:
        """At a sentence's largest length, fill up its results with unfinished hypotheses if too few ended."""
        sentence = int(self.sentences[position])
        if self.found.full(sentence):
            return
        log_p = self.live[position].flatten()  # [K]
        rows = position * len(log_p) + torch.arange(len(log_p), device=log_p.device)
        covered = None if self.covered is None else self.covered[rows]
        mask = self._mask_of(self.sentences[position].expand(len(rows)))
        scores = self.penalties.score(log_p, self.length, covered, mask)
        for score, value, row in zip(scores.tolist(), log_p.tolist(), rows.tolist(), strict=True):
            ending = Ending(score, value, self.length - 1, row, finished=False)
            findings = self.found if self._complete(sentence, row) else self.spare
            new = self.options.groups == 1 or self._is_new(findings.endings[sentence], ending)
            if value > -torch.inf and new:
                findings.add(sentence, ending)

    def _choose(
        self, position: int, sentence: int, candidates: Candidates, continuing: Candidates, result: StepResult
    ) -> None:
        """Choose for a sentence with phrases; its row of `continuing` is replaced in place."""
        slots, phrases = self.live.shape[2], self.phrases[sentence]
        first = position * slots
        known = zip(*(each[position].tolist() for each in candidates), strict=True)
        choice = choose(
            phrases,
            self.prefixes[first : first + slots].tolist(),
            [Candidate(log_p, row - first, symbol) for log_p, row, symbol in known if log_p > -torch.inf],
            lambda slot, symbol: float(
                result.scores[first + slot, symbol].to(self.live.dtype)
                - result.log_normaliser[first + slot].to(self.live.dtype)
                + self.live[position, 0, slot]
            ),
            beam=continuing.log_p.shape[1],
            end=self.end,
        )
        continuing.log_p[position] = -torch.inf
        for place, candidate in enumerate(choice.continuing):
            continuing.log_p[position, place] = candidate.log_p
            continuing.rows[position, place] = first + candidate.slot
            continuing.symbols[position, place] = candidate.symbol
        for findings, endings in ((self.found, choice.endings), (self.spare, choice.incomplete)):
            if endings:
                positions = candidates.rows.new_full((len(endings),), position)
                log_p = self.live.new_tensor([candidate.log_p for candidate in endings])
                self._note(
                    findings, positions, log_p, positions.new_tensor([first + w.slot for w in endings])
                )

    def _complete(self, sentence: int, row: int) -> bool:
        phrases = self.phrases[sentence]
        return not phrases or Progress.of(phrases, self.prefixes[row].tolist()).complete

    def _is_new(self, endings: Sequence[Ending], ending: Ending) -> bool:
        """Whether no ending has the same symbols; different groups may find the same sequence."""
        symbols = self.trace.symbols_of(ending)
        return all(
            other.finished != ending.finished or self.trace.symbols_of(other) != symbols for other in endings
        )

    def _mask_of(self, sentences: Tensor) -> Tensor | None:
        return None if self.source_mask is None else self.source_mask[sentences]
