"""Untrained language models for tests, and the text that they write."""

from __future__ import annotations

from typing import Any

import torch

from seqtool.decoding.sampling import SamplingOptions
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel, LanguageModelDescription
from seqtool.lm.sampling import Continuation, Sampler
from seqtool.lm.settings import AdaptationSettings, DataSettings, ModelSettings, VocabularySettings
from seqtool.lm.vocabulary import Symbols

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\n"


def untrained(text: str = TEXT, scale: float = 3.0, kind: str = "character", **model: Any) -> LanguageModel:
    """A model with large random weights, so that its scores are far apart."""
    torch.manual_seed(1)
    vocabulary = VocabularySettings(kind=kind)  # type: ignore[arg-type]
    symbols = Symbols.build([text], vocabulary)
    settings = ModelSettings(**{"embedding": 8, "hidden": 12, "layers": 2, **model})
    network = LanguageNetwork(len(symbols), settings, symbols.impossible)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    description = LanguageModelDescription(
        name="tiny",
        model=settings,
        vocabulary=vocabulary,
        data=DataSettings(train="x"),
        adaptation=AdaptationSettings(),
        measured=None,
    )
    device = torch.device("cpu")
    return LanguageModel(network, symbols, description, device=device, precision=torch.float32)


def written(model: LanguageModel, start: Continuation, steps: int, **options: Any) -> list[list[int]]:
    """The symbols of each stream."""
    own = {name: options.pop(name) for name in ("fast", "int8", "repetition_penalty") if name in options}
    sampler = Sampler(model, SamplingOptions(**options), start, **own)
    return [list(stream) for stream in zip(*(sampler.step() for _ in range(steps)), strict=True)]
