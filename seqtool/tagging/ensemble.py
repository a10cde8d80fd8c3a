"""Several taggers as one: the mean of their emission scores, and of the scores of their CRFs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

import torch
from torch import Tensor

from seqtool.errors import UsageError
from seqtool.nn.forward_backward import Chain
from seqtool.tagging.documents import DocumentContext
from seqtool.tagging.model import BatchOutput
from seqtool.tagging.prediction import BATCH_TOKENS, TaggerModel
from seqtool.tagging.readings import Readings
from seqtool.text.columns import TaggedSentence


class TaggerEnsemble(TaggerModel):
    """Taggers with the same tags, whose scores are averaged; confidences are exact for the mean.

    Args:
        members: The taggers, at least one; name, tag order and scheme are those of the first.

    Raises:
        UsageError: their tags differ, or one reads whole documents.
    """

    def __init__(self, members: Sequence[TaggerModel]) -> None:
        first = members[0]
        for other in members:
            require_alike(first, other)
        biases = [member.description.entity_bias for member in members]
        mean = {kind: fmean(bias.get(kind, 0.0) for bias in biases) for kind in first.types}
        super().__init__(
            first.network,
            first.vocabularies,
            first.description.model_copy(update={"entity_bias": mean}),
            training_entities=set().union(*(member.training_entities for member in members)),
            device=first.device,
            precision=first.precision,
        )
        self.members = members
        tags = first.vocabularies.tags.symbols
        # For each member the place of every tag in its own order, [K]
        self._orders = [
            torch.tensor([member.vocabularies.tags.id(tag) for tag in tags], device=first.device)
            for member in members
        ]

    @property
    def chain(self) -> Chain:
        """Mean of the transition, start and end scores of the members."""
        chains = [
            Chain(own.transitions[order][:, order], own.start[order], own.end[order])
            for own, order in zip((member.chain for member in self.members), self._orders, strict=True)
        ]
        return Chain(*(_mean(parts) for parts in zip(*chains, strict=True)))

    @torch.inference_mode()
    def score_batches(
        self,
        sentences: Sequence[TaggedSentence],
        batch_tokens: int = BATCH_TOKENS,
        context: DocumentContext | None = None,
        readings: Readings | None = None,
    ) -> Iterator[BatchOutput]:
        """Mean of the emission scores of the members, batch by batch; see `TaggerModel.score_batches`.

        Args:
            sentences: Sentences with at least one token each.
            batch_tokens: Largest number of padded tokens in a batch.
            context: Not used, as no member reads documents.
            readings: What the language models of the members find, if these are the same for all.
        """
        streams = [
            TaggerModel.score_batches(member, sentences, batch_tokens, readings=readings)
            for member in self.members
        ]
        # Batches follow from the lengths of the sentences, so they are the same for all members.
        for found in zip(*streams, strict=True):
            part, _, mask = found[0]
            scores = [each[1][:, :, order] for each, order in zip(found, self._orders, strict=True)]
            yield part, _mean(scores), mask

    def forget(self) -> None:
        """Empty the caches of all members."""
        for member in self.members:
            TaggerModel.forget(member)


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(tensors)).mean(0)


def require_alike(first: TaggerModel, other: TaggerModel) -> None:
    """Refuse a tagger whose scores cannot be averaged with those of the first.

    Raises:
        UsageError: it has other tags, or reads whole documents.
    """
    names = f"{first.description.name} and {other.description.name}"
    if other.network.document is not None:
        raise UsageError(f"{other.description.name} reads whole documents; an ensemble reads sentences")
    if first.description.model_scheme != other.description.model_scheme:
        raise UsageError(
            f"{names} tag different things (entities and single tokens); name models of one task"
        )
    own, others = (set(model.vocabularies.tags.symbols) for model in (first, other))
    if own != others:
        differing = ", ".join(sorted(own ^ others)[:5])
        raise UsageError(
            f"{names} have different tags ({differing}); an ensemble needs models of the same data"
        )
