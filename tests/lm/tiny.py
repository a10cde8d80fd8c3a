"""Small untrained language models for tests."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from seqtool.lm.data import Part, documents_of
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel, LanguageModelDescription
from seqtool.lm.settings import AdaptationSettings, DataSettings, ModelSettings, VocabularySettings
from seqtool.lm.vocabulary import Symbols

TEXT = (
    "the cat sat on the mat\nand the dog sat by it  too\n\n"
    "a naïve café – 5 € or 𝄞?\nthe dog and the cat were friends\n\n"
) * 4


def untrained(
    text: str = TEXT,
    *,
    vocabulary: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    adaptation: dict[str, Any] | None = None,
    seed: int = 1,
    spread: float = 2.0,
) -> LanguageModel:
    """A float64 model with the symbols of a text and random weights, large enough for varied outputs."""
    kind = VocabularySettings.model_validate(vocabulary or {})
    shape = ModelSettings(embedding=6, hidden=8, layers=2)
    symbols = Symbols.build([text], kind)
    torch.manual_seed(seed)
    network = LanguageNetwork(len(symbols), shape, symbols.impossible).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(spread)
    description = LanguageModelDescription(
        name=f"tiny-{seed}",
        model=shape,
        vocabulary=kind,
        data=DataSettings.model_validate(data or {}),
        adaptation=AdaptationSettings.model_validate({"window": 8, "cache_size": 50, **(adaptation or {})}),
        measured=None,
    )
    return LanguageModel(network, symbols, description, device=torch.device("cpu"), precision=torch.float64)


def part_of(text: str = TEXT, *, documents: str = "stream", name: str = "test") -> Part:
    """A text as a part of a data set."""
    return Part(name, documents_of([text], documents), "memory", "whole")


def pieces_of(text: str, sizes: Sequence[int]) -> Part:
    """The beginning of a text, divided into documents of these lengths."""
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    pieces = [text[first:end] for first, end in itertools.pairwise(ends)]
    return Part("test", tuple(pieces), "memory", "whole")
