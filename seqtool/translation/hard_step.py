"""Hard attention as a step of `decoding`: the exact distribution of the next symbol.

The state of a hypothesis holds, beside that of the decoder, the probability of each source position given the
symbols before the last one, and what the decoder asked there. The last symbol turns that into the posterior
of its position, from which the next one follows. So all alignments of a hypothesis count together.
"""

from __future__ import annotations

from torch import Tensor

from seqtool.decoding.step import State, StepResult
from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32
from seqtool.nn.hard_alignment import start
from seqtool.translation.hard_attention import HardAttention, PositionedSource
from seqtool.translation.layers import by_sentence
from seqtool.translation.target_recurrence import logarithm

KEPT = 4  # tensors of the state that are not the decoder's


class HardAttentionStep:
    """The decoder of a network with hard attention as a `decoding.step.Step` over encoded sources.

    Args:
        model: The network, in evaluation mode.
        source: The encoded sources.
        extra: Largest number of symbols by which a source extends the target vocabulary.
        linear: Makes the products with the weights of the decoder and of the output projection.
    """

    def __init__(
        self, model: HardAttention, source: PositionedSource, extra: int, linear: Linears = DeferredLinear
    ) -> None:
        self.model, self.extra, self._linear = model, extra, linear
        self._read(source)

    @property
    def mask(self) -> Tensor:
        """True at source symbols, [B, S]."""
        return self.source.mask

    def initial(self) -> State:
        """The state before the first step, one row per sentence."""
        source = self.source
        none = source.features.new_zeros(len(source.mask), self.model.upper.width)
        # The first input tells nothing about where the position is, since that is certain.
        asked = source.keys.new_zeros(len(none), source.keys.shape[2])
        kept = asked, asked[:, :1], start(source.usable), source.keys.new_zeros(source.mask.shape)
        return (*self.model.initial(none), *kept)

    def keep(self, sentences: Tensor) -> None:
        """Keep only the given sentences for all further steps."""
        self._read(self.source.kept(sentences))

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """Scores of the next symbols, [N, V + extra], from the last symbols, ids [N], and the state."""
        model, source, sentences = self.model, self.source, len(self.source.mask)
        layers, split = state[:-KEPT], model.layer_tensors
        points = self._located(last, state[-KEPT:])
        features = source.features.repeat_interleave(len(last) // sentences, 0)
        inputs = model.target(model.known(last)) + features
        lowest = self._lowest(model.cell.project(inputs), layers[:split])
        hidden, upper = self._above(at_least_float32(lowest[0]), layers[split:])
        # [B, K, ...]
        questions = model.questions(source, by_sentence(hidden, sentences), self._linear)
        look = model.order.following(points, questions.scores.double())
        # [B, K, V + extra], [B, K, S]
        written, normaliser = model.distribution(look.exp(), questions, source, self._project, self.extra)
        kept = questions.asked, questions.gates[..., None], look, normaliser
        return StepResult(
            logarithm(written).to(inputs.dtype).flatten(0, 1),
            inputs.new_zeros(len(inputs)),
            (*lowest, *upper, *(each.flatten(0, 1) for each in kept)),
            # where the next symbol is written
            look.exp().to(inputs.dtype).flatten(0, 1),
        )

    def _located(self, last: Tensor, kept: State) -> Tensor:
        """Log probability of the position of the last symbol, given all symbols so far, nats, [B, K, S]."""
        model, sentences = self.model, len(self.source.mask)
        last = by_sentence(last, sentences)
        asked, gates, look, normaliser = (by_sentence(each, sentences) for each in kept)
        known = model.known(last)
        # [B, K, S, R] times [B, K, R, 1]
        scores = (model.joint(self.source, asked) @ model.projection[known][..., None])[..., 0]
        written = scores + model.bias[known][..., None] - normaliser
        emissions = model.with_copies(written, self.source, gates[..., 0], last)
        return (look + emissions).log_softmax(2)

    def _read(self, source: PositionedSource) -> None:
        self.source = source
        self._lowest = self.model.cell.stepper(self._linear)
        self._above = self.model.upper.stepper(len(source.mask), self._linear)
        self._project = self._linear(self.model.projection)
