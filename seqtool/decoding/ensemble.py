"""Ensembles: the probabilities of several models, averaged symbol by symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.step import State, Step, StepResult


class EnsembleStep:
    """A `Step` whose probabilities are the mean of its members' probabilities.

    Args:
        steps: Steps of the members, for the same sentences and the same symbols. A member with fewer columns
            than another gives the missing symbols a probability of 0.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        assert steps
        self.steps = steps
        self._sizes: list[int] = []

    def joined(self, states: Sequence[State]) -> State:
        """The states of the members before the first step, concatenated to one state."""
        assert len(states) == len(self.steps), (len(states), len(self.steps))
        self._sizes = [len(state) for state in states]
        return tuple(each for state in states for each in state)

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """See `Step`; the scores are log probabilities, with a normaliser of 0."""
        assert len(state) == sum(self._sizes), "a state that `joined` has not made"
        results, first = [], 0
        for step, size in zip(self.steps, self._sizes, strict=True):
            results.append(step(last, state[first : first + size]))
            first += size
        width = max(result.scores.shape[1] for result in results)
        # [N, V] each, V the largest number of columns
        log_p = (_padded(result.scores - result.log_normaliser[:, None], width) for result in results)
        scores = reduce(torch.logaddexp, log_p) - math.log(len(results))
        looks = [result.attention for result in results if result.attention is not None]
        return StepResult(
            scores,
            scores.new_zeros(len(scores)),
            tuple(each for result in results for each in result.state),
            torch.stack(looks).mean(0) if len(looks) == len(results) else None,
        )

    def keep(self, sentences: Tensor) -> None:
        """See `Step`."""
        for step in self.steps:
            step.keep(sentences)


def _padded(log_p: Tensor, width: int) -> Tensor:
    return functional.pad(log_p, (0, width - log_p.shape[1]), value=-torch.inf)
