"""What a run would take, from a few timed updates."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from seqtool.devices import resolve_precision
from seqtool.nn.losses import LossSum
from seqtool.training.optimization import build_optimizer, few_updates
from seqtool.training.settings import TrainingSettings
from seqtool.training.update import Arithmetic

Batch = TypeVar("Batch")

TIMED_UPDATES = 8


@dataclass(frozen=True)
class Estimate:
    """What a run would take."""

    facts: tuple[str, ...]
    parameters: int
    steps: int
    megabytes: float  # resident memory after the timed updates
    minutes: float


def estimate_updates(
    model: nn.Module,
    batches: Sequence[Batch],
    loss: Callable[[Batch], LossSum],
    settings: TrainingSettings,
    device: torch.device,
    *,
    largest: int,
    facts: Sequence[str],
) -> Estimate:
    """Time a few updates, the largest batch among them; nothing is written.

    Args:
        model: On `device`; its weights change.
        batches: Of one epoch.
        loss: Of a batch.
        settings: Of the run.
        device: Where the batches are computed.
        largest: Number of the batch that takes the most memory.
        facts: About the data, for people.
    """
    model.train()
    optimizer = build_optimizer(model, settings)
    arithmetic = Arithmetic.of(device, resolve_precision(settings.precision, device))
    seconds = []
    for number in [largest, *range(min(TIMED_UPDATES, len(batches)))]:
        started = time.monotonic()
        with arithmetic.autocast():
            result = loss(batches[number])
        (result.total / result.count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - started)
    steps = -(-len(batches) // settings.accumulation) * settings.epochs
    if settings.max_steps:
        steps = min(steps, settings.max_steps)
    each = statistics.median(seconds[1:]) * settings.accumulation
    minutes = each * steps / 60
    if 0 < settings.max_minutes < minutes:
        steps, minutes = max(int(settings.max_minutes * 60 / each), 1), settings.max_minutes
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parameters = sum(p.numel() for p in model.parameters())
    return Estimate((*facts, *few_updates(steps)), parameters, steps, megabytes, minutes)
