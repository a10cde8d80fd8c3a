"""Several corpora in one training part: how often their pairs are drawn, and the tags of their sources.

An epoch has as many pairs as all corpora together. A corpus has a share of it that is proportional to its
weight times its size, in whole pairs. Its pairs come in random order, and none comes again before all have
come, also from one epoch to the next. If all weights are equal, each pair comes once in every epoch.

A tag is a symbol before the source: the first feature of a pair (Johnson et al. 2017, "Google's multilingual
neural machine translation system", section 3; for back-translated text Caswell et al. 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy

from seqtool.errors import DataError, UsageError, nearest
from seqtool.text.parallel import FEATURES, SentencePair

OF_CORPORA = 1  # last number of the seeds here, which keeps them apart from those of batches


@dataclass(frozen=True)
class Corpus:
    """One of several corpora, whose pairs stand together in the training part.

    Attributes:
        source: Its files, for messages.
        size: Number of its pairs.
        weight: How often one of its pairs is drawn, compared with those of others.
        tag: Symbol before its sources; None = there is none.
    """

    source: str
    size: int
    weight: float = 1.0
    tag: str | None = None


def quotas(corpora: Sequence[Corpus]) -> list[int]:
    """Number of pairs of each corpus in an epoch, all together as many as there are.

    They are rounded by the method of the largest remainder.

    >>> quotas([Corpus("a", 30), Corpus("b", 10, weight=3.0)])
    [20, 20]
    """
    drawn = [Fraction(corpus.weight) * corpus.size for corpus in corpora]
    total = sum(corpus.size for corpus in corpora)
    exact = [each * total / sum(drawn) for each in drawn] if total else drawn
    result = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: result[place] - exact[place])
    for place in by_remainder[: total - sum(result)]:
        result[place] += 1
    return result


def drawn_pairs(corpora: Sequence[Corpus], *, seed: int, epoch: int) -> list[int]:
    """Indices of the pairs of an epoch, ascending; those that come several times are repeated.

    It is a pure function of its arguments, so that a run can be resumed in any epoch.

    Args:
        corpora: The corpora, whose pairs are numbered in this order.
        seed: The run's random seed.
        epoch: Number of the epoch, from 0.
    """
    result: list[int] = []
    first = 0
    for number, (corpus, count) in enumerate(zip(corpora, quotas(corpora), strict=True)):
        chosen = _part_of_rounds(corpus.size, epoch * count, count, [seed, number])
        result += [first + place for place in chosen]
        first += corpus.size
    return result


def _part_of_rounds(size: int, start: int, count: int, seeds: Sequence[int]) -> list[int]:
    """Numbers below `size`, ascending: `count` of an endless row of permutations, from `start` on."""
    if count == size:  # a whole permutation
        return list(range(size))
    result: list[int] = []
    while len(result) < count:
        turn, begin = divmod(start + len(result), size)
        order = numpy.random.default_rng([*seeds, turn, OF_CORPORA]).permutation(size)
        result += order[begin : begin + count - len(result)].tolist()
    return sorted(result)


def describe_corpora(corpora: Sequence[Corpus]) -> list[str]:
    """A line for each corpus: its size, weight, share of an epoch, and tag."""
    total = max(sum(corpus.size for corpus in corpora), 1)
    return [
        f"corpus {corpus.source}: {corpus.size:,} of {total:,} pairs, weight {corpus.weight:g}, "
        f"{count / total:.1%} of an epoch, {'no tag' if corpus.tag is None else f'tag {corpus.tag}'}"
        for corpus, count in zip(corpora, quotas(corpora), strict=True)
    ]


@dataclass(frozen=True)
class Tags:
    """The tags that a model knows.

    Attributes:
        names: The tags.
        needed: Whether every source needs one, because all had one in training.
    """

    names: tuple[str, ...] = ()
    needed: bool = False

    def of(self, pair: SentencePair) -> str | None:
        """The tag of a pair, which is its first feature; None = it has none."""
        first = pair.features[0] if pair.features else None
        return first if first in self.names else None

    def put(self, pair: SentencePair, tag: str | None) -> SentencePair:
        """The pair with a tag; None = it stays as it is.

        Raises:
            DataError: it has another tag already.
        """
        own = self.of(pair)
        if tag is None or own == tag:
            return pair
        if own is not None:
            raise DataError(
                f"{pair.place}: its features begin with the tag {own!r}, and the tag {tag!r} is to be put "
                "before them; leave out one of them"
            )
        return replace(pair, features=(tag, *pair.features))

    def without(self, pair: SentencePair) -> SentencePair:
        """The pair without its tag."""
        return pair if self.of(pair) is None else replace(pair, features=pair.features[1:])

    def require_known(self, tag: str | None) -> None:
        """Refuse a tag that the model does not know.

        Raises:
            UsageError: the model has other tags, or none.
        """
        if tag is None or tag in self.names:
            return
        if not self.names:
            raise UsageError(f"--tag {tag}: this model has no tags; leave it out")
        hint = nearest(tag, self.names)
        raise UsageError(f"--tag {tag}: this model has the tags {', '.join(self.names)}{hint}")

    def require(self, pairs: Iterable[SentencePair], remedy: str) -> None:
        """Refuse pairs without a tag, if the model needs one; those without a source need none.

        Args:
            pairs: The pairs.
            remedy: How to name the tag.

        Raises:
            DataError: a pair has no tag.
        """
        for pair in pairs:
            if self.needed and pair.source.strip() and self.of(pair) is None:
                raise DataError(
                    f"{pair.place}: no tag, and this model needs one ({', '.join(self.names)}); {remedy}"
                )


def columns_of_lines(columns: Sequence[str], tags: Tags) -> list[str]:
    """What the columns of a file or line are, in which a tag can be written: one of them holds features.

    Args:
        columns: Columns of the training files.
        tags: Tags of the model.
    """
    return [*columns, FEATURES] if tags.names and FEATURES not in columns else list(columns)
