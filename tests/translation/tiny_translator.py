"""Untrained translators of a few hundred weights in float64, and pairs of ids to test them with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.text.pieces import Piece
from seqtool.translation.batches import Batch, EncodedPair, pair_batch
from seqtool.translation.model import Translator
from seqtool.translation.settings import ModelSettings
from seqtool.translation.vocabulary import END, PADDING, UNKNOWN, EncodedSource

SYMBOLS = 10  # size of the vocabulary, the same on both sides
NEW, NEWER = SYMBOLS, SYMBOLS + 1  # extended ids: symbols of a source that the vocabulary lacks

Pair = tuple[list[int], list[int]]  # extended ids of source and target, without END

# Lengths 1 to 5 on both sides, unordered; repeated symbols, and symbols that only the source has.
PAIRS: list[Pair] = [
    ([4, NEW, 5, NEW], [NEW, 4, 5, 6]),
    ([7], [7, 7]),
    ([6, 5, NEW, 8, NEWER], [NEWER, NEW]),
    ([9, 4], [9, 4, 9, 4, 9]),
]
KNOWN: list[Pair] = [
    ([4, 8, 5, 8], [8, 4, 5, 6]),
    ([7], [7, 7]),
    ([6, 5, 9, 8, 4], [4, 9]),
    ([9, 4], [9] * 5),
]

DECODERS = ("input_feeding", "conditional", "bahdanau", "parallel")
CELLS = ("gru", "lstm")
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "copy": {"copy": True},
    "coverage": {"coverage": True},
    "coverage, copy": {"coverage": True, "copy": True, "bridge": "mean"},
    "layers": {"encoder_layers": 2, "decoder_layers": 3, "bridge": "last"},
    "residual layers": {"encoder_layers": 2, "decoder_layers": 3, "residual": True, "copy": True},
    "general": {"attention": "general", "bridge": "mean"},
    "dot": {"attention": "dot", "copy": True, "layer_norm": True},
    "heads": {"heads": 2, "copy": True},
    "positions": {"output": "positions"},
    "maxout": {"readout": "maxout", "layer_norm": True, "tied": "none"},
    "no attention": {"attention": "none", "tied": "all"},
}


def is_possible(decoder: str, variant: str) -> bool:
    """Whether the settings allow this variant of the decoder."""
    if variant == "no attention":
        return decoder == "parallel"
    return decoder != "parallel" or not VARIANTS[variant].get("coverage")


# Every decoder in every variant, by name; the cells alternate, except in the plain and layered ones.
FORMS: dict[str, dict[str, Any]] = {
    f"{decoder}, {cell}, {variant}": {"decoder": decoder, "cell": cell, **VARIANTS[variant]}
    for number, decoder in enumerate(DECODERS)
    for turn, variant in enumerate(VARIANTS)
    for cell in (CELLS if variant in ("plain", "layers") else [CELLS[(number + turn) % 2]])
    if is_possible(decoder, variant)
}


def tiny(seed: int = 0, **model: Any) -> Translator:
    """A translator in float64, by default without dropout; no weight is 0 except those of padding."""
    usual = {"hidden": 4, "embedding": 6, "dropout": 0.0, "embedding_dropout": 0.0}
    torch.manual_seed(seed)
    translator = Translator(SYMBOLS, SYMBOLS, ModelSettings.model_validate({**usual, **model})).double()
    source = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for (
            parameter
        ) in translator.parameters():  # biases, too: one that starts at 0 could be left out unnoticed
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
        for embedding in (translator.source, translator.target):
            embedding.weight[PADDING] = 0.0
    return translator


def encoded(pair: Pair, *, copy_end: bool = False) -> EncodedPair:
    source, target = pair
    ids = [symbol if symbol < SYMBOLS else UNKNOWN for symbol in source]
    extra = tuple(Piece(UNKNOWN, f"w{symbol}", f"w{symbol}") for symbol in range(SYMBOLS, max(source) + 1))
    symbols = [*source, END if copy_end else NOT_COPYABLE]
    return EncodedPair(EncodedSource([*ids, END], symbols, extra), [*target, END])


def pairs_for(model: Translator) -> list[Pair]:
    """Pairs whose targets the model can produce: from source symbols only, with new ones, or without."""
    if model.settings.output == "positions":
        return [(source, [symbol for symbol in target if symbol in source]) for source, target in PAIRS]
    return PAIRS if model.settings.copy_source else KNOWN


def batch_for(model: Translator, pairs: Sequence[Pair] | None = None, step: int = 0) -> Batch:
    copy_end = model.settings.output == "positions"
    chosen = pairs_for(model) if pairs is None else pairs
    return pair_batch([encoded(pair, copy_end=copy_end) for pair in chosen], step)


def gradients(model: Translator, total: Tensor) -> dict[str, Tensor]:
    """Gradients by name of the parameter, zeros where it is not used."""
    names, values = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(total, values, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)
