"""The metrics of a tagger, computed from gold and predicted tags.

The main scores are those of seqeval's strict mode, in which a span counts only if its tags are
well-formed in the scheme; the scores by conlleval's lenient rules are reported beside them.

Partial gold tags (`?`, or alternatives joined by `|`): a token with a partial gold tag is left out
of all token metrics (accuracy, confusion), and a sentence with one is left out of all span
metrics, since its spans are not known. The report counts both. A sentence that is left out keeps a
row of zeros in the statistics, so that two systems stay aligned for paired tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from seqtool.evaluation.calibration import Calibration, calibration
from seqtool.evaluation.calibration import best_threshold as best_threshold
from seqtool.evaluation.score import Score, f1_score, precision_score, ratio_score, recall_score
from seqtool.evaluation.span_errors import Kind, SpanMatch, count_kinds, match_spans
from seqtool.text.tag_scheme import Scheme, Span, conlleval_spans, is_partial, spans

Tags = Sequence[str]
Entity = tuple[str, str]  # type, surface form: the tokens joined by spaces
LocatedSpan = tuple[int, Span]  # index of the sentence, span in it


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a group of spans or tokens, with their micro precision, recall and F1; 0/0 is 0.0."""

    correct: int
    predicted: int
    support: int  # number of gold spans or tokens

    @property
    def precision(self) -> float:
        """Share of the predicted spans or tokens that are correct, in [0, 1]."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold spans or tokens that were found, in [0, 1]."""
        return self.correct / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]."""
        both = self.predicted + self.support
        return 2 * self.correct / both if both else 0.0

    def as_dict(self) -> dict[str, float | int]:
        """Scores and counts, ready for JSON."""
        scores = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**scores, "support": self.support, "predicted": self.predicted, "correct": self.correct}


@dataclass(frozen=True, slots=True)
class Confusion:
    """Number of tokens with gold label i (row) and predicted label j (column).

    With a tag scheme the labels are entity types and O, otherwise the tags themselves.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TaggingReport:
    """All metrics of one tagger on one data set; what does not apply is None.

    `scores` holds the metrics that can be resampled: precision, recall, f1 (with a scheme) and
    accuracy. `seen` and `unseen` count the entities whose (type, surface form) did or did not occur
    in training. `errors` counts the kinds in `matches`, which has one tuple per sentence.
    `calibration` is that of predicted spans with a scheme, of tokens without. `gold` and `predicted`
    are the spans themselves, each with the index of its sentence.
    """

    scheme: Scheme | None
    sentences: int
    tokens: int
    sentences_left_out: int
    tokens_left_out: int
    scores: dict[str, Score]
    by_type: dict[str, Counts]
    confusion: Confusion
    conlleval: Counts | None = None
    seen: Counts | None = None
    unseen: Counts | None = None
    errors: dict[Kind, int] | None = None
    matches: tuple[tuple[SpanMatch, ...], ...] | None = field(default=None, repr=False)
    calibration: Calibration | None = None
    gold: frozenset[LocatedSpan] = field(default=frozenset(), repr=False)
    predicted: frozenset[LocatedSpan] = field(default=frozenset(), repr=False)

    @property
    def conlleval_differs(self) -> bool:
        """Whether conlleval's lenient rules give other counts than seqeval's strict mode."""
        if self.conlleval is None:
            return False
        correct, predicted, support = self.scores["f1"].statistics.sum(axis=0)
        return self.conlleval != Counts(int(correct), int(predicted), int(support))

    def as_dict(self) -> dict[str, Any]:
        """All but the scores, ready for JSON; metrics that do not apply are absent."""
        result: dict[str, Any] = {
            "by_type": {name: counts.as_dict() for name, counts in self.by_type.items()},
            "scheme": self.scheme,
            "sentences": self.sentences,
            "tokens": self.tokens,
            "sentences_left_out": self.sentences_left_out,
            "tokens_left_out": self.tokens_left_out,
            "confusion": {
                "labels": list(self.confusion.labels),
                "counts": [list(row) for row in self.confusion.counts],
            },
        }
        if self.conlleval is not None:
            result["conlleval"] = {**self.conlleval.as_dict(), "differs": self.conlleval_differs}
        if self.seen is not None and self.unseen is not None:
            result["entities"] = {"seen": self.seen.as_dict(), "unseen": self.unseen.as_dict()}
        if self.errors is not None:
            result["errors"] = dict(self.errors)
        if self.calibration is not None:
            result["calibration"] = asdict(self.calibration)
            result["calibration"]["bins"] = list(result["calibration"]["bins"])
        return result


def span_scores(gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme) -> dict[str, Score]:
    """Micro precision, recall and F1 of spans by seqeval's strict definition.

    Much faster than seqeval itself, so that every evaluation during training can use it.

    Args:
        gold: Gold tags of each sentence, in `scheme`.
        predicted: Predicted tags, as many for each sentence.
        scheme: Tag scheme of both.

    Returns:
        `precision`, `recall` and `f1`, in [0, 1], with statistics (correct, predicted, gold) per sentence.
    """
    counts = []
    for row, answer in zip(gold, predicted, strict=True):
        assert len(row) == len(answer), (len(row), len(answer))
        if any(map(is_partial, row)):
            counts.append((0, 0, 0))
            continue
        wanted, found = set(spans(row, scheme)), set(spans(answer, scheme))
        counts.append((len(wanted & found), len(found), len(wanted)))
    columns = np.asarray(counts, dtype=np.float64).reshape(-1, 3).T
    signature = f"seqeval {version('seqeval')} strict {scheme.upper()}"
    kinds = {"precision": precision_score, "recall": recall_score, "f1": f1_score}
    return {name: make(*columns, signature=signature) for name, make in kinds.items()}


def accuracy(gold: Sequence[Tags], predicted: Sequence[Tags], *, partial_gold: bool = True) -> Score:
    """Share of tokens whose tag is right; tokens with a partial gold tag are left out."""
    right, total = [], []
    for row, answer in zip(gold, predicted, strict=True):
        pairs = [(g, p) for g, p in zip(row, answer, strict=True) if not (partial_gold and is_partial(g))]
        right.append(sum(g == p for g, p in pairs))
        total.append(len(pairs))
    return ratio_score("accuracy", right, total, signature="tokens micro")


def report(
    gold: Sequence[Tags],
    predicted: Sequence[Tags],
    scheme: Scheme | None,
    *,
    tokens: Sequence[Sequence[str]] | None = None,
    training_entities: Collection[Entity] | None = None,
    confidences: Sequence[Sequence[float]] | None = None,
    partial_gold: bool = True,
) -> TaggingReport:
    """Compute all metrics of a tagger; the optional arguments add some.

    Args:
        gold: Tags of each sentence in `scheme`.
        predicted: Predicted tags, as many for each sentence.
        scheme: Tag scheme of both; None = tags without spans (parts of speech).
        tokens: Tokens of each sentence, needed to tell seen from unseen entities.
        training_entities: (type, surface form) of the entities seen in training; see `entities`.
        confidences: Confidence, in [0, 1], of each predicted span of each sentence, in the order of
            `spans(predicted)`; without a scheme, of each token.
        partial_gold: Whether `?` and `|` in gold tags mark partial annotation rather than being part of the
            tag.

    Returns:
        The report, whose precision, recall and F1 have been checked against seqeval itself.
    """
    base = _token_report(gold, predicted, scheme, partial_gold)
    if confidences is not None:
        values, right, _ = judge(gold, predicted, scheme, confidences, partial_gold=partial_gold)
        base = replace(base, calibration=calibration(values, right))
    if scheme is None:
        return base
    base = _with_spans(base, gold, predicted, scheme)
    if tokens is None or training_entities is None:
        return base
    known = {
        key for key in base.gold | base.predicted if _entity(tokens[key[0]], key[1]) in training_entities
    }
    return replace(
        base,
        seen=_compare(base.gold & known, base.predicted & known),
        unseen=_compare(base.gold - known, base.predicted - known),
    )


def entities(tokens: Sequence[Sequence[str]], tags: Sequence[Tags], scheme: Scheme) -> set[Entity]:
    """The (type, surface form) of every span, for `report`; sentences with partial tags are left out.

    Args:
        tokens: Tokens of each sentence.
        tags: Tags of each sentence, in `scheme`.
        scheme: Tag scheme.
    """
    return {
        _entity(words, span)
        for words, row in zip(tokens, tags, strict=True)
        if not any(map(is_partial, row))
        for span in spans(row, scheme)
    }


def judge(
    gold: Sequence[Tags],
    predicted: Sequence[Tags],
    scheme: Scheme | None,
    confidences: Sequence[Sequence[float]],
    *,
    partial_gold: bool = True,
) -> tuple[list[float], list[bool], int]:
    """The confidence and correctness of each prediction, and the number of gold spans.

    The results are the first arguments of `best_threshold`.

    Args:
        gold: Tags of each sentence.
        predicted: Predicted tags, as many for each sentence.
        scheme: Tag scheme of both; None = tags without spans.
        confidences: Confidences as for `report`.
        partial_gold: Whether gold tags may be partial annotation, as for `report`.

    Returns:
        The confidence of each predicted span (without a scheme, of each token), whether each is
        right, and the number of gold spans (tokens). Those with partial gold tags are left out.
    """
    values: list[float] = []
    right: list[bool] = []
    if scheme is None:
        for row, answer, given in zip(gold, predicted, confidences, strict=True):
            triples = zip(row, answer, given, strict=True)
            scored = [t for t in triples if not (partial_gold and is_partial(t[0]))]
            values += [value for _, _, value in scored]
            right += [g == p for g, p, _ in scored]
        return values, right, len(values)
    gold_count = 0
    for row, answer, given in zip(gold, predicted, confidences, strict=True):
        if not any(map(is_partial, row)):
            wanted = set(spans(row, scheme))
            gold_count += len(wanted)
            for span, value in zip(spans(answer, scheme), given, strict=True):
                values.append(value)
                right.append(span in wanted)
    return values, right, gold_count


def _token_report(
    gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme | None, partial_gold: bool
) -> TaggingReport:
    """The metrics of tokens alone; `by_type` counts each tag."""
    confusion = _confusion(gold, predicted, scheme, partial_gold)
    columns = [sum(column) for column in zip(*confusion.counts, strict=True)]
    by_tag = {
        label: Counts(row[i], columns[i], sum(row))
        for i, (label, row) in enumerate(zip(confusion.labels, confusion.counts, strict=True))
    }
    return TaggingReport(
        scheme=scheme,
        sentences=len(gold),
        tokens=sum(map(len, gold)),
        sentences_left_out=0,
        tokens_left_out=sum(partial_gold and is_partial(tag) for tags in gold for tag in tags),
        scores={"accuracy": accuracy(gold, predicted, partial_gold=partial_gold)},
        by_type=by_tag,
        confusion=confusion,
    )


def _with_spans(
    base: TaggingReport, gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme
) -> TaggingReport:
    """`base` with the metrics of spans, which replace those of single tags."""
    whole = [not any(map(is_partial, tags)) for tags in gold]
    gold = [tags if keep else () for tags, keep in zip(gold, whole, strict=True)]
    predicted = [tags if keep else () for tags, keep in zip(predicted, whole, strict=True)]
    scores = span_scores(gold, predicted, scheme)
    _check_against_seqeval(gold, predicted, scheme, scores)
    wanted, found = _located(gold, scheme), _located(predicted, scheme)
    types = sorted({span.type for _, span in wanted | found})
    matches = tuple(
        tuple(match_spans(spans(tags, scheme), spans(answer, scheme)))
        for tags, answer in zip(gold, predicted, strict=True)
    )
    return replace(
        base,
        sentences_left_out=whole.count(False),
        scores={**scores, **base.scores},
        by_type={name: _compare(_of_type(wanted, name), _of_type(found, name)) for name in types},
        conlleval=_compare(_located(gold, None), _located(predicted, None)),
        errors=count_kinds(match for row in matches for match in row),
        matches=matches,
        gold=wanted,
        predicted=found,
    )


def _check_against_seqeval(
    gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme, scores: dict[str, Score]
) -> None:
    """Assert that our scores equal those of seqeval, whose signature they carry."""
    # Imported here because it imports scikit-learn, which takes a second.
    from seqeval import scheme as schemes
    from seqeval.metrics.v1 import precision_recall_fscore_support

    if not any(gold):
        return
    figures = precision_recall_fscore_support(
        [list(tags) for tags in gold],
        [list(tags) for tags in predicted],
        average="micro",
        zero_division=0,  # 0/0 is 0.0, and no warning
        scheme=getattr(schemes, scheme.upper()),
    )
    for name, figure in zip(("precision", "recall", "f1"), figures, strict=False):
        assert abs(scores[name].value - figure) < 1e-9, (name, scores[name].value, figure)


def _confusion(
    gold: Sequence[Tags], predicted: Sequence[Tags], scheme: Scheme | None, partial_gold: bool
) -> Confusion:
    counts: Counter[tuple[str, str]] = Counter()
    for row, answer in zip(gold, predicted, strict=True):
        for tag, given in zip(row, answer, strict=True):
            if not (partial_gold and is_partial(tag)):
                counts[_label(tag, scheme), _label(given, scheme)] += 1
    names = {label for pair in counts for label in pair}
    # O comes last, since it is not an entity type.
    labels = sorted(names, key=lambda label: (scheme is not None and label == "O", label))
    return Confusion(tuple(labels), tuple(tuple(counts[row, column] for column in labels) for row in labels))


def _label(tag: str, scheme: Scheme | None) -> str:
    """The entity type of a tag: B-PER and I-PER are PER, a bare B is _ (as in seqeval)."""
    if scheme is None or tag == "O":
        return tag
    return tag.partition("-")[2] or "_"


def _located(rows: Sequence[Tags], scheme: Scheme | None) -> frozenset[LocatedSpan]:
    """All spans with the index of their sentence; without a scheme, by conlleval's rules."""
    find = conlleval_spans if scheme is None else partial(spans, scheme=scheme)
    return frozenset((i, span) for i, tags in enumerate(rows) for span in find(tags))


def _of_type(located: frozenset[LocatedSpan], name: str) -> frozenset[LocatedSpan]:
    return frozenset(key for key in located if key[1].type == name)


def _compare(gold: frozenset[LocatedSpan], predicted: frozenset[LocatedSpan]) -> Counts:
    return Counts(len(gold & predicted), len(predicted), len(gold))


def _entity(tokens: Sequence[str], span: Span) -> Entity:
    return span.type, " ".join(tokens[span.start : span.end])
