"""Constraints on outputs: symbols that a search excludes from its candidates.

A constraint reads the live hypotheses of a step and sets the scores of forbidden symbols to -inf. The
probabilities of the others are not renormalised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

SPACE = b" "


class Live(NamedTuple):
    """The hypotheses of a step, K rows per sentence."""

    sentences: Tensor  # numbers of the sentences in the batch that the search began with, [B]
    prefixes: Tensor  # symbols so far, [N, t]; arbitrary in rows without a hypothesis
    end: int  # symbol that ends a sequence


class Constraint(Protocol):
    """A constraint on outputs."""

    def restrict(self, scores: Tensor, live: Live) -> None:
        """Set the scores, [N, V], of symbols that must not follow to -inf, in place."""


def restricted(scores: Tensor, live: Live, constraints: Sequence[Constraint]) -> Tensor:
    """A copy of the scores, [N, V], with all constraints applied."""
    scores = scores.clone()
    for constraint in constraints:
        constraint.restrict(scores, live)
    return scores


class MinimumLength:
    """Outputs have at least `symbols` symbols, not counting the end."""

    def __init__(self, symbols: int) -> None:
        self.symbols = symbols

    def restrict(self, scores: Tensor, live: Live) -> None:
        """See `Constraint`."""
        if live.prefixes.shape[1] < self.symbols:
            scores[:, live.end] = -torch.inf


class ForcedPrefix:
    """Outputs begin with given symbols.

    Args:
        prefixes: First symbols of each sentence of the batch, without start and end; may be empty.
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
                rows = scores[position * slots : (position + 1) * slots]  # [K, V]
                wanted = rows[:, prefix[step]].clone()
                rows.fill_(-torch.inf)
                rows[:, prefix[step]] = wanted


class Spelling:
    """The text of symbols in UTF-8: letters, after a space if the symbol starts a word.

    Args:
        common: Texts of the symbols that all sentences share, by id.
        own: For each sentence of the batch the texts of its own symbols, whose ids follow the shared ones.
    """

    def __init__(self, common: Sequence[bytes], own: Sequence[Sequence[bytes]] = ()) -> None:
        self.common, self.own = common, own
        self._by_word = _by_word(common, 0)
        self._common_starts = _starting(common)
        self._starts: dict[int, Tensor] = {}

    def words(self, sentence: int, symbols: Sequence[int]) -> list[bytes]:
        """The words written so far; the last one may be unfinished."""
        size, own = len(self.common), self._own(sentence)
        # A row without a hypothesis may hold symbols of another sentence, which has more.
        texts = [
            self.common[symbol] if symbol < size else b"".join(own[symbol - size : symbol - size + 1])
            for symbol in symbols
        ]
        text = b"".join(texts)
        return text.removeprefix(SPACE).split(SPACE) if text else []

    def starts(self, sentence: int) -> Tensor:
        """Whether each symbol of a sentence starts a word, [V + own], bool; cached, since each step asks."""
        if sentence not in self._starts:
            self._starts[sentence] = torch.cat([self._common_starts, _starting(self._own(sentence))])
        return self._starts[sentence]

    def whole(self, sentence: int, words: Iterable[bytes]) -> list[int]:
        """The symbols that spell one of the words completely, with the space before it."""
        own = _by_word(self._own(sentence), len(self.common))
        return [symbol for word in words for table in (self._by_word, own) for symbol in table.get(word, ())]

    def _own(self, sentence: int) -> Sequence[bytes]:
        return self.own[sentence] if self.own else ()


def _starting(texts: Sequence[bytes]) -> Tensor:
    return torch.tensor([text.startswith(SPACE) for text in texts], dtype=torch.bool)


def _by_word(texts: Sequence[bytes], first: int) -> dict[bytes, list[int]]:
    """Ids of the symbols that start a word, by the text after the space; `first` is the first text's id."""
    result: dict[bytes, list[int]] = {}
    for symbol, text in enumerate(texts, first):
        if text.startswith(SPACE):
            result.setdefault(text.removeprefix(SPACE), []).append(symbol)
    return result


class BlockedNgrams:
    """No n-gram of words occurs twice in an output.

    A word is the text between two spaces, however it is split into symbols, and is complete when the next
    word starts or the output ends. So where the last n words of a hypothesis, including the one being
    written, repeat an earlier n-gram, no word may start and the output may not end. If no symbol can continue
    a word, that would be a dead end; then the symbol that leads there is forbidden instead.

    This constraint must precede those that forbid more, because it takes a score of -inf to mean that the
    model cannot write the symbol.

    Args:
        order: Order n of the n-grams, at least 1.
        spelling: Texts of the symbols.
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
                continues = scores[row].isfinite() & ~self._starting(sentence, scores)  # [V]
                continues[live.end] = False
                if not continues.any():
                    scores[row, self.spelling.whole(sentence, known)] = -torch.inf

    def repeats(self, symbols: Tensor, live: Live) -> list[int]:
        """The rows whose last n words repeat an earlier n-gram after the symbols, [N], so far unfinished."""
        slots = len(symbols) // len(live.sentences)
        sentences = live.sentences.tolist()
        return [
            row
            for row, (prefix, symbol) in enumerate(zip(live.prefixes.tolist(), symbols.tolist(), strict=True))
            if symbol != live.end
            and self._repeats(self.spelling.words(sentences[row // slots], [*prefix, symbol]))
        ]

    def _repeats(self, words: Sequence[bytes]) -> bool:
        """Whether the last n words have occurred before as an n-gram."""
        last = words[len(words) - self.order :]
        starts = range(len(words) - self.order)
        return any(words[first : first + self.order] == last for first in starts)

    def _following(self, words: Sequence[bytes]) -> set[bytes]:
        """The words that followed earlier occurrences of the last n - 1 words."""
        size = self.order - 1
        last = words[len(words) - size :]
        starts = range(len(words) - size)
        return {words[first + size] for first in starts if words[first : first + size] == last}

    def _starting(self, sentence: int, scores: Tensor) -> Tensor:
        """Whether each column of the scores, [N, V], starts a word, [V]; symbols of other sentences do."""
        starts = self.spelling.starts(sentence)[: scores.shape[1]].to(scores.device)
        return functional.pad(starts, (0, scores.shape[1] - len(starts)), value=True)
