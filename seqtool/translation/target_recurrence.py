"""Networks whose decoder reads the target written so far and never its alignment with the source.

So all ways to align a target with its source share the states of the decoder, which is what makes sums over
them exact. All states of a known target are computed at once. Features may be read apart from the source.

Shapes are those of `translation.network`.
"""

from __future__ import annotations

from abc import ABC

import torch
from torch import Tensor, nn

from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.recurrence import cells_of
from seqtool.translation.batches import Batch, SourceBatch
from seqtool.translation.layers import DecoderOptions, DecoderState, Layers, cast_like
from seqtool.translation.network import Network, Readout, Source
from seqtool.translation.settings import ModelSettings


class TargetRecurrence(Network[Source, Readout], ABC):
    """A network with a recurrent decoder that reads target symbols, and perhaps features, alone.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: V, size of the target vocabulary; equal to the source's where embeddings are shared.
        settings: The network's settings.
    """

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__(source_symbols, target_symbols, settings)
        width, hidden = settings.embedding, settings.hidden
        made_of = settings.layers_of(settings.cells[1])
        self.cell = cells_of(made_of, [width], hidden)[0]
        options = DecoderOptions(
            made_of, width, hidden, 0, settings.decoder_layers, hidden, "tanh", settings.dropout
        )
        self.upper = Layers(options)
        self.features: nn.Linear | None = None
        self.asked: nn.Linear | None = None
        self.told: nn.Linear | None = None

    def read_features(self, keys: int) -> None:
        """Make the layers that read features apart, if the settings ask for that.

        Args:
            keys: Width of the keys to which the features are added as well.
        """
        width = self.settings.embedding
        if self.settings.features == "everywhere":
            self.told = nn.Linear(width, width)
        if self.settings.reads_apart:
            self.features = nn.Linear(width, width)
            self.asked = nn.Linear(width, keys, bias=False)

    def encoder_inputs(self, batch: SourceBatch | Batch) -> Tensor:
        """See `Network.encoder_inputs`; the features may be added to each symbol."""
        embedded = super().encoder_inputs(batch)
        if self.told is None:
            return embedded
        return embedded + torch.tanh(self.told(self.source(batch.features).sum(1)))[:, None]

    def with_features(self, keys: Tensor, batch: SourceBatch | Batch) -> tuple[Tensor, Tensor]:
        """Keys with the features added, and what is added to each input of the decoder.

        Args:
            keys: What is computed from the encoded sources of the batch, [B, S, R].
            batch: The batch.

        Returns:
            The keys, [B, S, R], and the features, [B, E], which are 0 where they are not read apart.
        """
        features = keys.new_zeros(len(keys), self.target.embedding_dim)
        if self.features is not None and self.asked is not None:
            # The order of features means nothing, so their embeddings are summed, [B, E].
            features = torch.tanh(self.features(self.source(batch.features).sum(1)))
            keys = keys + self.asked(features)[:, None]
        return keys, features

    def states(self, features: Tensor, inputs: Tensor) -> Tensor:
        """States of the top layer at all steps of known inputs, [B, T, H].

        Args:
            features: What is added to each input, [B, E].
            inputs: Extended ids, [B, T].
        """
        # [B, T, E]
        embedded = self._embedded(self.target, self.known(inputs)) + features[:, None]
        state = self.initial(embedded.new_zeros(len(inputs), self.upper.width))
        each = self.layer_tensors
        # [B, T, H]
        hidden, _ = run_cell(self.cell, embedded, cast_like(embedded, state[:each]))
        return at_least_float32(self.upper(hidden, state[each:]))

    def initial(self, start: Tensor) -> DecoderState:
        """The state before the first step, each layer's hidden state being `start`, [N, H]."""
        return (*self.cell.started(start), *self.upper.initial(start))

    @property
    def layer_tensors(self) -> int:
        """Number of tensors in the state of the lowest layer."""
        return len(self.cell.initial(1, self.target.weight))


def logarithm(values: Tensor) -> Tensor:
    """Log of values of at least 0, with a finite gradient; -inf at 0."""
    tiny = torch.finfo(values.dtype).tiny
    return torch.where(values > 0, values.clamp(min=tiny).log(), -torch.inf)
