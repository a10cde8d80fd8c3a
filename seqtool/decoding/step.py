"""What a search sees of a model: a function from symbols and state to scores."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # every tensor has N = B x K rows, the hypotheses of a sentence side by side


class StepResult(NamedTuple):
    """Scores of the next symbols."""

    scores: Tensor  # [N, V], raw: log p = scores - log_normaliser; -inf where impossible
    log_normaliser: Tensor  # [N]
    state: State
    attention: Tensor | None  # [N, S], rows that sum to 1


class Step(Protocol):
    """One step of a model for some sentences; what belongs to their sources is the step's own.

    Every tensor of a state is reordered with the beam; the memory of the sources is not, and is
    never tiled: row n belongs to sentence n // K, with K = N // B (1 at the first step). V may be
    more than the model's vocabulary, for symbols copied from the source; after `keep` it may
    shrink by columns at its right that are -inf for all who stay.
    """

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """Scores after the symbols `last`, [N] ids."""

    def keep(self, sentences: Tensor) -> None:
        """Go on with these of the present sentences only: rising positions."""


def select(state: State, rows: Tensor) -> State:
    """The rows of a state that hypotheses go on from."""
    return tuple(each.index_select(0, rows) for each in state)


def rows_of(sentences: Tensor, slots: int) -> Tensor:
    """The rows of the sentences at these positions, K slots each: [B'] to [B' x K]."""
    return (sentences[:, None] * slots + torch.arange(slots, device=sentences.device)).flatten()


def sum_type(device: torch.device) -> torch.dtype:
    """What log probabilities are summed in: float64, where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
