"""What an output must not be: symbols that a search leaves out of its candidates.

A constraint sees the live hypotheses of a step and sets the scores of what must not follow to
-inf. It holds for probabilities as they are: nothing is shared out anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

SPACE = b" "


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


class Spelling:
    """What symbols add to the text: a space, where a word starts, and letters, in UTF-8.

    Args:
        common: Of the symbols that all sentences have, in the order of their ids.
        own: Of each sentence of the batch, the symbols that follow those.
    """

    def __init__(self, common: Sequence[bytes], own: Sequence[Sequence[bytes]] = ()) -> None:
        self.common, self.own = common, own
        self._by_word = _by_word(common, 0)
        self._common_starts = _starting(common)
        self._starts: dict[int, Tensor] = {}

    def words(self, sentence: int, symbols: Sequence[int]) -> list[bytes]:
        """What stands between spaces, as far as it is written; the last word may go on."""
        size, own = len(self.common), self._own(sentence)
        # A dead row may hold symbols of a wider sentence.
        texts = [
            self.common[symbol] if symbol < size else b"".join(own[symbol - size : symbol - size + 1])
            for symbol in symbols
        ]
        text = b"".join(texts)
        return text.removeprefix(SPACE).split(SPACE) if text else []

    def starts(self, sentence: int) -> Tensor:
        """Which of its symbols start a word, bool [V + own]; asked at every step, so made once."""
        if sentence not in self._starts:
            self._starts[sentence] = torch.cat([self._common_starts, _starting(self._own(sentence))])
        return self._starts[sentence]

    def whole(self, sentence: int, words: Iterable[bytes]) -> list[int]:
        """The symbols that start a word and are all of it, for some words."""
        own = _by_word(self._own(sentence), len(self.common))
        return [symbol for word in words for table in (self._by_word, own) for symbol in table.get(word, ())]

    def _own(self, sentence: int) -> Sequence[bytes]:
        return self.own[sentence] if self.own else ()


def _starting(texts: Sequence[bytes]) -> Tensor:
    return torch.tensor([text.startswith(SPACE) for text in texts], dtype=torch.bool)


def _by_word(texts: Sequence[bytes], first: int) -> dict[bytes, list[int]]:
    """Symbols that start a word, by the text of it; `first` is the id of the first."""
    result: dict[bytes, list[int]] = {}
    for symbol, text in enumerate(texts, first):
        if text.startswith(SPACE):
            result.setdefault(text.removeprefix(SPACE), []).append(symbol)
    return result


class BlockedNgrams:
    """No n-gram of words twice in an output.

    Words, not symbols: a word is the text between two spaces, however it is split, and is complete
    when the next one starts or the output ends. So where the last n words of a hypothesis, the one
    that is being written included, are an n-gram that it has, no word may start and it may not end.
    Where no symbol goes on with a word, that would be a dead end: there the symbol that leads to it
    is forbidden.

    Stands before constraints that forbid more, as it takes a score of -inf for what the model
    cannot write.

    Args:
        order: n, at least 1.
        spelling: The text of the symbols.
    """

    def __init__(self, order: int, spelling: Spelling) -> None:
        assert order >= 1, order
        self.order = order
        self.spelling = spelling

    def restrict(self, scores: Tensor, live: Live) -> None:
        """See `Constraint`."""
        slots = len(scores) // len(live.sentences)
        sentences = live.sentences.tolist()
        for row, prefix in enumerate(live.prefixes.tolist()):
            sentence = sentences[row // slots]
            words = self.spelling.words(sentence, prefix)
            if self._repeats(words):
                scores[row].masked_fill_(self._starting(sentence, scores), -torch.inf)
                scores[row, live.end] = -torch.inf
            elif known := self._following(words):
                goes_on = scores[row].isfinite() & ~self._starting(sentence, scores)
                goes_on[live.end] = False
                if not goes_on.any():
                    scores[row, self.spelling.whole(sentence, known)] = -torch.inf

    def repeats(self, symbols: Tensor, live: Live) -> list[int]:
        """The rows that the symbols [N] lead to where a word has to go on."""
        slots = len(symbols) // len(live.sentences)
        sentences = live.sentences.tolist()
        return [
            row
            for row, (prefix, symbol) in enumerate(zip(live.prefixes.tolist(), symbols.tolist(), strict=True))
            if symbol != live.end
            and self._repeats(self.spelling.words(sentences[row // slots], [*prefix, symbol]))
        ]

    def _repeats(self, words: Sequence[bytes]) -> bool:
        """Whether the last n-gram has occurred."""
        last = words[len(words) - self.order :]
        starts = range(len(words) - self.order)
        return any(words[first : first + self.order] == last for first in starts)

    def _following(self, words: Sequence[bytes]) -> set[bytes]:
        """The words that have followed the last n - 1 words."""
        size = self.order - 1
        last = words[len(words) - size :]
        starts = range(len(words) - size)
        return {words[first + size] for first in starts if words[first : first + size] == last}

    def _starting(self, sentence: int, scores: Tensor) -> Tensor:
        """Which columns of [N, V] start a word; a column that only wider sentences have does."""
        starts = self.spelling.starts(sentence)[: scores.shape[1]].to(scores.device)
        return functional.pad(starts, (0, scores.shape[1] - len(starts)), value=True)
