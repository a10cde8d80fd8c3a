"""Optimizers (torch's), learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqtool.errors import counted
from seqtool.training.settings import TrainingSettings

Groups = list[dict[str, Any]]
WARMUP_SHARE = 5  # the warm-up takes at most one update in this many
FEW_UPDATES = 200  # a run with fewer updates gets a warning


def _adam_options(settings: TrainingSettings) -> dict[str, Any]:
    return {"betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}


# `fused` makes a whole update in one kernel, on CPU and CUDA; torch's NAdam and RMSprop have no such kernel.
OPTIMIZERS: dict[str, Callable[[Groups, TrainingSettings, bool], Optimizer]] = {
    "sgd": lambda groups, s, fused: torch.optim.SGD(
        groups, lr=s.learning_rate, momentum=s.momentum, fused=fused
    ),
    "adam": lambda groups, s, fused: torch.optim.Adam(
        groups, lr=s.learning_rate, fused=fused, **_adam_options(s)
    ),
    "adamw": lambda groups, s, fused: torch.optim.AdamW(
        groups, lr=s.learning_rate, fused=fused, **_adam_options(s)
    ),
    "nadam": lambda groups, s, fused: torch.optim.NAdam(groups, lr=s.learning_rate, **_adam_options(s)),
    "rmsprop": lambda groups, s, fused: torch.optim.RMSprop(
        groups, lr=s.learning_rate, alpha=s.beta2, eps=s.epsilon, momentum=s.momentum
    ),
    "adagrad": lambda groups, s, fused: torch.optim.Adagrad(
        groups, lr=s.learning_rate, eps=s.epsilon, fused=fused
    ),
}


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The optimizer of a model's trainable parameters, with and without weight decay in separate groups.

    Args:
        model: The model, on its device.
        settings: Optimizer, learning rate, weight decay.

    Returns:
        The optimizer. Biases and other vectors have no weight decay, and embeddings only if the settings
        say so.
    """
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    decayed: list[tuple[str, nn.Parameter]] = []
    plain: list[tuple[str, nn.Parameter]] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = parameter.ndim < 2 or (id(parameter) in embeddings and not settings.decay_embeddings)
            (plain if exempt else decayed).append((name, parameter))
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type in ("cpu", "cuda") for _, parameter in decayed + plain)
    return OPTIMIZERS[settings.optimizer]([group for group in groups if group["params"]], settings, fused)


def optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as tensors named `PARAMETER/QUANTITY`; numbers become tensors, too."""
    snapshot = optimizer.state_dict()
    result = {}
    for name, index in _names(snapshot).items():
        for quantity, value in snapshot["state"].get(index, {}).items():
            if value is not None:
                result[f"{name}/{quantity}"] = torch.as_tensor(value)
    return result


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Set the state of an optimizer to what `optimizer_state` returned; its hyperparameters do not change.

    Raises:
        KeyError: a tensor belongs to none of its parameters.
    """
    snapshot = optimizer.state_dict()
    names = _names(snapshot)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        state.setdefault(names[name], {})[quantity] = value
    optimizer.load_state_dict({"state": state, "param_groups": snapshot["param_groups"]})
    # torch converts what it loads to the number type of the parameter, but NAdam's `mu_product` is
    # float32 whatever the parameter is: replace every value by the one that was saved.
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, quantities in state.items():
        loaded = optimizer.state[parameters[index]]
        for quantity, value in quantities.items():
            loaded[quantity] = value.to(loaded[quantity].device, copy=True)


def _names(snapshot: Mapping[str, Any]) -> dict[str, int]:
    pairs = [
        pair
        for group in snapshot["param_groups"]
        for pair in zip(group["param_names"], group["params"], strict=True)
    ]
    return dict(pairs)


class Moment(NamedTuple):
    """What a learning-rate schedule depends on at an update."""

    step: int  # updates since the end of the warm-up
    progress: float  # fraction of the run after the warm-up that is over, 0 to 1
    cuts: int  # reductions by the schedule `plateau` so far


# Learning rate as a fraction of `learning_rate`. These are closed forms of the classes in
# torch.optim.lr_scheduler, against which they are tested. torch's classes compute each rate from the
# previous one, so they cannot be used for a run that ends after a number of minutes, or whose length
# changes when it is resumed.
SCHEDULES: dict[str, Callable[[TrainingSettings, Moment], float]] = {
    "constant": lambda settings, moment: 1.0,
    "plateau": lambda settings, moment: settings.decay_factor**moment.cuts,
    "step": lambda settings, moment: settings.decay_factor ** (moment.step // settings.decay_steps),
    "exponential": lambda settings, moment: settings.decay_factor ** (moment.step / settings.decay_steps),
    "cosine": lambda settings, moment: _cosine(1.0, settings.final_fraction, moment.progress),
    "linear": lambda settings, moment: 1.0 + (settings.final_fraction - 1.0) * moment.progress,
    "one_cycle": lambda settings, moment: _one_cycle(settings.rise_fraction, moment.progress),
}


def learning_rate(
    settings: TrainingSettings, *, step: int, total_steps: int, time_share: float = 0.0, cuts: int = 0
) -> float:
    """The learning rate of the next update.

    The progress of a run is the larger of two fractions, that of its updates and that of its time limit,
    so that cosine, linear and one_cycle are complete when `max_minutes` ends the run. The schedule depends
    on the speed of the machine only where time runs out faster than updates.

    Args:
        settings: The schedule and its parameters.
        step: Updates made so far.
        total_steps: Updates of the whole run.
        time_share: Fraction of `max_minutes` that is over, 0 to 1; 0 without a limit.
        cuts: Reductions by the schedule `plateau` so far.

    Returns:
        The learning rate, >= 0.
    """
    warmup = warmup_of(settings, total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    by_steps = (step - warmup) / max(total_steps - warmup, 1)
    late = time_share > step / max(total_steps, 1)
    moment = Moment(step - warmup, min(max(by_steps, time_share) if late else by_steps, 1.0), cuts)
    return settings.learning_rate * SCHEDULES[settings.schedule](settings, moment)


def warmup_of(settings: TrainingSettings, total_steps: int) -> int:
    """Updates of the warm-up: those of the settings, but at most a fifth of the run.

    A run on a few sentences would otherwise consist mostly of warm-up. `one_cycle` has none, as it begins
    with a rise of its own.
    """
    if settings.schedule == "one_cycle":
        return 0
    return min(settings.warmup_steps, total_steps // WARMUP_SHARE)


def few_updates(updates: int) -> tuple[str, ...]:
    """A warning if a run has too few updates to move a network far from its random weights; else nothing."""
    if updates >= FEW_UPDATES:
        return ()
    return (f"only about {counted(updates, 'update')} in all; lower --batch-tokens or raise --epochs",)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0


def _one_cycle(rise: float, progress: float) -> float:
    # From 1/25 of the peak rate up to the peak, then down to 1/250,000 of it (Smith and Topin 2018).
    if progress < rise:
        return _cosine(1 / 25, 1.0, progress / rise)
    return _cosine(1.0, 1 / 25e4, (progress - rise) / (1.0 - rise))


class Averaging:
    """Average of a model's trainable parameters over the updates of a run.

    With a decay rate it is an exponential moving average. Update n uses min(decay, (1 + n) / (10 + n)), so
    that the random initial weights are forgotten quickly and a short run averages over its own length.
    Without one it is the mean of the weights at `begin` and after each update since, and the current
    weights before that (Polyak and Juditsky 1992).

    Args:
        model: The model, whose current weights the average starts with.
        decay: Decay rate of the moving average, 0 < decay < 1; None = the mean since `begin`.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.decay = decay
        self.count = 0
        self.tensors = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Include the model's current weights in the average."""
        parameters = dict(model.named_parameters())
        share = self._share_of_next()
        for name, average in self.tensors.items():
            average.lerp_(parameters[name].detach(), share)

    def begin(self) -> None:
        """Start the mean here; no effect on a moving average, or on a mean that has started already."""
        self.count = max(self.count, 1)

    def _share_of_next(self) -> float:
        if self.decay is None:
            self.count += self.count > 0
            return 1.0 / max(self.count, 1)
        self.count += 1
        return 1.0 - min(self.decay, (1 + self.count) / (10 + self.count))

    @contextlib.contextmanager
    def averaged_weights(self, model: nn.Module) -> Iterator[None]:
        """Within this context `model` has the averaged weights; afterwards its own again, bit for bit."""
        parameters = dict(model.named_parameters())
        own = {name: parameters[name].detach().clone() for name in self.tensors}
        try:
            _copy_into(parameters, self.tensors)
            yield
        finally:
            _copy_into(parameters, own)


AVERAGES: dict[str, Callable[[nn.Module, TrainingSettings], Averaging | None]] = {
    "none": lambda model, settings: None,
    "ema": lambda model, settings: Averaging(model, settings.average_decay),
    "asgd": lambda model, settings: Averaging(model, None),
}


@torch.no_grad()
def _copy_into(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
