"""What a tagger's settings are if they are not given: chosen from the training part."""

from __future__ import annotations

from seqtool.errors import counted
from seqtool.tagging.data import TaggingData
from seqtool.tagging.settings import TaggerSettings
from seqtool.training.defaults import PACE, Choice, Pace, paced

SELF_TRAINING = "training.self_training"
AUTOMATIC = (*PACE, SELF_TRAINING)
FEW = 60_000  # annotated tokens up to which raw text teaches a tagger more than it costs
# From runs on 100 to 1,000 sentences of NCBI-disease and English-EWT.
OF_TAGGERS = Pace(
    batches=50,
    batch_tokens=(128, 1024),
    updates=1000,
    base=11_000,
    growth=0.45,
    epochs=(10, 60),
    step=3.0,
)


def choose(settings: TaggerSettings, data: TaggingData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    tokens, dev = (sum(len(s.tokens) for s in part) for part in (data.train, data.dev))
    values = paced(settings.training, OF_TAGGERS, max(tokens, 1), dev)
    reads_sentences = not (settings.model.document_hidden or settings.data.feature_columns)
    if settings.data.text and not settings.training.teachers and reads_sentences and tokens <= FEW:
        values[SELF_TRAINING] = 1
    return Choice(values, f"{counted(len(data.train), 'sentence')}, {counted(tokens, 'token')}")
