"""What a translator's settings are if they are not given: chosen from the training pairs."""

from __future__ import annotations

from seqtool.training.defaults import Choice
from seqtool.translation.data import TranslationData
from seqtool.translation.settings import TranslatorSettings

AUTOMATIC: tuple[str, ...] = ()


def choose(settings: TranslatorSettings, data: TranslationData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    return Choice({}, "")
