"""What a run would take, from a few timed updates."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass

import torch

from seqtool.tagging.data import TaggingData
from seqtool.tagging.encoding import encode
from seqtool.tagging.settings import TaggerSettings
from seqtool.tagging.train import build_model
from seqtool.text.batching import training_batches
from seqtool.training.devices import resolve_device, resolve_precision
from seqtool.training.optimization import build_optimizer
from seqtool.training.update import Arithmetic

TIMED_UPDATES = 8


@dataclass(frozen=True)
class Estimate:
    """What a run would take."""

    facts: tuple[str, ...]
    parameters: int
    steps: int
    megabytes: float  # resident memory after the timed updates
    minutes: float


def estimate_run(settings: TaggerSettings, data: TaggingData) -> Estimate:
    """Time a few updates of the run that `settings` describe; the largest batch is among them."""
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device)
    table = model.vocabularies.form_table(settings.vocabulary)
    corpus = encode(data.train, model.vocabularies, table, with_tags=True)
    budget = settings.training.batch_tokens
    parts = training_batches(corpus.lengths, budget=budget, seed=settings.seed, epoch=0)
    longest = max(range(len(parts)), key=lambda i: sum(corpus.lengths[j] for j in parts[i]))
    model.network.train()
    optimizer = build_optimizer(model.network, settings.training)
    arithmetic = Arithmetic.of(device, resolve_precision(settings.training.precision, device))
    seconds = []
    for number in [longest, *range(min(TIMED_UPDATES, len(parts)))]:
        started = time.monotonic()
        with arithmetic.autocast():
            loss = model.network.loss(corpus.batch(parts[number]).to(device))
        (loss.total / loss.count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - started)
    steps = -(-len(parts) // settings.training.accumulation) * settings.training.epochs
    if settings.training.max_steps:
        steps = min(steps, settings.training.max_steps)
    each = statistics.median(seconds[1:]) * settings.training.accumulation
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parameters = sum(p.numel() for p in model.network.parameters())
    return Estimate((*data.describe(), *data.warnings), parameters, steps, megabytes, each * steps / 60)
