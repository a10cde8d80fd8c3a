"""Choosing the weight of a language model on the development part of a translator's run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from seqtool.evaluation.score import Score
from seqtool.evaluation.text_scores import bleu_informs, text_scores
from seqtool.text.parallel import SentencePair
from seqtool.translation.candidates import LineScorer, Rescoring, ranked, read_by
from seqtool.translation.prediction import BATCH_TOKENS, TranslatorModel
from seqtool.translation.search import SearchOptions
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import selecting_metric

GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


class WeightChoice(NamedTuple):
    """The weight that was chosen, and how good each of `GRID` is on the development part."""

    weight: float
    scores: tuple[Score, ...]  # one for each weight of the grid

    def describe(self) -> str:
        """The weight, and what it gains, in one line."""
        without, best = self.scores[0], self.scores[GRID.index(self.weight)]
        digits = 2 if best.unit == "points" else 4
        if not self.weight:
            tried = ", ".join(f"{weight:g}" for weight in GRID[1:])
            return (
                f"weight 0: {best.name} on dev is {best.value:.{digits}f} without the language model, and no "
                f"higher with a weight of {tried}; --lm-weight 0 skips this choice"
            )
        return (
            f"weight {self.weight:g} of the language model: {best.name} on dev is {best.value:.{digits}f}, "
            f"{without.value:.{digits}f} without it; --lm-weight {self.weight:g} skips this choice"
        )


def choose_weight(
    model: TranslatorModel,
    lm: LineScorer,
    pairs: Sequence[SentencePair],
    settings: TranslatorSettings,
    options: SearchOptions,
    *,
    batch_tokens: int = BATCH_TOKENS,
) -> WeightChoice:
    """Choose the weight of a language model from `GRID`: the best on dev, of equally good ones the smallest.

    The development part is translated once; its outputs are reordered with each weight.

    Args:
        model: The translator.
        lm: The language model.
        pairs: The development part.
        settings: Settings of the translator's run, whose `training.select` says what is best.
        options: Options of the search.
        batch_tokens: As for `TranslatorModel.search`.

    Raises:
        UsageError: there is no beam to choose from.
    """
    wide = Rescoring(lm, GRID[-1]).widened(options)
    found = read_by(lm, model.search(pairs, wide, batch_tokens=batch_tokens))
    metric, references = deciding_metric(settings, pairs), [pair.references for pair in pairs]

    def score(weight: float) -> Score:
        best = ranked(found, weight, options)
        texts = [several[0].text if several else "" for several in best]
        return text_scores(texts, references, (metric,))[metric]

    scores = tuple(map(score, GRID))
    best = max(range(len(GRID)), key=lambda place: scores[place].value)
    return WeightChoice(GRID[best], scores)


def deciding_metric(settings: TranslatorSettings, pairs: Sequence[SentencePair]) -> str:
    """The metric by which the run chose its checkpoint; where that was the loss, the one that counts first.

    Args:
        settings: Settings of the run.
        pairs: The development part.
    """
    select = selecting_metric(settings.training.select, pairs)
    if select != "loss":
        return select
    sentences = settings.data.target_symbols == "text" and bleu_informs([pair.references for pair in pairs])
    return "bleu" if sentences else "exact_match"
