"""When a run has diverged, and what to type then."""

from __future__ import annotations

from collections.abc import Mapping

from seqtool.errors import DivergedError

HOPELESS = 10.0  # times the loss of the untrained model; a run with so high a loss on dev has diverged


def remedy(learning_rate: float) -> str:
    """What to type after a run with this peak learning rate has diverged.

    >>> remedy(0.002)
    'train again with a lower learning rate, for example --lr 0.0002 --overwrite'
    """
    return f"train again with a lower learning rate, for example --lr {learning_rate / 10:g} --overwrite"


def require_progress(
    step: int, untrained: float | None, metrics: Mapping[str, float], learning_rate: float
) -> None:
    """Stop a run whose model is far worse than the untrained one: it does not recover.

    Args:
        step: Updates made so far.
        untrained: Loss of the first update, nats per unit; None if no update was made yet.
        metrics: Metrics on held-out data by name; those without a `loss` are not checked.
        learning_rate: Peak learning rate of the schedule, for the message.

    Raises:
        DivergedError: the loss on held-out data is more than `HOPELESS` times the untrained one (or than
            `HOPELESS` nats, where that is below 1).
    """
    now = metrics.get("loss")
    if untrained is not None and now is not None and now > HOPELESS * max(untrained, 1.0):
        raise DivergedError(
            f"step {step}: the loss on dev is {now:.4g}, and was about {untrained:.4g} before training; "
            f"{remedy(learning_rate)}"
        )
