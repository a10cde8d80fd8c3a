"""The shape of a word form, and the part of a long one that models read."""

from __future__ import annotations

import functools
import re

LONGEST = 32  # characters of a form that the model reads: the first and the last 16 of a longer one
# Runs of three or more equal characters, and of two or more; the classes are named, since that is faster.
_RUN = re.compile(r"x{3,}|X{3,}|d{3,}|c{3,}|([^xXdc\n])\1{2,}")
_REPEATED = re.compile(r"x{2,}|X{2,}|d{2,}|c{2,}|([^xXdc\n])\1+")
_SPECIAL_STARTS = ("h", "w", "@")
_SPECIAL = ((re.compile(r"https?://|www\."), "<url>"), (re.compile(r"@\w"), "<mention>"))


@functools.lru_cache(maxsize=1024)  # several features of a form ask for its shape in turn
def shape(form: str) -> str:
    """The shape of a word: X for upper case, x for lower case, d for digits, c for other letters.

    Other characters stay as they are, and runs of equal characters are shortened to two.

    >>> shape("McDonald's"), shape("2026-11-21"), shape("#NYC"), shape("@ada")
    ("XxXxx'x", 'dd-dd-dd', '#XX', '<mention>')
    """
    if form[:1] in _SPECIAL_STARTS:
        for pattern, name in _SPECIAL:
            if pattern.match(form):
                return name
    return _RUN.sub(lambda run: run[0][:2], form[:LONGEST].translate(_CLASSES))


class _Classes(dict[int, str]):
    """The class of each character by its code point, for `str.translate`; found when first asked for."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character.isupper():
            found = "X"
        elif character.islower():
            found = "x"
        elif character.isdigit():
            found = "d"
        else:
            found = "c" if character.isalpha() else character
        self[code] = found
        return found


_CLASSES = _Classes()


def outline(form: str) -> str:
    """The shape of a word with each run of equal characters shortened to one.

    >>> outline("McDonald's"), outline("2026-11-21")
    ("XxXx'x", 'd-d-d')
    """
    return _REPEATED.sub(lambda run: run[0][:1], shape(form))


def clipped(form: str) -> str:
    """The form, or the two ends of one that is longer than `LONGEST` characters."""
    half = LONGEST // 2
    return form if len(form) <= LONGEST else form[:half] + form[-half:]
