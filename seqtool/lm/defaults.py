"""What a language model's settings are if they are not given: chosen from the training text."""

from __future__ import annotations

from seqtool.lm.data import TextData
from seqtool.lm.settings import LanguageModelSettings
from seqtool.training.defaults import Choice

AUTOMATIC: tuple[str, ...] = ()


def choose(settings: LanguageModelSettings, data: TextData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    return Choice({}, "")
