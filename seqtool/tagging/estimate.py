"""What a tagger's run would take."""

from __future__ import annotations

import torch

from seqtool.tagging.data import TaggingData
from seqtool.tagging.encoding import encode
from seqtool.tagging.prediction import TaggerModel
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import LazyBatches, adopted, build_model, loss_function
from seqtool.text.batching import training_batches
from seqtool.training.devices import resolve_device
from seqtool.training.estimate import Estimate, estimate_updates


def estimate_run(settings: TaggerSettings, data: TaggingData, initial: TaggerModel | None = None) -> Estimate:
    """Time a few updates of the run that `settings` describe; of `initial`, if it is fine-tuned."""
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device) if initial is None else adopted(initial, settings, data)
    table = model.vocabularies.form_table(settings.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    budget = settings.training.batch_tokens
    parts = training_batches(corpus.lengths, budget=budget, seed=settings.seed, epoch=0)
    return estimate_updates(
        model.network,
        LazyBatches(corpus, parts, device),
        loss_function(model, corpus, settings),
        settings.training,
        device,
        largest=max(range(len(parts)), key=lambda i: sum(corpus.lengths[j] for j in parts[i])),
        facts=(*data.describe(), *data.warnings),
    )
