"""A model that is a table, so that every sequence can be looked up; and all its sequences, one by one.

A sentence is a table of scores and one of attention; the state of a hypothesis is a row of them,
found from the row before and the symbol. Nothing is computed from a batch, so whatever a search
makes of it can be compared exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtool.decoding.step import State, StepResult

START, END = 0, 1
STATES = 61


@dataclass(frozen=True)
class Sentence:
    """The tables of the model for one source."""

    scores: Tensor  # [STATES, V], raw
    attention: Tensor  # [STATES, S], rows that sum to 1

    @property
    def log_p(self) -> Tensor:
        return self.scores.double() - self.normaliser.double()[:, None]

    @property
    def normaliser(self) -> Tensor:
        return torch.logsumexp(self.scores, 1)


@dataclass(frozen=True)
class Walk:
    """A sequence of the oracle, with its scores."""

    tokens: tuple[int, ...]
    finished: bool
    token_log_p: tuple[float, ...]
    attention: Tensor  # [T, S]

    @property
    def log_p(self) -> float:
        return sum(self.token_log_p)

    @property
    def length(self) -> int:
        return len(self.token_log_p)


def random_sentence(
    seed: int, *, symbols: int = 4, source: int = 3, spread: float = 1.5, levels: int = 0
) -> Sentence:
    """A random sentence; `start` is never scored. With `levels`, many scores are equal."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(STATES, symbols, generator=generator) * spread
    if levels:
        scores = (scores * levels).round() / levels
    scores[:, START] = -torch.inf
    attention = torch.randn(STATES, source, generator=generator).mul(2).softmax(1)
    return Sentence(scores, attention)


def following(state: int | Tensor, symbol: int | Tensor) -> int | Tensor:
    return (state * 29 + symbol * 7 + 3) % STATES


def walk(sentence: Sentence, tokens: Sequence[int], *, finished: bool) -> Walk:
    """One sequence, scored by looking it up."""
    state, values, looks, last = 0, [], [], START
    for symbol in [*tokens, *([END] if finished else [])]:
        state = int(following(state, last))
        values.append(float(sentence.log_p[state, symbol]))
        looks.append(sentence.attention[state])
        last = symbol
    return Walk(tuple(tokens), finished, tuple(values), torch.stack(looks))


def every_walk(sentence: Sentence, limit: int, *, finished: bool = True) -> list[Walk]:
    """All sequences that end within `limit` symbols, or all that are cut there."""
    inner = [s for s in range(sentence.scores.shape[1]) if s not in (START, END)]
    lengths = range(limit) if finished else [limit]
    return [
        walk(sentence, tokens, finished=finished)
        for length in lengths
        for tokens in itertools.product(inner, repeat=length)
    ]


class ToyStep:
    """The model for some sentences; checks in every call what a search must hold to.

    Args:
        sentences: May differ in V and S; they are padded, scores by -inf and attention by 0.
        extra: More columns of padding, of both.
    """

    def __init__(self, sentences: Sequence[Sentence], *, extra: int = 0) -> None:
        width = max(each.scores.shape[1] for each in sentences) + extra
        source = max(each.attention.shape[1] for each in sentences) + extra
        self.scores = torch.full((len(sentences), STATES, width), -torch.inf)
        self.attention = torch.zeros(len(sentences), STATES, source)
        self.mask = torch.zeros(len(sentences), source, dtype=torch.bool)
        for i, each in enumerate(sentences):
            self.scores[i, :, : each.scores.shape[1]] = each.scores
            self.attention[i, :, : each.attention.shape[1]] = each.attention
            self.mask[i, : each.attention.shape[1]] = True
        self.normaliser = torch.stack([each.normaliser for each in sentences])
        self.calls = 0
        self.rows: list[int] = []  # N of each call
        self.present = list(range(len(sentences)))
        self.leaves: list[tuple[int, list[int]]] = []  # (calls before, who stayed)

    def initial(self) -> State:
        """One row a sentence; the second tensor says whose it is."""
        count = len(self.present)
        return torch.zeros(count, dtype=torch.int64), torch.arange(count)

    def __call__(self, last: Tensor, state: State) -> StepResult:
        rows, count = len(last), len(self.present)
        assert count > 0
        assert rows % count == 0
        assert all(len(each) == rows for each in state)
        assert last.dtype == torch.int64
        memory = torch.arange(rows) // (rows // count)
        assert torch.equal(state[1], torch.tensor(self.present)[memory]), "a state of another sentence"
        assert int(last.max()) < self.scores.shape[2]
        self.calls += 1
        self.rows.append(rows)
        place = following(state[0], last)
        assert isinstance(place, Tensor)
        return StepResult(
            self.scores[memory, place],
            self.normaliser[memory, place],
            (place, state[1]),
            self.attention[memory, place],
        )

    def keep(self, sentences: Tensor) -> None:
        positions = sentences.tolist()
        assert positions == sorted(set(positions))
        assert 0 < len(positions) < len(self.present)
        self.present = [self.present[i] for i in positions]
        self.scores, self.attention = self.scores[sentences], self.attention[sentences]
        self.normaliser = self.normaliser[sentences]
        self.leaves.append((self.calls, list(self.present)))
        # Columns that are -inf for all who stay may go, as those for copied symbols do.
        used = int(self.scores.isfinite().any(0).any(0).nonzero().max()) + 1
        self.scores = self.scores[:, :, :used]
