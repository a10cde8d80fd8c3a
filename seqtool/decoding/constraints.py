"""What an output must not be: symbols that a search leaves out of its candidates.

A constraint sees the live hypotheses of a step and sets the scores of what must not follow to
-inf. It holds for probabilities as they are: nothing is shared out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Live(NamedTuple):
    """The hypotheses of a step, K rows a sentence."""

    sentences: Tensor  # [B], their numbers in the batch that the search began with
    prefixes: Tensor  # [N, t], the symbols so far; anything in dead rows
    end: int  # the symbol that ends a sequence


class Constraint(Protocol):
    """Something that outputs must be like."""

    def restrict(self, scores: Tensor, live: Live) -> None:
        """Set the scores [N, V] of what must not follow to -inf, in place."""


def restricted(scores: Tensor, live: Live, constraints: Sequence[Constraint]) -> Tensor:
    """A copy of the scores [N, V] under all constraints."""
    scores = scores.clone()
    for constraint in constraints:
        constraint.restrict(scores, live)
    return scores


class MinimumLength:
    """The end is forbidden before so many symbols (the end not counted)."""

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols

    def restrict(self, scores: Tensor, live: Live) -> None:
        """See `Constraint`."""
        if live.prefixes.shape[1] < self.symbols:
            scores[:, live.end] = -torch.inf


class ForcedPrefix:
    """Outputs begin with given symbols.

    Args:
        prefixes: Of each sentence of the batch, without start and end; may be empty.
    """

    def __init__(self, prefixes: Sequence[Sequence[int]]) -> None:
        self.prefixes = prefixes
        self.longest = max(map(len, prefixes), default=0)

    def restrict(self, scores: Tensor, live: Live) -> None:
        """See `Constraint`."""
        step = live.prefixes.shape[1]
        if step >= self.longest:
            return
        slots = len(scores) // len(live.sentences)
        for position, sentence in enumerate(live.sentences.tolist()):
            prefix = self.prefixes[sentence]
            if step < len(prefix):
                rows = scores[position * slots : (position + 1) * slots]
                wanted = rows[:, prefix[step]].clone()
                rows.fill_(-torch.inf)
                rows[:, prefix[step]] = wanted


class BlockedNgrams:
    """No n-gram of words twice in an output.

    Words, not symbols: a word is what stands between one symbol that starts a word and the next,
    and is complete when that comes, or the end. So where the last n words of a hypothesis, the one
    that is being written included, are an n-gram that it has, no word may start and it may not end.

    Args:
        order: n, at least 1.
        starts_word: Whether in a sentence of the batch (its number) a symbol starts a word.
    """

    def __init__(self, order: int, starts_word: Callable[[int, int], bool]) -> None:
        assert order >= 1, order
        self.order = order
        self.starts_word = starts_word
        self._known: dict[int, Tensor] = {}

    def restrict(self, scores: Tensor, live: Live) -> None:
        """See `Constraint`."""
        slots = len(scores) // len(live.sentences)
        sentences = live.sentences.tolist()
        for row, prefix in enumerate(live.prefixes.tolist()):
            sentence = sentences[row // slots]
            if self._repeats(sentence, prefix):
                starts = self._starts(sentence, scores.shape[1]).to(scores.device)
                scores[row].masked_fill_(starts, -torch.inf)
                scores[row, live.end] = -torch.inf

    def words(self, sentence: int, symbols: Sequence[int]) -> list[tuple[int, ...]]:
        """Symbols grouped to words; what precedes the first start is a word, too."""
        words: list[list[int]] = []
        for symbol in symbols:
            if not words or self.starts_word(sentence, symbol):
                words.append([symbol])
            else:
                words[-1].append(symbol)
        return [tuple(word) for word in words]

    def _repeats(self, sentence: int, prefix: Sequence[int]) -> bool:
        words = self.words(sentence, prefix)
        last = words[len(words) - self.order :]
        starts = range(len(words) - self.order)
        return any(words[first : first + self.order] == last for first in starts)

    def _starts(self, sentence: int, width: int) -> Tensor:
        """Which symbols start a word, [V]; asked once a sentence, as V never grows."""
        if sentence not in self._known:
            self._known[sentence] = torch.tensor([self.starts_word(sentence, i) for i in range(width)])
        return self._known[sentence][:width]
