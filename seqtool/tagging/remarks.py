"""Warnings about the data of a tagger, given before it is trained or evaluated."""

from __future__ import annotations

import math
from collections.abc import Collection

from seqtool.errors import counted
from seqtool.tagging.data import Part, TaggingData, unseen_tags
from seqtool.text import tag_scheme
from seqtool.text.tag_scheme import Scheme

FEW = 200  # entities (tokens without spans) of dev; with fewer its interval is shown as a warning
TYPICAL = {True: 0.8, False: 0.9}  # the F1 (with spans) or accuracy (without) of the interval shown
NORMAL_95 = 1.96  # standard deviations of a normal distribution on each side of a 95 % interval


def remarks_on(data: TaggingData, tags: Collection[str]) -> tuple[str, ...]:
    """Warnings about the training and the development part, one line each.

    Args:
        data: The two parts, with tags in the scheme of the model.
        tags: The output tags of the model.
    """
    found = [
        unseen_remark(
            data.parts["dev"],
            data,
            tags,
            "dev has tags that do not occur in training; each counts as an error",
        )
    ]
    if data.scheme is not None and not entity_count(data.parts["train"], data.scheme):
        found.append(
            f"{data.parts['train'].source}: the training part has no entity, so the model will find none; "
            "check --tag-column"
        )
    found += [_small_dev(data), _partial_dev(data)]
    return tuple(line for line in found if line)


def unseen_remark(part: Part, data: TaggingData, tags: Collection[str], what: str) -> str | None:
    """A line that lists the tags of a part that the model does not have, with counts; None if it has all.

    Args:
        part: The part, with tags in the scheme of the model.
        data: The data set that the part belongs to.
        tags: The output tags of the model.
        what: Beginning of the line.
    """
    unseen = unseen_tags(part, tags, data)
    if not unseen:
        return None
    listed = ", ".join(f"{tag} ({count})" for tag, count in sorted(unseen.items()))
    return f"{what}: {listed}"


def entity_count(part: Part, scheme: Scheme) -> int:
    """Number of entities in the sentences without partial annotation."""
    rows = [sentence.tags or () for sentence in part.sentences]
    whole = [tags for tags in rows if not any(map(tag_scheme.is_partial, tags))]
    return sum(len(tag_scheme.spans(tags, scheme)) for tags in whole)


def _small_dev(data: TaggingData) -> str | None:
    """A warning that shows how imprecise a score on a small development part is; None if it is large."""
    part, spans = data.parts["dev"], data.scheme is not None
    count = entity_count(part, data.scheme) if data.scheme else sum(len(s.tokens) for s in part.sentences)
    if not 0 < count < FEW:
        no_entity = "dev has no entity, so F1 is always 0; name another with --dev FILE"
        return no_entity if spans and not count else None
    value = TYPICAL[spans]
    low, high = wilson_interval(value, count)
    unit, name = ("entities", "F1") if spans else ("tokens", "accuracy")
    units = unit if count > 1 else {"entities": "entity", "tokens": "token"}[unit]
    return (
        f"dev has only {count} {units}: an {name} of {value:.2f} on it means {low:.2f} to {high:.2f} "
        "(95 % interval); give a larger one with --dev FILE"
    )


def _partial_dev(data: TaggingData) -> str | None:
    """A line that says how many tokens of dev an accuracy counts; None if it counts all of them."""
    tags = [tag for sentence in data.parts["dev"].sentences for tag in sentence.tags or ()]
    left_out = sum(map(tag_scheme.is_partial, tags)) if data.partial else 0
    if not left_out:
        return None
    return (
        f"dev: accuracy counts {len(tags) - left_out:,} of {counted(len(tags), 'token')}; the others have a "
        "partial annotation (? or A|B)"
    )


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion (Wilson 1927).

    Args:
        share: Observed proportion, in [0, 1].
        count: Number of observations, at least 1.

    >>> [round(edge, 2) for edge in wilson_interval(0.8, 20)]
    [0.58, 0.92]
    """
    square = NORMAL_95**2 / count
    centre = (share + square / 2) / (1 + square)
    half = NORMAL_95 / (1 + square) * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)
