"""A trained tagger with more tags: what it knew stays, and the new tags start as improbable ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from seqtool.tagging.model import Tagger, VocabularySizes
from seqtool.tagging.prediction import TaggerModel
from seqtool.text.vocabulary import Vocabulary

IMPROBABLE = -5.0  # nats: bias of a new tag, so that an untrained one hardly ever wins


def grown(model: TaggerModel, tags: Sequence[str]) -> TaggerModel:
    """The model with some more tags: the output layer, the CRF and the lexical weights grow.

    Args:
        model: The model.
        tags: Tags in the scheme of the model; those that it has already are no new ones.

    Returns:
        A model that shares no weights with the other; the model itself if no tag is new.
    """
    old = model.vocabularies.tags.symbols
    new = [tag for tag in tags if tag not in old]
    if not new:
        return model
    vocabularies = replace(model.vocabularies, tags=Vocabulary((*old, *new)))
    settings, scheme = model.description.model, model.description.model_scheme
    names = vocabularies.tags.symbols
    network = Tagger(VocabularySizes.of(vocabularies), settings, names, scheme, model.readers)
    _fill(network, model.network, len(old))
    return TaggerModel(
        network,
        vocabularies,
        model.description,
        training_entities=model.training_entities,
        device=model.device,
        precision=model.precision,
    )


@torch.no_grad()
def _fill(network: Tagger, former: Tagger, known: int) -> None:
    """Give a network the weights of one with fewer tags, of which there are `known`."""
    weights, before = dict(network.named_parameters()), dict(former.named_parameters())
    for name, weight in weights.items():
        old = before[name]
        if weight.shape == old.shape:
            weight.copy_(old)
        elif name == "lexical.around.weight":
            # Each row holds weights for the tags of several neighbours side by side.
            blocks = weight.view(len(weight), -1, len(network.output.bias))
            blocks.zero_()[:, :, :known] = old.view(len(old), -1, known)
        else:
            weight.zero_()[_corner(old)] = old
    network.output.bias[known:] = IMPROBABLE
    network.forms.drop.copy_(former.forms.drop)


def _corner(tensor: Tensor) -> tuple[slice, ...]:
    """The part of a larger tensor that a tensor fills from its beginning."""
    return tuple(slice(size) for size in tensor.shape)
