"""All that a run remembers from one update to the next, as tensors and plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqtool.errors import ModelError, UsageError
from seqtool.models.tensors import model_tensors, restore_weights
from seqtool.settings import Settings, default_values, dotted
from seqtool.training import distributed
from seqtool.training.checkpoint import Checkpoint
from seqtool.training.optimization import Averaging, optimizer_state, restore_optimizer
from seqtool.training.update import Arithmetic

# Settings that a resumed run may change: how long it trains, not what it computes.
ADJUSTABLE = ("epochs", "max_steps", "max_minutes", "patience")
SHOWN_DIFFERENCES = 6  # of a run that is another one altogether a message shows so many


@dataclasses.dataclass
class Position:
    """Counters of a run; each one is needed to continue it as if it had never stopped."""

    step: int = 0  # updates made
    epoch: int = 0  # epochs completed
    batches: int = 0  # batches of the present epoch already used
    evaluated: int = -1  # step of the last evaluation
    evaluated_seconds: float = 0.0  # when it ended, since the first update
    best: float | None = None  # value of the selecting metric
    best_step: int | None = None
    best_metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)
    stale: int = 0  # evaluations since the metric was last better than before
    cuts: int = 0  # reductions of the learning rate by `plateau`
    cut_stale: int = 0  # evaluations since then or the last cut
    skipped: int = 0  # updates in a row that float16 overflow has cost
    learning_rate: float = 0.0  # of the last update
    first_loss: float | None = None  # of the first update, a token: that of untrained weights
    seconds: float = 0.0  # since the first update, evaluations included
    total: float = 0.0  # summed training loss since the last evaluation, nats
    count: int = 0  # what `total` was summed over
    reported_total: float = 0.0  # the same since the last `train` event
    reported_count: int = 0


class Carried(Protocol):
    """What a loss remembers from one batch to the next, such as where a stream's recurrent state stands."""

    def tensors(self) -> dict[str, Tensor]:
        """All of it; the same names on every process."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Undo `tensors`; nothing = forget everything."""


@dataclasses.dataclass(frozen=True)
class RunFingerprint:
    """What must be equal for a run to be continued; `ADJUSTABLE` settings may differ.

    Attributes:
        values: JSON values: the resolved settings, the data's digests.
        defaults: Of settings, by dotted key. The checkpoint of a run that was begun before a setting existed
            lacks it, so the default of a new setting has to leave runs as they were.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, data: Mapping[str, str]) -> RunFingerprint:
        """That of a run."""
        values = settings.model_dump(mode="json", by_alias=True)
        defaults = {f"settings.{key}": value for key, value in default_values(type(settings)).items()}
        return cls({"settings": values, "data": dict(data)}, defaults)


@dataclasses.dataclass
class RunState:
    """The parts of a run that change while it trains."""

    model: nn.Module
    optimizer: Optimizer
    averaging: Averaging | None
    arithmetic: Arithmetic
    position: Position
    fingerprint: RunFingerprint
    carried: Carried | None = None

    def capture(self, events_size: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything a checkpoint holds; all processes take part, each with its random state."""
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
        """Continue from `checkpoint`; the size that metrics.jsonl had then.

        Raises:
            UsageError: settings, data or number of processes are not those of the run.
            ModelError: the checkpoint does not fit the model, or lacks something.
        """
        values = checkpoint.values
        try:
            check_fingerprint(values["fingerprint"], self.fingerprint)
            if values["processes"] != distributed.world_size():
                raise UsageError(
                    f"--resume: the run used {values['processes']} processes, not {distributed.world_size()}"
                )
            for name in values["tensors"]:
                checkpoint.tensors[name]  # a KeyError here, not in the middle of the first update
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
            raise ModelError(f"{where}: the checkpoint lacks or misnames {error}") from error


def check_fingerprint(before: Mapping[str, Any], now: RunFingerprint) -> None:
    """Refuse to continue a run under other settings or on other data.

    Raises:
        UsageError: anything but `ADJUSTABLE` differs; the message lists the first differences.
    """
    old, new = dotted(before), dotted(now.values)
    old |= {key: now.defaults[key] for key in new.keys() & now.defaults.keys() - old.keys()}
    differences = [
        f"{key} was {old.get(key, 'absent')}, is {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, _ABSENT) != new.get(key, _ABSENT) and key.rpartition(".")[2] not in ADJUSTABLE
    ]
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        shown = [*differences[:SHOWN_DIFFERENCES], *([f"and {more} more"] if more > 0 else ())]
        raise UsageError(
            f"--resume: {'; '.join(shown)}; only {', '.join(ADJUSTABLE)} may change; "
            "go back to the old values, or start again with --overwrite"
        )


def best_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint that were evaluated: the average where there is one."""
    return _under("model", tensors) | _under("average", tensors)


@torch.no_grad()
def restore_average(averages: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy the averages of a checkpoint into `averages`."""
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
    """Tensors that each process has its own values of, under `name/number of the process`."""
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
    # A run may be continued on another kind of device; its noise starts anew from the seed then.
    if device.type == "cuda" and f"cuda/{number}" in states:
        torch.cuda.set_rng_state(states[f"cuda/{number}"], device)
    elif device.type == "mps" and f"mps/{number}" in states:
        torch.mps.set_rng_state(states[f"mps/{number}"])
