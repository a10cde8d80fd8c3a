"""Segmentations of a line drawn at random, word by word, from a table of pieces and their scores.

SentencePiece draws such segmentations itself, but salts its generator anew in every process, so a
run could be neither repeated nor resumed. What is drawn here depends on the line and the seed alone.

unigram: Kudo 2018, section 3.2, exactly, over all segmentations; bpe: BPE-dropout, Provilkov et al.
2020, as the library does it: a pair that is skipped once is skipped for good.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, Protocol

SPACE = "\u2581"  # how the library writes the space
REMEMBERED = 1 << 17  # words (unigram) or ways through a word (bpe) that are kept ready
UNKNOWN_PENALTY = 10.0  # of a character without a piece, below the least likely piece (as the library)


class Draw(Protocol):
    """Gives the pieces of a word, drawn at random."""

    def __call__(self, word: str, uniform: Callable[[], float]) -> Sequence[str]:
        """Pieces that spell the word; `uniform` gives numbers from 0 to 1, 1 excluded."""
        ...


class WordSplitter:
    """Cuts normalised text where no piece reaches across: before spaces, and around whole symbols.

    Args:
        pieces: All of the vocabulary.
        whole: Those that are never split nor joined.
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
        """The words of a text, spaces in front."""
        parts = self._symbols.split(text) if self._symbols else [text]
        return [
            word for part in parts for word in ((part,) if part in self._whole else self._words.findall(part))
        ]


class SegmentationSampler:
    """Draws segmentations of text by a table of pieces.

    Args:
        scores: Of the pieces that may be split or joined.
        whole: Pieces that are never.
        model_type: What the scores are: ranks of merges, or log-probabilities.
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
        """Pieces that spell a text; characters without a piece stand alone.

        Args:
            text: Normalised, with `SPACE` for spaces.
            alpha: Power of the probability (unigram), probability of skipping a merge (bpe).
            seed: The same seed draws the same pieces.
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
    """BPE where each merge is skipped with some probability.

    Which merges were skipped decides the rest, and mostly none is: the pieces are kept by the
    numbers of the skipped merges, and only the gaps between those are drawn.

    Args:
        scores: Of each piece; higher ones are merged first.
        probability: Of skipping, above 0, at most 1.
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
    """The pieces of a word by merging pairs, best first, and how many merges were tried.

    Args:
        word: At least one character.
        scores: Of the pieces that a merge may make.
        skipped: Numbers of the tries, from 0, that are not carried out.
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
            continue  # one of the two has been merged with another
        tried += 1
        if tried - 1 in skipped:
            continue
        parts[left], parts[right] = joined, ""
        following[left] = following[right]
        following[right] = -2  # gone
        if following[left] >= 0:
            before[following[left]] = left
        offer(before[left], left)
        offer(left, following[left])
    return tuple(part for part in parts if part), tried


class LatticeSampling:
    """Unigram segmentations, each as likely as its probability to some power (normalised).

    Args:
        scores: Log-probability of each piece.
        power: Above 0.
    """

    def __init__(self, scores: Mapping[str, float], power: float) -> None:
        unknown = min(scores.values(), default=0.0) - UNKNOWN_PENALTY
        longest = max(map(len, scores), default=1)
        self._lattice = lru_cache(REMEMBERED)(lambda word: lattice(word, scores, power, unknown, longest))

    def __call__(self, word: str, uniform: Callable[[], float]) -> Sequence[str]:
        """As in `Draw`: the last piece first, each given what follows it (forward filtering)."""
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
    """For each end of a piece, 1 to the word's length: where it may begin, and cumulative probabilities.

    Args:
        word: At least one character.
        scores: Log-probability of each piece.
        power: Of the probability.
        unknown: Log-probability of a character that is no piece.
        longest: Characters of the longest piece.
    """
    total = [0.0]  # log of the sum over all segmentations of what is before
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
