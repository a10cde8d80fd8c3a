"""The decoder's time loop, in the four forms that the literature knows.

Each form says what a step computes and what the readout (deep output) is made of. All that
does not depend on the state is done for all steps at once: the input half of the gates, and the
context's way into gates and readout (`nn.attention.context_values`). Inside the loops tensors are
time first, [T, N, ...], so that a step is one contiguous block; N = B x K rows, K hypotheses a
sentence (1 in training).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.attention import Attention, Scorer, context_values
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, DeferredMixture, Linears, at_least_float32
from seqtool.nn.recurrence import cells_of
from seqtool.translation.layers import DecoderOptions, DecoderState, Layers, cast_like, gate_width, glorot


class Memory(NamedTuple):
    """What a decoder needs of the source, computed once a sentence."""

    keys: Tensor  # [B, S, A]
    during: Tensor  # [B, G x S, P], states through the context's way into a step
    after: Tensor  # [B, G x S, D + X], the same for what is computed after the step
    mask: Tensor  # [B, S], True = a source position

    def kept(self, sentences: Tensor) -> Memory:
        """Of some of the sentences only."""
        # Not by `[sentences]`: where one stands more than once, threads would add its gradient in any order.
        return Memory(*(each.index_select(0, sentences) for each in self))


class StepOutput(NamedTuple):
    """What a step gives, its state aside."""

    hidden: Tensor  # [N, O], what the readout is made of
    weights: Tensor  # [N, G x S], attention


DecoderStep = Callable[
    [Tensor, DecoderState], tuple[StepOutput, DecoderState]
]  # [N, P] of `project`, DecoderState
Function = Callable[[Tensor], Tensor]

READOUTS: dict[str, tuple[int, Function]] = {  # how many inputs an output takes, and the function
    "tanh": (1, torch.tanh),
    "maxout": (
        2,
        lambda values: values.reshape(*values.shape[:-1], -1, 2).amax(-1),
    ),  # Goodfellow et al. 2013
}


class Decoder(nn.Module, ABC):
    """From embedded target symbols and a source to the readout.

    The lowest layer is the attentional one; a state is (its tensors, those of the upper layers,
    what is fed back, the coverage).

    Args:
        sizes: Widths and kinds.
        attention: Asked by this decoder.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__()
        self.sizes = sizes
        self.attention = attention
        factor, self.function = READOUTS[sizes.readout]
        self.before = factor * sizes.output  # D, width of the readout before its function
        self.cell = cells_of(sizes.made_of, [sizes.inputs], sizes.hidden)[0]
        self.upper = Layers(sizes)
        self.output = nn.Linear(sizes.hidden, self.before)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.context = glorot(self.before, sizes.memory)

    def memory(self, states: Tensor, mask: Tensor, extra: Tensor) -> Memory:
        """A source ready to be read.

        Args:
            states: Of the encoder [B, S, C], 0 at padding.
            mask: [B, S].
            extra: Weight [X, C] of what else reads the context; its values are the last X of
                `after`.
        """
        during, after = self.context_maps()
        maps = torch.cat([during, after, extra])
        values = context_values(states, maps, self.attention.heads)
        during_values, after_values = values[..., : len(during)], values[..., len(during) :]
        keys = self.attention.keys(states)
        return Memory(keys, at_least_float32(during_values), at_least_float32(after_values), mask)

    @abstractmethod
    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Weights [P, C] of the context's way into a step, and [D, C] into the readout after it."""

    def initial(self, start: Tensor, positions: int) -> DecoderState:
        """The state before the first step.

        Args:
            start: [N, H], the hidden state of each layer; what else a cell remembers starts from 0.
            positions: S.
        """
        start = at_least_float32(start)
        layers = (*self.cell.started(start), *self.upper.initial(start))
        return (*layers, *self.fed_back(start), *self._coverage(start, positions))

    def fed_back(self, start: Tensor) -> DecoderState:
        """Tensors of the state beside layers and coverage."""
        return ()

    def project(self, inputs: Tensor) -> Tensor:
        """What a step needs of its input, the input half of the gates: [..., E] -> [..., P]."""
        return self.cell.project(inputs)

    @abstractmethod
    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """One step at a time over this memory, for one pass.

        Args:
            memory: Of some sentences.
            linear: Makes the products of the loop from their weights.
        """

    def share(self, inputs: Tensor) -> Tensor:
        """What the readout after the step takes of the inputs alone: [..., E] -> [..., D or 0]."""
        return inputs[..., :0]

    @abstractmethod
    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """The readout of any number of steps at once.

        Args:
            hidden: Of `StepOutput`, [B, T, O].
            share: The inputs' [B, T, D or 0], of `share`.
            context: The context's [B, T, D], of the maps for after the step.
            linear: Makes the product with the hidden state.

        Returns:
            [B, T, R].
        """

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """All steps of known inputs [B, T, E]; outputs [B, T, ...]."""
        return looped(self.stepper(memory), self.project(inputs.transpose(0, 1)), state)

    @property
    def layer_tensors(self) -> int:
        """Tensors in the state of one layer."""
        return len(self.cell.initial(1, self.output.bias))

    def _written(self, hidden: Tensor, linear: Linears) -> Tensor:
        """W s_t and the bias."""
        return linear(self.output.weight)(hidden) + self.output.bias

    def _coverage(self, start: Tensor, positions: int) -> DecoderState:
        """Nothing has been attended to before the first step."""
        covers = getattr(self.attention, "coverage", None) is not None
        return (start.new_zeros(len(start), positions),) if covers else ()


class InputFeedingDecoder(Decoder):
    """s_t = cells(y_t, o_{t-1}, s_{t-1}); a_t by the top s_t; o_t = f(W s_t + C c_t).

    o_t, which knows what was attended to, is both the readout and part of the next input.

    Reference: Luong et al. 2015, sections 3.1 and 3.3.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.feed = glorot(gate_width(self.cell), sizes.output)

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Into the readout, which is part of the step."""
        return self.context, self.context[:0]

    def fed_back(self, start: Tensor) -> DecoderState:
        """o_0 = 0."""
        return (start.new_zeros(len(start), self.sizes.output),)

    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """See `Decoder.stepper`."""
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        during = DeferredMixture(memory.during)
        feed, output = linear(self.feed), linear(self.output.weight)
        lowest, above = self.cell.stepper(linear), self.upper.stepper(len(memory.mask), linear)
        split = self.layer_tensors

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            layer, rest = state[:split], state[split:]
            upper, (fed, *coverage) = rest[: self.upper.tensors], rest[self.upper.tensors :]
            layer = lowest(projected + feed(fed), layer)
            hidden, upper = above(layer[0], upper)
            weights, covered = attend(scorer, hidden, len(memory.mask), tuple(coverage))
            fed = self.function(output(hidden) + self.output.bias + mix(weights, during))
            return StepOutput(fed, weights), (*layer, *upper, fed, *covered)

        return advance

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """o_t."""
        return hidden


class BahdanauDecoder(Decoder):
    """a_t by s_{t-1}; s_t = cell(y_t, c_t, s_{t-1}); readout f(W s_t + Y y_t + C c_t).

    y_t is the input of the step, the symbol before the one that is predicted. Upper layers, of
    which the attention knows nothing, run after the loop.

    Reference: Bahdanau et al. 2015, section 3.1 and appendix A.2.2.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.attended = glorot(gate_width(self.cell), sizes.memory)
        self.input = glorot(self.before, sizes.inputs)

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Into the gates, and into the readout."""
        return self.attended, self.context

    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """See `Decoder.stepper`."""
        attentional, above = self.attentional(memory, linear), self.upper.stepper(len(memory.mask), linear)
        split = self.layer_tensors

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            upper = state[split : split + self.upper.tensors]
            output, lower = attentional(projected, (*state[:split], *state[split + self.upper.tensors :]))
            hidden, upper = above(output.hidden, upper)
            return StepOutput(hidden, output.weights), (*lower[:split], *upper, *lower[split:])

        return advance

    def attentional(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """The lowest layer alone; its state is (its tensors, coverage)."""
        during = DeferredMixture(memory.during)
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        step, split = self.cell.stepper(linear), self.layer_tensors

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            weights, covered = attend(scorer, state[0], len(memory.mask), state[split:])
            layer = step(projected + mix(weights, during), state[:split])
            return StepOutput(layer[0], weights), (*layer, *covered)

        return advance

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """The loop over the lowest layer, then the upper ones by their fused kernels."""
        split, above = self.layer_tensors, self.layer_tensors + self.upper.tensors
        lower = (*state[:split], *state[above:])
        output = looped(self.attentional(memory), self.project(inputs.transpose(0, 1)), lower)
        return StepOutput(self.upper(output.hidden, state[split:above]), output.weights)

    def share(self, inputs: Tensor) -> Tensor:
        """Y y_t."""
        return nn.functional.linear(inputs, self.input)

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """Deep output (Pascanu et al. 2014)."""
        return self.function(self._written(hidden, linear) + share + context)


class ConditionalDecoder(BahdanauDecoder):
    """s' = cell(y_t, s_{t-1}); a_t by s'; s_t = second(c_t, s'); readout as Bahdanau's.

    Reference: Sennrich et al. 2017, "Nematus", section 2.1.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.second = cells_of(sizes.made_of, [sizes.memory], sizes.hidden)[0]
        # Its input is the context, so its own input weight is the context's way into the gates, and
        # starts as that of the other forms does.
        weight = self.second.input_map()
        if isinstance(weight, nn.Parameter):
            self.attended = weight
            if sizes.made_of.of_cells.input_init == "default":
                nn.init.xavier_uniform_(self.attended)
        else:  # a cell that makes it of several parts has seen to their start
            del self.attended

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Into the second transition, and into the readout."""
        return self.second.input_map(), self.context

    def attentional(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """Both transitions, the attention between them."""
        during = DeferredMixture(memory.during)
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        first, second, split = self.cell.stepper(linear), self.second.stepper(linear), self.layer_tensors
        bias = self.second.project(memory.during.new_zeros(1, 1, self.second.inputs))[0, 0]

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            middle = first(projected, state[:split])
            weights, covered = attend(scorer, middle[0], len(memory.mask), state[split:])
            layer = second(mix(weights, during) + bias, middle)
            return StepOutput(layer[0], weights), (*layer, *covered)

        return advance


class ParallelDecoder(Decoder):
    """s_t = cells(y_t, s_{t-1}); a_t by the top s_t; readout f(W s_t + C c_t).

    Nothing that was attended to comes back, so all steps of a known target are one fused call
    and one attention.

    Reference: Luong et al. 2015, section 3.1, without the input feeding of section 3.3.
    """

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Only into the readout."""
        return self.context[:0], self.context

    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """See `Decoder.stepper`."""
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        lowest, above, split = (
            self.cell.stepper(linear),
            self.upper.stepper(len(memory.mask), linear),
            self.layer_tensors,
        )

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            layer = lowest(projected, state[:split])
            hidden, upper = above(layer[0], state[split:])
            weights, _ = attend(scorer, hidden, len(memory.mask), ())
            return StepOutput(hidden, weights), (*layer, *upper)

        return advance

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """All steps at once."""
        split = self.layer_tensors
        hidden, _ = run_cell(self.cell, inputs, cast_like(inputs, state[:split]))
        hidden = at_least_float32(self.upper(hidden, state[split:]))
        scorer = self.attention.scorer(memory.keys, memory.mask)
        with torch.autocast(inputs.device.type, enabled=False):
            return StepOutput(hidden, scorer(hidden, None))

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """Luong's attentional vector."""
        return self.function(self._written(hidden, linear) + context)


DECODERS: dict[str, type[Decoder]] = {
    "input_feeding": InputFeedingDecoder,
    "conditional": ConditionalDecoder,
    "bahdanau": BahdanauDecoder,
    "parallel": ParallelDecoder,
}


def looped(advance: DecoderStep, projected: Tensor, state: DecoderState) -> StepOutput:
    """Step after step over [T, N, P]; outputs [N, T, ...]."""
    outputs = []
    # What is to run in half precision has been converted by now; the rest keeps its own.
    with torch.autocast(projected.device.type, enabled=False):
        for each in at_least_float32(projected).unbind(0):
            output, state = advance(each, state)
            outputs.append(output)
        return StepOutput(
            torch.stack([output.hidden for output in outputs], 1),
            torch.stack([output.weights for output in outputs], 1),
        )


def attend(
    scorer: Scorer, query: Tensor, sentences: int, coverage: DecoderState
) -> tuple[Tensor, DecoderState]:
    """Weights [N, G x S] for queries [N, Q], and the coverage that includes them."""
    before = by_sentence(coverage[0], sentences) if coverage else None
    weights = scorer(by_sentence(query, sentences), before).flatten(0, 1)
    return weights, tuple(each + weights for each in coverage)


def mix(weights: Tensor, values: DeferredMixture) -> Tensor:
    """[N, G x S] and values [B, G x S, P] to [N, P]."""
    return values(by_sentence(weights, len(values.values))).flatten(0, 1)


def by_sentence(rows: Tensor, sentences: int) -> Tensor:
    """[N, ...] to [B, K, ...]."""
    return rows.view(sentences, len(rows) // sentences, *rows.shape[1:])
