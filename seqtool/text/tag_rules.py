"""The rules of the span schemes for single tags and pairs of neighbouring tags, used by `tag_scheme`.

All rules are stated in the letters of IOBES; BILOU and BMES only spell some of these differently. In `io` a
tag is the bare type of its token (`PER`), and neighbours of the same type are one span.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Scheme = Literal["iob1", "iob2", "iobes", "bilou", "bmes", "io"]
SchemeChoice = Literal["auto", "iob1", "iob2", "iobes", "bilou", "bmes", "io"]

SCHEMES: tuple[Scheme, ...] = ("iob2", "iob1", "iobes", "bilou", "bmes", "io")

# The prefixes of each scheme, in the order in which `inventory` lists them.
PREFIXES: dict[Scheme, str] = {
    "iob1": "BI",
    "iob2": "BI",
    "iobes": "BIES",
    "bilou": "BILU",
    "bmes": "BMES",
    "io": "I",  # implied, not written
}
WITHOUT_ENDS: tuple[Scheme, ...] = ("iob1", "iob2", "io")  # nothing marks the last token of a span

TO_IOBES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I"}

_NEARLY = re.compile(r"([BIESLUM])[_:/. ]+(\S+)", re.IGNORECASE)  # a prefix and a type without a hyphen
_LOWER = re.compile(r"([biesm])-(\S+)")

_SPELLED: dict[Scheme, dict[str, str]] = {"bilou": {"E": "L", "S": "U"}, "bmes": {"I": "M"}}


class Tag(NamedTuple):
    """The parts of a complete tag; `letter` is O or one of BIES, whatever the scheme."""

    letter: str
    type: str


OUTSIDE = Tag("O", "")


@lru_cache(maxsize=4096)  # a corpus has few different tags and many of each
def parse(tag: str, scheme: Scheme | None = None) -> Tag | None:
    """The parts of a complete tag, split at the first hyphen; None if the tag belongs to no scheme.

    Args:
        tag: The tag.
        scheme: Scheme of the tag; None = any scheme but `io`. In `io` a tag is `O`, a bare `I` (the empty
            type) or a bare type; prefixes with a type belong to the other schemes.
    """
    if tag == "O":
        return OUTSIDE
    letter, hyphen, kind = tag.partition("-")
    if letter in TO_IOBES and bool(hyphen) == bool(kind):
        return None if scheme == "io" and tag != "I" else Tag(TO_IOBES[letter], kind)
    return Tag("I", tag) if scheme == "io" and tag else None


def spelling_problem(tag: str, scheme: Scheme | None) -> str | None:
    """Why a tag is not a complete tag of a scheme (None = of any scheme); None if it is one."""
    parsed = parse(tag, scheme)
    if parsed is None and scheme == "io":
        return f"{tag!r} is not a tag of io; expected O or a type as in PER"
    if parsed is None:
        meant = _meant(tag)
        hint = f"; did you mean {meant!r}?" if meant else ""
        return f"{tag!r} is not a tag of a span; expected O, or a prefix and a type as in B-PER{hint}"
    if scheme and scheme != "io" and parsed != OUTSIDE and tag[0] not in PREFIXES[scheme]:
        return f"{tag!r} is not a tag of {scheme}; expected O or one of the prefixes {PREFIXES[scheme]}"
    return None


def _meant(tag: str) -> str:
    """The valid tag that a tag outside all schemes is a misspelling of; empty if there is none."""
    if tag in ("o", "0"):
        return "O"
    found = _NEARLY.fullmatch(tag) or _LOWER.fullmatch(tag)
    return f"{found[1].upper()}-{found[2]}" if found else ""


def spell(tag: Tag, scheme: Scheme) -> str:
    """The tag as it is written in a scheme; with an empty type, only the prefix."""
    if tag == OUTSIDE:
        return "O"
    if scheme == "io":
        return tag.type or "I"
    letter = _SPELLED.get(scheme, {}).get(tag.letter, tag.letter)
    return f"{letter}-{tag.type}" if tag.type else letter


def letters(length: int, scheme: Scheme, touching: bool) -> str:
    """The prefixes of one span, in the letters of IOBES (`spell` turns them into those of the scheme).

    Args:
        length: Number of tokens in the span, at least 1.
        scheme: The scheme.
        touching: Whether a span of the same type ends right before it, which matters only in IOB1.
    """
    if scheme == "iob1":
        return ("B" if touching else "I") + "I" * (length - 1)
    if scheme == "iob2":
        return "B" + "I" * (length - 1)
    if scheme == "io":
        return "I" * length
    return "S" if length == 1 else "B" + "I" * (length - 2) + "E"


def starts(previous: Tag, current: Tag) -> bool:
    """True if `current` begins a span, by the rule of conlleval, which is correct in every scheme."""
    if current == OUTSIDE:
        return False
    return current.letter in "BS" or previous.letter in "OES" or previous.type != current.type


def may_follow(previous: Tag | None, current: Tag | None, scheme: Scheme) -> bool:
    """True if `current` may stand after `previous`; None is the edge of the sentence."""
    before, after = previous or OUTSIDE, current or OUTSIDE
    continues = before.letter in "BI" and after.letter != "O" and before.type == after.type
    if scheme == "io":
        return True
    if scheme == "iob1":
        return continues or after.letter != "B"
    if scheme == "iob2":
        return continues or after.letter != "I"
    if before.letter in "BI":  # an open span must continue
        return continues and after.letter in "IE"
    return after.letter in "OBS"


# The strict reading of a sequence that may be invalid, as in seqeval's strict mode. A span
# runs from a token that `strict_start` accepts over all that are `strict_inside`, and
# counts if `strict_end` holds where it stops.


def strict_start(previous: Tag, current: Tag, scheme: Scheme) -> bool:
    """True if a span begins at `current`, given that no span is open there."""
    if scheme not in ("iob1", "io"):
        return current.letter in "BS"
    same = previous.letter in "BI" and previous.type == current.type
    if current.letter == "B":  # valid only to separate two neighbouring spans of the same type
        return same
    return current.letter == "I" and not (same and previous.letter == "I")


def strict_inside(previous: Tag, current: Tag) -> bool:
    """True if a span continues from `previous` to `current`."""
    return previous.letter in "BI" and current.letter in "IE" and previous.type == current.type


def strict_end(last: Tag, following: Tag, scheme: Scheme) -> bool:
    """True if a span may end between `last` and `following`."""
    if scheme not in WITHOUT_ENDS:
        return last.letter in "ES"
    if scheme == "iob1" and last.letter == "B" and following.letter == "B":
        return last.type == following.type  # a B after another type is not valid in IOB1
    return True
