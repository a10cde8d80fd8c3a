"""What a tagger's settings are if they are not given: chosen from the training part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from seqtool.errors import counted
from seqtool.tagging.data import TaggingData
from seqtool.tagging.settings import TaggerSettings
from seqtool.training.defaults import PACE, Choice, Pace, paced

SELF_TRAINING = "training.self_training"
# What few labels cannot show: how sentences begin, and which words go together. For single tags only, since
# it changed nothing where entities were looked for.
OF_FEW = {"training.crop": 0.3, "training.word_prediction": 0.1}
LEXICAL = "model.lexical"
AUTOMATIC = (*PACE, SELF_TRAINING, *OF_FEW, LEXICAL)
FEW = 60_000  # annotated tokens up to which labels are few
# Annotated tokens from which on entities are found without lexical features: their weights learn a large
# training part by heart sooner than the network learns from it (Sutton et al. 2006, "Reducing weight
# undertraining in structured discriminative learning"). Single tags gain from them at every size.
MANY = 100_000
# From runs on 100 to 1,000 sentences of NCBI-disease and English-EWT.
OF_TAGGERS = Pace(
    batches=50,
    batch_tokens=(128, 1024),
    updates=1000,
    base=11_000,
    growth=0.45,
    epochs=(10, 60),
    step=3.0,
    most=20e6,
)
OF_CROPPED = replace(OF_TAGGERS, updates=1200)  # sentences that change have something new to say for longer


def choose(settings: TaggerSettings, data: TaggingData) -> Choice:
    """Values for the settings in `AUTOMATIC`."""
    tokens, dev = (sum(len(s.tokens) for s in part) for part in (data.train, data.dev))
    of_few = _of_few(settings) if tokens <= FEW else {}
    given = settings.training.model_fields_set
    crop = settings.training.crop if "crop" in given else of_few.get("training.crop", 0.0)
    pace = OF_CROPPED if crop and tokens <= FEW else OF_TAGGERS
    values = paced(settings.training, pace, max(tokens, 1), dev) | of_few | _of_many(settings, tokens)
    return Choice(values, f"{counted(len(data.train), 'sentence')}, {counted(tokens, 'token')}")


def _of_few(settings: TaggerSettings) -> dict[str, Any]:
    """Values for the settings with which a tagger makes more of few labels."""
    if settings.model.document_hidden:
        return {}
    if settings.reads_ahead:
        learns = settings.data.text and not settings.training.teachers and not settings.data.feature_columns
        return {SELF_TRAINING: 1} if learns else {}
    return dict(OF_FEW) if settings.task == "pos" and settings.model.layers == 1 else {}


def _of_many(settings: TaggerSettings, tokens: int) -> dict[str, Any]:
    """Values for the settings of lexical features, unless some are given."""
    names = settings.model.model_fields_set | settings.training.model_fields_set
    given = any(name.startswith("lexical") for name in names)
    return {LEXICAL: False} if settings.task == "ner" and tokens > MANY and not given else {}
