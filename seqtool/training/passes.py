"""The loss of a batch from two passes over it: R-drop and adversarial training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from seqtool.nn.adversarial import recorded_inputs, shifted_inputs, worst_offsets
from seqtool.nn.cells.chunked import plain_steps
from seqtool.nn.losses import LossSum
from seqtool.training.settings import TrainingSettings


class Pass(NamedTuple):
    """What one pass over a batch gave."""

    loss: LossSum
    predictions: Any  # what `divergence` compares


def loss_of_passes(
    network: nn.Module,
    once: Callable[[], Pass],
    divergence: Callable[[Any, Any], Tensor],
    settings: TrainingSettings,
) -> LossSum:
    """The loss of a batch, with what the settings ask of a second pass.

    Args:
        network: In training.
        once: Makes a pass over the batch, each time with dropout of its own.
        divergence: KL(p || q) + KL(q || p) of the predictions of two passes, summed as the loss is, nats.
        settings: With `r_drop` and `adversarial`, one of them at most.

    Returns:
        Of one pass. With `r_drop` the mean of two losses and r_drop / 4 times the divergence: half of
        what the paper adds up, so that its weight means the same (Liang et al. 2021, equations 1 to 3).
        With `adversarial` the mean of the loss and that of the worst inputs nearby.
    """
    if settings.r_drop:
        first, second = once(), once()
        apart = settings.r_drop / 4 * divergence(first.predictions, second.predictions)
        return _mean(first.loss, second.loss, apart)
    if settings.adversarial:
        with recorded_inputs(network) as inputs, plain_steps():  # its gradients are taken twice
            first = once()
        with shifted_inputs(network, worst_offsets(first.loss.total, inputs, settings.adversarial)):
            second = once()
        return _mean(first.loss, second.loss, 0.0)
    return once().loss


def _mean(first: LossSum, second: LossSum, more: Tensor | float) -> LossSum:
    return first._replace(total=(first.total + second.total) / 2 + more)
