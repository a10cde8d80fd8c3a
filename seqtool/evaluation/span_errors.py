"""Kinds of span errors: every gold span and every predicted span has exactly one kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, get_args

Kind = Literal["correct", "type", "boundary", "both", "missed", "spurious"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Interval = tuple[int, int, str]  # start, end (exclusive), type


class SpanMatch(NamedTuple):
    """A gold span and the predicted span that it is paired with, or a single span without a partner."""

    kind: Kind
    gold: Interval | None
    predicted: Interval | None


def match_spans(gold: Sequence[Interval], predicted: Sequence[Interval]) -> list[SpanMatch]:
    """Pair the gold and predicted spans of one sentence, and find the kind of error of each pair.

    Pairs are formed in rounds, each among the spans that remain: same boundaries and same type (`correct`);
    same boundaries, other type (`type`); overlapping, same type (`boundary`); overlapping, other type
    (`both`). Within a round, the pair that shares the most tokens comes first, then the leftmost. A span
    without a partner is `missed` (gold) or `spurious` (predicted).

    So correct + type + boundary + both + missed is the number of gold spans, and with spurious instead of
    missed it is the number of predicted spans. A gold span that is predicted in two halves counts as one
    boundary error and one spurious span.

    Args:
        gold: Gold spans of the sentence, which do not overlap each other.
        predicted: Predicted spans of the sentence, which do not overlap each other.

    Returns:
        All pairs and single spans, from left to right.
    """
    free_gold, free_predicted = list(gold), list(predicted)
    matches: list[SpanMatch] = []
    for kind in ("correct", "type", "boundary", "both"):
        pairs = [(g, p) for g in free_gold for p in free_predicted if _kind(g, p) == kind]
        for g, p in sorted(pairs, key=lambda pair: (-_overlap(*pair), pair)):
            if g in free_gold and p in free_predicted:
                free_gold.remove(g)
                free_predicted.remove(p)
                matches.append(SpanMatch(kind, g, p))
    matches += [SpanMatch("missed", g, None) for g in free_gold]
    matches += [SpanMatch("spurious", None, p) for p in free_predicted]
    return sorted(matches, key=lambda match: match.gold or match.predicted or (0, 0, ""))


def count_kinds(matches: Iterable[SpanMatch]) -> dict[Kind, int]:
    """Number of matches of each kind, with 0 for the kinds that do not occur."""
    counts = dict.fromkeys(KINDS, 0)
    for match in matches:
        counts[match.kind] += 1
    return counts


def _overlap(first: Interval, second: Interval) -> int:
    """Number of tokens that both spans cover; 0 or less if none."""
    return min(first[1], second[1]) - max(first[0], second[0])


def _kind(gold: Interval, predicted: Interval) -> Kind | None:
    """The kind of a pair of spans that share a token; None if they share none."""
    if _overlap(gold, predicted) <= 0:
        return None
    same_place, same_type = gold[:2] == predicted[:2], gold[2] == predicted[2]
    if same_type:
        return "correct" if same_place else "boundary"
    return "type" if same_place else "both"
