"""What a translator's run would take."""

from __future__ import annotations

import torch

from seqtool.devices import resolve_device
from seqtool.training.estimate import Estimate, estimate_updates
from seqtool.translation.batches import TrainingBatches
from seqtool.translation.data import TranslationData
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.train import (
    adopted,
    build_model,
    describe_vocabularies,
    loss_function,
)


def estimate_run(
    settings: TranslatorSettings, data: TranslationData, initial: TranslatorModel | None = None
) -> Estimate:
    """Time a few updates of the run that `settings` describe; of `initial`, if it is fine-tuned."""
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device) if initial is None else adopted(initial, settings)
    found = TrainingBatches(model.vocabularies, data, settings, device)
    batches = found(0)
    vocabulary = describe_vocabularies(model.vocabularies)
    return estimate_updates(
        model.network,
        batches,
        loss_function(model, settings),
        settings.training,
        device,
        largest=batches.largest,
        facts=(*data.describe(), vocabulary, *data.warnings, *found.warnings),
    )
