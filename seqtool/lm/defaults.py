"""What a language model's settings are if they are not given: chosen from the training text.

The less text there is, the sooner a network knows it by heart: so more is left out in training, and the
network is smaller. Passes over a long text are limited by time instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seqtool.errors import counted
from seqtool.lm.data import TextData
from seqtool.lm.settings import LanguageModelSettings
from seqtool.training.defaults import LIMIT, Choice, bounded, power_of_two

# Values for texts of so many characters, interpolated along the logarithm of their number. They come from
# runs on the beginning of Shakespeare's plays. Dropout is highest in the middle: the smallest texts have a
# smaller network instead.
SIZES = (10_000, 100_000, 1_000_000)
HIDDEN = (256, 512, 512)
DROPOUT = (0.5, 0.6, 0.2)
EMBEDDING_DROPOUT = (0.2, 0.2, 0.0)
BATCH_TOKENS = (256, 512, 2048)
EPOCHS = (20, 16, 7)
MOST = 10_000_000  # characters of all epochs beyond which time limits training
ROWS = 4  # parallel rows of a stream, at least
AUTOMATIC = (
    "model.hidden",
    "model.dropout",
    "model.embedding_dropout",
    "training.batch_tokens",
    "training.epochs",
    LIMIT,
)


def choose(settings: LanguageModelSettings, data: TextData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    size = max(data.train.size, 1)

    def at(values: tuple[float, ...]) -> float:
        return float(np.interp(math.log(size), np.log(SIZES), values))

    batch = power_of_two(at(BATCH_TOKENS), min(BATCH_TOKENS), max(BATCH_TOKENS))
    values: dict[str, Any] = {
        "model.hidden": power_of_two(at(HIDDEN), min(HIDDEN), max(HIDDEN)),
        "model.dropout": round(at(DROPOUT), 2),
        "model.embedding_dropout": round(at(EMBEDDING_DROPOUT), 2),
        "training.batch_tokens": max(batch, ROWS * settings.training.window),
        "training.epochs": round(at(EPOCHS)),
    }
    values |= bounded(settings.training, size * values["training.epochs"], MOST)
    if settings.training.max_minutes:
        del values["training.epochs"]  # the time decides
    if settings.model.embedding == 0:
        del values["model.embedding_dropout"]
    return Choice(values, f"{counted(size, 'character')} of text")
