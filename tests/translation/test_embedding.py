"""Vectors of sources by a translator: the states of its encoder, whatever the batch."""

from __future__ import annotations

import torch

from seqtool.translation.batches import source_batch
from seqtool.translation.embedding import embed
from tests.translation.tiny_pairs import untrained


def test_vectors_are_the_encoder_states_of_each_source_alone() -> None:
    model = untrained()
    lines = ["a b c", "", "b", "c a b a"]
    found = embed(model, lines)
    assert found[1].words == [] and bool((found[1].line == 0).all())
    for line, each in zip(lines, found, strict=True):
        if not line:
            continue
        source = model.encoded_source(model.parse(line))
        with torch.no_grad():
            states = model.network.encoded(source_batch([source])).dropped[0]
        torch.testing.assert_close(each.vectors, states[: len(each.words)].float(), rtol=0, atol=1e-6)
        torch.testing.assert_close(each.line, each.vectors.mean(0))
