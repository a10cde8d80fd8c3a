"""The training loop of every task: takes plain functions, leaves the best weights in the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Generic

import torch
from torch import nn

from seqtool.devices import resolve_precision
from seqtool.errors import DivergedError, InterruptedRunError
from seqtool.models.tensors import model_tensors, restore_weights
from seqtool.nn.losses import LossSum
from seqtool.training import distributed
from seqtool.training.checkpoint import Checkpoints
from seqtool.training.divergence import remedy, require_progress
from seqtool.training.epochs import Epochs
from seqtool.training.interruption import noted_signals
from seqtool.training.optimization import AVERAGES, build_optimizer, learning_rate
from seqtool.training.progress import EvaluationReport, FitResult, Reporter, SilentReporter, StepReport
from seqtool.training.run_folder import RunFolder
from seqtool.training.settings import TrainingSettings
from seqtool.training.state import Carried, Position, RunFingerprint, RunState, best_weights
from seqtool.training.timing import evaluation_due
from seqtool.training.update import SKIPPED_IN_A_ROW, Arithmetic, Batch, GradientNoise, Place, Update, update


def fit(
    *,
    model: nn.Module,
    batches: Callable[[int], Sequence[Batch]],
    loss: Callable[[Batch], LossSum],
    evaluate: Callable[[], dict[str, float]],
    select: str,
    settings: TrainingSettings,
    seed: int,
    device: torch.device,
    run: RunFolder,
    reporter: Reporter,
    fingerprint: RunFingerprint,
    resume: bool = False,
    carried: Carried | None = None,
    tiebreak: str | None = None,
) -> FitResult:
    """Train `model` until a limit is reached, then restore the weights of its best evaluation.

    Args:
        model: The network, on `device`; trained in place.
        batches: Function from the number of an epoch (from 0) to its batches in order; the same number
            always gives the same batches.
        loss: Function from a batch to its summed loss; called in training mode and under autocast.
        evaluate: Function that returns metrics on held-out data by name; called in evaluation mode, in
            full precision, without gradients, and with the averaged weights where there is an average.
        select: Name of the metric that picks the best evaluation, with a leading `-` if lower is better.
            Of equal values the one with the lowest `loss` is the best, or the earliest if `evaluate`
            returns no `loss`.
        settings: Optimizer, learning-rate schedule, limits, precision.
        seed: Random seed for torch; process r uses seed + r.
        device: Device of the model and the batches.
        run: Run folder that receives checkpoints and events.
        reporter: Told of each update and evaluation, on process 0 only.
        fingerprint: Settings and data, which have to be equal for a run to resume.
        resume: Continue from the newest checkpoint; start from the beginning if there is none.
        carried: State that `loss` keeps from one batch to the next, saved in checkpoints; None = none.
        tiebreak: Name of the metric (higher is better) that decides while `select` is 0; None = none.

    Returns:
        The best evaluation, and the reason why the run ended.

    Raises:
        DataError: an epoch has no batch.
        DivergedError: a loss, a gradient or the selecting metric is not finite; checkpoints are from before.
        InterruptedRunError: SIGINT or SIGTERM was received; the state is saved.
        MemoryExhaustedError: a batch does not fit.
        UsageError: `resume` with settings or data that differ from the run's.
        ModelError: `resume`, and every checkpoint is damaged.
        StorageError: a checkpoint cannot be written; the previous one is intact.
    """
    arithmetic = Arithmetic.of(device, resolve_precision(settings.precision, device))
    averaging = AVERAGES[settings.average](model, settings)
    optimizer = build_optimizer(model, settings)
    state = RunState(model, optimizer, averaging, arithmetic, Position(), fingerprint, carried)
    listener = reporter if distributed.rank() == 0 else SilentReporter()
    checkpoints = Checkpoints(run.state, warn=listener.message)
    epochs = Epochs(batches, settings.accumulation * distributed.world_size())
    noise = GradientNoise(settings.gradient_noise, seed) if settings.gradient_noise else None
    loop = _Loop(state, epochs, loss, evaluate, select, settings, run, listener, checkpoints, noise, tiebreak)
    loop.begin(seed, resume)
    return loop.train()


@dataclass
class _Loop(Generic[Batch]):
    """The arguments of `fit` and the state of the loop; `train` is the loop, the other methods its parts."""

    state: RunState
    epochs: Epochs[Batch]
    loss: Callable[[Batch], LossSum]
    evaluate: Callable[[], dict[str, float]]
    select: str
    settings: TrainingSettings
    run: RunFolder
    reporter: Reporter
    checkpoints: Checkpoints
    noise: GradientNoise | None
    tiebreak: str | None = None
    total_steps: int = 0  # updates of the whole run, unless max_minutes or patience ends it earlier
    saved: tuple[int, int] | None = None  # step of the newest checkpoint, and of its last evaluation
    latest: Update | None = None
    started: float = 0.0  # monotonic clock at the first update, minus the seconds trained before a resume

    def begin(self, seed: int, resume: bool) -> None:
        """Seed torch, then restore the newest checkpoint or clear the run folder for a new run."""
        torch.manual_seed(seed + distributed.rank())
        updates = self.settings.epochs * self.epochs.updates(0)
        self.total_steps = min(updates, self.settings.max_steps) if self.settings.max_steps else updates
        checkpoint = self.checkpoints.load_newest() if resume else None
        events_size = 0
        if checkpoint is None:
            distributed.broadcast_in_place(model_tensors(self.state.model).values())
        else:
            events_size = self.state.restore(checkpoint, str(self.checkpoints.folder))
            self.saved = (self.at.step, self.at.evaluated)
        if distributed.rank() == 0:
            if checkpoint is None:
                self.run.clear_training()
            self.run.truncate_events(events_size)
            self.run.write_recipe()
        trainable = sum(p.numel() for p in self.state.model.parameters() if p.requires_grad)
        self.reporter.started(self.total_steps, self.at.step, trainable)

    def train(self) -> FitResult:
        """Train until a reason to stop comes up.

        Between two updates, in this order:

        1. If an evaluation is due (`evaluation_due`), evaluate with the averaged weights; save a
           checkpoint if it is the best so far, or if checkpoints are saved at evaluations.
        2. If there is a reason to stop (`_reason_to_stop`), save, restore the best weights and return.
        3. If a signal was received, save and raise `InterruptedRunError`.
        4. If a checkpoint is due (`_checkpoint_due`), save one.

        Then one update (`_update`, and `training.update.update` for the gradient):

        5. Set the learning rate of this step.
        6. Sum the gradients of the group's batches, each a sum over its tokens, then sum over processes.
        7. Divide once by the number of tokens, sentences or characters, so that the gradient is that of
           the mean loss however the batches were cut.
        8. Clip the norm of the gradient, then add gradient noise if there is any.
        9. Let the optimizer change the weights, update their average, advance the counters, report.

        What is due follows from the counters in `Position` alone (its seconds count only in a run with
        `max_minutes`), so a resumed run does exactly what the uninterrupted one would have done.
        """
        self.started = time.monotonic() - self.at.seconds
        self.state.model.train()
        with noted_signals() as interruption:
            while True:
                self.at.seconds = self._clock()
                if evaluation_due(self.at, self.settings, ends=self._reason_to_stop() is not None):
                    if self._reason_to_stop():
                        self._end_curve()
                    improved = self._evaluate()
                    if improved or not self.settings.checkpoint_every:
                        self._save()
                reason = self._reason_to_stop()
                if reason:
                    self._save()
                    return self._finish(reason)
                self._leave_if(distributed.largest(interruption.signal_number, self.device))
                if self._checkpoint_due():
                    self._save()
                self._update()

    @property
    def at(self) -> Position:
        """The counters of the run."""
        return self.state.position

    @property
    def device(self) -> torch.device:
        """The device of the model and the batches."""
        return self.state.arithmetic.device

    def _clock(self) -> float:
        return distributed.numbers_of_first([time.monotonic() - self.started], self.device)[0]

    def _time_share(self) -> float:
        limit = self.settings.max_minutes * 60
        return self.at.seconds / limit if limit else 0.0

    def _reason_to_stop(self) -> str | None:
        settings = self.settings
        reasons = {
            "patience": 0 < settings.patience <= self.at.stale,
            "epochs": self.at.epoch >= settings.epochs,
            "max_steps": 0 < settings.max_steps <= self.at.step,
            "max_minutes": self._time_share() >= 1,
        }
        return next((name for name, holds in reasons.items() if holds), None)

    def _checkpoint_due(self) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and self.at.step > 0 and self.at.step % every == 0

    def _leave_if(self, signal_number: int) -> None:
        if signal_number:
            self._save()
            raise InterruptedRunError(
                f"interrupted after step {self.at.step}; the state is saved", signal_number, self.run.path
            )

    def _learning_rate(self) -> float:
        return learning_rate(
            self.settings,
            step=self.at.step,
            total_steps=self.total_steps,
            time_share=self._time_share(),
            cuts=self.at.cuts,
        )

    def _update(self) -> None:
        at, optimizer = self.at, self.state.optimizer
        at.learning_rate = self._learning_rate()
        for parameters in optimizer.param_groups:
            parameters["lr"] = at.learning_rate
        group = self.epochs.group(at.epoch, at.batches)
        result = update(
            self.state.model,
            optimizer,
            group,
            self.loss,
            arithmetic=self.state.arithmetic,
            clip_norm=self.settings.clip_norm,
            place=Place(at.step + 1, at.epoch + 1, at.batches, self.settings.learning_rate),
            noise=self.noise,
        )
        distributed.share_statistics(self.state.model)
        if self.state.averaging is not None and result.done:
            self.state.averaging.update(self.state.model)
        epoch, self.latest = at.epoch + 1, result
        self._count(result, len(group))
        self._report(result, epoch)

    def _count(self, result: Update, batches: int) -> None:
        at = self.at
        at.skipped = 0 if result.done else at.skipped + 1
        if at.skipped > SKIPPED_IN_A_ROW:
            raise DivergedError(
                f"step {at.step + 1}: {at.skipped} gradients in a row overflowed fp16; "
                f"use --precision fp32, or {remedy(self.settings.learning_rate)}"
            )
        at.step += 1
        if at.first_loss is None:
            at.first_loss = result.total / max(result.count, 1)
        at.batches += batches
        if at.batches >= len(self.epochs.of(at.epoch)):
            at.epoch, at.batches = at.epoch + 1, 0
        at.total, at.count = at.total + result.total, at.count + result.count
        at.reported_total += result.total
        at.reported_count += result.count

    def _report(self, result: Update, epoch: int) -> None:
        at = self.at
        mean = result.total / max(result.count, 1)
        seconds = time.monotonic() - self.started
        self.reporter.step(
            StepReport(
                at.step,
                epoch,
                mean,
                result.unit,
                result.count,
                at.learning_rate,
                result.gradient_norm,
                seconds,
                self._seconds_left(seconds),
            )
        )
        if at.step % self.settings.report_every == 0:
            self._train_event(result, epoch, seconds)

    def _train_event(self, result: Update, epoch: int, seconds: float) -> None:
        at = self.at
        self._event(
            event="train",
            step=at.step,
            epoch=epoch,
            loss=at.reported_total / max(at.reported_count, 1),
            unit=result.unit,
            learning_rate=at.learning_rate,
            gradient_norm=result.gradient_norm if result.done else None,
            seconds=round(seconds, 3),
        )
        at.reported_total, at.reported_count = 0.0, 0

    def _end_curve(self) -> None:
        """Write a `train` event for the updates since the last one."""
        if self.latest is not None and self.at.reported_count:
            self._train_event(self.latest, self._epoch_of_last(), self.at.seconds)

    def _epoch_of_last(self) -> int:
        """The epoch of the last update, from 1."""
        return self.at.epoch if self.at.batches == 0 else self.at.epoch + 1

    def _seconds_left(self, seconds: float) -> float:
        left = (self.total_steps - self.at.step) * seconds / self.at.step
        limit = self.settings.max_minutes * 60
        return max(min(left, limit - seconds) if limit else left, 0.0)

    def _event(self, **event: Any) -> None:
        if distributed.rank() == 0:
            self.run.append_event(event)

    def _evaluate(self) -> bool:
        """Evaluate with the averaged weights; return whether this is the best evaluation so far."""
        at, model = self.at, self.state.model
        averaging = self.state.averaging
        with torch.no_grad(), averaging.averaged_weights(model) if averaging else nullcontext():
            model.eval()
            metrics = self.evaluate()
            model.train()
        metrics = dict(
            zip(metrics, distributed.numbers_of_first([*metrics.values()], self.device), strict=True)
        )
        require_progress(at.step, at.first_loss, metrics, self.settings.learning_rate)
        improved = self._compare(metrics)
        train_loss, seconds = at.total / max(at.count, 1), self._clock()
        at.total, at.count, at.evaluated, at.evaluated_seconds = 0.0, 0, at.step, seconds
        at.evaluation_seconds = seconds - at.seconds
        if averaging is not None and at.stale >= self.settings.average_patience:
            averaging.begin()
        epoch = self._epoch_of_last()
        self._event(
            event="evaluation",
            step=at.step,
            epoch=epoch,
            train_loss=train_loss,
            metrics=_finite(metrics),
            improved=improved,
            learning_rate=at.learning_rate,
            seconds=round(seconds, 3),
        )
        self.reporter.evaluation(
            EvaluationReport(at.step, epoch, train_loss, metrics, at.learning_rate, improved, seconds)
        )
        at.seconds = seconds
        return improved

    def _compare(self, metrics: dict[str, float]) -> bool:
        """Compare with the best evaluation so far and count evaluations without improvement.

        Returns:
            Whether this evaluation is the best so far.

        Raises:
            DivergedError: the selecting metric is not finite.
        """
        at = self.at
        name = self.select.removeprefix("-")
        assert name in metrics, f"{name} selects the best weights, but evaluate() gives {sorted(metrics)}"
        value = metrics[name]
        if not math.isfinite(value):
            raise DivergedError(
                f"step {at.step}: {name} on the held-out data is {value}; nothing was saved after it; "
                f"{remedy(self.settings.learning_rate)}"
            )
        rank, highest = self._rank(metrics), self._rank(at.best_metrics)
        rises = at.best is None or rank > highest
        best = rises or (rank == highest and self._has_less_loss(metrics))
        if best:
            at.best, at.best_step, at.best_metrics = value, at.step, _finite(metrics)
        if rises:
            at.stale = at.cut_stale = 0
            return True
        at.stale += 1
        at.cut_stale += 1
        if at.cut_stale > self.settings.plateau_patience:
            at.cuts, at.cut_stale = at.cuts + 1, 0
        return best

    def _rank(self, metrics: Mapping[str, float | None]) -> tuple[float, float]:
        """What is compared, higher is better: the selecting metric, then the tiebreak if that is 0."""
        value = metrics.get(self.select.removeprefix("-")) or 0.0
        second = None if value or self.tiebreak is None else metrics.get(self.tiebreak)
        return -value if self.select.startswith("-") else value, second or 0.0

    def _has_less_loss(self, metrics: dict[str, float]) -> bool:
        """Whether the loss is lower than that of the best evaluation; False if either has none.

        It breaks ties: a metric may stay at 0 for long, and the untrained weights would be the best
        then. Early stopping looks at the metric alone, as a loss may fall by next to nothing for ever.
        """
        before, now = self.at.best_metrics.get("loss"), metrics.get("loss")
        return before is not None and now is not None and now < before

    def _save(self) -> None:
        """Write a checkpoint, unless the newest one holds this very state."""
        if self.saved == (self.at.step, self.at.evaluated):
            return
        tensors, values = self.state.capture(self.run.events_size())
        if distributed.rank() == 0:
            self.checkpoints.save(self.at.step, tensors, values, best=self.at.best_step)
        self.saved = (self.at.step, self.at.evaluated)

    def _finish(self, reason: str) -> FitResult:
        """Restore the weights of the best evaluation, on every process."""
        at = self.at
        assert at.best_step is not None
        if distributed.rank() == 0:
            best = self.checkpoints.load(at.best_step)
            weights = best_weights(best.tensors)
            restore_weights(self.state.model, weights, str(self.checkpoints.folder))
        distributed.broadcast_in_place(model_tensors(self.state.model).values())
        self.state.model.eval()
        epochs = at.epoch + (at.batches / len(self.epochs.of(at.epoch)) if at.batches else 0.0)
        metrics = {name: math.nan if value is None else value for name, value in at.best_metrics.items()}
        name = self.select.removeprefix("-")
        result = FitResult(metrics, at.best_step, at.step, epochs, at.seconds, name, reason)
        self.reporter.finished(result)
        return result


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON can hold them: None in place of what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
