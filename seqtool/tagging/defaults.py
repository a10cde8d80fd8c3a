"""What a tagger's settings are if they are not given: chosen from the training part."""

from __future__ import annotations

from seqtool.tagging.data import TaggingData
from seqtool.tagging.settings import TaggerSettings
from seqtool.training.defaults import Choice, power_of_two

AUTOMATIC = ("training.batch_tokens", "training.epochs")


def choose(settings: TaggerSettings, data: TaggingData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    sentences = data.train
    tokens = sum(len(sentence.tokens) for sentence in sentences)
    batch = power_of_two(tokens / 50, 128, 1024)
    updates = 40 * tokens**0.35
    epochs = min(max(round(updates * batch / tokens), 8), 60)
    return Choice(
        {"training.batch_tokens": batch, "training.epochs": epochs},
        f"{len(sentences):,} sentences of {tokens:,} tokens",
    )
