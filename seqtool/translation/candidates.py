"""The outputs that a search finds for a source, and choosing among them.

They are compared with each other (minimum Bayes risk), or a language model of the target language says
which of them it would expect to read (n-best rescoring).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import length_divisor
from seqtool.errors import UsageError
from seqtool.translation.search import SearchOptions


@dataclass(frozen=True)
class Translation:
    """A translation of a source.

    Attributes:
        text: The translation.
        hypothesis: What the search has found; with a language model, its score is that of both models.
        lm_log_probability: Log probability of the text as a line by the language model, its end included,
            nats; None = none was asked.
    """

    text: str
    hypothesis: Hypothesis
    lm_log_probability: float | None = None

    @property
    def score(self) -> float:
        """Log probability, nats, divided by the length penalty; what `seqtool translate --scores` prints."""
        return self.hypothesis.score


class LineScorer(Protocol):
    """A model that says how probable a line of text is, such as a `LanguageModel`."""

    place: str

    def log_probabilities(self, lines: Sequence[str]) -> list[float]:
        """Log probability of each line by itself, its end included, nats."""


@dataclass(frozen=True)
class Rescoring:
    """A language model of the target language, which reorders the outputs of a beam.

    An output ranks by (log p + weight * log p_lm) / length penalty, less the coverage penalty, where p_lm is
    the probability of its text as a line. So the symbols of the two models need not be the same.

    Args:
        lm: The language model, as from `seqtool.load`.
        weight: Weight of its log probabilities, at least 0; 0 = it is not asked.
        reason: Why it has this weight, in one line, if it was chosen on dev.

    Raises:
        UsageError: a model of another task, or a weight that is negative or not finite.

    Reference: Gülçehre et al. 2015, section 4.1, whose sum is taken here over whole outputs.
    """

    lm: LineScorer
    weight: float
    reason: str = ""

    def __post_init__(self) -> None:
        if not hasattr(self.lm, "log_probabilities"):
            name = getattr(self.lm, "place", self.lm)
            raise UsageError(
                f"{name} is no language model; give one that `seqtool train lm` has made, "
                'as in Rescoring(seqtool.load("runs/lm/mine"), 0.3)'
            )
        if not 0 <= self.weight < math.inf:
            raise UsageError(f"weight {self.weight} of the language model: must be a number of 0 or more")

    def widened(self, options: SearchOptions) -> SearchOptions:
        """The search that gives all outputs of the beam, so that there is something to choose from.

        Raises:
            UsageError: there is no beam.
        """
        if options.draws:
            raise UsageError(
                "a language model reorders the outputs of a beam, and has no effect on sampling; leave it out"
            )
        if options.beam < 2:
            raise UsageError(
                "a language model reorders the outputs of a beam, and the beam is 1; use a larger one, such "
                "as --beam 5"
            )
        return replace(options, nbest=options.beam) if self.weight else options

    def ranked(
        self, found: Sequence[Sequence[Translation]], options: SearchOptions
    ) -> list[list[Translation]]:
        """The best outputs of each source by both models.

        Args:
            found: Outputs of the widened search.
            options: The search that was asked for, with the number of outputs to return.
        """
        if not self.weight:
            return [list(each) for each in found]
        return ranked(read_by(self.lm, found), self.weight, options)

    def describe(self) -> str:
        """Short description for reports."""
        return f"reordered by {self.lm.place}, weight {self.weight:g}"


def most_like_others(samples: list[Translation]) -> list[Translation]:
    """The sample with the highest mean chrF against the others (minimum Bayes risk; Eikema and Aziz 2020)."""
    from seqtool.evaluation.text_scores import minimum_bayes_risk  # imports sacrebleu, only where it is used

    return [samples[minimum_bayes_risk([each.text for each in samples])]]


def read_by(lm: LineScorer, found: Sequence[Sequence[Translation]]) -> list[list[Translation]]:
    """The outputs with their log probabilities by a language model, which reads each text once."""
    texts = list(dict.fromkeys(each.text for several in found for each in several))
    # A line end inside an output is written as a space.
    known = dict(zip(texts, lm.log_probabilities([text.replace("\n", " ") for text in texts]), strict=True))
    return [[replace(each, lm_log_probability=known[each.text]) for each in several] for several in found]


def ranked(
    found: Sequence[Sequence[Translation]], weight: float, options: SearchOptions
) -> list[list[Translation]]:
    """The best outputs of each source: finished ones first, then by the score of both models.

    Args:
        found: Outputs of each source, as from `read_by`.
        weight: Weight of the language model.
        options: Options with the length penalty and the number of outputs to return.
    """
    scored = [[_scored(each, weight, options) for each in several] for several in found]
    return [
        sorted(several, key=lambda each: (not each.hypothesis.finished, -each.score))[: options.nbest]
        for several in scored
    ]


def _scored(translation: Translation, weight: float, options: SearchOptions) -> Translation:
    """An output whose score is that of both models."""
    if not weight:
        return translation
    assert translation.lm_log_probability is not None
    hypothesis = translation.hypothesis
    # The length that the search divided by: the end symbol counts.
    length = max(len(hypothesis.tokens) + hypothesis.finished, 1)
    divisor = float(length_divisor(options.beam_penalty, length, options.length_penalty))
    score = hypothesis.score + weight * translation.lm_log_probability / divisor
    return replace(translation, hypothesis=replace(hypothesis, score=score))
