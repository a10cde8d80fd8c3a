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

    No name of a feature is put together; each kind of feature has a table of its own.

    Args:
        lexicon: The features that have ids.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        own, around = _by_kind(lexicon.own), _by_kind(lexicon.around)
        self._whole = [own[kind].get for kind in ("word", "lower", "shape", "outline")]
        self._prefix, self._suffix = own["prefix"].get, own["suffix"].get
        self._around = [around[kind].get for kind in ("lower", "shape", "suffix")]

    def __call__(self, form: str) -> tuple[list[int], list[int]]:
        """The ids of a form's features for its own tag, and for the tags around it, without unknown ones."""
        form = clipped(form)
        lower, outer = form.lower(), shape(form)
        word_of, lower_of, shape_of, outline_of = self._whole
        prefix_of, suffix_of = self._prefix, self._suffix
        own = [word_of(form), lower_of(lower), shape_of(outer), outline_of(outline(form))]
        # Where a prefix is unknown, all longer ones are, since each occurs at most as often.
        for length in range(1, min(AFFIXES, len(lower) - 1) + 1):
            if (number := prefix_of(lower[:length])) is None:
                break
            own.append(number)
        for length in range(1, min(AFFIXES, len(lower) - 1) + 1):
            if (number := suffix_of(lower[-length:])) is None:
                break
            own.append(number)
        lower_around, shape_around, suffix_around = self._around
        around = [lower_around(lower), shape_around(outer)]
        if len(lower) > ENDING:
            around.append(suffix_around(lower[-ENDING:]))
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


def _counted(forms: Mapping[str, int], features: Callable[[str], list[str]]) -> Vocabulary:
    counts: Counter[str] = Counter()
    for form, count in forms.items():
        for name in features(form):
            counts[name] += count
    return Vocabulary.build(counts, reserved=(PADDING,), min_count=LEAST)
