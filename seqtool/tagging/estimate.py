"""What a tagger's run would take."""

from __future__ import annotations

import torch

from seqtool.devices import resolve_device
from seqtool.tagging.batches import TrainingBatches, encode
from seqtool.tagging.data import TaggingData
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import adopted, build_model, loss_function
from seqtool.training.estimate import Estimate, estimate_updates


def estimate_run(settings: TaggerSettings, data: TaggingData, initial: TaggerModel | None = None) -> Estimate:
    """Time a few updates of the run that `settings` describe; of `initial`, if it is fine-tuned."""
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device) if initial is None else adopted(initial, settings, data)
    table = model.vocabularies.form_table(settings.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    batches = TrainingBatches(model.vocabularies, data, corpus, settings, device)(0)
    return estimate_updates(
        model.network,
        batches,
        loss_function(model, corpus, settings),
        settings.training,
        device,
        largest=batches.largest,
        facts=(*data.describe(), *data.warnings),
    )
