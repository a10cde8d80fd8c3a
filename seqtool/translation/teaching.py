"""Learning from other translators: word-level and sequence-level distillation (Kim and Rush 2016).

A teacher may be several models, whose probabilities are averaged as in a search. A student has the
vocabularies of its teacher, so that distributions can be compared symbol by symbol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtool.errors import SettingsError, counted
from seqtool.models.ensemble import load_members
from seqtool.models.tensors import weights_digest
from seqtool.text.parallel import SentencePair
from seqtool.translation.batches import Batch
from seqtool.translation.data import TranslationData
from seqtool.translation.ensemble import TranslatorEnsemble, require_one_vocabulary
from seqtool.translation.network import ForwardPass, Network
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.vocabulary import copies_of


class Teacher:
    """Translators that know the language pair.

    Args:
        models: The translators, at least one.

    Raises:
        ModelError: they have different vocabularies.
    """

    def __init__(self, models: Sequence[TranslatorModel]) -> None:
        self.model = TranslatorEnsemble(models)
        for member in self.model.members:
            member.network.eval()

    @classmethod
    def of(cls, settings: TranslatorSettings, device: torch.device) -> Teacher | None:
        """The teachers that the settings name; None if they name none.

        Raises:
            SettingsError: a teacher copies and the student does not, or the reverse; or a setting of the
                vocabulary differs from the teacher's.
            UsageError, ModelError: as for `TranslatorModel.load`, or their vocabularies differ.
        """
        names = settings.training.teachers
        if not names:
            return None
        load = partial(load_members, TranslatorModel, device=str(device), precision="fp32")
        models = [TranslatorEnsemble(load([Path(name)])) for name in names]
        for name, model in zip(names, models, strict=True):
            if copies_of(model.description.model) != copies_of(settings.model):
                raise SettingsError(
                    f"{name}: a teacher and its student both copy, or neither does; set model.copy, or name "
                    "another teacher"
                )
        _require_its_vocabulary(settings, models[0], names[0])
        return cls(models)

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the weights, by what they are of."""
        return {f"teacher {n}": weights_digest(each.network) for n, each in enumerate(self.model.members, 1)}

    def translated(self, pairs: Sequence[SentencePair]) -> list[SentencePair]:
        """The sources with the teacher's own translations, without empty ones and those that are in `pairs`.

        The most probable outputs stand for the distribution over all outputs (section 3.2).
        """
        found = self.model.search(pairs)
        known = {(pair.source, pair.features, pair.target) for pair in pairs}
        made = [
            replace(pair, target=translations[0].text, others=())
            for pair, translations in zip(pairs, found, strict=True)
            if translations and translations[0].text
        ]
        return [pair for pair in made if (pair.source, pair.features, pair.target) not in known]

    @torch.no_grad()
    def log_probabilities(self, batch: Batch) -> Tensor:
        """Log probability of each symbol at each target position, nats, [N, V + extra]; N positions.

        Args:
            batch: A batch with targets, of which the teacher reads the symbols before each position.
        """
        found = []
        for model in self.model.members:
            forward = model.network.forward_pass(batch)
            found.append(_distribution(model.network, forward, batch))
        return torch.stack(found).logsumexp(0) - math.log(len(found))

    def cross_entropy(
        self, student: Network[Any, Any], forward: ForwardPass[Any, Any], batch: Batch
    ) -> Tensor:
        """Summed cross-entropy of the student's distributions with the teacher's, nats (section 3.1).

        Args:
            student: The network that learns.
            forward: Its pass over the batch.
            batch: A batch with targets.
        """
        # both [N, V + extra]
        taught, learned = self.log_probabilities(batch), _distribution(student, forward, batch)
        # A symbol that is impossible for the teacher adds nothing, whatever the student thinks of it.
        return -(taught.exp() * learned.masked_fill(taught == -torch.inf, 0.0)).sum()


def _require_its_vocabulary(settings: TranslatorSettings, teacher: TranslatorModel, name: str) -> None:
    """Refuse settings of the vocabulary that differ from those of the teacher, whose vocabulary is used."""
    own, theirs = settings.vocabulary, teacher.description.vocabulary
    for field in sorted(own.model_fields_set - {"sampling"}):
        given, used = getattr(own, field), getattr(theirs, field)
        if given != used:
            raise SettingsError(
                f"vocabulary.{field} = {given!r}: a student has its teacher's vocabulary, and {name} has "
                f"{used!r}; leave it out"
            )


def _distribution(network: Network[Any, Any], forward: ForwardPass[Any, Any], batch: Batch) -> Tensor:
    extra = max(int(batch.symbols.max()) + 1 - network.symbols, 0)
    return network.log_probabilities(forward.readout, forward.source, extra)[batch.target_mask]


def with_lessons(
    data: TranslationData, teacher: Teacher | None, model: TranslatorModel, settings: TranslatorSettings
) -> TranslationData:
    """The data, with the teacher's translations of the training part if these are learned as well.

    Args:
        data: The data of the run.
        teacher: Its teacher; None = there is none.
        model: The model that learns, which may be one that is fine-tuned.
        settings: The run's settings.

    Raises:
        ModelError: the model has other vocabularies than the teacher.
        DataError: the teacher needs a tag before each source, and there is none.
    """
    if teacher is None:
        return data
    require_one_vocabulary(model, [teacher.model])
    teacher.model.tags.require(data.train, "the teacher learned with tags: set data.tag")
    if settings.training.distillation == "word":
        return data
    part, first = data.parts["train"], 0
    pairs: list[SentencePair] = []
    corpora = []
    for size in [corpus.size for corpus in data.corpora] or [part.size]:
        own = part.pairs[first : first + size]
        own = (*own, *teacher.translated(own))  # which belong to the corpus of their sources
        pairs += own
        corpora.append(len(own))
        first += size
    found = zip(data.corpora, corpora, strict=False)
    return replace(
        data,
        parts={**data.parts, "train": replace(part, pairs=tuple(pairs))},
        corpora=tuple(replace(corpus, size=size) for corpus, size in found),
    )


def describe_teacher(settings: TranslatorSettings, pairs: int) -> tuple[str, ...]:
    """A line for the user about what is learned from teachers; none if there are none.

    Args:
        settings: The run's settings.
        pairs: Number of pairs that the teachers add.
    """
    training, learned = settings.training, []
    if not training.teachers:
        return ()
    if training.distillation != "word":
        learned.append(counted(pairs, "translation"))
    if training.distillation != "sequence":
        learned.append("the probabilities of all symbols")
    return (f"also learned from {' and '.join(training.teachers)}: {' and '.join(learned)}",)
