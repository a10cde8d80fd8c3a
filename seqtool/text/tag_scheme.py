"""Schemes that write spans as one tag per token: IOB1, IOB2, IOBES, BILOU, BMES, bare types.

A tag is `O`, or a prefix and a type, as in `B-PER`. The type starts after the first hyphen and may contain
more hyphens; a bare prefix (`B`) has the empty type. The prefixes:

    scheme   first token                    inside   last   only token
    iob1     I, or B right after a span     I        I      as the first
             of the same type
    iob2     B                              I        I      B
    iobes    B                              I        E      S
    bilou    B                              I        L      U
    bmes     B                              M        E      S
    io       no prefix: every token has the bare type (`PER`), and neighbours of one type are one span

With partial annotation a tag may also be `?` (any tag) or alternatives such as `B-PER|B-ORG` (one of these).

Reference: Ramshaw and Marcus 1995 (IOB1); Tjong Kim Sang and Veenstra 1999 (IOB2);
Ratinov and Roth 2009 (BILOU).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from seqtool.errors import DataError
from seqtool.text.tag_rules import (
    OUTSIDE,
    PREFIXES,
    TO_IOBES,
    Tag,
    letters,
    may_follow,
    parse,
    spell,
    spelling_problem,
    starts,
    strict_end,
    strict_inside,
    strict_start,
)
from seqtool.text.tag_rules import SCHEMES as SCHEMES
from seqtool.text.tag_rules import Scheme as Scheme

UNKNOWN = "?"


class Span(NamedTuple):
    """A span from `start` to `end` (exclusive), in tokens or characters, and its type."""

    start: int
    end: int
    type: str


def looks_like_spans(tags: Iterable[str]) -> bool:
    """True if there are tags and each could belong to a span scheme; false for parts of speech."""
    found = False
    for tag in tags:
        found = True
        if not all(parse(part) for part in tag.split("|") if part != UNKNOWN):
            return False
    return found


def has_bare_types(counts: Counter[str]) -> bool:
    """True if tags look like the scheme `io`: no prefixes, and O more frequent than any other tag.

    Args:
        counts: Number of tokens with each tag; `?` is ignored.
    """
    others = [tag for tag in counts if tag not in ("O", UNKNOWN)]
    return (
        bool(others)
        and all(spelling_problem(part, "io") is None for tag in others for part in tag.split("|"))
        and all(counts["O"] > counts[tag] for tag in others)
    )


def detect_scheme(
    sequences: Iterable[Sequence[str]], where: Callable[[int, int], str] | None = None
) -> Scheme:
    """The first of `SCHEMES` in which every sequence is valid; IOB2 if all tags are O.

    Bare types are taken for the scheme `io` only if O is more frequent than any of them, since parts of
    speech look the same but are not spans.

    Args:
        sequences: Tags of each sentence; partial tags are allowed.
        where: Names a place for messages, such as `file:line`, given the sentence and the token, both
            counted from 0; None = messages name the sentence and the token.

    Raises:
        DataError: a tag belongs to no scheme, two schemes are mixed, or a sequence is invalid.
    """
    problems: dict[Scheme, tuple[int, int, str]] = {}
    counts: Counter[str] = Counter()
    foreign: tuple[int, int, str] | None = None  # the first tag that no scheme has, and that tag
    for sentence, tags in enumerate(sequences):
        if foreign is None and not looks_like_spans(new := set(tags) - counts.keys()) and new:
            position = next(i for i, tag in enumerate(tags) if not looks_like_spans([tag]))
            foreign = sentence, position, tags[position]
        counts.update(tags)
        for scheme in SCHEMES:
            if scheme not in problems and (problem := first_problem(tags, scheme)):
                problems[scheme] = (sentence, *problem)
    for scheme in SCHEMES:
        if scheme not in problems and (scheme != "io" or has_bare_types(counts)):
            return scheme
    # The scheme that was valid for longest is most likely the intended one.
    prefixed = [scheme for scheme in SCHEMES if scheme != "io"]
    closest = max(prefixed, key=lambda scheme: problems[scheme][:2])
    sentence, position, reason = problems[closest]
    fit = f"this is the first invalid tag in {closest}, the scheme that fits best of {', '.join(SCHEMES)}"
    remedy = f"--scheme {closest} --repair reads all of them as conlleval does"
    if not any(parse(tag) for tag in counts if tag != "O"):
        remedy = "--scheme io reads bare types, and `train pos` one tag per token without spans"
    elif foreign is not None:
        sentence, position, tag = foreign
        part = next(part for part in tag.split("|") if part != UNKNOWN and not parse(part))
        reason, fit = spelling_problem(part, None) or "", "no scheme has such a tag"
        remedy = "correct it in the file, since --repair mends only the order of valid tags"
    place = where(sentence, position) if where else f"sentence {sentence + 1}, token {position + 1}"
    raise DataError(f"{place}: {reason}; {fit}; {remedy}")


def closest_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """The scheme in which the fewest sequences are invalid; among equals, the first of `SCHEMES`."""
    invalid: dict[Scheme, int] = dict.fromkeys(SCHEMES, 0)
    for tags in sequences:
        for scheme in SCHEMES:
            invalid[scheme] += first_problem(tags, scheme) is not None
    return min(SCHEMES, key=lambda scheme: invalid[scheme])


def first_problem(tags: Sequence[str], scheme: Scheme) -> tuple[int, str] | None:
    """Position (from 0) of the first tag that is invalid there, and the reason; None if all are valid.

    A partial sequence is valid if some choice of complete tags is valid.
    """
    for position, tag in enumerate(tags):
        for part in tag.split("|"):
            if part != UNKNOWN and (reason := spelling_problem(part, scheme)):
                return position, reason
    types = _types(tags, scheme)
    reachable: set[Tag | None] = {None}
    for position, tag in enumerate(tags):
        choices = _choices(tag, types, scheme)
        follow = {c for c in choices if any(may_follow(p, c, scheme) for p in reachable)}
        if not follow:
            before = f"after {tags[position - 1]}" if position else "at the start"
            return position, f"{tag} {before} is not valid in {scheme}"
        reachable = set(follow)
    if not any(may_follow(previous, None, scheme) for previous in reachable):
        return len(tags) - 1, f"{tags[-1]} at the end is not valid in {scheme}"
    return None


def repair(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """A valid sequence with the spans that `conlleval_spans` finds, and the number of tags that changed.

    A partial sequence is returned unchanged, since unknown tags cannot be repaired.

    Raises:
        DataError: a tag belongs to no scheme.
    """
    if any(is_partial(tag) for tag in tags):
        return list(tags), 0
    repaired = from_spans(conlleval_spans(tags, scheme), len(tags), scheme)
    return repaired, sum(old != new for old, new in zip(tags, repaired, strict=True))


def spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans that are complete by the rules of `scheme`, in order.

    Anything else is not a span: an I without a B in IOB2, a B without an E in IOBES. This is the strict mode
    of seqeval.

    Raises:
        DataError: a tag does not belong to the scheme, or is partial.
    """
    parsed = [_parse_complete(tag, scheme) for tag in tags]
    result = []
    position = 0
    while position < len(parsed):
        previous = parsed[position - 1] if position else OUTSIDE
        if not strict_start(previous, parsed[position], scheme):
            position += 1
            continue
        end = position + 1
        while end < len(parsed) and strict_inside(parsed[end - 1], parsed[end]):
            end += 1
        following = parsed[end] if end < len(parsed) else OUTSIDE
        if strict_end(parsed[end - 1], following, scheme):
            result.append(Span(position, end, parsed[position].type))
        position = end
    return result


def conlleval_spans(tags: Sequence[str], scheme: Scheme | None = None) -> list[Span]:
    """The spans that conlleval, the script of the CoNLL shared tasks, finds in any scheme, in order.

    A span starts at B or S, after O, E or S, and where the type changes. L and U count as E and S, and M
    as I. The scheme matters only if it is `io`, whose tags are bare types.

    Raises:
        DataError: a tag belongs to no scheme, or is partial.

    >>> conlleval_spans(["I-PER", "I-PER", "I-LOC"])
    [Span(start=0, end=2, type='PER'), Span(start=2, end=3, type='LOC')]
    """
    result: list[Span] = []
    previous = OUTSIDE
    for position, tag in enumerate(tags):
        current = _parse_complete(tag, "io" if scheme == "io" else None)
        if starts(previous, current):
            result.append(Span(position, position + 1, current.type))
        elif current != OUTSIDE:
            result[-1] = result[-1]._replace(end=position + 1)
        previous = current
    return result


def from_spans(spans: Iterable[Span], length: int, scheme: Scheme) -> list[str]:
    """The tags of a sentence with the given spans.

    Args:
        spans: The spans, in tokens.
        length: Number of tokens in the sentence.
        scheme: Scheme of the tags.

    Raises:
        DataError: a span is empty, outside the sentence, or overlaps another.
    """
    tags = ["O"] * length
    previous = Span(0, 0, "")
    for span in sorted(spans):
        if not previous.end <= span.start < span.end <= length:
            raise DataError(
                f"span {span.start} to {span.end} ({span.type}) in a sentence of {length} tokens; "
                "expected spans that lie inside it and do not overlap"
            )
        touching = (span.start, span.type) == (previous.end, previous.type) and previous.end > 0
        for position, letter in enumerate(letters(span.end - span.start, scheme, touching), span.start):
            tags[position] = spell(Tag(letter, span.type), scheme)
        previous = span
    return tags


def convert(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """The same spans in another scheme.

    Raises:
        DataError: the sequence is not valid in `source`.

    >>> convert(["B-PER", "I-PER", "O"], "iob2", "bilou")
    ['B-PER', 'L-PER', 'O']
    """
    _require_valid(tags, source)
    return from_spans(spans(tags, source), len(tags), target)


def is_partial(tag: str) -> bool:
    """True for `?` and for alternatives such as `B-PER|B-ORG`."""
    return tag == UNKNOWN or "|" in tag


def convert_partial(tags: Sequence[str], source: Scheme, target: Scheme) -> list[str]:
    """Partial tags in another scheme: for each token, all tags that some complete reading would give it.

    `?` stays. A complete sequence gives the same result as `convert`.

    Raises:
        DataError: the sequence has no valid reading in `source`.

    >>> convert_partial(["B-PER", "?", "B-PER", "I-PER", "O"], "iob2", "iobes")
    ['B-PER|S-PER', '?', 'B-PER', 'E-PER', 'O']
    """
    _require_valid(tags, source)
    types = _types(tags, source)
    columns = [
        [(old, new) for old in _choices(tag, types, source) for new in _readings(old, target)] for tag in tags
    ]
    kept = _on_some_path(columns, source, target)
    if not all(kept):
        raise DataError(f"token {kept.index([]) + 1}: spans of one type touch, which {target} cannot write")
    result = []
    for tag, pairs in zip(tags, kept, strict=True):
        new_tags = [spell(new, target) for _, new in pairs]
        result.append(UNKNOWN if UNKNOWN in tag.split("|") else "|".join(dict.fromkeys(new_tags)))
    return result


def allowed_transitions(
    tags: Sequence[str], scheme: Scheme
) -> tuple[list[list[bool]], list[bool], list[bool]]:
    """Which tags may follow each other.

    Args:
        tags: The tags, K of them.
        scheme: Their scheme.

    Returns:
        Whether tag j (column) may follow tag i (row), [K][K]; whether each tag may come first, [K]; whether
        each may come last, [K].

    Raises:
        DataError: a tag does not belong to the scheme, or is partial.
    """
    parsed = [_parse_complete(tag, scheme) for tag in tags]
    pairs = [[may_follow(previous, current, scheme) for current in parsed] for previous in parsed]
    first = [may_follow(None, tag, scheme) for tag in parsed]
    last = [may_follow(tag, None, scheme) for tag in parsed]
    return pairs, first, last


def inventory(types: Iterable[str], scheme: Scheme) -> list[str]:
    """All tags of a scheme: O, then for each type, in sorted order, every prefix of the scheme.

    >>> inventory(["PER", "LOC"], "iob2")
    ['O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER']
    """
    tags = (Tag(TO_IOBES[letter], kind) for kind in sorted(set(types)) for letter in PREFIXES[scheme])
    return ["O", *(spell(tag, scheme) for tag in tags)]


def _parse_complete(tag: str, scheme: Scheme | None) -> Tag:
    if reason := spelling_problem(tag, scheme):
        raise DataError(reason)
    parsed = parse(tag, scheme)
    assert parsed is not None
    return parsed


def _types(tags: Sequence[str], scheme: Scheme) -> list[str]:
    parts = (parse(part, scheme) for tag in tags for part in tag.split("|") if part != UNKNOWN)
    return sorted({part.type for part in parts if part and part != OUTSIDE})


def _choices(tag: str, types: Sequence[str], scheme: Scheme) -> list[Tag]:
    """The complete tags that a possibly partial tag stands for.

    For `?` the types in the same sentence are enough: any other type allows its neighbours nothing that O
    does not allow.
    """
    parts = tag.split("|")
    if UNKNOWN in parts:
        parts = inventory(types, scheme)
    return list(dict.fromkeys(parsed for part in parts if (parsed := parse(part, scheme))))


def _readings(tag: Tag, target: Scheme) -> list[Tag]:
    """Every tag of the target scheme with the same type; the valid paths decide which of them remain."""
    if tag == OUTSIDE:
        return [OUTSIDE]
    return [Tag(TO_IOBES[letter], tag.type) for letter in PREFIXES[target]]


_Pair = tuple[Tag, Tag]  # a token's tag in the source scheme and in the target scheme


def _on_some_path(columns: list[list[_Pair]], source: Scheme, target: Scheme) -> list[list[_Pair]]:
    """The pairs at each token that lie on a path that is valid in both schemes, with equal span starts."""

    def fits(before: _Pair | None, after: _Pair | None) -> bool:
        old_before, new_before = before or (None, None)
        old_after, new_after = after or (None, None)
        return (
            may_follow(old_before, old_after, source)
            and may_follow(new_before, new_after, target)
            and starts(old_before or OUTSIDE, old_after or OUTSIDE)
            == starts(new_before or OUTSIDE, new_after or OUTSIDE)
        )

    forward: list[list[_Pair]] = []
    before: Sequence[_Pair | None] = [None]
    for column in columns:
        forward.append([pair for pair in column if any(fits(earlier, pair) for earlier in before)])
        before = forward[-1]
    kept: list[list[_Pair]] = []
    after: Sequence[_Pair | None] = [None]
    for column in reversed(forward):
        kept.append([pair for pair in column if any(fits(pair, later) for later in after)])
        after = kept[-1]
    return kept[::-1]


def _require_valid(tags: Sequence[str], scheme: Scheme) -> None:
    if problem := first_problem(tags, scheme):
        position, reason = problem
        raise DataError(f"token {position + 1}: {reason}")
