"""The rules of the span schemes, one tag or two neighbours at a time; `tagscheme` builds on them.

Rules are stated once, with the letters of IOBES; BILOU only spells two of them differently.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

Scheme = Literal["iob1", "iob2", "iobes", "bilou"]

SCHEMES: tuple[Scheme, ...] = ("iob2", "iob1", "iobes", "bilou")

# The prefixes of a scheme in the order in which an inventory lists them.
PREFIXES: dict[Scheme, str] = {"iob1": "BI", "iob2": "BI", "iobes": "BIES", "bilou": "BILU"}

TO_IOBES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}

_TO_BILOU = {"B": "B", "I": "I", "E": "L", "S": "U"}


class Tag(NamedTuple):
    """A complete tag taken apart; `letter` is O or one of BIES, whatever the scheme."""

    letter: str
    type: str


OUTSIDE = Tag("O", "")


@lru_cache(maxsize=4096)  # a corpus has few different tags and many of each
def parse(tag: str) -> Tag | None:
    """The parts of a complete tag, split at the first hyphen; None if it is of no scheme."""
    if tag == "O":
        return OUTSIDE
    letter, hyphen, kind = tag.partition("-")
    if letter not in TO_IOBES or bool(hyphen) != bool(kind):
        return None
    return Tag(TO_IOBES[letter], kind)


def spelling_problem(tag: str, scheme: Scheme | None) -> str | None:
    """Why `tag` is not a complete tag of `scheme` (None: of any scheme); None if it is."""
    parsed = parse(tag)
    if parsed is None:
        return f"{tag!r} is not a tag of a span; expected O, or a prefix and a type as in B-PER"
    if scheme and parsed != OUTSIDE and tag[0] not in PREFIXES[scheme]:
        return f"{tag!r} is not a tag of {scheme}; expected O or one of the prefixes {PREFIXES[scheme]}"
    return None


def join(letter: str, kind: str) -> str:
    """Prefix and type as one tag; an empty type leaves the bare prefix."""
    return f"{letter}-{kind}" if kind else letter


def spell(tag: Tag, scheme: Scheme) -> str:
    """The tag as `scheme` writes it."""
    if tag == OUTSIDE:
        return "O"
    return join(_TO_BILOU[tag.letter] if scheme == "bilou" else tag.letter, tag.type)


def letters(length: int, scheme: Scheme, touching: bool) -> str:
    """The prefixes of one span of `length` tokens, in the letters of `scheme`.

    `touching`: the token before ends a span of the same type, which matters in IOB1.
    """
    if scheme == "iob1":
        return ("B" if touching else "I") + "I" * (length - 1)
    if scheme == "iob2":
        return "B" + "I" * (length - 1)
    last, only = ("E", "S") if scheme == "iobes" else ("L", "U")
    return only if length == 1 else "B" + "I" * (length - 2) + last


def starts(previous: Tag, current: Tag) -> bool:
    """True if `current` begins a span: the rule of the CoNLL script, right in every scheme."""
    if current == OUTSIDE:
        return False
    return current.letter in "BS" or previous.letter in "OES" or previous.type != current.type


def may_follow(previous: Tag | None, current: Tag | None, scheme: Scheme) -> bool:
    """True if `current` may stand after `previous`; None is the edge of the sentence."""
    before, after = previous or OUTSIDE, current or OUTSIDE
    continues = before.letter in "BI" and after.letter != "O" and before.type == after.type
    if scheme == "iob1":
        return continues or after.letter != "B"
    if scheme == "iob2":
        return continues or after.letter != "I"
    if before.letter in "BI":  # an open span must go on
        return continues and after.letter in "IE"
    return after.letter in "OBS"


# The strict reading of a sequence that may be invalid, as in seqeval's strict mode. A span
# runs from a token that `strict_start` accepts over all that are `strict_inside`, and
# counts if `strict_end` holds where it stops.


def strict_start(previous: Tag, current: Tag, scheme: Scheme) -> bool:
    """True if a span begins at `current`, asked where none is under way."""
    if scheme != "iob1":
        return current.letter in "BS"
    same = previous.letter in "BI" and previous.type == current.type
    if current.letter == "B":  # only to part two neighbours of the same type
        return same
    return current.letter == "I" and not (same and previous.letter == "I")


def strict_inside(previous: Tag, current: Tag) -> bool:
    """True if the span goes on from `previous` to `current`."""
    return previous.letter in "BI" and current.letter in "IE" and previous.type == current.type


def strict_end(last: Tag, following: Tag, scheme: Scheme) -> bool:
    """True if a span may stop between `last` and `following`."""
    if scheme in ("iobes", "bilou"):
        return last.letter in "ES"
    if scheme == "iob1" and last.letter == "B" and following.letter == "B":
        return last.type == following.type  # a B after another type is not valid in IOB1
    return True
