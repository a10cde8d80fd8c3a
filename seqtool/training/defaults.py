"""Settings that are chosen from the data if they are not given: what an expert would set for it.

Small data needs many updates, not many passes: batches shrink with the data, and the number of updates grows
much more slowly than the data. Dev is scored as often as a bounded share of the time allows. Where all passes
over large data would take long, time ends a first model's training instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqtool.errors import in_minutes
from seqtool.training.settings import TrainingSettings

AUTO = "auto"  # may be typed in place of a value: choose it
LIMIT = "training.max_minutes"
PACE = ("training.batch_tokens", "training.epochs", "training.evaluate_every", LIMIT)  # what `paced` chooses
FIRST_MODEL = 15.0  # minutes of training, at most, if nothing else limits it
SCORING = 0.15  # share of the time of training that may go into scoring dev, about
EVALUATIONS = 10  # of the whole run, at least, where an epoch is long
SHORT = 200  # updates; intervals of evaluations may always be as long as this


@dataclass(frozen=True)
class Choice:
    """What was chosen, and from what.

    Attributes:
        values: Value by dotted key, for every setting that is chosen if it is not given.
        because: What the data is, as the reason: "500 sentences, 11,303 tokens".
    """

    values: Mapping[str, Any]
    because: str

    def reasons(self, used: Mapping[str, Any]) -> tuple[str, ...]:
        """A line for the user about the values that were used; none if all settings were given.

        >>> Choice({"training.epochs": 30}, "500 sentences").reasons({"training.epochs": 30})
        ('chosen for 500 sentences: epochs 30',)
        """
        if not used:
            return ()
        listed = ", ".join(f"{key.rpartition('.')[2]} {_shown(value)}" for key, value in used.items())
        lines = [f"chosen for {self.because}: {listed}"]
        if LIMIT in used:
            lines.append(
                f"this gives a first model after at most {in_minutes(used[LIMIT])}; for a better one give "
                f"more, as in --max-minutes {4 * used[LIMIT]:g}"
            )
        return tuple(lines)


@dataclass(frozen=True)
class Pace:
    """How the length of training follows the size of the training part, for one kind of model.

    Attributes:
        batches: Batches per epoch that are aimed at.
        batch_tokens: Least and largest size of a batch, powers of two.
        updates: Updates of the run for a training part of `base` tokens.
        base: That size.
        growth: Exponent with which the updates grow with the size, in (0, 1).
        epochs: Least and largest number of epochs.
        step: Time of a token in training, divided by its time in scoring.
        most: Tokens of all epochs beyond which time limits training, as many as a fast core trains on in
            `FIRST_MODEL` minutes.
    """

    batches: int
    batch_tokens: tuple[int, int]
    updates: int
    base: int
    growth: float
    epochs: tuple[int, int]
    step: float
    most: float = math.inf


def paced(training: TrainingSettings, pace: Pace, tokens: int, dev_tokens: int) -> dict[str, Any]:
    """Values for the settings in `PACE`; those that were given decide the others.

    Args:
        training: The `[training]` table.
        pace: How training follows the size of its data.
        tokens: Size of the training part, at least 1.
        dev_tokens: Size of the development part.

    Returns:
        Values by dotted key. No interval of evaluations where the end of each epoch suits, or with a time
        limit, when it follows the clock; no time limit where training is short, or limited otherwise.
    """
    batch = power_of_two(tokens / pace.batches, *pace.batch_tokens)
    batch = training.batch_tokens if "batch_tokens" in training.model_fields_set else batch
    each = max(tokens / batch / training.accumulation, 1.0)  # updates per epoch, about
    least, most = pace.epochs
    wanted = pace.updates * (tokens / pace.base) ** pace.growth
    epochs = min(max(round(wanted / each), least), most)
    values = dict(zip(PACE[:2], (batch, epochs), strict=True)) | bounded(training, tokens * epochs, pace.most)
    if not (training.max_minutes or LIMIT in values):
        epochs = training.epochs if "epochs" in training.model_fields_set else epochs
        total = min(each * epochs, training.max_steps or math.inf)
        affordable = dev_tokens / (pace.step * SCORING * batch * training.accumulation)
        longest = max(total / EVALUATIONS, SHORT)
        if not affordable <= each <= longest:
            values[PACE[2]] = math.ceil(min(max(each, affordable), longest))
    return values


def bounded(training: TrainingSettings, planned: float, most: float) -> dict[str, Any]:
    """A time limit, if training would take long and nothing that was given limits it.

    Args:
        training: The `[training]` table.
        planned: Tokens of all epochs.
        most: Tokens of all epochs that need no limit.

    Returns:
        The limit by its dotted key, or nothing.
    """
    limited = training.model_fields_set & {"epochs", "max_steps", "max_minutes"}
    return {} if limited or planned <= most else {LIMIT: FIRST_MODEL}


def power_of_two(value: float, least: int, most: int) -> int:
    """The power of two nearest to a value (by ratio), within bounds that are powers of two.

    >>> power_of_two(300, 64, 1024), power_of_two(5000, 64, 1024)
    (256, 1024)
    """
    return min(max(1 << round(math.log2(max(value, 1.0))), least), most)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
