"""One update of the weights; `training.loop` tells the order of its steps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from numpy.random import SeedSequence
from torch import Tensor, nn
from torch.optim import Optimizer

from seqtool.errors import DivergedError, MemoryExhaustedError
from seqtool.nn.losses import LossSum
from seqtool.training import distributed
from seqtool.training.divergence import remedy

Batch = TypeVar("Batch")

SKIPPED_IN_A_ROW = 50  # fp16 may overflow while its loss scale is being found; more in a row is divergence


@dataclass(frozen=True)
class Arithmetic:
    """Device and number type of the forward pass, and the loss scaling that float16 needs."""

    device: torch.device
    dtype: torch.dtype
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype) -> Arithmetic:
        """The arithmetic of a device and a number type; the loss is scaled for float16 only."""
        kind = "cuda" if device.type == "cuda" else "cpu"
        return cls(device, dtype, torch.amp.GradScaler(kind, enabled=dtype == torch.float16))

    def autocast(self) -> torch.autocast:
        """Context manager in which a loss is computed; it does nothing for float32."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


class Place(NamedTuple):
    """Where in the run an update takes place, and what to change if it diverges there; only for messages."""

    step: int  # number of the update, from 1
    epoch: int  # number of the epoch, from 1
    position: int  # index of the group's first batch in its epoch, from 0
    learning_rate: float  # peak of the schedule

    def __str__(self) -> str:
        return f"step {self.step}, epoch {self.epoch}"


@dataclass(frozen=True)
class GradientNoise:
    """Gaussian noise that decays: its variance at update t (from 1) is `variance` / t ** 0.55.

    The noise depends on the seed and the update alone: all processes add the same, and a resumed run
    adds what the uninterrupted one would have added.

    Reference: Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks",
    section 3.
    """

    variance: float
    seed: int

    def add(self, gradients: Sequence[Tensor], step: int) -> None:
        """Add the noise of update `step` (from 1) to each gradient, in place."""
        deviation = math.sqrt(self.variance / step**0.55)
        mixed = SeedSequence([self.seed, step]).generate_state(1)  # torch uses 32 bits of a seed
        source = torch.Generator().manual_seed(int(mixed[0]))
        for gradient in gradients:
            drawn = torch.randn(gradient.shape, generator=source, dtype=gradient.dtype)
            gradient.add_(drawn.to(gradient.device), alpha=deviation)


@dataclass(frozen=True)
class Update:
    """The loss and the gradient of one update, over all processes."""

    total: float  # summed loss, nats
    count: int  # units that the loss was summed over
    unit: str  # token, sentence or character
    gradient_norm: float  # norm of the gradient of the mean loss, before clipping
    done: bool  # False if float16 overflowed, and the weights were not changed


def update(
    model: nn.Module,
    optimizer: Optimizer,
    group: Sequence[Batch],
    loss: Callable[[Batch], LossSum],
    *,
    arithmetic: Arithmetic,
    clip_norm: float,
    place: Place,
    noise: GradientNoise | None = None,
) -> Update:
    """Make one update with the gradient of the mean loss over a group of batches.

    Args:
        model: The network; its weights are changed in place.
        optimizer: The optimizer of its trainable parameters, with the learning rate already set.
        group: The batches of all processes; this process computes every `world_size`-th of them.
        loss: Function from a batch to its summed loss.
        arithmetic: Device, number type and loss scaling of the forward pass.
        clip_norm: Largest norm of the gradient, >= 0; 0 = no clipping.
        place: Where in the run the update takes place, for messages.
        noise: Noise added to the gradient after clipping; None = none.

    Returns:
        The summed loss, and the norm of the gradient before clipping.

    Raises:
        DivergedError: the loss or the gradient is not finite; the weights are unchanged.
        MemoryExhaustedError: a batch does not fit into memory.
    """
    optimizer.zero_grad(set_to_none=True)
    totals, count, unit = _accumulate(group, loss, arithmetic, place)
    sums = torch.tensor([float(totals.sum()), count], dtype=torch.float64, device=arithmetic.device)
    _sum_gradients(model, sums)
    # After the sum all processes have the same gradients, also one without a batch, and see the overflow of
    # any. So their loss scales stay the same.
    arithmetic.scaler.unscale_(optimizer)
    total, count = float(sums[0]), int(sums[1])
    if not math.isfinite(total):
        raise DivergedError(f"{place}: {_culprit(totals, place)}{_advice(place)}")
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    for gradient in gradients:
        gradient.div_(max(count, 1))
    norm = torch.nn.utils.get_total_norm(gradients)
    if math.isfinite(norm):
        if clip_norm > 0:
            torch.nn.utils.clip_grads_with_norm_(model.parameters(), clip_norm, norm)
        if noise is not None:
            noise.add(gradients, place.step)
        optimizer.step()
    elif not arithmetic.scaler.is_enabled():
        last = place.position + len(group)
        raise DivergedError(
            f"{place}: the norm of the gradient is {float(norm)} "
            f"(batches {place.position + 1} to {last} of the epoch){_advice(place)}"
        )
    arithmetic.scaler.update()
    return Update(total, count, unit, float(norm), math.isfinite(norm))


def _advice(place: Place) -> str:
    return f"; weights and checkpoints are as before this update; {remedy(place.learning_rate)}"


def _accumulate(
    group: Sequence[Batch], loss: Callable[[Batch], LossSum], arithmetic: Arithmetic, place: Place
) -> tuple[Tensor, int, str]:
    """Add up the gradients of this process's batches.

    Returns:
        The loss of each of these batches, nats, [batches]; the number of units that they were summed
        over; and the name of the unit.
    """
    totals, count, unit = [], 0, "token"
    for batch in group[distributed.rank() :: distributed.world_size()]:
        with _memory_errors(batch, place):
            with arithmetic.autocast():
                result = loss(batch)
            arithmetic.scaler.scale(result.total).backward()  # type: ignore[no-untyped-call]
        totals.append(result.total.detach())
        count += result.count
        unit = result.unit
    if not totals:
        arithmetic.scaler.scale(torch.zeros((), device=arithmetic.device))  # it needs a first call to unscale
        return torch.zeros(0, dtype=torch.float64), 0, unit
    return torch.stack(totals).cpu().double(), count, unit


def _sum_gradients(model: nn.Module, sums: Tensor) -> None:
    """Sum gradients and `sums` over all processes, in place; a gradient that no process has stays None."""
    if not distributed.is_distributed():
        return
    parameters = [p for p in model.parameters() if p.requires_grad]
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=sums.device)
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    distributed.sum_in_place([sums, used, *(p.grad for p in parameters if p.grad is not None)])
    for parameter, processes in zip(parameters, used.tolist(), strict=True):
        if processes == 0:
            parameter.grad = None


def _culprit(totals: Tensor, place: Place) -> str:
    """The batch of this process whose loss is not finite, for a message."""
    for index, total in enumerate(totals.tolist()):
        if not math.isfinite(total):
            number = place.position + index * distributed.world_size() + distributed.rank() + 1
            return f"the loss of batch {number} of the epoch is {total}"
    return "the loss of a batch of another process is not finite"


@contextlib.contextmanager
def _memory_errors(batch: Any, place: Place) -> Iterator[None]:
    """Turn the various out-of-memory errors of Python and torch into one that names the remedy."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error).lower()
        known = "can't allocate memory" in text or "out of memory" in text or "not enough memory" in text
        if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError) and not known:
            raise
        raise MemoryExhaustedError(
            f"{place}: not enough memory for a batch ({describe_batch(batch)}); lower --batch-tokens and "
            "raise --set training.accumulation=N by the same factor, or shorten the longest sentences"
        ) from error


def describe_batch(batch: Any) -> str:
    """Names and shapes of the tensors in a batch, whatever its type, for messages.

    >>> describe_batch({"words": torch.zeros(2, 3), "name": "x"})
    'words [2, 3]'
    """
    fields: dict[str, Any]
    if isinstance(batch, dict):
        fields = batch
    elif hasattr(batch, "_asdict"):
        fields = batch._asdict()
    elif isinstance(batch, tuple | list):
        fields = {str(index): value for index, value in enumerate(batch)}
    else:
        names = getattr(batch, "__dataclass_fields__", None) or getattr(batch, "__dict__", {})
        fields = {name: getattr(batch, name) for name in names}
    shapes = [f"{name} {list(value.shape)}" for name, value in fields.items() if isinstance(value, Tensor)]
    return ", ".join(shapes) or type(batch).__name__
