"""The state of a run between two updates, as a checkpoint holds it: tensors and JSON values."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqtool.errors import ModelError, UsageError
from seqtool.models.tensors import model_tensors, restore_weights
from seqtool.settings import Settings
from seqtool.settings_keys import default_values, dotted
from seqtool.training import distributed
from seqtool.training.checkpoint import Checkpoint
from seqtool.training.optimization import Averaging, optimizer_state, restore_optimizer
from seqtool.training.update import Arithmetic

# Settings that may change when a run is resumed: how long it trains, not what it computes.
ADJUSTABLE = ("epochs", "max_steps", "max_minutes", "patience")
DIGITS = 12  # of a digest in messages
DIGEST = 64  # hexadecimal digits of a SHA-256
SHOWN_DIFFERENCES = 6  # at most; a message with all differences between unrelated runs would be too long


@dataclasses.dataclass
class Position:
    """Counters of a run, all of which are needed to continue it as if it had never stopped."""

    step: int = 0  # updates made
    epoch: int = 0  # epochs completed
    batches: int = 0  # batches of the current epoch that were used already
    evaluated: int = -1  # step of the last evaluation; -1 = none yet
    evaluated_seconds: float = 0.0  # end of the last evaluation, in seconds since the first update
    evaluation_seconds: float = 0.0  # duration of the last evaluation
    best: float | None = None  # best value of the selecting metric
    best_step: int | None = None  # step of the best evaluation
    best_metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)
    stale: int = 0  # evaluations since the selecting metric last improved
    cuts: int = 0  # reductions of the learning rate by the schedule `plateau`
    cut_stale: int = 0  # evaluations since the metric last improved or the rate was last reduced
    skipped: int = 0  # consecutive updates that were skipped because float16 overflowed
    learning_rate: float = 0.0  # of the last update
    first_loss: float | None = None  # of the first update (untrained weights), nats per unit
    seconds: float = 0.0  # since the first update, evaluations included
    total: float = 0.0  # training loss since the last evaluation, summed, nats
    count: int = 0  # number of units that `total` is summed over
    reported_total: float = 0.0  # training loss since the last `train` event, summed, nats
    reported_count: int = 0  # number of units that `reported_total` is summed over


class Carried(Protocol):
    """State that a loss keeps from one batch to the next, such as the recurrent state of a text stream."""

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as tensors by name; the names are the same on every process."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state to what `tensors` returned; an empty mapping resets it."""


@dataclasses.dataclass(frozen=True)
class RunFingerprint:
    """The settings and data of a run; to resume it, all but the `ADJUSTABLE` settings have to be equal.

    Attributes:
        values: JSON values: the resolved settings, and the digests of the data.
        defaults: Value of each setting, by dotted key, in a run that was started before the setting existed:
            its default, or that of `FORMER`. The default of a new setting must not change what
            earlier runs compute.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, data: Mapping[str, str]) -> RunFingerprint:
        """The fingerprint of a run with these settings and these digests of its data by part."""
        values = settings.model_dump(mode="json", by_alias=True)
        before = {**default_values(type(settings)), **type(settings).FORMER}
        defaults = {f"settings.{key}": value for key, value in before.items()}
        return cls({"settings": values, "data": dict(data)}, defaults)


@dataclasses.dataclass
class RunState:
    """The parts of a run that change in training."""

    model: nn.Module
    optimizer: Optimizer
    averaging: Averaging | None
    arithmetic: Arithmetic
    position: Position
    fingerprint: RunFingerprint
    carried: Carried | None = None

    def capture(self, events_size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that a checkpoint holds; every process has to call this, for its random state.

        Args:
            events_size: Bytes in metrics.jsonl.

        Returns:
            Tensors by name, and JSON values.
        """
        tensors = _prefixed("model", model_tensors(self.model))
        tensors |= _prefixed("optimizer", optimizer_state(self.optimizer))
        if self.averaging is not None:
            tensors |= _prefixed("average", self.averaging.tensors)
        tensors |= _prefixed("random", _random_states(self.arithmetic.device))
        if self.carried is not None:
            tensors |= _prefixed("carried", _by_process(self.carried.tensors(), self.arithmetic.device))
        values = {
            "tensors": sorted(tensors),
            "position": dataclasses.asdict(self.position),
            "average_count": 0 if self.averaging is None else self.averaging.count,
            "scaler": self.arithmetic.scaler.state_dict(),
            "events_size": events_size,
            "processes": distributed.world_size(),
            "fingerprint": self.fingerprint.values,
        }
        return tensors, values

    def restore(self, checkpoint: Checkpoint, where: str) -> int:
        """Set everything to what a checkpoint holds.

        Args:
            checkpoint: The checkpoint of this run.
            where: Its folder, for messages.

        Returns:
            Bytes in metrics.jsonl when the checkpoint was saved.

        Raises:
            UsageError: settings, data or number of processes differ from those of the run.
            ModelError: the checkpoint does not fit the model, or lacks something.
        """
        values = checkpoint.values
        try:
            check_fingerprint(values["fingerprint"], self.fingerprint, str(Path(where).parent))
            if values["processes"] != distributed.world_size():
                raise UsageError(
                    f"--resume: the run used {values['processes']} processes, not "
                    f"{distributed.world_size()}; use torchrun --nproc-per-node {values['processes']}"
                )
            for name in values["tensors"]:
                checkpoint.tensors[name]  # raises KeyError here rather than in the middle of an update
            restore_weights(self.model, _under("model", checkpoint.tensors), where)
            restore_optimizer(self.optimizer, _under("optimizer", checkpoint.tensors))
            if self.averaging is not None:
                restore_average(self.averaging.tensors, checkpoint.tensors)
                self.averaging.count = int(values["average_count"])
            if self.arithmetic.scaler.is_enabled():
                self.arithmetic.scaler.load_state_dict(values["scaler"])
            _restore_random_states(_under("random", checkpoint.tensors), self.arithmetic.device)
            if self.carried is not None:
                self.carried.restore(_of_this_process(_under("carried", checkpoint.tensors)))
            self.position = Position(**values["position"])
            return int(values["events_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{where}: damaged checkpoint: {error} is missing or not valid") from error


def check_fingerprint(before: Mapping[str, Any], now: RunFingerprint, run: str) -> None:
    """Refuse to continue a run with other settings or other data.

    Args:
        before: Values of the run's fingerprint, from its checkpoint.
        now: Fingerprint of the settings and data that were given.
        run: Path of the run folder, for the message.

    Raises:
        UsageError: anything but an `ADJUSTABLE` setting differs; the message lists the first differences.
    """
    old, new = dotted(before), dotted(now.values)
    old |= {key: now.defaults[key] for key in new.keys() & now.defaults.keys() - old.keys()}
    keys = [
        key
        for key in sorted(old.keys() | new.keys(), key=lambda key: (key.startswith("data."), key))
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
        and key.rpartition(".")[2] not in ADJUSTABLE
        and key != "settings.name"  # changes nothing that is computed
    ]
    if not keys:
        return
    differences = [
        f"{_setting(key)} was {_short(key, old.get(key, 'absent'))}, is {_short(key, new.get(key, 'absent'))}"
        for key in keys
    ]
    more = len(differences) - SHOWN_DIFFERENCES
    shown = [*differences[:SHOWN_DIFFERENCES], *([f"and {more} more"] if more > 0 else ())]
    if all(key.startswith("data.") for key in keys):
        begun = f"{run}: the content of its data has changed since this run was begun"
        remedy = "restore the old files"
    else:
        begun = f"{run}: this run was begun with other data or settings"
        task = now.values.get("settings", {}).get("task", "TASK")
        remedy = f"to continue it, leave them out: seqtool train {task} --resume -o {shlex.quote(run)}"
    raise UsageError(
        f"{begun}; {remedy}, or start again with --overwrite ({'; '.join(shown)}; "
        f"only {', '.join(ADJUSTABLE)} may change)"
    )


def _setting(key: str) -> str:
    """A key of a fingerprint for a message: a setting as for `--set`, or the content of some data."""
    return f"content of {key}" if key.startswith("data.") else key.removeprefix("settings.")


def _short(key: str, value: Any) -> Any:
    """A value of a fingerprint for a message, with the first `DIGITS` digits of a digest."""
    is_digest = key.startswith("data.") and len(str(value)) == DIGEST
    return str(value)[:DIGITS] if is_digest else value


def best_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint that were evaluated: the averaged ones if there is an average."""
    return _under("model", tensors) | _under("average", tensors)


@torch.no_grad()
def restore_average(averages: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy the averaged weights of a checkpoint into `averages`, in place."""
    saved = _under("average", tensors)
    for name, average in averages.items():
        average.copy_(saved[name])


_ABSENT = object()


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{prefix}/"): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{prefix}/")
    }


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return _by_process(states, device)


def _by_process(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The tensors of all processes, under the names `NAME/RANK`."""
    return {
        f"{name}/{number}": tensor
        for name, mine in tensors.items()
        for number, tensor in enumerate(distributed.gather(mine, device))
    }


def _of_this_process(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `_by_process`."""
    end = f"/{distributed.rank()}"
    return {name.removesuffix(end): tensor for name, tensor in tensors.items() if name.endswith(end)}


def _restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    number = distributed.rank()
    torch.set_rng_state(states[f"cpu/{number}"])
    # If the run is resumed on another kind of device, the generator there keeps the state of its seed.
    if device.type == "cuda" and f"cuda/{number}" in states:
        torch.cuda.set_rng_state(states[f"cuda/{number}"], device)
    elif device.type == "mps" and f"mps/{number}" in states:
        torch.mps.set_rng_state(states[f"mps/{number}"])
