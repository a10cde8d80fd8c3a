"""When dev is scored: as often as the settings say, or as limited time allows."""

from __future__ import annotations

from seqtool.training.settings import TrainingSettings
from seqtool.training.state import Position

# In a run with a time limit and without training.evaluate_every:
TIMED_EVALUATIONS = 8  # at least, if they do not take too long,
TIMED_SCORING = 0.25  # which is longer than this share of the training since the last one


def evaluation_due(at: Position, settings: TrainingSettings, *, ends: bool) -> bool:
    """Whether dev is to be scored before the next update.

    Args:
        at: Where the run is.
        settings: Its settings.
        ends: Whether it ends here, with an evaluation in any case.
    """
    if at.evaluated == at.step:
        return False
    if ends or at.step == 0:
        return ends
    if settings.evaluate_every:
        return at.step % settings.evaluate_every == 0
    trained = at.seconds - at.evaluated_seconds
    if not settings.max_minutes:
        return at.batches == 0
    share_is_over = trained >= settings.max_minutes * 60 / TIMED_EVALUATIONS  # an epoch may take longer
    return (at.batches == 0 or share_is_over) and at.evaluation_seconds <= TIMED_SCORING * trained
