"""Beam search for a probable continuation, as an alternative to sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.step import State, StepResult
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.sampling import Continuation
from seqtool.lm.vocabulary import PADDING, UNKNOWN


class LanguageStep:
    """A language model as a `decoding.step.Step`.

    Args:
        network: The network in evaluation mode.
    """

    def __init__(self, network: LanguageNetwork) -> None:
        self._network = network
        self._parts = [len(layer) for layer in network.initial(1)]

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """Scores of the next symbols; see `Step.__call__`.

        Args:
            last: The last symbol of each hypothesis, [N].
            state: The tensors of all layers' states in one tuple.
        """
        parts = iter(state)
        layers = [tuple(next(parts) for _ in range(count)) for count in self._parts]
        outputs, after = self._network(last[:, None], layers)
        # [N, V]
        scores = self._network.log_probabilities(outputs.features[:, 0])
        # [N]; taken before the unknown symbol is excluded, so that scores remain those of the model
        normaliser = scores.logsumexp(1)
        scores[:, UNKNOWN] = -torch.inf
        return StepResult(scores, normaliser, tuple(part for layer in after for part in layer), None)

    def keep(self, sentences: Tensor) -> None:
        """Do nothing: the step holds no tensors of single sentences."""


@torch.inference_mode()
def likeliest(model: LanguageModel, start: Continuation, *, length: int, beam: int) -> list[int]:
    """The symbols of a probable continuation.

    Args:
        model: The language model.
        start: The text so far, one row.
        length: Number of symbols to write, at least 1.
        beam: Beam size, at least 1; 1 = greedy search.
    """
    step = LanguageStep(model.network)
    state = tuple(part for layer in start.states for part in layer)
    with model.autocast():
        ((best, *_),) = beam_search(
            step,
            state,
            start=int(start.last),
            end=PADDING,  # no text has it: every hypothesis has `length` symbols
            max_lengths=torch.tensor([length], device=model.device),
            options=BeamOptions(beam=beam, length_penalty="none", alpha=0.0),
        )
    return list(best.tokens)
