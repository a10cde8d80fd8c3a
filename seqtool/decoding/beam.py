"""Beam search over any `Step`.

Hypotheses are rows [B, K] that never move except by a gather; what they consist of is kept as
back-pointers. A finished hypothesis takes no slot, and a sentence leaves as soon as nothing that
is alive can come before what it has found. With one hypothesis it is greedy search.
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
    """How to search.

    Args:
        beam: K, live hypotheses a sentence; 1 is greedy search.
        nbest: How many to return, at most `beam`.
        length_penalty: What scores are divided by.
        alpha: Its exponent.
        coverage_penalty: beta, weight of what is left out of the source.
        groups: G, a divisor of `beam`; more than 1 is diverse beam search.
        diversity: What a group's hypotheses lose, nats, for each hypothesis of an earlier group
            with the same symbol at the same step (Vijayakumar et al. 2016, section 4, Hamming
            diversity). It steers the search and is no part of any score.

    Raises:
        UsageError: something is out of its range.
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
            raise UsageError(f"beam {self.beam}: 1 or more is allowed")
        if not 1 <= self.nbest <= self.beam:
            raise UsageError(f"nbest {self.nbest}: 1 to the beam, {self.beam}, is allowed")
        if self.groups < 1 or self.beam % self.groups:
            raise UsageError(f"groups {self.groups}: a divisor of the beam, {self.beam}, is allowed")
        if not 0 <= self.diversity < float("inf"):
            raise UsageError(f"diversity {self.diversity}: 0 or more is allowed")
        self.penalties  # noqa: B018 (checks the rest)

    @property
    def penalties(self) -> Penalties:
        """What scores are made of."""
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
    """The n best sequences of each sentence, best first, no two alike.

    Args:
        step: Of B sentences.
        state: Before the first step, one row a sentence.
        start: The first input.
        end: The symbol that ends a sequence.
        max_lengths: Symbols of a sequence at most, its end included, [B], at least 1.
        options: Beam and penalties.
        source_mask: Real source positions [B, S], right-padded; None = all are. Read only with a
            coverage penalty and for attention, which is cut to them.
        constraints: What outputs must be like.
        phrases: Of each sentence, what must occur in its output (not with groups). Where it was
            not found, what was found without it is returned, `unmet`.
        keep_attention: Whether hypotheses shall have their attention.

    Returns:
        A list a sentence, never empty. Where fewer than asked for came to their end in time, those
        alive then follow, not finished. Where constraints left nothing, one `exhausted` hypothesis.

    Scores that are equal are ordered by parent, then by symbol, so that results are the same
    whatever else is in the batch.
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
    assert phrases is None or options.groups == 1, "phrases and groups do not go together"
    search = BeamSearch(step, state, start, end, max_lengths, options)
    search.source_mask = source_mask
    search.constraints, search.keep_attention = constraints, keep_attention
    if phrases is not None:
        search.phrases = [[tuple(phrase) for phrase in each if phrase] for each in phrases]
    return search.run()


class BeamSearch:
    """The live part of a search, and what it has found (arguments as of `beam_search`)."""

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
        self.sentences = torch.arange(count, device=device)  # that are still searched [B]
        self.limits = max_lengths
        self.last = torch.full((count,), start, device=device)  # [N]
        # Log p of hypotheses [B, G, K / G]; -inf = none. Before the first step all groups share a row.
        self.live = torch.zeros(count, 1, 1, device=device, dtype=sum_type(device))
        self.covered: Tensor | None = None  # attention summed over steps [N, S]
        self.prefixes = self.last.new_empty(count, 0)  # [N, t], kept up where constraints need them
        self.length = 0  # symbols of the live hypotheses
        self.trace = Trace()
        self.found = Findings(count, options.nbest)
        self.spare = Findings(count, options.nbest)  # without all phrases
        # Of all sentences: the score that a new hypothesis has to beat.
        self.floor = torch.full((count,), -torch.inf, device=device, dtype=self.live.dtype)

    def run(self) -> list[list[Hypothesis]]:
        """Search all sentences to their ends."""
        self.keep_prefixes = bool(self.constraints) or any(self.phrases)
        while len(self.sentences):
            self._advance()
        return hypotheses(self.trace, self.found, self.spare, self.source_mask)

    def _advance(self) -> None:
        """One symbol more."""
        result = self.step(self.last, self.state)
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
        """The next group: what ends is noted; the candidates that are gone on with."""
        share = self.options.beam // self.options.groups
        candidates = best_candidates(
            result,
            self.live,
            group=min(len(earlier), self.live.shape[1] - 1),
            share=share,
            against=hamming(earlier, self.options.diversity, result.scores.shape[1]),
        )
        continuing = without_ends(candidates, self.end, share)
        ends = candidates.symbols[:, :share] == self.end
        ends &= candidates.log_p[:, :share].isfinite()
        if any(self.phrases):
            for position, sentence in enumerate(self.sentences.tolist()):
                if self.phrases[sentence]:
                    ends[position] = False
                    self._choose(position, sentence, candidates, continuing, result)
        if ends.any():
            found_in = ends.nonzero()[:, 0]
            self._note(
                self.found, found_in, candidates.log_p[:, :share][ends], candidates.rows[:, :share][ends]
            )
        return continuing

    def _extend(self, groups: Sequence[Candidates], state: State) -> None:
        """The candidates chosen become the live hypotheses."""
        live, rows, symbols = (torch.stack(parts, 1) for parts in zip(*groups, strict=True))
        parents = rows.flatten()
        self.live = live
        # A dead row runs along; what it is fed must be a symbol that there is.
        self.last = symbols.flatten().masked_fill(live.flatten().isinf(), self.start)
        self.trace.add(self.last, parents, live.flatten())
        self.state = select(state, parents)
        if self.covered is not None:
            self.covered = self.covered[parents]
        if self.keep_prefixes:
            self.prefixes = torch.cat([self.prefixes[parents], self.last[:, None]], 1)

    def _release(self) -> None:
        """Sentences that are done leave."""
        best = self.live.flatten(1).amax(1)
        full = self.limits <= self.length
        # Nothing alive can score more than its log p now, at the length that divides it most.
        hope = self.penalties.score_at_most(best, self.limits)
        done = full | best.isinf() | (hope <= self.floor[self.sentences])
        if self.options.beam == 1:
            done |= self.floor[self.sentences].isfinite()
        if not done.any():
            return
        for position in (full & best.isfinite()).nonzero().flatten().tolist():
            self._cut(position)
        kept = (~done).nonzero().flatten()
        rows = rows_of(kept, self.live[0].numel())
        self.trace.keep(rows)
        self.sentences, self.limits, self.live = self.sentences[kept], self.limits[kept], self.live[kept]
        if len(kept):
            self.step.keep(kept)
            self.state, self.last = select(self.state, rows), self.last[rows]
            self.prefixes = self.prefixes[rows] if self.keep_prefixes else self.prefixes
            self.covered = None if self.covered is None else self.covered[rows]

    def _note(self, findings: Findings, positions: Tensor, log_p: Tensor, rows: Tensor) -> None:
        """Hypotheses that end now: whose they are, log p with the end, rows of the step's input."""
        sentences = self.sentences[positions]
        covered = None if self.covered is None else self.covered[rows]
        scores = self.penalties.score(log_p, self.length, covered, self._mask_of(sentences))
        facts = (sentences.tolist(), scores.tolist(), log_p.tolist(), rows.tolist())
        for sentence, score, value, row in zip(*facts, strict=True):
            ending = Ending(score, value, self.length - 1, row, finished=True)
            if self.options.groups == 1 or self._is_new(findings.endings[sentence], ending):
                findings.add(sentence, ending)
        if findings is self.found:
            to_beat = [self.found.to_beat(sentence) for sentence in facts[0]]
            self.floor[sentences] = self.floor.new_tensor(to_beat)

    def _cut(self, position: int) -> None:
        """At the largest length, what is alive follows those who have come to their end, if too few."""
        sentence = int(self.sentences[position])
        if self.found.full(sentence):
            return
        log_p = self.live[position].flatten()
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
        """The same for a sentence with phrases; `continuing` is changed in place."""
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
        """Groups may come to the same sequence."""
        symbols = self.trace.symbols_of(ending)
        return all(
            other.finished != ending.finished or self.trace.symbols_of(other) != symbols for other in endings
        )

    def _mask_of(self, sentences: Tensor) -> Tensor | None:
        return None if self.source_mask is None else self.source_mask[sentences]
