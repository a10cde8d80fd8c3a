"""A network in which each target symbol looks at one source position, and all alignments are summed over.

The states s_i of the decoder depend on the target symbols before step i alone, so they are the same in every
alignment, and the sum over all alignments is exact (`nn.hard_alignment`):

    p(y_i | a_i = j) = softmax(W tanh(s_i Q + h_j K) + b),    e_ij = s_i . A h_j,

with h_j the encoder states and e_ij the scores of the alignment: of all positions (`attention = "hard"`), or
of the last one and those after it (`"monotonic"`, whose alignments begin at the first symbol, behind the
features). With copying a gate, which reads s_i and h_j, mixes p(y_i | a_i = j) with the symbol at j.

Shapes are those of `translation.network`, with K target steps or hypotheses per sentence, and R for the width
of the layer before the output projection, which is that of the embeddings. The largest tensor that training
holds is that layer, [B, T, S, R]; of the scores of the vocabulary it holds those of a few rows at once.

References: Wu, Shapiro and Cotterell 2018, "Hard non-monotonic attention for character-level transduction";
Wu and Cotterell 2019, "Exact hard monotonic attention for character-level transduction".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from seqtool.nn.cells.cell import glorot
from seqtool.nn.deferred import DeferredLinear, Linear, Linears, at_least_float32
from seqtool.nn.hard_alignment import (
    IMPOSSIBLE,
    ORDERS,
    Alignments,
    before_symbols,
    log_marginal,
    posteriors,
)
from seqtool.nn.losses import projected_log_probabilities
from seqtool.nn.pointer import NOT_COPYABLE
from seqtool.translation.batches import Batch, SourceBatch
from seqtool.translation.network import Encoded, ForwardPass
from seqtool.translation.settings import ModelSettings
from seqtool.translation.target_recurrence import TargetRecurrence, logarithm
from seqtool.translation.vocabulary import END, NEVER, START

LARGEST = 2**22  # scores of symbols that exist at once where whole distributions are asked for


class PositionedSource(NamedTuple):
    """Encoded sources, ready to be looked at."""

    keys: Tensor  # the encoder's share of the layer before the output projection, [B, S, R]
    places: Tensor  # what the states of the decoder are compared with, [B, S, H]
    gates: Tensor  # the encoder's share of the copy gate, infinite where nothing can be copied, [B, S]
    features: Tensor  # what is added to each input of the decoder, [B, E]
    symbols: Tensor  # extended target id of each source symbol, or NOT_COPYABLE, [B, S]
    mask: Tensor  # True at source symbols, [B, S]
    usable: Tensor  # True at positions that can be looked at, [B, S]

    def kept(self, sentences: Tensor) -> PositionedSource:
        """The sources with these indices, in their order; an index may repeat, [M]."""
        return PositionedSource(*(each.index_select(0, sentences) for each in self))


class Questions(NamedTuple):
    """What the decoder asks of each source position."""

    asked: Tensor  # the decoder's share of the layer before the output projection, [B, K, R]
    gates: Tensor  # its share of the copy gate, [B, K]
    scores: Tensor  # score of each position, nats, `IMPOSSIBLE` where it cannot be looked at, [B, K, S]


class Outlook(NamedTuple):
    """What the decoder computes from known inputs."""

    hidden: Tensor  # states of the decoder, [B, T, H]
    questions: Questions
    following: Tensor  # extended id of the input after each one, START where there is none, [B, T]


class HardAttention(TargetRecurrence[PositionedSource, Outlook]):
    """Recurrent encoder-decoder with exact hard attention and, on request, copying.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: V, size of the target vocabulary; equal to the source's where embeddings are shared.
        settings: The network's settings.
    """

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__(source_symbols, target_symbols, settings)
        width, hidden, states = settings.embedding, settings.hidden, self.encoder.outputs
        self.order = ORDERS[settings.attention]
        self.key = nn.Linear(states, width)
        self.query = nn.Linear(hidden, width, bias=False)
        self.place = nn.Linear(states, hidden, bias=False)
        self.read_features(width)
        layers = [self.key, self.query, self.place, self.features, self.asked, self.told]
        self.key_gate: nn.Linear | None = None
        self.query_gate: nn.Linear | None = None
        if settings.copy_source:
            self.key_gate, self.query_gate = nn.Linear(states, 1), nn.Linear(hidden, 1, bias=False)
            layers += [self.key_gate, self.query_gate]
        for layer in layers:
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.key.bias)
        self.projection = glorot(target_symbols, width) if settings.tied == "none" else self.target.weight
        self.bias = nn.Parameter(torch.zeros(target_symbols))

    def prepared(self, encoded: Encoded, batch: SourceBatch | Batch) -> PositionedSource:
        """See `Network.prepared`."""
        states, mask = encoded.dropped, encoded.mask
        # [B, S, R], [B, E]
        keys, features = self.with_features(self.key(states), batch)
        gates = keys.new_zeros(mask.shape) if self.key_gate is None else self.key_gate(states)[..., 0]
        gates = at_least_float32(gates).masked_fill(batch.symbols == NOT_COPYABLE, torch.inf)
        usable = mask
        if self.settings.attention == "monotonic":
            position = torch.arange(mask.shape[1], device=mask.device)
            usable = mask & (position >= batch.first[:, None])
        keys, places = at_least_float32(keys), at_least_float32(self.place(states))
        return PositionedSource(keys, places, gates, features, batch.symbols, mask, usable)

    def read(self, source: PositionedSource, inputs: Tensor) -> Outlook:
        """See `Network.read`."""
        hidden = self.states(source.features, inputs)
        following = functional.pad(inputs[:, 1:], (0, 1), value=START)
        return Outlook(hidden, self.questions(source, hidden), following)

    def questions(
        self, source: PositionedSource, hidden: Tensor, linear: Linears = DeferredLinear
    ) -> Questions:
        """What states ask of the sources.

        Args:
            source: The sources.
            hidden: States of the decoder, K for each source, [B, K, H].
            linear: Makes the products with the states.
        """
        hidden = self.dropout(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            # [B, K, S]
            scores = torch.bmm(hidden, source.places.transpose(1, 2))
        scores = scores.masked_fill(~source.usable[:, None], IMPOSSIBLE)
        gates = hidden.new_zeros(hidden.shape[:2])
        if self.query_gate is not None:
            gates = at_least_float32(self.query_gate(hidden)[..., 0])
        return Questions(linear(self.query.weight)(hidden), gates, scores)

    def reference_loss(
        self,
        forward: ForwardPass[PositionedSource, Outlook],
        batch: Batch,
        *,
        smoothing: float,
        coverage_loss: float,
    ) -> Tensor:
        """Minus the log probability of the references over all their alignments, summed, nats."""
        assert not smoothing and not coverage_loss, "refused by the settings"
        pairs = self._pairs(forward.readout, forward.source, batch.target, batch.target_mask)
        return -log_marginal(pairs, self.order).sum().to(pairs.scores.dtype)

    def log_probabilities_of(
        self, readout: Outlook, source: PositionedSource, target: Tensor, real: Tensor
    ) -> Tensor:
        """See `Network.log_probabilities_of`; the sum of a target is minus its `reference_loss`."""
        pairs = self._pairs(readout, source, target, real)
        before = before_symbols(pairs, self.order, onward=True)
        found = (before + pairs.emissions).logsumexp(2) - before.logsumexp(2)
        found = found.masked_fill(found < IMPOSSIBLE / 2, -torch.inf).masked_fill(~real, 0.0)
        return found.to(pairs.scores.dtype)

    def log_probabilities(self, readout: Outlook, source: PositionedSource, extra: int = 0) -> Tensor:
        """See `Network.log_probabilities`."""
        # [B, T, S]
        look = self._look(readout, source)
        extra = max(extra, int(source.symbols.max()) + 1 - self.symbols, 0)
        project = DeferredLinear(self.projection)
        found, _ = self.distribution(look, readout.questions, source, project, extra)
        return logarithm(found).to(readout.questions.scores.dtype)

    def alignment(self, readout: Outlook, source: PositionedSource, target: Tensor, real: Tensor) -> Tensor:
        """The posterior probability that each target symbol is aligned with each position."""
        total, found, _ = posteriors(self._pairs(readout, source, target, real), self.order)
        # A target that cannot be written has no alignment.
        even = source.usable / source.usable.sum(1, keepdim=True)
        return torch.where(total.isfinite()[:, None, None], found, even[:, None].to(found.dtype))

    def written(self, readout: Outlook, source: PositionedSource) -> Tensor | None:
        """See `Network.written`; the mean over the positions."""
        if self.query_gate is None:
            return None
        gate = readout.questions.gates[..., None] + source.gates[:, None]
        return (self._look(readout, source) * gate.sigmoid()).sum(2)

    def joint(self, source: PositionedSource, asked: Tensor) -> Tensor:
        """The layer before the output projection, [B, K, S, R]; `asked` is [B, K, R]."""
        return torch.tanh(source.keys[:, None] + asked[:, :, None])

    def distribution(
        self, look: Tensor, questions: Questions, source: PositionedSource, project: Linear, extra: int
    ) -> tuple[Tensor, Tensor]:
        """Probability of each symbol, over all positions.

        Args:
            look: Probability of each position, float64, [B, K, S].
            questions: What the decoder asks of the positions.
            source: The sources.
            project: The product with the output projection.
            extra: Number of symbols that extend the vocabulary.

        Returns:
            The probabilities, [B, K, V + extra], float64, and the log normaliser of the scores of symbols at
            each position, nats, [B, K, S].
        """
        asked, gates, _ = questions
        generated = look
        if self.query_gate is not None:
            generated = look * (gates[..., None] + source.gates[:, None]).double().sigmoid()

        def of_some(keys: Tensor, share: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
            # [B, K, s, V], of s positions
            scores = at_least_float32(project(torch.tanh(keys[:, None] + asked[:, :, None])))
            scores = scores + self._writable_bias()
            # [B, K, 1, s] times [B, K, s, V]
            return (share[:, :, None] @ scores.double().softmax(3))[:, :, 0], scores.logsumexp(3)

        size = max(LARGEST // (gates.numel() * self.symbols), 1)
        again = torch.is_grad_enabled() and size < look.shape[2]  # rather computed twice than held
        written = look.new_zeros(*gates.shape, self.symbols)
        normalisers = []
        shares = torch.split(generated, size, 2)
        for keys, share in zip(torch.split(source.keys, size, 1), shares, strict=True):
            if again:
                found, normaliser = checkpoint(
                    of_some, keys, share, asked, use_reentrant=False, preserve_rng_state=False
                )
            else:
                found, normaliser = of_some(keys, share, asked)
            written = written + found
            normalisers.append(normaliser)
        written = functional.pad(written, (0, extra))
        if self.query_gate is not None:
            # What cannot be copied adds nothing to symbol 0, which is never written.
            places = source.symbols.clamp(min=0)[:, None].expand_as(look)
            written = written.scatter_add(2, places, look - generated)
        return written, torch.cat(normalisers, 2)

    def with_copies(self, written: Tensor, source: PositionedSource, gates: Tensor, target: Tensor) -> Tensor:
        """Log probability of target symbols at each position, nats, [B, K, S].

        Args:
            written: Log probability of generating them there, nats, [B, K, S].
            source: The sources.
            gates: The decoder's share of the copy gate, [B, K].
            target: The symbols, extended ids, [B, K].
        """
        if self.query_gate is None:
            return written
        gate = gates[..., None] + source.gates[:, None]
        generated = written.masked_fill((target >= self.symbols)[..., None], IMPOSSIBLE)
        generated = (generated + functional.logsigmoid(gate)).clamp(min=IMPOSSIBLE)
        same = source.symbols[:, None] == target[..., None]
        copied = functional.logsigmoid(-gate).clamp(min=IMPOSSIBLE).masked_fill(~same, IMPOSSIBLE)
        return torch.logaddexp(generated, copied)

    def _look(self, readout: Outlook, source: PositionedSource) -> Tensor:
        """Probability of each position at each step, given the symbols before it, float64, [B, T, S]."""
        following = readout.following
        pairs = self._pairs(readout, source, following, following != START)
        return before_symbols(pairs, self.order, onward=True).softmax(2)

    def _pairs(self, readout: Outlook, source: PositionedSource, target: Tensor, real: Tensor) -> Alignments:
        """What the probabilities of these targets follow from; targets and their mask are [B, T]."""
        asked, gates, scores = readout.questions
        joint = self.joint(source, asked)
        # What is asked for at padding does not matter, but must be possible.
        known = self.known(target).masked_fill(~real, END)
        known = known[:, :, None].expand(joint.shape[:3])
        found = projected_log_probabilities(
            joint.flatten(0, 2), self.projection, self._writable_bias(), known.flatten()
        )
        emissions = self.with_copies(found.view(known.shape), source, gates, target)
        return Alignments(emissions, scores, source.usable, real)

    def _writable_bias(self) -> Tensor:
        """The bias of the output projection, -inf for symbols that are never written, [V]."""
        never = torch.tensor(NEVER, device=self.bias.device)
        return self.bias.index_fill(0, never, -torch.inf)
