"""A run as a job: what each task prepares, and how any job is trained or estimated."""

from __future__ import annotations

import math
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

from seqtool.devices import resolve_precision
from seqtool.errors import SettingsError, in_minutes
from seqtool.models.trained import TrainedModel
from seqtool.nn.losses import LossSum
from seqtool.text.batching import LazyBatches
from seqtool.text.data_files import DataSet
from seqtool.training import distributed
from seqtool.training.loop import fit
from seqtool.training.model_card import model_card
from seqtool.training.optimization import build_optimizer, few_updates
from seqtool.training.progress import FitResult, Reporter
from seqtool.training.run_folder import RunFolder
from seqtool.training.settings import RunSettings, TrainingSettings
from seqtool.training.state import Carried, RunFingerprint
from seqtool.training.update import Arithmetic

TIMED_UPDATES = 8

Batch = TypeVar("Batch")
ModelType = TypeVar("ModelType", bound=TrainedModel)
Concluded = TypeVar("Concluded", bound=TrainedModel, contravariant=True)


class Concluding(Protocol[Concluded]):
    """Completes a model after training, for example with settings that are tuned on dev."""

    def __call__(self, model: Concluded, result: FitResult, say: Callable[[str], None]) -> Sequence[str]:
        """Set what depends on the finished training.

        Args:
            model: The model with its best weights; changed in place.
            result: How training ended.
            say: Function that prints a message for the user.

        Returns:
            Facts for the model card, one line each.
        """


def nothing_to_conclude(model: TrainedModel, result: FitResult, say: Callable[[str], None]) -> Sequence[str]:
    """The default `conclude` of a job: the model is complete with its weights."""
    return ()


@dataclass(frozen=True)
class Job(Generic[ModelType, Batch]):
    """A run that is ready to train: all checks are done, and no weight has changed yet.

    Attributes:
        settings: Settings of the run.
        data: Training and development parts of the data.
        model: Model with the network to train, on its device; a new one, or the model to fine-tune.
        batches: Function from the number of an epoch (from 0) to its batches; always the same ones.
        loss: Function from a batch to its summed loss.
        evaluate: Function that returns metrics on the development part by name.
        select: Metric that picks the best weights, `name` or `-name`, as `fit` takes it.
        facts: Facts about the model and its data for the user, one line each.
        warnings: Warnings for the user, one line each.
        conclude: Completes the model after training; called only on the process that writes.
        sample: Function whose text is shown after each evaluation; None = nothing is shown.
        scored: How the development part is scored, for the model card.
        carried: State that `loss` keeps from one batch to the next; None = none.
        tiebreak: Metric that decides while `select` is 0, as `fit` takes it; None = none.
        ignored: Messages about settings without effect, for which a new run is refused.
        inputs: Digests of what training reads beside the data, by name; a resumed run must have the same.
    """

    settings: RunSettings
    data: DataSet[Any]
    model: ModelType
    batches: Callable[[int], LazyBatches[Batch]]
    loss: Callable[[Batch], LossSum]
    evaluate: Callable[[], dict[str, float]]
    select: str
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    conclude: Concluding[ModelType] = nothing_to_conclude
    sample: Callable[[], str] | None = None
    scored: str = "on the development part"
    carried: Carried | None = None
    tiebreak: str | None = None
    ignored: Sequence[str] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def training(self) -> TrainingSettings:
        """The run's `[training]` table; each task has a subclass of its own."""
        table: TrainingSettings = cast(Any, self.settings).training
        return table

    @property
    def updates(self) -> int:
        """Updates of the run if only `training.epochs` limits it."""
        each = self.training.accumulation * distributed.world_size()
        return math.ceil(len(self.batches(0)) / each) * self.training.epochs

    def messages(self) -> tuple[str, ...]:
        """Warnings and facts for the user, the most important first."""
        minutes = self.training.max_minutes
        limit = (f"training takes at most {in_minutes(minutes)}",) if minutes else ()
        return (*self.warnings, *self.facts, *few_updates(self.updates), *limit)

    def refuse_ignored(self) -> None:
        """Refuse settings that have no effect.

        Raises:
            SettingsError: there are some; the message lists all of them.
        """
        if self.ignored:
            raise SettingsError("; ".join(self.ignored))


@dataclass(frozen=True)
class TrainedRun(Generic[ModelType]):
    """A finished run."""

    path: Path  # the run folder
    model: ModelType
    result: FitResult


@dataclass(frozen=True)
class Estimate:
    """What a run would need."""

    settings: RunSettings  # the complete settings of the run
    facts: tuple[str, ...]  # facts and warnings for the user, one line each
    parameters: int
    steps: int  # updates
    megabytes: float  # peak resident memory of the process, timed updates included
    minutes: float


def train(
    job: Job[ModelType, Batch], *, run: RunFolder, reporter: Reporter, resume: bool = False
) -> TrainedRun[ModelType]:
    """Train a job, restore the weights that are best on dev, and write the run's model folder.

    Args:
        job: The job.
        run: Its run folder, locked by process 0.
        reporter: Told of each update and evaluation.
        resume: Continue from the newest checkpoint.

    Returns:
        The run folder, the model with its best weights, and how training ended.

    Raises:
        SettingsError: a new run has a setting without effect.
        SeqtoolError: the errors of `fit` and of `RunFolder`.
    """
    if not resume:
        job.refuse_ignored()
    for line in job.messages():
        reporter.message(line)

    def evaluate() -> dict[str, float]:
        metrics = job.evaluate()
        if job.sample is not None:
            reporter.message(job.sample())
        return metrics

    model, settings = job.model, job.settings
    result = fit(
        model=model.network,
        batches=job.batches,
        loss=job.loss,
        evaluate=evaluate,
        select=job.select,
        settings=job.training,
        seed=settings.seed,
        device=model.device,
        run=run,
        reporter=reporter,
        fingerprint=RunFingerprint.of(settings, {**job.data.fingerprint(), **job.inputs}),
        resume=resume,
        carried=job.carried,
        tiebreak=job.tiebreak,
    )
    model.forget()
    if run.writes:
        measured = job.conclude(model, result, reporter.message)
        card = model_card(
            settings,
            kind=model.kind,
            measured=job.scored,
            result=result,
            facts=(*job.data.describe(), *_before(settings), *measured),
            usage=model.usage,
        )
        model.save(run.model, card=card)
    return TrainedRun(run.path, model, result)


def _before(settings: RunSettings) -> tuple[str, ...]:
    """What a model has learned from before its data, for its card."""
    return (f"raw text, read first: {', '.join(settings.raw_text)}",) if settings.raw_text else ()


def estimate(job: Job[ModelType, Batch]) -> Estimate:
    """Estimate size, memory and time of a job from a few timed updates; nothing is written.

    Args:
        job: The job; its weights are changed.

    Returns:
        The estimate, for this machine.

    Raises:
        SettingsError: a setting has no effect.
    """
    job.refuse_ignored()
    seconds = _timed_updates(job)
    training = job.training
    steps = min(job.updates, training.max_steps) if training.max_steps else job.updates
    each = statistics.median(seconds[1:]) * training.accumulation
    minutes = each * steps / 60
    if 0 < training.max_minutes < minutes:
        steps, minutes = max(int(training.max_minutes * 60 / each), 1), training.max_minutes
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    parameters = sum(p.numel() for p in job.model.network.parameters())
    facts = (*job.data.describe(), *job.messages())
    return Estimate(job.settings, facts, parameters, steps, megabytes, minutes)


def _timed_updates(job: Job[ModelType, Batch]) -> list[float]:
    """Seconds per update for `TIMED_UPDATES` batches, after one update with the largest batch."""
    network, device, training = job.model.network.train(), job.model.device, job.training
    optimizer = build_optimizer(network, training)
    arithmetic = Arithmetic.of(device, resolve_precision(training.precision, device))
    batches = job.batches(0)
    seconds = []
    for number in [batches.largest, *range(min(TIMED_UPDATES, len(batches)))]:
        started = time.monotonic()
        with arithmetic.autocast():
            result = job.loss(batches[number])
        (result.total / result.count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - started)
    return seconds
