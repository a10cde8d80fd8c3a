"""What a language model's run would take."""

from __future__ import annotations

import torch

from seqtool.devices import resolve_device
from seqtool.lm.data import TextData
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.settings import LanguageModelSettings
from seqtool.lm.train import StreamLoss, adopted, build_model, describe_symbols, training_windows
from seqtool.training.estimate import Estimate, estimate_updates


def estimate_run(
    settings: LanguageModelSettings, data: TextData, initial: LanguageModel | None = None
) -> Estimate:
    """Time a few updates of the run that `settings` describe; of `initial`, if it is fine-tuned."""
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device) if initial is None else adopted(initial, settings)
    documents = [model.symbols.encode(document) for document in data.train.documents]
    windows = training_windows(documents, settings, device)(0)
    return estimate_updates(
        model.network,
        windows,
        StreamLoss(model.network, settings.training, model.symbols),
        settings.training,
        device,
        largest=windows.largest,
        facts=(*data.describe(), describe_symbols(model, data), *data.warnings),
    )
