"""The network of a translator: encoder, decoder with attention, copying, readout, projection."""

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
from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32
from seqtool.nn.divergence import symmetric_divergence
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.losses import Copying, LossSum, projected_cross_entropy, projected_log_probabilities
from seqtool.nn.pointer import NOT_COPYABLE, copy_slots, log_copy_of, merge_copies
from seqtool.nn.recurrence import BidirectionalStack
from seqtool.nn.regularization import (
    NO_PENALTIES,
    InputNoise,
    SequenceDropout,
    StatePenalties,
    drop_words,
    kept_types,
)
from seqtool.translation.batches import Batch
from seqtool.translation.decoders import DECODERS, Memory, StepOutput
from seqtool.translation.layers import DecoderOptions, glorot
from seqtool.translation.settings import ModelSettings
from seqtool.translation.vocabulary import END, PADDING, UNKNOWN


class Source(NamedTuple):
    """An encoded source, ready for a decoder."""

    memory: Memory
    start: Tensor  # [B, H], where the decoder starts from
    symbols: Tensor  # [B, S], extended target ids of what can be copied, else NOT_COPYABLE

    def kept(self, sentences: Tensor) -> Source:
        """Of these sentences only, in their order; one may stand there more than once."""
        start, symbols = (each.index_select(0, sentences) for each in (self.start, self.symbols))
        return Source(self.memory.kept(sentences), start, symbols)


class Readout(NamedTuple):
    """Target steps before the projection."""

    features: Tensor  # [B, T, R]
    weights: Tensor  # [B, T, S], attention, the mean over heads
    gate: Tensor  # [B, T], logit of writing rather than copying; 0 without copying
    hidden: Tensor  # [B, T, O], what the steps of the decoder gave


class Encoded(NamedTuple):
    """What the layers of the encoder make of sources."""

    states: Tensor  # [B, S, 2H]
    dropped: Tensor  # [B, S, 2H], normalised and after dropout, 0 at padding
    mask: Tensor  # [B, S]


class ForwardPass(NamedTuple):
    """A pass over sources and known targets."""

    encoded: Encoded
    source: Source
    readout: Readout


class Translator(nn.Module):
    """Encoder and decoder.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: Size V of the target vocabulary; the same one where embeddings are shared.
        settings: The rest.
    """

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        width, hidden = settings.embedding, settings.hidden
        self.target = uniform_embedding(target_symbols, width, PADDING)
        self.source = self.target
        if settings.tied != "all":
            self.source = uniform_embedding(source_symbols, width, PADDING)
        self.encoder = BidirectionalStack(
            settings.layer_options,
            inputs=width,
            hidden=hidden,
            layers=settings.encoder_layers,
            dropout=settings.dropout,
        )
        states = self.encoder.outputs
        self.encoder_norm = nn.LayerNorm(states) if settings.layer_norm else nn.Identity()
        self.bridge = None if settings.bridge == "last" else nn.Linear(states, hidden)
        self.decoder = DECODERS[settings.decoder](_sizes(settings, states), _attention(settings, states))
        # A pointer network writes nothing: what makes words of a readout would never learn.
        writes = settings.output == "vocabulary"
        self.readout_norm = nn.LayerNorm(width) if settings.layer_norm and writes else nn.Identity()
        self.gate_context = glorot(1, states) if settings.copy_source else None
        self.gate = nn.Linear(hidden_of_output(settings) + width, 1) if settings.copy_source else None
        self.symbols = target_symbols
        self.projection: Tensor | None = None
        self.bias: Tensor | None = None
        if writes:
            self.projection = glorot(target_symbols, width) if settings.tied == "none" else self.target.weight
            self.bias = nn.Parameter(torch.zeros(target_symbols))
        self.embedding_dropout = SequenceDropout(settings.of_inputs, settings.locked)
        self.noise = InputNoise(settings.input_noise)
        self.dropout = SequenceDropout(settings.of_outputs, settings.locked)

    def encode(self, source: Tensor, symbols: Tensor) -> Source:
        """Sources to what decoders read.

        Args:
            source: Ids [B, S], right-padded with `PADDING`, at least one real one each.
            symbols: Extended target ids of what can be copied [B, S].
        """
        return self.prepared(self.encoded(source), symbols)

    def encoded(self, source: Tensor) -> Encoded:
        """Sources [B, S] to the states of the encoder."""
        mask = source != PADDING
        states = self.encoder(self._embedded(self.source, source), mask)
        return Encoded(states, self.dropout(self.encoder_norm(states)) * mask[:, :, None], mask)

    def prepared(self, encoded: Encoded, symbols: Tensor) -> Source:
        """States of the encoder to what decoders read."""
        states, dropped, mask = encoded
        gate = states.new_empty(0, states.shape[2]) if self.gate_context is None else self.gate_context
        memory = self.decoder.memory(dropped, mask, gate)
        return Source(memory, self._start(states, mask), symbols)

    def loss(self, batch: Batch, *, smoothing: float = 0.0, coverage_loss: float = 0.0) -> LossSum:
        """Summed cross-entropy of the targets, all steps fed the reference.

        Args:
            batch: With targets.
            smoothing: Of the labels, in [0, 1).
            coverage_loss: Weight of sum_t sum_s min(a_ts, c_ts) (See et al. 2017, equation 12).
        """
        return self.loss_of(self.forward_pass(batch), batch, smoothing=smoothing, coverage_loss=coverage_loss)

    def forward_pass(self, batch: Batch) -> ForwardPass:
        """A pass over a batch with targets, all steps fed the reference."""
        encoded = self.encoded(batch.source)
        source = self.prepared(encoded, batch.symbols)
        return ForwardPass(encoded, source, self.read(source, batch.inputs))

    def loss_of(
        self,
        forward: ForwardPass,
        batch: Batch,
        *,
        smoothing: float = 0.0,
        coverage_loss: float = 0.0,
        penalties: StatePenalties = NO_PENALTIES,
    ) -> LossSum:
        """`loss` of a pass that has been made, and penalties for the states of both sides."""
        encoded, source, readout = forward
        total = self.cross_entropy(readout, source, batch, smoothing)
        if coverage_loss:
            total = total + coverage_loss * coverage_overlap(readout.weights, batch.target_mask)
        total = total + penalties(encoded.states, encoded.dropped, encoded.mask)
        total = total + penalties(readout.hidden, readout.hidden, batch.target_mask)
        return LossSum(total, batch.tokens, "token")

    def divergence(self, first: ForwardPass, second: ForwardPass, real: Tensor) -> Tensor:
        """KL(p || q) + KL(q || p) of the distributions of two passes at real steps [B, T], nats."""
        found = [self.log_probabilities(each.readout, each.source)[real] for each in (first, second)]
        return symmetric_divergence(found[0], found[1])

    def read(self, source: Source, inputs: Tensor) -> Readout:
        """The readout of every step of known inputs [B, T], extended ids."""
        embedded = self._embedded(self.target, self.known(inputs))
        state = self.decoder.initial(source.start, source.memory.mask.shape[1])
        output = self.decoder.run(embedded, source.memory, state)
        return self.finish(output, self.share(embedded), source.memory)

    def share(self, embedded: Tensor) -> Tensor:
        """What readout and gate take of embedded inputs alone: [..., E] -> [..., D + 1 at most]."""
        share = self.decoder.share(embedded)
        if self.gate is None:
            return share
        forward = self.gate.weight[:, -embedded.shape[-1] :]
        return torch.cat([share, functional.linear(embedded, forward, self.gate.bias)], -1)

    def finish(
        self, output: StepOutput, share: Tensor, memory: Memory, linear: Linears = DeferredLinear
    ) -> Readout:
        """What follows the time loop.

        Args:
            output: Of the steps [B, T, ...].
            share: Of their inputs [B, T, ...].
            memory: What they read.
            linear: Makes the products with the hidden state.
        """
        context = mixed(at_least_float32(output.weights), memory.after)
        gate = context[..., :0]
        if self.gate is not None:
            asking = self.gate.weight[:, : output.hidden.shape[2]]
            gate = context[..., -1:] + share[..., -1:] + functional.linear(output.hidden, asking)
            context, share = context[..., :-1], share[..., :-1]
        features = self.decoder.finish(output.hidden, share, context, linear)
        features = self.dropout(self.readout_norm(at_least_float32(features)))
        weights = mean_over_heads(output.weights, self.decoder.attention.heads)
        return Readout(features, weights, at_least_float32(gate).sum(2), output.hidden)

    def cross_entropy(self, readout: Readout, source: Source, batch: Batch, smoothing: float) -> Tensor:
        """Summed over the real target positions."""
        real = batch.target_mask
        if self.settings.output == "positions":
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
        """Log probability of each symbol of known targets; what `cross_entropy` sums, differentiable too.

        Args:
            readout: Of the steps.
            source: Of these sentences.
            target: Extended ids [B, T].
            real: True where there is one [B, T].

        Returns:
            Nats, [B, T]; 0 where there is none.
        """
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

    def log_probabilities(self, readout: Readout, source: Source, extra: int = 0) -> Tensor:
        """Log distribution of every step over the extended vocabulary, [B, T, V + extra].

        Args:
            readout: Of the steps.
            source: Of these sentences.
            extra: How many symbols the sources add; those beyond what they have are impossible.
        """
        extra = max(extra, int(source.symbols.max()) + 1 - self.symbols, 0)
        padding = (0, extra)
        if self.settings.output == "positions":
            scores = readout.features.new_full((*readout.features.shape[:2], self.symbols), -torch.inf)
            none = readout.weights.new_zeros(readout.weights.shape[:2])
            scores = functional.pad(scores, padding, value=-torch.inf)
            return merge_copies(scores, readout.weights, copy_slots(source.symbols), none)
        scores = at_least_float32(functional.linear(readout.features, *self.writing()))
        scores = functional.pad(scores.log_softmax(2), padding, value=-torch.inf)
        if self.gate is None:
            return scores
        gate = self.gate_of(readout, source)
        scores += functional.logsigmoid(gate)[..., None]
        leave = functional.logsigmoid(-gate)
        return merge_copies(scores, readout.weights, copy_slots(source.symbols), leave)

    def writing(self) -> tuple[Tensor, Tensor]:
        """Weight [V, R] and bias [V] of the output projection; a pointer network has none."""
        assert self.projection is not None and self.bias is not None, "a pointer network writes nothing"
        return self.projection, self.bias

    def gate_of(self, readout: Readout, source: Source) -> Tensor:
        """Logit of writing rather than copying [B, T]; where nothing can be copied, infinite."""
        nothing = (source.symbols == NOT_COPYABLE).all(1)
        return readout.gate.masked_fill(nothing[:, None], torch.inf)

    def known(self, ids: Tensor) -> Tensor:
        """Extended ids as ids of the vocabulary: what the source alone knows is unknown."""
        return ids.masked_fill(ids >= self.symbols, UNKNOWN)

    def embedder(self, sentences: int) -> Callable[[Tensor], Tensor]:
        """Embeddings of target inputs [B] step by step."""
        drop = self.embedding_dropout.by_steps(self.target.weight, sentences, self.target.embedding_dim)
        kept = self._kept(self.target)

        def embed(ids: Tensor) -> Tensor:
            vectors = self._looked_up(self.target, self.known(ids), kept)
            noisy: Tensor = self.noise(drop(vectors))
            return noisy

        return embed

    def _copying(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Copying | None:
        """The second way to the real targets, in a model that has it."""
        if self.gate is None:
            return None
        log_copy = log_copy_of(readout.weights, source.symbols, target)[real]
        writable = (target < self.symbols)[real]
        return Copying(self.gate_of(readout, source)[real], log_copy, writable)

    def _embedded(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        found = self._looked_up(embedding, ids, self._kept(embedding))
        vectors: Tensor = self.noise(self.embedding_dropout(found))
        return vectors

    def _kept(self, embedding: nn.Embedding) -> Tensor | None:
        """Which symbols a pass leaves out, and what the others are scaled by; None = all stay."""
        probability = self.settings.type_dropout
        if not self.training or not probability:
            return None
        return kept_types(embedding.weight, embedding.num_embeddings, probability)

    def _looked_up(self, embedding: nn.Embedding, ids: Tensor, kept: Tensor | None) -> Tensor:
        seen = self._words_dropped(ids)
        vectors: Tensor = embedding(seen)
        return vectors if kept is None else vectors * kept[seen][..., None]

    def _words_dropped(self, ids: Tensor) -> Tensor:
        probability = self.settings.word_dropout
        if not self.training or not probability:
            return ids
        each = torch.full(ids.shape, probability, device=ids.device).masked_fill_(ids <= END, 0.0)
        return drop_words(ids, each, UNKNOWN)

    def _start(self, states: Tensor, mask: Tensor) -> Tensor:
        """[B, S, 2H] to the decoder's first hidden state [B, H]."""
        if self.settings.bridge == "mean":
            assert self.bridge is not None
            mean = states.sum(1) / mask.sum(1, keepdim=True)
            return torch.tanh(self.bridge(mean))
        rows = torch.arange(len(states), device=states.device)
        ahead = states[rows, mask.sum(1) - 1, : self.settings.hidden]
        back = states[:, 0, self.settings.hidden :]
        if self.bridge is None:
            return ahead + back
        return torch.tanh(self.bridge(torch.cat([ahead, back], 1)))


def coverage_overlap(weights: Tensor, mask: Tensor) -> Tensor:
    """sum_t sum_s min(a_ts, c_ts) over real steps, c_t the attention summed before t; [B, T, S], [B, T]."""
    before = weights.cumsum(1) - weights
    return (torch.minimum(weights, before).sum(2) * mask).sum()


def hidden_of_output(settings: ModelSettings) -> int:
    """Width of `StepOutput.hidden`."""
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
