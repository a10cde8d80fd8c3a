"""The interface between search and model: a function from symbols and a state to scores."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # every tensor has N = B x K rows; hypotheses of one sentence are adjacent


class StepResult(NamedTuple):
    """The result of one step: scores of the next symbols, and the next state."""

    scores: Tensor  # raw scores, [N, V], with log p = scores - log_normaliser; -inf where impossible
    log_normaliser: Tensor  # [N]
    state: State
    attention: Tensor | None  # weights of the source positions, [N, S]; each row sums to 1


class Step(Protocol):
    """One step of a model for a batch of sentences, whose source memory the step holds itself.

    Every tensor of a state is reordered with the beam; the source memory is not, and is never tiled: row n
    belongs to sentence n // K, with K = N // B (1 at the first step). V may exceed the model's vocabulary,
    for symbols copied from the source; after `keep`, columns at the right may disappear if they are -inf for
    all remaining sentences.
    """

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """The scores of the symbols that follow `last`, ids [N]."""

    def keep(self, sentences: Tensor) -> None:
        """Continue with only the sentences at these positions, ascending, [B']."""


def select(state: State, rows: Tensor) -> State:
    """The given rows, [N'], of every tensor of a state."""
    return tuple(each.index_select(0, rows) for each in state)


def rows_of(sentences: Tensor, slots: int) -> Tensor:
    """The rows of the sentences at these positions, K slots each: [B'] to [B' x K]."""
    return (sentences[:, None] * slots + torch.arange(slots, device=sentences.device)).flatten()


def sum_type(device: torch.device) -> torch.dtype:
    """Number type in which log probabilities are summed: float64, if the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64
