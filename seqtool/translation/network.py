"""What every network of a translator has: embeddings, the encoder, and the calls by which it is used.

Shapes: B sentences, S source symbols, T target steps, V target vocabulary, E width of an embedding, H hidden
units of each direction of the encoder, C = 2 H width of an encoder state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from seqtool.decoding.step import State, Step
from seqtool.nn.divergence import symmetric_divergence
from seqtool.nn.embeddings import uniform_embedding
from seqtool.nn.losses import LossSum
from seqtool.nn.recurrence import BidirectionalStack
from seqtool.nn.regularization import (
    NO_PENALTIES,
    InputNoise,
    SequenceDropout,
    StatePenalties,
    drop_words,
    kept_types,
)
from seqtool.nn.symbol_prediction import SymbolPrediction
from seqtool.translation.batches import Batch, SourceBatch
from seqtool.translation.settings import ModelSettings
from seqtool.translation.vocabulary import END, PADDING, UNKNOWN


class EncodedSources(Protocol):
    """Encoded sources, ready for a decoder."""

    @property
    def symbols(self) -> Tensor:
        """Extended target id of each source symbol, or NOT_COPYABLE, [B, S]."""

    def kept(self, sentences: Tensor) -> Any:
        """The sources with these indices, in their order; an index may repeat, [M]."""


class DecodedTargets(Protocol):
    """What a decoder computes from known inputs."""

    @property
    def hidden(self) -> Tensor:
        """The states that the penalties act on, [B, T, ...]."""


class SearchStep(Step, Protocol):
    """A step of a search over encoded sources."""

    @property
    def mask(self) -> Tensor:
        """True at source symbols, [B, S]."""

    def initial(self) -> State:
        """The state before the first step, one row per sentence."""


Source = TypeVar("Source", bound=EncodedSources)
Readout = TypeVar("Readout", bound=DecodedTargets)


class Encoded(NamedTuple):
    """The encoder's output for some sources."""

    states: Tensor  # encoder states, [B, S, 2H]
    dropped: Tensor  # encoder states after normalisation and dropout, 0 at padding, [B, S, 2H]
    mask: Tensor  # True at source symbols, [B, S]


class ForwardPass(NamedTuple, Generic[Source, Readout]):
    """All that a pass over sources and known targets computes."""

    encoded: Encoded
    source: Source
    readout: Readout


class Network(nn.Module, ABC, Generic[Source, Readout]):
    """A recurrent encoder, and a decoder that the subclass defines.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: V, size of the target vocabulary; equal to the source's where embeddings are shared.
        settings: The network's settings.
    """

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.symbols = target_symbols
        self.target = uniform_embedding(target_symbols, settings.embedding, PADDING)
        self.source = self.target
        if settings.tied != "all":
            self.source = uniform_embedding(source_symbols, settings.embedding, PADDING)
        self.encoder = BidirectionalStack(
            settings.layer_options,
            inputs=settings.embedding,
            hidden=settings.hidden,
            layers=settings.encoder_layers,
            dropout=settings.dropout,
        )
        states = self.encoder.outputs
        self.encoder_norm = nn.LayerNorm(states) if settings.layer_norm else nn.Identity()
        self.embedding_dropout = SequenceDropout(settings.of_inputs, settings.locked)
        self.noise = InputNoise(settings.input_noise)
        self.dropout = SequenceDropout(settings.of_outputs, settings.locked)
        self.symbol_prediction: SymbolPrediction | None = None  # only while it is trained

    @abstractmethod
    def prepared(self, encoded: Encoded, batch: SourceBatch | Batch) -> Source:
        """Prepare encoded sources for the decoder.

        Args:
            encoded: What the encoder computes from the sources of the batch.
            batch: The batch.
        """

    @abstractmethod
    def read(self, source: Source, inputs: Tensor) -> Readout:
        """What the decoder computes at all steps of known inputs, extended ids [B, T]."""

    @abstractmethod
    def reference_loss(
        self, forward: ForwardPass[Source, Readout], batch: Batch, *, smoothing: float, coverage_loss: float
    ) -> Tensor:
        """Loss of the references, summed, nats; the arguments are those of `loss`."""

    @abstractmethod
    def log_probabilities_of(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Tensor:
        """Log probability of each symbol of known targets, given those before it.

        Args:
            readout: What the decoder computed from the inputs of these targets.
            source: The encoded sources.
            target: Target symbols, extended ids, [B, T].
            real: True at target symbols, [B, T].

        Returns:
            Log probabilities, nats, [B, T], differentiable; 0 at padding.
        """

    @abstractmethod
    def log_probabilities(self, readout: Readout, source: Source, extra: int = 0) -> Tensor:
        """Log probabilities of the extended vocabulary at every step, nats, [B, T, V + extra].

        Args:
            readout: What the decoder computed from known inputs.
            source: The encoded sources.
            extra: Number of symbols that extend the vocabulary, raised to the number that the sources
                add if that is larger; a symbol that a source does not add has probability 0.
        """

    @abstractmethod
    def alignment(self, readout: Readout, source: Source, target: Tensor, real: Tensor) -> Tensor:
        """The share of each source symbol in each target symbol, [B, T, S]; each row sums to 1.

        The arguments are those of `log_probabilities_of`.
        """

    def written(self, readout: Readout, source: Source) -> Tensor | None:
        """Probability of generating rather than copying, [B, T]; None where that is not a choice."""
        return None

    def encode(self, batch: SourceBatch | Batch) -> Source:
        """Encode the sources of a batch and prepare them for the decoder."""
        return self.prepared(self.encoded(batch), batch)

    def encoded(self, batch: SourceBatch | Batch) -> Encoded:
        """The encoder's states for the sources of a batch."""
        mask = batch.source != PADDING
        # [B, S, E] to [B, S, 2H]
        states = self.encoder(self.encoder_inputs(batch), mask)
        return Encoded(states, self.dropout(self.encoder_norm(states)) * mask[:, :, None], mask)

    def encoder_inputs(self, batch: SourceBatch | Batch) -> Tensor:
        """What the encoder reads, [B, S, E]: the embedded source symbols."""
        return self._embedded(self.source, batch.source)

    def forward_pass(self, batch: Batch) -> ForwardPass[Source, Readout]:
        """A pass over a batch with targets, in which every step is fed the reference (teacher forcing)."""
        encoded = self.encoded(batch)
        source = self.prepared(encoded, batch)
        return ForwardPass(encoded, source, self.read(source, batch.inputs))

    def loss(self, batch: Batch, *, smoothing: float = 0.0, coverage_loss: float = 0.0) -> LossSum:
        """Summed cross-entropy of the targets under teacher forcing, nats.

        Args:
            batch: A batch with targets.
            smoothing: Label smoothing, in [0, 1).
            coverage_loss: Weight of sum_t sum_s min(a_ts, c_ts), at least 0 (See et al. 2017, equation 12).
        """
        return self.loss_of(self.forward_pass(batch), batch, smoothing=smoothing, coverage_loss=coverage_loss)

    def loss_of(
        self,
        forward: ForwardPass[Source, Readout],
        batch: Batch,
        *,
        smoothing: float = 0.0,
        coverage_loss: float = 0.0,
        penalties: StatePenalties = NO_PENALTIES,
    ) -> LossSum:
        """The loss of a pass: see `loss`, with penalties on the states of encoder and decoder.

        Args:
            forward: What the pass computed.
            batch: The batch that it was over.
            smoothing: Label smoothing, in [0, 1).
            coverage_loss: Weight of the coverage loss, at least 0.
            penalties: Penalties on the size and change of states.
        """
        encoded, _, readout = forward
        total = self.reference_loss(forward, batch, smoothing=smoothing, coverage_loss=coverage_loss)
        total = total + penalties(encoded.states, encoded.dropped, encoded.mask)
        total = total + penalties(readout.hidden, readout.hidden, batch.target_mask)
        return LossSum(total, batch.tokens, "token")

    def source_loss(self, batch: SourceBatch) -> LossSum:
        """Summed cross-entropy of what the encoder predicts of sources alone, nats; see `SymbolPrediction`.

        That is for its lowest layer: the states of higher ones know what is to be predicted.
        """
        assert self.symbol_prediction is not None, "nothing predicts symbols"
        mask = batch.source != PADDING
        # [B, S, E] to [B, S, 2H]
        states = self.encoder(self.encoder_inputs(batch), mask, layers=1)
        found: LossSum = self.symbol_prediction(self.dropout(states), batch.source, mask, self.source.weight)
        return found

    def divergence(
        self, first: ForwardPass[Source, Readout], second: ForwardPass[Source, Readout], real: Tensor
    ) -> Tensor:
        """KL(p || q) + KL(q || p) of the distributions that two passes predict, summed, nats.

        Args:
            first: One pass over a batch.
            second: Another pass over the same batch.
            real: True at target symbols, [B, T].
        """
        # two of [N, V + extra], the N target symbols of the batch
        found = [self.log_probabilities(each.readout, each.source)[real] for each in (first, second)]
        return symmetric_divergence(found[0], found[1])

    def known(self, ids: Tensor) -> Tensor:
        """Extended ids as ids of the target vocabulary; symbols that only the source has become UNKNOWN."""
        return ids.masked_fill(ids >= self.symbols, UNKNOWN)

    def embedder(self, sentences: int) -> Callable[[Tensor], Tensor]:
        """A function from the target inputs of a step [B] to embeddings [B, E], for B sentences."""
        drop = self.embedding_dropout.by_steps(self.target.weight, sentences, self.target.embedding_dim)
        kept = self._kept(self.target)

        def embed(ids: Tensor) -> Tensor:
            vectors = self._looked_up(self.target, self.known(ids), kept)
            noisy: Tensor = self.noise(drop(vectors))
            return noisy

        return embed

    def _embedded(self, embedding: nn.Embedding, ids: Tensor) -> Tensor:
        """Embeddings of ids [B, T], with dropout and noise in training, [B, T, E]."""
        found = self._looked_up(embedding, ids, self._kept(embedding))
        vectors: Tensor = self.noise(self.embedding_dropout(found))
        return vectors

    def _kept(self, embedding: nn.Embedding) -> Tensor | None:
        """Type dropout: the factor of each symbol's embedding in this pass; None = no dropout."""
        probability = self.settings.type_dropout
        if not self.training or not probability:
            return None
        return kept_types(embedding.weight, embedding.num_embeddings, probability)

    def _looked_up(self, embedding: nn.Embedding, ids: Tensor, kept: Tensor | None) -> Tensor:
        """Embeddings of ids after word dropout and type dropout, [..., E]."""
        seen = self._words_dropped(ids)
        vectors: Tensor = embedding(seen)
        return vectors if kept is None else vectors * kept[seen][..., None]

    def _words_dropped(self, ids: Tensor) -> Tensor:
        """Ids of which word dropout has replaced some by UNKNOWN, but no padding, start or end."""
        probability = self.settings.word_dropout
        if not self.training or not probability:
            return ids
        each = torch.full(ids.shape, probability, device=ids.device).masked_fill_(ids <= END, 0.0)
        return drop_words(ids, each, UNKNOWN)
