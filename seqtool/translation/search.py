"""A translator as a `decoding` step: symbols and state in, scores of the next symbols out.

Everything that search repeats is computed once: target embeddings are gathered already
multiplied into the gates, and the source stays [B, S, ...] whatever the beam.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.step import State, StepResult
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.pointer import copy_slots, merge_copies
from seqtool.translation.decoders import StepOutput, by_sentence
from seqtool.translation.model import Readout, Source, Translator


class Tables(NamedTuple):
    """What depends on the model alone, made once."""

    projected: Tensor  # [V, P], embeddings through the input half of the gates
    embeddings: Tensor  # [V, E]
    projection: Tensor  # [V, R], output weights as the products want them

    @classmethod
    @torch.no_grad()
    def of(cls, model: Translator) -> Tables:
        """Of a model's present weights."""
        embeddings = model.target.weight.detach()
        projected = model.decoder.project(embeddings[None])[0]
        return cls(at_least_float32(projected), embeddings, model.projection.detach())


class TranslatorStep:
    """Follows `decoding.step.Step` for some encoded sources.

    Args:
        model: In evaluation mode.
        tables: Of its weights.
        source: Encoded sources.
        extra: The most symbols that one of them adds to the target vocabulary.
    """

    def __init__(self, model: Translator, tables: Tables, source: Source, extra: int) -> None:
        self.model, self.tables, self.extra = model, tables, extra
        self._read(source)

    def initial(self) -> State:
        """The state before the first step, one row a sentence."""
        return self.model.decoder.initial(self.source.start, self.source.memory.mask.shape[1])

    def keep(self, sentences: Tensor) -> None:
        """Go on with some of the sentences only."""
        source = self.source
        self._read(Source(source.memory.kept(sentences), source.start[sentences], source.symbols[sentences]))

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """[N] ids and a state to scores [N, V + extra]."""
        ids = self.model.known(last)
        output, state = self._advance(self.tables.projected[ids], state)
        sentences = len(self.source.start)
        grouped = StepOutput(*(by_sentence(each, sentences) for each in output))
        embedded = by_sentence(self.tables.embeddings[ids], sentences)
        readout = self.model.finish(grouped, embedded, self.source.memory)
        scores, normaliser = self._scores(readout)
        return StepResult(scores.flatten(0, 1), normaliser.flatten(), state, readout.weights.flatten(0, 1))

    def _read(self, source: Source) -> None:
        self.source = source
        self._advance = self.model.decoder.stepper(source.memory)
        self._slots = copy_slots(source.symbols)

    def _scores(self, readout: Readout) -> tuple[Tensor, Tensor]:
        """Raw scores [B, K, V + extra] and what normalises them [B, K]."""
        model = self.model
        if model.settings.output == "positions":
            scores = model.log_probabilities(readout, self.source, self.extra)
            return scores, scores.new_zeros(scores.shape[:2])
        scores = at_least_float32(functional.linear(readout.features, self.tables.projection, model.bias))
        normaliser = torch.logsumexp(scores, 2)
        if model.gate is None:
            return scores, normaliser
        gate = model.gate_of(readout, self.source)
        # log g p = score - normaliser + log g: the gate goes into what is subtracted.
        normaliser = normaliser - functional.logsigmoid(gate)
        leave = functional.logsigmoid(-gate) + normaliser
        scores = functional.pad(scores, (0, self.extra), value=-torch.inf)
        return merge_copies(scores, readout.weights, self._slots, leave), normaliser
