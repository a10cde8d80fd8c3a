"""The decoder of a translator as a step of `decoding`.

What every step needs is computed once: the products of all target embeddings with the input weights of
the gates, and the encoded source, which stays [B, S, ...] whatever the beam size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.decoding.step import State, StepResult
from seqtool.nn.deferred import DeferredLinear, Linear, Linears, at_least_float32
from seqtool.nn.pointer import copy_slots, merge_copies
from seqtool.nn.quantized import Int8Linear, Int8Linears
from seqtool.translation.decoders import StepOutput
from seqtool.translation.edit_step import EditStep
from seqtool.translation.hard_attention import HardAttention
from seqtool.translation.hard_step import HardAttentionStep
from seqtool.translation.layers import by_sentence
from seqtool.translation.model import Readout, Source, Translator
from seqtool.translation.network import Network, SearchStep
from seqtool.translation.settings import HARD_ATTENTION, ModelSettings
from seqtool.translation.transducer import Transducer
from seqtool.translation.vocabulary import NEVER


class Tables(NamedTuple):
    """Tables computed once from the weights of a model."""

    projected: Tensor  # embeddings times the input weights of the gates, [V, P]
    share: Tensor  # the part of readout and copy gate that depends on the embeddings, [V, ...]
    scores: Linear | None  # output projection, [..., R] to [..., V]; None in a pointer network
    linear: Linears  # kind of the linear layers inside a step

    @classmethod
    @torch.no_grad()
    def of(cls, model: Translator, *, int8: bool = False) -> Tables:
        """Compute the tables from the present weights of a model.

        Args:
            model: The network.
            int8: Whether matrix products of decoder and output projection use 8-bit integers.
        """
        embeddings = model.target.weight.detach()
        projected = model.decoder.project(embeddings[None])[0]
        scores: Linear | None = None
        if model.projection is not None:
            weight, bias = (each.detach() for each in model.writing())
            scores = (
                Int8Linear(weight, bias) if int8 else partial(functional.linear, weight=weight, bias=bias)
            )
        linear = Int8Linears() if int8 else DeferredLinear
        share = at_least_float32(model.share(embeddings))
        return cls(at_least_float32(projected), share, scores, linear)


class TranslatorStep:
    """The decoder of a translator as a `decoding.step.Step` over encoded sources.

    Args:
        model: The network, in evaluation mode.
        tables: Tables computed from its weights.
        source: The encoded sources.
        extra: Largest number of symbols by which a source extends the target vocabulary.
    """

    def __init__(self, model: Translator, tables: Tables, source: Source, extra: int) -> None:
        self.model, self.tables, self.extra = model, tables, extra
        self._read(source)

    @property
    def mask(self) -> Tensor:
        """True at source symbols, [B, S]."""
        return self.source.memory.mask

    def initial(self) -> State:
        """The state before the first step, one row per sentence."""
        return self.model.decoder.initial(self.source.start, self.source.memory.mask.shape[1])

    def keep(self, sentences: Tensor) -> None:
        """Keep only the given sentences for all further steps."""
        self._read(self.source.kept(sentences))

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """Scores of the next symbols, [N, V + extra], from the last symbols, ids [N], and the state."""
        ids = self.model.known(last)
        output, state = self._advance(self.tables.projected[ids], state)
        sentences = len(self.source.start)
        grouped = StepOutput(*(by_sentence(each, sentences) for each in output))
        share = by_sentence(self.tables.share[ids], sentences)
        readout = self.model.finish(grouped, share, self.source.memory, self.tables.linear)
        scores, normaliser = self._scores(readout)
        scores[..., NEVER] = -torch.inf
        return StepResult(scores.flatten(0, 1), normaliser.flatten(), state, readout.weights.flatten(0, 1))

    def _read(self, source: Source) -> None:
        self.source = source
        self._advance = self.model.decoder.stepper(source.memory, self.tables.linear)
        self._slots = copy_slots(source.symbols)

    def _scores(self, readout: Readout) -> tuple[Tensor, Tensor]:
        """Unnormalised scores, [B, K, V + extra], and their log normaliser, [B, K]."""
        model = self.model
        if self.tables.scores is None:
            scores = model.log_probabilities(readout, self.source, self.extra)
            return scores, scores.new_zeros(scores.shape[:2])
        # One fused pass: a `logsumexp` alone takes several times as long.
        scores = at_least_float32(self.tables.scores(readout.features)).log_softmax(2)
        if model.gate is None:
            return scores, scores.new_zeros(scores.shape[:2])
        gate = model.gate_of(readout, self.source)
        # log(g p) = log p + log g, so the gate is part of the normaliser, which is subtracted.
        normaliser = -functional.logsigmoid(gate)
        leave = functional.logsigmoid(-gate) + normaliser
        scores = functional.pad(scores, (0, self.extra), value=-torch.inf)
        return merge_copies(scores, readout.weights, self._slots, leave), normaliser


def build_network(source_symbols: int, target_symbols: int, settings: ModelSettings) -> Network[Any, Any]:
    """A new network; the arguments are those of `Network`."""
    kind: type[Network[Any, Any]] = Transducer if settings.decoder == "edit" else Translator
    if settings.attention in HARD_ATTENTION:
        kind = HardAttention
    return kind(source_symbols, target_symbols, settings)


def stepper(network: Network[Any, Any], *, int8: bool = False) -> Callable[[Any, int], SearchStep]:
    """What a search needs of the present weights, computed once.

    Args:
        network: The network, in evaluation mode.
        int8: Whether matrix products of the decoder use 8-bit integers, and those of an output projection.

    Returns:
        A function from encoded sources, and the largest number of symbols by which one of them extends the
        target vocabulary, to the step of a search over them.
    """
    linear = Int8Linears() if int8 else DeferredLinear
    if isinstance(network, Transducer):
        return partial(EditStep, network, linear=linear)
    if isinstance(network, HardAttention):
        return partial(HardAttentionStep, network, linear=linear)
    assert isinstance(network, Translator)
    return partial(TranslatorStep, network, Tables.of(network, int8=int8))
