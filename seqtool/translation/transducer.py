"""A network that writes a target by editing its source, symbol by symbol.

At each point, which is a position in the source and the target written so far, it chooses one of these
actions: delete the source symbol; copy it; write another symbol in its place; insert a symbol before it; or,
at the end of the source, end. What is learned is the probability of a target over all its ways of being
written, so no alignment is needed. The decoder reads the target and not the actions, which makes that sum,
and that over all ways to the next symbol, exact (`nn.edit_lattice`). So a search goes symbol by symbol.

Shapes are those of `translation.network`, with R for the width of the layer before the actions and
A = 2 V + 3 for their number.

References: Makarov and Clematide 2018, "Neural transition-based string transduction for limited-resource
setting in morphology"; Wu, Shapiro and Cotterell 2018, "Hard non-monotonic attention for character-level
transduction", for the exact sum.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32
from seqtool.nn.edit_lattice import IMPOSSIBLE, Arcs, Shape, log_marginal, posteriors, reached
from seqtool.translation.batches import Batch, SourceBatch
from seqtool.translation.network import Encoded, ForwardPass
from seqtool.translation.settings import ModelSettings
from seqtool.translation.target_recurrence import TargetRecurrence, logarithm
from seqtool.translation.vocabulary import END, NEVER, START

# At first copying and deleting are as probable as that all symbols together are written, and more.
COPYING = 2.0  # excess of the initial score of copying, nats
DELETING = -1.0


class EditedSource(NamedTuple):
    """Encoded sources, ready to be edited."""

    keys: Tensor  # the encoder's share of the layer before the actions, [B, S, R]
    features: Tensor  # what is added to each input of the decoder, [B, E]
    symbols: Tensor  # extended target id of each source symbol, or NOT_COPYABLE, [B, S]
    mask: Tensor  # True at source symbols, [B, S]
    first: Tensor  # position of the first symbol, [B]
    last: Tensor  # position of the end, [B]

    def kept(self, sentences: Tensor) -> EditedSource:
        """The sources with these indices, in their order; an index may repeat, [M]."""
        return EditedSource(*(each.index_select(0, sentences) for each in self))


class Edits(NamedTuple):
    """What the decoder computes from known inputs."""

    hidden: Tensor  # states of the decoder, [B, T, H]
    actions: Tensor  # log probability of each action at each point, nats, [B, T, S, A]
    following: Tensor  # extended id of the input after each one, START where there is none, [B, T]


class Transducer(TargetRecurrence[EditedSource, Edits]):
    """Recurrent edit transducer.

    Args:
        source_symbols: Size of the source vocabulary.
        target_symbols: V, size of the target vocabulary; equal to the source's where embeddings are shared.
        settings: The network's settings.
    """

    forbidden: Tensor

    def __init__(self, source_symbols: int, target_symbols: int, settings: ModelSettings) -> None:
        super().__init__(source_symbols, target_symbols, settings)
        hidden = settings.hidden
        self.key = nn.Linear(self.encoder.outputs, hidden)
        self.query = nn.Linear(hidden, hidden, bias=False)
        self.read_features(hidden)
        self.copying, self.deleting, self.ending = range(2 * target_symbols, 2 * target_symbols + 3)
        self.output = nn.Linear(hidden, 2 * target_symbols + 3)
        self._initialise()
        self.register_buffer("forbidden", self._forbidden(), persistent=False)

    def _initialise(self) -> None:
        for layer in (self.key, self.query, self.features, self.asked, self.told):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(self.key.bias)
        nn.init.xavier_uniform_(self.output.weight, gain=0.3)
        with torch.no_grad():
            self.output.bias.zero_()
            all_written = torch.tensor(2.0 * self.symbols).log()
            self.output.bias[self.copying] = all_written + COPYING
            self.output.bias[self.deleting] = all_written + DELETING

    def _forbidden(self) -> Tensor:
        """Which actions are impossible before the end of the source, and at it, [2, A]."""
        result = torch.zeros(2, self.ending + 1, dtype=torch.bool, device="cpu")  # also where weights are not
        for symbol in (*NEVER, END):
            result[:, [symbol, self.symbols + symbol]] = True
        result[0, self.ending] = True
        result[1, self.symbols : self.ending] = True
        return result

    def prepared(self, encoded: Encoded, batch: SourceBatch | Batch) -> EditedSource:
        """See `Network.prepared`."""
        # [B, S, R], [B, E]
        keys, features = self.with_features(self.key(encoded.dropped), batch)
        last = encoded.mask.sum(1) - 1
        return EditedSource(at_least_float32(keys), features, batch.symbols, encoded.mask, batch.first, last)

    def read(self, source: EditedSource, inputs: Tensor) -> Edits:
        """See `Network.read`."""
        hidden = self.states(source.features, inputs)
        following = functional.pad(inputs[:, 1:], (0, 1), value=START)
        return Edits(hidden, self.actions(source, hidden), following)

    def actions(self, source: EditedSource, hidden: Tensor, linear: Linears = DeferredLinear) -> Tensor:
        """Log probability of each action at each point, nats, [B, K, S, A].

        Args:
            source: The sources.
            hidden: States of the decoder, K for each source, [B, K, H].
            linear: Makes the product with the states.
        """
        asked = linear(self.query.weight)(self.dropout(hidden))
        # [B, K, S, R]
        joint = torch.tanh(source.keys[:, None] + asked[:, :, None])
        scores = at_least_float32(self.output(joint))
        position = torch.arange(source.keys.shape[1], device=hidden.device)
        # [B, S]: 1 from the end of the source on
        ended = (position >= source.last[:, None]).long()
        return scores.masked_fill(self.forbidden[ended][:, None], -torch.inf).log_softmax(3)

    def reference_loss(
        self,
        forward: ForwardPass[EditedSource, Edits],
        batch: Batch,
        *,
        smoothing: float,
        coverage_loss: float,
    ) -> Tensor:
        """Minus the log probability of the references over all their ways of being written, summed, nats."""
        assert not smoothing and not coverage_loss, "refused by the settings"
        arcs = self._arcs(forward.readout, forward.source, batch.target)
        shape = Shape(forward.source.first, forward.source.last, batch.target_mask.sum(1) - 1)
        total = log_marginal(self._ending(arcs, forward.readout, shape), shape)
        return -total.sum().to(arcs.skip.dtype)

    def log_probabilities_of(
        self, readout: Edits, source: EditedSource, target: Tensor, real: Tensor
    ) -> Tensor:
        """See `Network.log_probabilities_of`; the sum of a target is minus its `reference_loss`."""
        found = self.log_probabilities(readout, source, int(target.max()) + 1 - self.symbols)
        return found.gather(2, target[:, :, None])[:, :, 0].masked_fill(~real, 0.0)

    def log_probabilities(self, readout: Edits, source: EditedSource, extra: int = 0) -> Tensor:
        """See `Network.log_probabilities`."""
        arcs = self._arcs(readout, source, readout.following)
        none = torch.zeros_like(source.last)
        # [B, T, S]
        points = reached(arcs, Shape(source.first, source.last, none), onward=True)
        extra = max(extra, int(source.symbols.max()) + 1 - self.symbols, 0)
        written = self.written_from(points, readout.actions, source, extra).sum(2)
        written = self.with_end(written, points, readout.actions, source.last)
        return logarithm(shares(written)).to(readout.actions.dtype)

    def alignment(self, readout: Edits, source: EditedSource, target: Tensor, real: Tensor) -> Tensor:
        """The posterior probability that each target symbol was written at each position; the end at its."""
        arcs, steps = self._arcs(readout, source, target), real.sum(1) - 1
        shape = Shape(source.first, source.last, steps)
        total, posterior = posteriors(self._ending(arcs, readout, shape), shape)
        found = posterior.stay + posterior.move
        rows = torch.arange(len(steps), device=steps.device)
        found[rows, steps, source.last] = 1.0
        # A target that cannot be written has no alignment: its symbols are where the source ends.
        even = functional.one_hot(source.last, found.shape[2])[:, None].to(found.dtype)
        return torch.where(total.isfinite()[:, None, None], found, even)

    def written_from(self, points: Tensor, actions: Tensor, source: EditedSource, extra: int) -> Tensor:
        """Probability of writing each symbol and thereby coming to each position, up to a factor per row.

        Args:
            points: Log probability of coming to each position, nats, [B, K, S].
            actions: Log probability of each action there, nats, [B, K, S, A].
            source: The sources.
            extra: Number of symbols that extend the vocabulary.

        Returns:
            [B, K, S, V + extra], float64.
        """
        weights = relative(points)
        # [B, K, S, A]
        ways = actions.double().exp() * weights[..., None]
        staying = functional.pad(ways[..., : self.symbols], (0, extra))
        moving = functional.pad(ways[..., self.symbols : 2 * self.symbols], (0, extra))
        # What cannot be copied adds nothing to symbol 0, which is never written.
        places = source.symbols.clamp(min=0)[:, None, :, None].expand(-1, moving.shape[1], -1, 1)
        copied = ways[..., self.copying, None] * (places > 0)
        moving = moving.scatter_add(3, places, copied)
        return staying + functional.pad(moving[:, :, :-1], (0, 0, 1, 0))

    def with_end(self, written: Tensor, points: Tensor, actions: Tensor, last: Tensor) -> Tensor:
        """Probabilities of all symbols [B, K, V + extra], with that of the end among them.

        Args:
            written: Those of the others, [B, K, V + extra].
            points, actions: As for `written_from`.
            last: Position of the end, [B].
        """
        place = last[:, None, None].expand(-1, points.shape[1], 1)
        weight = relative(points).gather(2, place)
        ending = actions[..., self.ending].double().gather(2, place).exp()
        ended = torch.zeros_like(written)
        ended[..., END] = (weight * ending)[..., 0]
        return written + ended

    def _arcs(self, readout: Edits, source: EditedSource, target: Tensor) -> Arcs:
        """The arcs of the lattice of these targets, extended ids [B, T]; without the end."""
        actions = readout.actions
        known = (target < self.symbols)[:, :, None]
        places = self.known(target)[:, :, None, None].expand(-1, -1, actions.shape[2], 1)
        # [B, T, S] each
        insert = actions.gather(3, places)[..., 0].masked_fill(~known, IMPOSSIBLE)
        replace = actions.gather(3, places + self.symbols)[..., 0].masked_fill(~known, IMPOSSIBLE)
        copied = source.symbols[:, None] == target[:, :, None]
        copy = actions[..., self.copying].masked_fill(~copied, IMPOSSIBLE)
        # At -inf a sum of two has no gradient.
        move = torch.logaddexp(replace.clamp(min=IMPOSSIBLE), copy.clamp(min=IMPOSSIBLE))
        return Arcs(actions[..., self.deleting], insert, move, actions.new_zeros(len(actions)))

    def _ending(self, arcs: Arcs, readout: Edits, shape: Shape) -> Arcs:
        """The same arcs with that of the end."""
        rows = torch.arange(len(shape.last), device=shape.last.device)
        return arcs._replace(end=readout.actions[rows, shape.steps, shape.last, self.ending])


def relative(points: Tensor) -> Tensor:
    """Log probabilities [B, K, S] as probabilities, up to a factor per row; 0 where all are impossible."""
    return (points - points.amax(2, keepdim=True).clamp(min=IMPOSSIBLE)).exp()


def shares(values: Tensor) -> Tensor:
    """Values of at least 0, divided by their sum over the last dimension; 0 where all are 0."""
    return values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
