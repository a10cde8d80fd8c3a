"""An edit transducer as a step of `decoding`: the exact distribution of the next symbol.

The state of a hypothesis holds, beside that of the decoder, the probability of each source position together
with each symbol that may come next. The symbol that is chosen selects what the next step starts from. So all
ways of writing a hypothesis count together, and no two hypotheses of a search are the same text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqtool.decoding.step import State, StepResult
from seqtool.nn.deferred import DeferredLinear, Linears, at_least_float32
from seqtool.nn.edit_lattice import after_skipping
from seqtool.translation.layers import by_sentence
from seqtool.translation.target_recurrence import logarithm
from seqtool.translation.transducer import EditedSource, Transducer, shares
from seqtool.translation.vocabulary import START


class EditStep:
    """The decoder of a transducer as a `decoding.step.Step` over encoded sources.

    Args:
        model: The network, in evaluation mode.
        source: The encoded sources.
        extra: Largest number of symbols by which a source extends the target vocabulary.
        linear: Makes the products with the weights of the decoder.
    """

    def __init__(
        self, model: Transducer, source: EditedSource, extra: int, linear: Linears = DeferredLinear
    ) -> None:
        self.model, self.extra, self._linear = model, extra, linear
        self._split = model.layer_tensors
        self._read(source)

    @property
    def mask(self) -> Tensor:
        """True at source symbols, [B, S]."""
        return self.source.mask

    def initial(self) -> State:
        """The state before the first step, one row per sentence."""
        start = self.source.features.new_zeros(len(self.source.first), self.model.upper.width)
        size = self.model.symbols + self.extra
        ways = start.new_zeros(*self.source.mask.shape, size, dtype=torch.float64)
        rows = torch.arange(len(ways), device=ways.device)
        ways[rows, self.source.first, START] = 1.0
        return (*self.model.initial(start), ways)

    def keep(self, sentences: Tensor) -> None:
        """Keep only the given sentences for all further steps."""
        self._read(self.source.kept(sentences))

    def __call__(self, last: Tensor, state: State) -> StepResult:
        """Scores of the next symbols, [N, V + extra], from the last symbols, ids [N], and the state."""
        model, source, sentences = self.model, self.source, len(self.source.first)
        slots = len(last) // sentences
        layers, ways = state[:-1], state[-1]
        inputs = model.target(model.known(last)) + source.features.repeat_interleave(slots, 0)
        lowest = self._lowest(model.cell.project(inputs), layers[: self._split])
        hidden, upper = self._above(at_least_float32(lowest[0]), layers[self._split :])
        # [B, K, S, A]
        actions = model.actions(source, by_sentence(hidden, sentences), self._linear)
        # [N, S]: where the last symbol has led to
        points = logarithm(ways.gather(2, last[:, None, None].expand(-1, ways.shape[1], 1))[..., 0])
        skip = actions[..., model.deleting].flatten(0, 1).double()
        ends = source.last.repeat_interleave(slots, 0)
        points = by_sentence(after_skipping(points, skip, ends), sentences)
        points = points.masked_fill(~source.mask[:, None], -torch.inf)
        # [B, K, S, V + extra]
        ways = model.written_from(points, actions, source, self.extra)
        written = model.with_end(ways.sum(2), points, actions, source.last)
        # [B, K]; 1 for a hypothesis that is impossible, which a search may carry along
        total = written.sum(2)
        total = total.masked_fill(total == 0.0, 1.0)
        return StepResult(
            logarithm(written / total[..., None]).to(inputs.dtype).flatten(0, 1),
            inputs.new_zeros(len(inputs)),
            (*lowest, *upper, (ways / total[..., None, None]).flatten(0, 1)),
            # where the next symbol is written
            shares(ways.sum(3)).to(inputs.dtype).flatten(0, 1),
        )

    def _read(self, source: EditedSource) -> None:
        self.source = source
        self._lowest = self.model.cell.stepper(self._linear)
        self._above = self.model.upper.stepper(len(source.first), self._linear)
