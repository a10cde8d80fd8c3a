"""Subword regularisation: random segmentations of a line, word by word, from a table of scored pieces.

SentencePiece can sample segmentations itself, but seeds its generator differently in every process, so that
a run could be neither repeated nor resumed. Here the result depends only on the line and the seed.

unigram: Kudo 2018, section 3.2, exactly, over all segmentations. bpe: BPE-dropout, Provilkov et al. 2020,
as implemented in the library: a pair that has been skipped once is never merged later.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, Protocol

SPACE = "\u2581"  # the library's symbol for a space
REMEMBERED = 1 << 17  # size of the cache: words (unigram), or words with their skipped merges (bpe)
UNKNOWN_PENALTY = 10.0  # nats by which a character without a piece is below the least likely piece


class Draw(Protocol):
    """Draws a random segmentation of a word."""

    def __call__(self, word: str, uniform: Callable[[], float]) -> Sequence[str]:
        """Pieces that spell the word; `uniform` returns random numbers in [0, 1)."""
        ...


class WordSplitter:
    """Splits normalised text where no piece can cross: before spaces, and around whole symbols.

    Args:
        pieces: All pieces of the vocabulary.
        whole: The pieces that are neither split nor joined with others.
    """

    def __init__(self, pieces: Iterable[str], whole: Iterable[str]) -> None:
        crossing = any(SPACE in piece[1:] for piece in pieces)
        longest_first = sorted(whole, key=len, reverse=True)
        self._whole = frozenset(longest_first)
        words = [".+"] if crossing else [f"{SPACE}[^{SPACE}]*", f"[^{SPACE}]+"]
        symbols = "|".join(map(re.escape, longest_first))
        self._symbols = re.compile(f"({symbols})") if symbols else None
        self._words = re.compile("|".join(words), re.DOTALL)

    def __call__(self, text: str) -> list[str]:
        """The words of a text, each with the space before it."""
        parts = self._symbols.split(text) if self._symbols else [text]
        return [
            word for part in parts for word in ((part,) if part in self._whole else self._words.findall(part))
        ]


class SegmentationSampler:
    """Draws random segmentations of a text from a table of scored pieces.

    Args:
        scores: Score of each piece that may be split or joined.
        whole: Pieces that are neither split nor joined with others.
        model_type: Meaning of the scores: log-probabilities (unigram) or ranks of merges (bpe).
    """

    def __init__(
        self, scores: Mapping[str, float], whole: Iterable[str], model_type: Literal["unigram", "bpe"]
    ) -> None:
        self._scores, self._whole = scores, frozenset(whole)
        self._split = WordSplitter([*scores, *self._whole], self._whole)
        self._make: type[LatticeSampling | MergeDropout] = (
            LatticeSampling if model_type == "unigram" else MergeDropout
        )
        self._draws: dict[float, Draw] = {}

    def __call__(self, text: str, alpha: float, seed: int) -> list[str]:
        """Pieces that spell a text; a character without a piece is returned by itself.

        Args:
            text: Normalised text, with `SPACE` for spaces.
            alpha: Exponent of the probability (unigram), or probability of skipping a merge (bpe), in (0, 1].
            seed: Random seed; the same seed gives the same pieces.
        """
        draw = self._draws.get(alpha)
        if draw is None:
            draw = self._draws[alpha] = self._make(self._scores, alpha)
        uniform = random.Random(seed).random
        words = self._split(text)
        return [
            piece for word in words for piece in ((word,) if word in self._whole else draw(word, uniform))
        ]


class MergeDropout:
    """BPE in which each merge is skipped with a given probability.

    The skipped merges determine the result, and mostly there are none. So the pieces are cached by the
    numbers of the skipped merges, and only the gaps between skipped merges are drawn.

    Args:
        scores: Score of each piece; pieces with higher scores are merged first.
        probability: Probability of skipping a merge, in (0, 1].
    """

    def __init__(self, scores: Mapping[str, float], probability: float) -> None:
        self._probability = probability
        self._merged = lru_cache(REMEMBERED)(lambda word, skipped: merge(word, scores, frozenset(skipped)))

    def __call__(self, word: str, uniform: Callable[[], float]) -> Sequence[str]:
        """As in `Draw`."""
        if self._probability == 1 or len(word) < 2:
            return word
        scale = 1 / math.log1p(-self._probability)
        skipped: tuple[int, ...] = ()
        reached = 0
        while True:
            pieces, tried = self._merged(word, skipped)
            reached += int(math.log1p(-uniform()) * scale)  # geometric: merges made before the next skip
            if reached >= tried:
                return pieces
            skipped = (*skipped, reached)
            reached += 1


def merge(word: str, scores: Mapping[str, float], skipped: frozenset[int]) -> tuple[tuple[str, ...], int]:
    """The pieces of a word after merging pairs, best first, and the number of merges that were attempted.

    Args:
        word: The word, at least one character.
        scores: Score of each piece that a merge may produce.
        skipped: Numbers of the attempted merges, from 0, that are not carried out.
    """
    parts: list[str] = list(word)
    following = [*range(1, len(word)), -1]
    before = list(range(-1, len(word) - 1))
    queue: list[tuple[float, int, int, str]] = []

    def offer(left: int, right: int) -> None:
        joined = parts[left] + parts[right] if min(left, right) >= 0 else ""
        if joined in scores:
            heapq.heappush(queue, (-scores[joined], left, right, joined))

    for place in range(len(word) - 1):
        offer(place, place + 1)
    tried = 0
    while queue:
        _, left, right, joined = heapq.heappop(queue)
        if following[left] != right or parts[left] + parts[right] != joined:
            continue  # one of the two has been merged with another piece since
        tried += 1
        if tried - 1 in skipped:
            continue
        parts[left], parts[right] = joined, ""
        following[left] = following[right]
        following[right] = -2  # no longer a piece
        if following[left] >= 0:
            before[following[left]] = left
        offer(before[left], left)
        offer(left, following[left])
    return tuple(part for part in parts if part), tried


class LatticeSampling:
    """Samples unigram segmentations in proportion to a power of their probabilities.

    Args:
        scores: Log-probability of each piece, nats.
        power: Exponent of the probabilities, above 0.
    """

    def __init__(self, scores: Mapping[str, float], power: float) -> None:
        unknown = min(scores.values(), default=0.0) - UNKNOWN_PENALTY
        longest = max(map(len, scores), default=1)
        self._lattice = lru_cache(REMEMBERED)(lambda word: lattice(word, scores, power, unknown, longest))

    def __call__(self, word: str, uniform: Callable[[], float]) -> Sequence[str]:
        """As in `Draw`, by forward filtering and backward sampling: the last piece is drawn first."""
        edges = self._lattice(word)
        pieces: list[str] = []
        end = len(word)
        while end:
            starts, cumulative = edges[end - 1]
            begin = starts[-1]
            if len(starts) > 1:
                drawn = uniform()
                begin = next((s for s, share in zip(starts, cumulative, strict=True) if drawn < share), begin)
            pieces.append(word[begin:end])
            end = begin
        pieces.reverse()
        return pieces


def lattice(
    word: str, scores: Mapping[str, float], power: float, unknown: float, longest: int
) -> list[tuple[list[int], list[float]]]:
    """For each end of a piece (1 to the word's length), the possible starts and cumulative probabilities.

    Args:
        word: The word, at least one character.
        scores: Log-probability of each piece, nats.
        power: Exponent of the probabilities, above 0.
        unknown: Log-probability of a character that is not a piece, nats.
        longest: Number of characters in the longest piece.
    """
    total = [0.0]  # at each position, the log of the summed weight of all segmentations before it
    edges: list[tuple[list[int], list[float]]] = []
    for end in range(1, len(word) + 1):
        starts = [s for s in range(max(0, end - longest), end) if word[s:end] in scores]
        if end - 1 not in starts:
            starts.append(end - 1)
        weights = [total[s] + power * scores.get(word[s:end], unknown) for s in starts]
        top = max(weights)
        shares = [math.exp(weight - top) for weight in weights]
        norm = sum(shares)
        running = 0.0
        edges.append((starts, [(running := running + share) / norm for share in shares]))
        total.append(top + math.log(norm))
    return edges
