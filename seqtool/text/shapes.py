"""The shape of a word form, and the part of a long one that models read."""

from __future__ import annotations

import re

LONGEST = 32  # characters of a form that the model reads: the first and the last 16 of a longer one
_RUN = re.compile(r"(.)\1{2,}")
_SPECIAL = ((re.compile(r"https?://|www\."), "<url>"), (re.compile(r"@\w"), "<mention>"))


def shape(form: str) -> str:
    """The shape of a word: X for upper case, x for lower case, d for digits, c for other letters.

    Other characters stay as they are, and runs of equal characters are shortened to two.

    >>> shape("McDonald's"), shape("2026-11-21"), shape("#NYC"), shape("@ada")
    ("XxXxx'x", 'dd-dd-dd', '#XX', '<mention>')
    """
    for pattern, name in _SPECIAL:
        if pattern.match(form):
            return name
    return _RUN.sub(r"\1\1", "".join(map(_character_class, form[:LONGEST])))


def _character_class(character: str) -> str:
    if character.isupper():
        return "X"
    if character.islower():
        return "x"
    if character.isdigit():
        return "d"
    return "c" if character.isalpha() else character


def outline(form: str) -> str:
    """The shape of a word with each run of equal characters shortened to one.

    >>> outline("McDonald's"), outline("2026-11-21")
    ("XxXx'x", 'd-d-d')
    """
    return re.sub(r"(.)\1+", r"\1", shape(form))


def clipped(form: str) -> str:
    """The form, or the two ends of one that is longer than `LONGEST` characters."""
    half = LONGEST // 2
    return form if len(form) <= LONGEST else form[:half] + form[-half:]
