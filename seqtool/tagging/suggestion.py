"""Which sentences to annotate next: those that the model doubts most, spread over the text.

Of the candidates with the highest scores one after the other is taken, each score being reduced by the
similarity to what was taken before (maximal marginal relevance; Carbonell and Goldstein 1998), so that
variants of one sentence do not fill the list.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from seqtool.tagging.doubt import Judgement, Strategy

Item = TypeVar("Item")

CANDIDATES = 20  # sentences in memory for each that is wanted
FEWEST_CANDIDATES = 2000
NEAR = 0.8  # similarity from which two sentences are taken for variants of one


class Candidate(NamedTuple, Generic[Item]):
    """A sentence that may be suggested.

    Attributes:
        score: How much it would be worth to annotate it, at least 0.
        number: Its number in the pool, from 0.
        words: Its distinct words in lower case.
        item: The sentence as it was read.
        judgement: What the model finds in it.
    """

    score: float
    number: int
    words: frozenset[str]
    item: Item
    judgement: Judgement


def score_of(judgement: Judgement, strategy: Strategy, *, seed: int, number: int) -> float:
    """The score of a sentence by a strategy.

    Args:
        judgement: What the model finds in it.
        strategy: What counts: a quantity of `Doubt`, or chance.
        seed: Random seed of the strategy `random`.
        number: Number of the sentence in the pool.
    """
    if strategy == "random":
        digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64
    doubt = judgement.doubt
    return {"path": doubt.path, "entropy": doubt.entropy, "spans": doubt.spans}[strategy]


def best_candidates(candidates: Iterable[Candidate[Item]], count: int) -> list[Candidate[Item]]:
    """The candidates with the highest scores, best first, as many as `chosen` looks at for `count`."""
    kept = max(CANDIDATES * count, FEWEST_CANDIDATES)
    return heapq.nlargest(kept, candidates, key=lambda each: (each.score, -each.number))


def chosen(
    candidates: Sequence[Candidate[Item]], count: int, *, spread: bool = True
) -> Iterator[Candidate[Item]]:
    """The candidates to annotate, in the order in which they should be.

    Args:
        candidates: Candidates, best first.
        count: Number of candidates wanted.
        spread: Whether similar sentences are avoided; otherwise the best are taken as they come.
    """
    if not spread:
        yield from candidates[:count]
        return
    scores = np.array([each.score for each in candidates])
    similar = _Similarities([each.words for each in candidates])
    left = np.ones(len(candidates), bool)
    for _ in range(min(count, len(candidates))):
        left &= similar.nearest < NEAR
        if not left.any():
            return
        best = int(np.argmax(np.where(left, scores * (1.0 - similar.nearest), -1.0)))
        yield candidates[best]
        left[best] = False
        similar.take(best)


class _Similarities:
    """For each of N sets of words the largest similarity to the sets that were taken, in [0, 1].

    The similarity of two sets is the share of common words in all words of both (Jaccard).
    """

    def __init__(self, sets: Sequence[frozenset[str]]) -> None:
        self._sets = sets
        self._sizes = np.array([len(each) for each in sets])
        places: dict[str, list[int]] = defaultdict(list)
        for number, words in enumerate(sets):
            for word in words:
                places[word].append(number)
        self._places = {word: np.array(numbers) for word, numbers in places.items()}
        self.nearest = np.zeros(len(sets))  # [N]

    def take(self, number: int) -> None:
        """Take the set of this number."""
        common = np.zeros(len(self._sets))
        for word in self._sets[number]:
            common[self._places[word]] += 1.0
        union = self._sizes + len(self._sets[number]) - common
        self.nearest = np.maximum(self.nearest, common / np.maximum(union, 1.0))
