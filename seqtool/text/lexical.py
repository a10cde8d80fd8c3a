"""Lexical features of a word form: its spelling, shape, prefixes and suffixes, each by a readable name.

A tag depends on all features of its own word, but on few of its neighbours: weights for all of theirs are so
many that they fit a small training part by heart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from seqtool.text.shapes import clipped, outline, shape
from seqtool.text.vocabulary import PADDING, Vocabulary

AFFIXES = 5  # longest prefix and suffix, in characters
SLOTS = 4 + 2 * AFFIXES  # most features of a word for its own tag
SLOTS_AROUND = 3  # features of a word for the tags around it
LEAST = 2  # occurrences of a feature; one that was seen once could only learn that word by heart
ENDING = 3  # characters of the suffix that neighbours read


class Lexicon(NamedTuple):
    """The vocabularies of lexical features; id 0 of each is padding."""

    own: Vocabulary  # features for the tag of the word itself
    around: Vocabulary  # features for the tags of its neighbours

    @classmethod
    def build(cls, forms: Mapping[str, int]) -> Lexicon:
        """The features of the forms of a training part that occur at least `LEAST` times.

        Args:
            forms: How often each form occurs.
        """
        return cls(_counted(forms, own_features), _counted(forms, features_around))


class LexiconLookup:
    """Finds the features of forms in a lexicon: the ids of `own_features` and `features_around`, only faster.

    No name of a feature is put together. An affix occurs in the lexicon only if all shorter ones do, so the
    longest one that is known leads to the ids of all. Shapes are few: each is looked up once.

    Args:
        lexicon: The features that have ids.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        own, around = _by_kind(lexicon.own), _by_kind(lexicon.around)
        self._word, self._lower, self._lower_around = own["word"].get, own["lower"].get, around["lower"].get
        self._prefixes = _with_shorter(own["prefix"], lambda prefix: prefix[:-1]).get
        self._suffixes = _with_shorter(own["suffix"], lambda suffix: suffix[1:]).get
        self._ending = around["suffix"].get
        self._of_shape = own["shape"].get, own["outline"].get, around["shape"].get
        self._shapes: dict[str, tuple[list[int], list[int]]] = {}

    def __call__(self, form: str) -> tuple[list[int], list[int]]:
        """The ids of a form's features for its own tag, and for the tags around it, without unknown ones."""
        form = clipped(form)
        lower, outer = form.lower(), shape(form)
        of_shape = self._shapes.get(outer)
        if of_shape is None:
            of_shape = self._shapes[outer] = self._features_of_shape(form, outer)
        own: list[int] = []
        around: list[int] = []
        if number := self._word(form):
            own.append(number)
        if number := self._lower(lower):
            own.append(number)
        if number := self._lower_around(lower):
            around.append(number)
        own += of_shape[0]
        around += of_shape[1]
        longest = min(AFFIXES, len(lower) - 1)
        for length in range(longest, 0, -1):
            if ids := self._prefixes(lower[:length]):
                own += ids
                break
        for length in range(longest, 0, -1):
            if ids := self._suffixes(lower[-length:]):
                own += ids
                break
        if len(lower) > ENDING and (number := self._ending(lower[-ENDING:])):
            around.append(number)
        return own, around

    def _features_of_shape(self, form: str, outer: str) -> tuple[list[int], list[int]]:
        """Ids of the features that follow from a form's shape, for its own tag and for those around it."""
        shape_of, outline_of, around_of = self._of_shape
        own, around = [shape_of(outer), outline_of(outline(form))], [around_of(outer)]
        return list(filter(None, own)), list(filter(None, around))


def own_features(form: str) -> list[str]:
    """The features of a form for its own tag, at most `SLOTS`.

    Affixes are in lower case, since the shape says what is upper case.

    Args:
        form: A token as it is spelled, at least one character.

    >>> own_features("Ada")
    ['word=Ada', 'lower=ada', 'shape=Xxx', 'outline=Xx', 'prefix=a', 'prefix=ad', 'suffix=a', 'suffix=da']
    """
    form = clipped(form)
    lower = form.lower()
    found = [f"word={form}", f"lower={lower}", f"shape={shape(form)}", f"outline={outline(form)}"]
    lengths = range(1, min(AFFIXES, len(lower) - 1) + 1)
    found += ["prefix=" + lower[:length] for length in lengths]
    found += ["suffix=" + lower[-length:] for length in lengths]
    return found


def features_around(form: str) -> list[str]:
    """The features of a form for the tags of its neighbours, at most `SLOTS_AROUND`.

    >>> features_around("Running"), features_around("on")
    (['lower=running', 'shape=Xxx', 'suffix=ing'], ['lower=on', 'shape=xx'])
    """
    form = clipped(form)
    lower = form.lower()
    ending = [f"suffix={lower[-ENDING:]}"] if len(lower) > ENDING else []
    return [f"lower={lower}", f"shape={shape(form)}", *ending]


def _by_kind(vocabulary: Vocabulary) -> dict[str, dict[str, int]]:
    """The ids of features by kind and value; `suffix=ing` is `ing` among the suffixes. None has id 0."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for number, name in enumerate(vocabulary.symbols):
        kind, _, value = name.partition("=")
        found[kind][value] = number
    return found


def _with_shorter(ids: Mapping[str, int], shorter: Callable[[str], str]) -> dict[str, tuple[int, ...]]:
    """The ids of each affix and of all shorter ones, the shortest first."""
    found: dict[str, tuple[int, ...]] = {}
    for affix in sorted(ids, key=len):
        found[affix] = (*found.get(shorter(affix), ()), ids[affix])
    return found


def _counted(forms: Mapping[str, int], features: Callable[[str], list[str]]) -> Vocabulary:
    counts: Counter[str] = Counter()
    for form, count in forms.items():
        for name in features(form):
            counts[name] += count
    return Vocabulary.build(counts, reserved=(PADDING,), min_count=LEAST)
