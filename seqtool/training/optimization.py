"""Optimizers (torch's), learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seqtool.training.settings import TrainingSettings

Groups = list[dict[str, Any]]
WARMUP_SHARE = 5  # at most one in so many updates is one of the warm-up
FEW_UPDATES = 200


def _adam_options(settings: TrainingSettings) -> dict[str, Any]:
    return {"betas": (settings.beta1, settings.beta2), "eps": settings.epsilon}


# `fused` does a whole update in one kernel, on CPU and CUDA; NAdam and RMSprop have none.
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
    """The optimizer over what is trainable in `model`, in a group with weight decay and one without."""
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
    """The optimizer's tensors under `parameter name/quantity`; its numbers become tensors too."""
    snapshot = optimizer.state_dict()
    result = {}
    for name, index in _names(snapshot).items():
        for quantity, value in snapshot["state"].get(index, {}).items():
            if value is not None:
                result[f"{name}/{quantity}"] = torch.as_tensor(value)
    return result


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimizer_state`; hyperparameters stay those of the settings.

    Raises:
        KeyError: a tensor belongs to no parameter.
    """
    snapshot = optimizer.state_dict()
    names = _names(snapshot)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, quantity = key.rpartition("/")
        state.setdefault(names[name], {})[quantity] = value
    optimizer.load_state_dict({"state": state, "param_groups": snapshot["param_groups"]})
    # torch converts what it loads to the parameter's number type, but NAdam's `mu_product` is
    # float32 whatever the parameter is: put every value back as it was.
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
    """Where a run stands when an update is due."""

    step: int  # updates made after the warm-up
    progress: float  # share of the run after the warm-up that is over, 0 to 1
    cuts: int  # reductions that `plateau` has decided on


# Share of `learning_rate` at a moment. These are the closed forms of torch.optim.lr_scheduler's
# classes (the tests hold them to those). torch's own update the rate from the rate before, so
# that a run whose length is a number of minutes, or is changed on resuming, cannot use them.
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

    A run that `max_minutes` may end first is measured by the clock: its progress is whichever is
    larger, the share of its updates or the share of its time, so that cosine, linear and
    one_cycle come to their end when the run does. Such a schedule depends on the machine's speed.

    Args:
        settings: Schedule and its parameters.
        step: Updates made so far.
        total_steps: Updates in the whole run.
        time_share: Share of `max_minutes` that is over; 0 without such a limit.
        cuts: Reductions that `plateau` has decided on.
    """
    warmup = warmup_of(settings, total_steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / (warmup + 1)
    by_steps = (step - warmup) / max(total_steps - warmup, 1)
    moment = Moment(step - warmup, min(max(by_steps, time_share), 1.0), cuts)
    return settings.learning_rate * SCHEDULES[settings.schedule](settings, moment)


def warmup_of(settings: TrainingSettings, total_steps: int) -> int:
    """Updates of the warm-up: as the settings say, but no more than a fifth of the run.

    In a run on a few sentences the usual warm-up would be most of it. `one_cycle` has a rise of its own.
    """
    if settings.schedule == "one_cycle":
        return 0
    return min(settings.warmup_steps, total_steps // WARMUP_SHARE)


def few_updates(updates: int) -> tuple[str, ...]:
    """A warning where a run has fewer updates than move a network far from its random start."""
    if updates >= FEW_UPDATES:
        return ()
    return (f"only about {updates} updates in all; lower --batch-tokens or raise --epochs",)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0


def _one_cycle(rise: float, progress: float) -> float:
    # From a 25th of the highest rate up to it, then down to a 250,000th (Smith & Topin 2018).
    if progress < rise:
        return _cosine(1 / 25, 1.0, progress / rise)
    return _cosine(1.0, 1 / 25e4, (progress - rise) / (1.0 - rise))


class Averaging:
    """Average of a model's trainable parameters over the updates of a run.

    With a decay, a moving one: the n-th update uses min(decay, (1 + n) / (10 + n)), so that the
    random start is forgotten at once and a short run averages over its own length. Without, the
    mean of all weights since `begin`, and before it the present ones (Polyak and Juditsky 1992).
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
        """Take the model's present weights into the average."""
        parameters = dict(model.named_parameters())
        share = self._share_of_next()
        for name, average in self.tensors.items():
            average.lerp_(parameters[name].detach(), share)

    def begin(self) -> None:
        """From now on the mean counts; a moving average, or a mean that has begun, goes on as it did."""
        self.count = max(self.count, 1)

    def _share_of_next(self) -> float:
        if self.decay is None:
            self.count += self.count > 0
            return 1.0 / max(self.count, 1)
        self.count += 1
        return 1.0 - min(self.decay, (1 + self.count) / (10 + self.count))

    @contextlib.contextmanager
    def averaged_weights(self, model: nn.Module) -> Iterator[None]:
        """Inside, `model` has the average as its weights; afterwards its own again, bit for bit."""
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
