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
        taggers: The taggers, at least one; name, tag order and scheme are those of the first. An ensemble
            among them stands for its members.
        paths: Where each comes from, for messages; None = as they know it.

    Raises:
        UsageError: their tags differ, or one reads whole documents.
    """

    def __init__(self, taggers: Sequence[TaggerModel], paths: Sequence[str] | None = None) -> None:
        first = taggers[0]
        names = paths or [tagger.place for tagger in taggers]
        for other, name in zip(taggers, names, strict=True):
            require_alike(first, other, names[0], name)
        members = [member for tagger in taggers for member in tagger.members]
        biases = [member.description.entity_bias for member in members]
        mean = {kind: fmean(bias.get(kind, 0.0) for bias in biases) for kind in first.types}
        super().__init__(
            first.network,
            first.vocabularies,
            first.description.model_copy(update={"entity_bias": mean}),
            training_entities=set().union(*(member.training_entities for member in members)),
            device=first.device,
            precision=first.precision,
            place=first.place,
        )
        self._members = members
        tags = first.vocabularies.tags.symbols
        # For each member the place of every tag in its own order, [K]
        self._orders = [
            torch.tensor([member.vocabularies.tags.id(tag) for tag in tags], device=first.device)
            for member in members
        ]

    @property
    def members(self) -> Sequence[TaggerModel]:
        """The single taggers that it consists of."""
        return self._members

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


def require_alike(first: TaggerModel, other: TaggerModel, name: str, other_name: str) -> None:
    """Refuse a tagger whose scores cannot be averaged with those of the first.

    Args:
        first: The first tagger.
        other: The other one, which may be the same.
        name: What the first is called in messages.
        other_name: What the other one is called.

    Raises:
        UsageError: it has other tags, or reads whole documents.
    """
    if other.network.document is not None:
        raise UsageError(f"{other_name}: reads whole documents, but an ensemble reads sentences")
    if first.description.model_scheme != other.description.model_scheme:
        raise UsageError(
            f"{name} and {other_name}: one tags entities and the other single tokens; name models of one task"
        )
    own, others = (set(model.vocabularies.tags.symbols) for model in (first, other))
    if own != others:
        differing = ", ".join(sorted(own ^ others)[:5])
        raise UsageError(
            f"{name} and {other_name}: have different tags ({differing}); name models of the same data"
        )
