"""The network of a translator: encoder, decoder with attention, copying, readout, output projection.

Shapes are those of `translation.decoders`, with V for the size of the target vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    NoAttention,
    mean_over_heads,
    mixed,
)
from seqtool.nn.cells.cell import glorot
from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32
from seqtool.nn.losses import Copying, projected_cross_entropy, projected_log_probabilities
from seqtool.nn.pointer import NOT_COPYABLE, copy_slots, log_copy_of, merge_copies
from seqtool.translation.batches import Batch, SourceBatch
from seqtool.translation.decoders import DECODERS, Memory, StepOutput
from seqtool.translation.layers import DecoderOptions
from seqtool.translation.network import Encoded, ForwardPass, Network
from seqtool.translation.settings import ModelSettings


class Source(NamedTuple):
    """Encoded sources, ready for the decoder."""

    memory: Memory
    start: Tensor  # initial hidden state of the decoder's layers, [B, H]
    symbols: Tensor  # extended target id of each source symbol, or NOT_COPYABLE, [B, S]

    def kept(self, sentences: Tensor) -> Source:
        """The sources with these indices, in their order; an index may repeat, [M]."""
        start, symbols = (each.index_select(0, sentences) for each in (self.start, self.symbols))
        return Source(self.memory.kept(sentences), start, symbols)


class Readout(NamedTuple):
    """The decoder's outputs at all target steps, before the output projection."""

    features: Tensor  # readout, [B, T, R]
    weights: Tensor  # attention weights, mean over heads, [B, T, S]
    gate: Tensor  # logit of generating rather than copying, [B, T]; 0 without copying
    hidden: Tensor  # `StepOutput.hidden`, [B, T, O]


class Translator(Network[Source, Readout]):
    """Recurrent encoder-decoder with attention and, on request, copying.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: V, size of the target vocabulary; equal to the source's where embeddings are shared.
        settings: The network's settings.
    """

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__(source_symbols, target_symbols, settings)
        width, hidden, states = settings.embedding, settings.hidden, self.encoder.outputs
        self.bridge = None if settings.bridge == "last" else nn.Linear(states, hidden)
        self.decoder = DECODERS[settings.decoder](_sizes(settings, states), _attention(settings, states))
        # A pure pointer network only copies, so layers that generate symbols would never be trained.
        writes = settings.output == "vocabulary"
        self.readout_norm = nn.LayerNorm(width) if settings.layer_norm and writes else nn.Identity()
        self.gate_context = glorot(1, states) if settings.copy_source else None
        self.gate = nn.Linear(hidden_of_output(settings) + width, 1) if settings.copy_source else None
        self.projection: Tensor | None = None
        self.bias: Tensor | None = None
        if writes:
            self.projection = glorot(target_symbols, width) if settings.tied == "none" else self.target.weight
            self.bias = nn.Parameter(torch.zeros(target_symbols))

    def prepared(self, encoded: Encoded, batch: SourceBatch | Batch) -> Source:
        """See `Network.prepared`."""
        states, dropped, mask = encoded
        gate = states.new_empty(0, states.shape[2]) if self.gate_context is None else self.gate_context
        memory = self.decoder.memory(dropped, mask, gate)
        return Source(memory, self._start(states, mask), batch.symbols)

    def read(self, source: Source, inputs: Tensor) -> Readout:
        """The readout at all steps of known inputs, extended ids [B, T]."""
        # [B, T, E]
        embedded = self._embedded(self.target, self.known(inputs))
        state = self.decoder.initial(source.start, source.memory.mask.shape[1])
        output = self.decoder.run(embedded, source.memory, state)
        return self.finish(output, self.share(embedded), source.memory)

    def share(self, embedded: Tensor) -> Tensor:
        """The part of readout and copy gate that depends on embedded inputs alone.

        Args:
            embedded: Embedded target inputs, [..., E].

        Returns:
            The readout's part, [..., D] or [..., 0], followed by one column for the gate if there is one.
        """
        # [..., D or 0]
        share = self.decoder.share(embedded)
        if self.gate is None:
            return share
        forward = self.gate.weight[:, -embedded.shape[-1] :]
        return torch.cat([share, functional.linear(embedded, forward, self.gate.bias)], -1)

    def finish(
        self, output: StepOutput, share: Tensor, memory: Memory, linear: Linears = DeferredLinear
    ) -> Readout:
        """Compute the readout from the outputs of the steps.

        Args:
            output: Outputs of the decoder's steps, [B, T, ...].
            share: What `share` computes from the inputs of these steps, [B, T, ...].
            memory: The sources.
            linear: Makes the products with the hidden state.
        """
        # [B, T, D + X]
        context = mixed(at_least_float32(output.weights), memory.after)
        # [B, T, 0]
        gate = context[..., :0]
        if self.gate is not None:
            # The gate reads hidden state, context and input; its weight on the hidden state is [1, O].
            asking = self.gate.weight[:, : output.hidden.shape[2]]
            # [B, T, 1]
            gate = context[..., -1:] + share[..., -1:] + functional.linear(output.hidden, asking)
            # [B, T, D] each, the share [B, T, 0] where the readout does not read the inputs
            context, share = context[..., :-1], share[..., :-1]
        # [B, T, R]
        features = self.decoder.finish(output.hidden, share, context, linear)
        features = self.dropout(self.readout_norm(at_least_float32(features)))
        # [B, T, G x S] to [B, T, S]
        weights = mean_over_heads(output.weights, self.decoder.attention.heads)
        return Readout(features, weights, at_least_float32(gate).sum(2), output.hidden)

    def reference_loss(
        self, forward: ForwardPass[Source, Readout], batch: Batch, *, smoothing: float, coverage_loss: float
    ) -> Tensor:
        """The cross-entropy, and the coverage loss where there is one."""
        total = self.cross_entropy(forward.readout, forward.source, batch, smoothing)
        if coverage_loss:
            total = total + coverage_loss * coverage_overlap(forward.readout.weights, batch.target_mask)
        return total

    def cross_entropy(self, readout: Readout, source: Source, batch: Batch, smoothing: float) -> Tensor:
        """Cross-entropy summed over the target symbols of a batch, nats; `smoothing` in [0, 1)."""
        real = batch.target_mask
        if self.settings.output == "positions":
            # [N], the N target symbols of the batch
            log_copy = log_copy_of(readout.weights, source.symbols, batch.target)[real]
            return -log_copy.double().sum().to(log_copy.dtype)
        return projected_cross_entropy(
            readout.features[real],
            *self.writing(),
            self.known(batch.target)[real],
            smoothing=smoothing,
            copying=self._copying(readout, source, batch.target, real),
        )

    def log_probabilities_of(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Tensor:
        """See `Network.log_probabilities_of`; `cross_entropy` is the negative sum."""
        # found: [N], the N target symbols
        if self.settings.output == "positions":
            found = log_copy_of(readout.weights, source.symbols, target)[real]
        else:
            found = projected_log_probabilities(
                readout.features[real],
                *self.writing(),
                self.known(target)[real],
                copying=self._copying(readout, source, target, real),
            )
        return found.new_zeros(real.shape).index_put((real,), found)

    def alignment(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Tensor:
        """The attention, averaged over the heads."""
        return readout.weights

    def written(self, readout: Readout, source: Source) -> Tensor | None:
        """See `Network.written`."""
        return None if self.gate is None else self.gate_of(readout, source).sigmoid()

    def log_probabilities(self, readout: Readout, source: Source, extra: int = 0) -> Tensor:
        """See `Network.log_probabilities`."""
        extra = max(extra, int(source.symbols.max()) + 1 - self.symbols, 0)
        padding = (0, extra)
        if self.settings.output == "positions":
            # Nothing is generated, so all probability comes from copying: [B, T, V], [B, T].
            scores = readout.features.new_full((*readout.features.shape[:2], self.symbols), -torch.inf)
            none = readout.weights.new_zeros(readout.weights.shape[:2])
            scores = functional.pad(scores, padding, value=-torch.inf)
            return merge_copies(scores, readout.weights, copy_slots(source.symbols), none)
        # [B, T, V]
        scores = at_least_float32(functional.linear(readout.features, *self.writing()))
        # [B, T, V + extra]
        scores = functional.pad(scores.log_softmax(2), padding, value=-torch.inf)
        if self.gate is None:
            return scores
        # [B, T]
        gate = self.gate_of(readout, source)
        # generated with probability sigmoid(gate), copied with the rest
        scores += functional.logsigmoid(gate)[..., None]
        leave = functional.logsigmoid(-gate)
        return merge_copies(scores, readout.weights, copy_slots(source.symbols), leave)

    def writing(self) -> tuple[Tensor, Tensor]:
        """Weight [V, R] and bias [V] of the output projection, which a pure pointer network lacks."""
        assert self.projection is not None and self.bias is not None, "a pointer network has no projection"
        return self.projection, self.bias

    def gate_of(self, readout: Readout, source: Source) -> Tensor:
        """Logit of generating rather than copying, [B, T]; infinite where the source has nothing to copy."""
        nothing = (source.symbols == NOT_COPYABLE).all(1)
        return readout.gate.masked_fill(nothing[:, None], torch.inf)

    def _copying(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Copying | None:
        """What the loss needs to add the probability of copying each target; None without copying."""
        if self.gate is None:
            return None
        log_copy = log_copy_of(readout.weights, source.symbols, target)[real]
        writable = (target < self.symbols)[real]
        return Copying(self.gate_of(readout, source)[real], log_copy, writable)

    def _start(self, states: Tensor, mask: Tensor) -> Tensor:
        """The decoder's initial hidden state, [B, H], from the encoder's states [B, S, 2H]."""
        if self.settings.bridge == "mean":
            assert self.bridge is not None
            # [B, 2H]
            mean = states.sum(1) / mask.sum(1, keepdim=True)
            return torch.tanh(self.bridge(mean))
        rows = torch.arange(len(states), device=states.device)
        # The last state of each direction, [B, H]: forwards at the last symbol, backwards at the first.
        ahead = states[rows, mask.sum(1) - 1, : self.settings.hidden]
        back = states[:, 0, self.settings.hidden :]
        if self.bridge is None:
            return ahead + back
        return torch.tanh(self.bridge(torch.cat([ahead, back], 1)))


def coverage_overlap(weights: Tensor, mask: Tensor) -> Tensor:
    """Coverage loss sum_t sum_s min(a_ts, c_ts), where c_t is the attention summed over steps before t.

    Args:
        weights: Attention weights a, [B, T, S].
        mask: True at target symbols, [B, T].
    """
    # c, [B, T, S]
    before = weights.cumsum(1) - weights
    return (torch.minimum(weights, before).sum(2) * mask).sum()


def hidden_of_output(settings: ModelSettings) -> int:
    """O, the width of `StepOutput.hidden`."""
    return settings.embedding if settings.decoder == "input_feeding" else settings.hidden


def _sizes(settings: ModelSettings, states: int) -> DecoderOptions:
    return DecoderOptions(
        made_of=settings.layers_of(settings.cells[1]),
        inputs=settings.embedding,
        hidden=settings.hidden,
        memory=states,
        layers=settings.decoder_layers,
        output=settings.embedding,
        readout=settings.readout,
        dropout=settings.dropout,
    )


def _attention(settings: ModelSettings, states: int) -> Attention:
    hidden = settings.hidden
    if settings.attention == "additive":
        return AdditiveAttention(
            hidden, states, width=hidden, heads=settings.heads, coverage=settings.coverage
        )
    kinds: dict[str, Callable[[int, int], Attention]] = {
        "general": GeneralAttention,
        "dot": DotAttention,
        "none": NoAttention,
    }
    return kinds[settings.attention](hidden, states)
