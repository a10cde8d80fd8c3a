"""Lexical features of a word form: its spelling, shape, prefixes and suffixes, each by a readable name.

A tag depends on all features of its own word, but on few of its neighbours: weights for all of theirs are so
many that they fit a small training part by heart.
"""

from __future__ import annotations

from collections import Counter
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


def _counted(forms: Mapping[str, int], features: Callable[[str], list[str]]) -> Vocabulary:
    counts: Counter[str] = Counter()
    for form, count in forms.items():
        for name in features(form):
            counts[name] += count
    return Vocabulary.build(counts, reserved=(PADDING,), min_count=LEAST)
