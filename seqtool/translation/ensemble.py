"""Several translators as one: the mean of their probabilities, symbol by symbol."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy

from seqtool.errors import ModelError
from seqtool.translation.batches import EncodedPair
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.scoring import ScoredPair


class TranslatorEnsemble(TranslatorModel):
    """Translators with the same vocabularies, whose probabilities are averaged at every step.

    Args:
        translators: The translators, at least one; search options and name are those of the first. An
            ensemble among them stands for its members.

    Raises:
        ModelError: their vocabularies or tags differ.
    """

    def __init__(self, translators: Sequence[TranslatorModel]) -> None:
        first = translators[0]
        require_one_vocabulary(first, translators[1:])
        for other in translators[1:]:
            if other.tags != first.tags:
                raise ModelError(
                    f"{other.place} and {first.place} have different tags; an ensemble needs models that "
                    "read the same lines"
                )
        super().__init__(
            first.network,
            first.vocabularies,
            first.description,
            device=first.device,
            precision=first.precision,
            place=first.place,
        )
        self._members = [member for translator in translators for member in translator.members]

    @property
    def members(self) -> Sequence[TranslatorModel]:
        """The single translators that it consists of."""
        return self._members

    def forget(self) -> None:
        """Drop the tables of all members."""
        for member in self.members:
            member.forget()

    def _scored(self, pairs: Sequence[EncodedPair], batch_tokens: int) -> list[ScoredPair]:
        each = [member._scored(pairs, batch_tokens) for member in self.members]
        return [_mean(found) for found in zip(*each, strict=True)]


def _mean(found: Sequence[ScoredPair]) -> ScoredPair:
    """What an ensemble computes for a pair: the mean of all probabilities, and of the attention."""
    log_probabilities = numpy.array([each.log_probabilities for each in found])  # [members, T]
    writing = [each.writing for each in found if each.writing is not None]
    return found[0]._replace(
        log_probabilities=(numpy.logaddexp.reduce(log_probabilities) - numpy.log(len(found))).tolist(),
        attention=numpy.mean([each.attention for each in found], axis=0),
        writing=[fmean(column) for column in zip(*writing, strict=True)] if writing else None,
    )


def require_one_vocabulary(first: TranslatorModel, others: Sequence[TranslatorModel]) -> None:
    """Refuse other models that cannot be averaged with the first, or cannot teach it.

    Raises:
        ModelError: one has other vocabularies.
    """
    for other in others:
        if other.vocabularies.to_files() != first.vocabularies.to_files():
            raise ModelError(
                f"{other.place} and {first.place} have different vocabularies; "
                "an ensemble needs models of one"
            )
