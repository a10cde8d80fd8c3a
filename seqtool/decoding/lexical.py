"""Phrases that must occur in an output: the beam is divided among hypotheses with more and fewer of them.

Reference: Post and Vilar 2018, "Fast lexically constrained decoding with dynamic beam allocation
for neural machine translation", sections 3 and 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

Phrase = tuple[int, ...]


class Candidate(NamedTuple):
    """A live hypothesis (slot) with a next symbol."""

    log_p: float  # log probability, the symbol included, nats
    slot: int
    symbol: int


class Choice(NamedTuple):
    """The candidates chosen for a sentence."""

    continuing: list[Candidate]  # those that continue, best first
    endings: list[Candidate]  # those that end with all phrases
    incomplete: list[Candidate]  # those that would end without some phrase


class Progress(NamedTuple):
    """How many symbols of each phrase a hypothesis has: all once it has occurred, else those it ends with."""

    phrases: tuple[Phrase, ...]
    symbols: tuple[int, ...]

    @classmethod
    def of(cls, phrases: Sequence[Phrase], tokens: Sequence[int]) -> Progress:
        """The progress of a hypothesis with these symbols."""
        progress = cls(tuple(phrases), (0,) * len(phrases))
        for token in tokens:
            progress = progress.after(token)
        return progress

    def after(self, token: int) -> Progress:
        """The progress after one more symbol."""
        pairs = zip(self.phrases, self.symbols, strict=True)
        return Progress(self.phrases, tuple(_after(phrase, count, token) for phrase, count in pairs))

    @property
    def met(self) -> int:
        """Number of phrase symbols covered; of the phrases begun, only the longest part counts."""
        pairs = [(count, len(phrase)) for phrase, count in zip(self.phrases, self.symbols, strict=True)]
        whole = sum(size for count, size in pairs if count == size)
        return whole + max((count for count, size in pairs if count < size), default=0)

    @property
    def complete(self) -> bool:
        """Whether all phrases have occurred."""
        return self.symbols == tuple(map(len, self.phrases))

    @property
    def wanted(self) -> list[int]:
        """The symbols that continue a phrase, in ascending order."""
        pairs = zip(self.phrases, self.symbols, strict=True)
        return sorted({phrase[count] for phrase, count in pairs if count < len(phrase)})


def choose(
    phrases: Sequence[Phrase],
    prefixes: Sequence[Sequence[int]],
    candidates: Sequence[Candidate],
    log_p_of: Callable[[int, int], float],
    *,
    beam: int,
    end: int,
) -> Choice:
    """Divide the beam of one sentence among banks: candidates with the same number of phrase symbols.

    Banks take turns, the one with most symbols first; a bank that is empty leaves its turns to the others.

    Args:
        phrases: Phrases that must occur, each of at least one symbol.
        prefixes: Symbols of the live hypotheses.
        candidates: Best candidates, best first, all of them possible.
        log_p_of: Log probability of a hypothesis (slot) with a symbol, nats; -inf = impossible.
        beam: Number of hypotheses that may continue.
        end: Symbol that ends a sequence.

    Returns:
        The candidates that continue or end.
    """
    states = [Progress.of(phrases, prefix) for prefix in prefixes]
    known = {(candidate.slot, candidate.symbol) for candidate in candidates}
    asked = [(slot, symbol) for slot, state in enumerate(states) for symbol in state.wanted]
    extra = [Candidate(log_p_of(*place), *place) for place in asked if place not in known]
    everything = sorted(
        [*candidates, *(candidate for candidate in extra if candidate.log_p > -float("inf"))],
        key=lambda candidate: (-candidate.log_p, candidate.slot, candidate.symbol),
    )
    banks: dict[int, deque[Candidate]] = {}
    for candidate in everything:
        state = states[candidate.slot]
        if candidate.symbol != end:
            banks.setdefault(state.after(candidate.symbol).met, deque()).append(candidate)
        elif state.complete:
            banks.setdefault(state.met, deque()).append(candidate)
    continuing, endings = _in_turns(banks, beam, end)
    incomplete = [
        candidate
        for candidate in candidates[:beam]
        if candidate.symbol == end and not states[candidate.slot].complete
    ]
    return Choice(continuing, endings, incomplete)


def _in_turns(
    banks: dict[int, deque[Candidate]], beam: int, end: int
) -> tuple[list[Candidate], list[Candidate]]:
    continuing: list[Candidate] = []
    endings: list[Candidate] = []
    while len(continuing) < beam and any(banks.values()):
        for met in sorted(banks, reverse=True):
            bank = banks[met]
            while bank and bank[0].symbol == end:  # an ending needs no slot
                endings.append(bank.popleft())
            if bank and len(continuing) < beam:
                continuing.append(bank.popleft())
    return sorted(
        continuing, key=lambda candidate: (-candidate.log_p, candidate.slot, candidate.symbol)
    ), endings


def _after(phrase: Phrase, count: int, token: int) -> int:
    """Length of the longest part of a phrase that a hypothesis ends with after one more symbol."""
    if count == len(phrase):
        return count
    ending = (*phrase[:count], token)
    return next(size for size in range(len(ending), -1, -1) if phrase[:size] == ending[len(ending) - size :])
