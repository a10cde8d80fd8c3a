"""Pairs that are made up: the letters that source and target share are replaced by random ones.

    kaufen, kauft   to   qeibwen, qeibwt

Few pairs teach what is done to words; these teach that it is done whatever their letters are.

Reference: Anastasopoulos and Neubig 2019, "Pushing the limits of low-resource morphological inflection",
section 3.2; pairs are drawn anew for every batch here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

import numpy

from seqtool.text.parallel import SentencePair
from seqtool.translation.corpora import Tags

LEAST = 3  # letters in a row that source and target share, from which on they are taken for a stem


class Hallucination:
    """Makes up pairs.

    Args:
        pairs: The training pairs, with their targets.
        least: Least length of what is replaced, at least 1.
        tags: Tags of the pairs; those with the same tag share their letters.
        rates: How often each pair is drawn, on average; None = all alike.

    Attributes:
        models: The pairs that share something long enough, with the places where it stands in both sides.
    """

    def __init__(
        self,
        pairs: Sequence[SentencePair],
        least: int = LEAST,
        *,
        tags: Tags | None = None,
        rates: Sequence[float] | None = None,
    ) -> None:
        self._tags = tags or Tags()
        stems = [shared_stems(pair.source, pair.target or "", least) for pair in pairs]
        usable = [number for number, found in enumerate(stems) if found]
        self.models = [(pairs[number], stems[number]) for number in usable]
        self._chances: Any = None  # of the models
        if rates is not None and usable:
            chosen = numpy.array([rates[number] for number in usable])
            self._chances = chosen / chosen.sum()
        letters = {
            (self._tags.of(pair), pair.source[a + n])
            for pair, stems in self.models
            for a, _, size in stems
            for n in range(size)
        }
        self._alike: dict[Any, list[str]] = defaultdict(list)  # letters by their tag and kind
        for tag, letter in sorted(letters, key=lambda each: each[1]):
            self._alike[tag, _kind(letter)].append(letter)

    def pairs(self, count: int, draw: numpy.random.Generator) -> list[SentencePair]:
        """So many pairs that are made up, each from one that is drawn; none if there are no models.

        Args:
            count: Number of pairs.
            draw: Where the random numbers come from.
        """
        if not self.models:
            return []
        if self._chances is None:
            numbers = draw.integers(len(self.models), size=count)
        else:
            numbers = draw.choice(len(self.models), size=count, p=self._chances)
        return [self._one(int(number), draw) for number in numbers]

    def _one(self, number: int, draw: numpy.random.Generator) -> SentencePair:
        pair, stems = self.models[number]
        source, target, tag = list(pair.source), list(pair.target or ""), self._tags.of(pair)
        for start, place, size in stems:
            for step in range(size):
                letter = source[start + step]
                alike = self._alike[tag, _kind(letter)]
                source[start + step] = target[place + step] = alike[int(draw.integers(len(alike)))]
        return replace(pair, source="".join(source), target="".join(target), others=())


def shared_stems(source: str, target: str, least: int = LEAST) -> list[tuple[int, int, int]]:
    """The longest parts that two texts share in the same order: start in each, and length.

    >>> shared_stems("kaufte", "gekauft")
    [(0, 2, 5)]
    """
    blocks = SequenceMatcher(None, source, target, autojunk=False).get_matching_blocks()
    return [(block.a, block.b, block.size) for block in blocks if block.size >= least]


def _kind(character: str) -> str:
    """What a character may be replaced by: letters by letters of the same case, others by nothing else."""
    if not character.isalpha():
        return character
    return "upper" if character.isupper() else "lower"
