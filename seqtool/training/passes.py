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
    """The result of one pass over a batch."""

    loss: LossSum
    predictions: Any  # whatever `divergence` of the task compares


def loss_of_passes(
    network: nn.Module,
    once: Callable[[], Pass],
    divergence: Callable[[Any, Any], Tensor],
    settings: TrainingSettings,
) -> LossSum:
    """The loss of a batch, from one pass, or from two with R-Drop or adversarial training.

    Args:
        network: The network, in training mode.
        once: Function that makes one pass over the batch, each time with new dropout masks.
        divergence: Function from the predictions of two passes to KL(p || q) + KL(q || p), summed over
            the same units as the loss, nats.
        settings: Settings of training, of which `r_drop` and `adversarial` are read; at most one is set.

    Returns:
        The summed loss of one pass; with `r_drop` the mean of two losses plus r_drop / 4 times the
        divergence, which is half of the paper's sum, so that r_drop is the paper's weight (Liang et al.
        2021, equations 1 to 3); with `adversarial` the mean of the loss and that of the perturbed inputs.
    """
    if settings.r_drop:
        first, second = once(), once()
        apart = settings.r_drop / 4 * divergence(first.predictions, second.predictions)
        return _mean(first.loss, second.loss, apart)
    if settings.adversarial:
        with recorded_inputs(network) as inputs, plain_steps():  # gradients are taken twice through it
            first = once()
        with shifted_inputs(network, worst_offsets(first.loss.total, inputs, settings.adversarial)):
            second = once()
        return _mean(first.loss, second.loss, 0.0)
    return once().loss


def _mean(first: LossSum, second: LossSum, more: Tensor | float) -> LossSum:
    return first._replace(total=(first.total + second.total) / 2 + more)
