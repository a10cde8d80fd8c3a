"""The four attentional decoders of the literature, each with its loop over time.

A decoder defines what a step computes and what the readout (deep output) is computed from. What
does not depend on the state is computed for all steps at once: the input half of the gates, and the
projections of the context into gates and readout, which are applied to the encoder states before
attention mixes them (`nn.attention.context_values`). Inside the loops tensors are time first,
[T, N, ...], so that the input of a step is one contiguous block.

Shapes: B sentences, K hypotheses per sentence (1 in training), N = B x K rows, T target steps, S source
symbols, G attention heads, A width of the keys, C of an encoder state, E of an embedding, H of the hidden
state, P of a cell's projected input (its gates), R of the readout, D of the readout before its activation
(2 R for maxout), O of what the readout is computed from (R with input feeding, else H), X of what else
reads the context (1 for the copy gate, else 0).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.attention import Attention, context_values
from seqtool.nn.cells.cell import glorot
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, DeferredMixture, Linears, at_least_float32
from seqtool.nn.recurrence import cells_of
from seqtool.translation.layers import (
    DecoderOptions,
    DecoderState,
    Layers,
    attend,
    cast_like,
    gate_width,
    mix,
)


class Memory(NamedTuple):
    """What a decoder reads of the source, computed once per sentence."""

    keys: Tensor  # attention keys, [B, S, A]
    during: Tensor  # encoder states, projected as the context is within a step, [B, G x S, P]
    after: Tensor  # encoder states, projected as the context is after the step, [B, G x S, D + X]
    mask: Tensor  # True at source symbols, [B, S]

    def kept(self, sentences: Tensor) -> Memory:
        """The memory of the sentences with these indices, which may repeat, [M]."""
        # Not by `[sentences]`: where an index repeats, threads would sum its gradient in any order.
        return Memory(*(each.index_select(0, sentences) for each in self))


class StepOutput(NamedTuple):
    """The output of a step, or of all steps with T as the second dimension."""

    hidden: Tensor  # what the readout is computed from, [N, O]
    weights: Tensor  # attention weights, [N, G x S]

    @classmethod
    def stacked(cls, outputs: Sequence[StepOutput]) -> StepOutput:
        """The outputs of all steps, [N, T, O] and [N, T, G x S], from those of each."""
        return cls(*(torch.stack(parts, 1) for parts in zip(*outputs, strict=True)))


# From the projected input of a step, [N, P], and the state before it, to its output and the state after it.
DecoderStep = Callable[[Tensor, DecoderState], tuple[StepOutput, DecoderState]]
Function = Callable[[Tensor], Tensor]

READOUTS: dict[str, tuple[int, Function]] = {  # number of inputs per output, and the activation
    "tanh": (1, torch.tanh),
    "maxout": (
        2,
        lambda values: values.reshape(*values.shape[:-1], -1, 2).amax(-1),
    ),  # Goodfellow et al. 2013
}


class Decoder(nn.Module, ABC):
    """Computes the readout from embedded target symbols and a source.

    Attention belongs to the lowest layer. A state consists of that layer's tensors, those of the upper
    layers, the fed-back readout, and the coverage; the last two only where the decoder has them.

    Args:
        sizes: Widths and options.
        attention: The attention mechanism, which becomes part of the decoder.
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
        """Prepare encoded sources for decoding.

        Args:
            states: Encoder states, 0 at padding, [B, S, C].
            mask: True at source symbols, [B, S].
            extra: Weight of what else reads the context (the copy gate), [X, C]; its values become the
                last X columns of `after`.
        """
        during, after = self.context_maps()
        # [P + D + X, C]; P or D is 0 for a decoder that does not read the context there
        maps = torch.cat([during, after, extra])
        # [B, G x S, P + D + X]
        values = context_values(states, maps, self.attention.heads)
        # [B, G x S, P], [B, G x S, D + X]
        during_values, after_values = values[..., : len(during)], values[..., len(during) :]
        # [B, S, A]
        keys = self.attention.keys(states)
        return Memory(keys, at_least_float32(during_values), at_least_float32(after_values), mask)

    @abstractmethod
    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Weights that project the context within a step, [P, C], and after it, for the readout, [D, C].

        With input feeding the readout is part of the step, so the first is [D, C] and the second [0, C].
        """

    def initial(self, start: Tensor, positions: int) -> DecoderState:
        """The state before the first step.

        Args:
            start: Hidden state that each layer starts from, [N, H]; a cell's other tensors start from 0.
            positions: S, the number of source positions.
        """
        start = at_least_float32(start)
        layers = (*self.cell.started(start), *self.upper.initial(start))
        return (*layers, *self.fed_back(start), *self._coverage(start, positions))

    def fed_back(self, start: Tensor) -> DecoderState:
        """The fed-back tensors of the state before the first step; none unless a decoder has some."""
        return ()

    def project(self, inputs: Tensor) -> Tensor:
        """The input half of the gates, from embedded inputs: [..., E] to [..., P]."""
        return self.cell.project(inputs)

    @abstractmethod
    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """A function that takes one step, from the projected input [N, P] and the state before it.

        Args:
            memory: The sources that are read.
            linear: Makes the matrix products of the loop from their weights.
        """

    def share(self, inputs: Tensor) -> Tensor:
        """The part of the readout that depends on the inputs alone: [..., E] to [..., D], or [..., 0]."""
        return inputs[..., :0]

    @abstractmethod
    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """The readout of any number of steps at once.

        Args:
            hidden: `StepOutput.hidden` of the steps, [B, T, O].
            share: What `share` computes from the inputs of the steps, [B, T, D], or [B, T, 0].
            context: The context, projected by the second of `context_maps`, [B, T, D].
            linear: Makes the product with the hidden state.

        Returns:
            The readout, [B, T, R].
        """

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """Run all steps over known inputs.

        Args:
            inputs: Embedded target inputs, [B, T, E].
            memory: The sources.
            state: The state before the first step.

        Returns:
            The outputs of all steps, [B, T, ...].
        """
        return looped(self.stepper(memory), self.project(inputs.transpose(0, 1)), state)

    @property
    def layer_tensors(self) -> int:
        """Number of tensors in the state of one layer."""
        return len(self.cell.initial(1, self.output.bias))

    def _written(self, hidden: Tensor, linear: Linears) -> Tensor:
        """W s_t plus the bias: [..., H] to [..., D]."""
        return linear(self.output.weight)(hidden) + self.output.bias

    def _coverage(self, start: Tensor, positions: int) -> DecoderState:
        """The coverage before the first step, zeros [N, S], if the attention reads one."""
        covers = getattr(self.attention, "coverage", None) is not None
        return (start.new_zeros(len(start), positions),) if covers else ()


class InputFeedingDecoder(Decoder):
    """s_t = cells(y_t, o_{t-1}, s_{t-1}); a_t by the top s_t; o_t = f(W s_t + C c_t).

    o_t, which contains the attended context, is both the readout and part of the next input.

    Reference: Luong et al. 2015, sections 3.1 and 3.3.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.feed = glorot(gate_width(self.cell), sizes.output)

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """[D, C] into the readout, which is part of the step; nothing after it."""
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
            # fed: [N, R]
            upper, (fed, *coverage) = rest[: self.upper.tensors], rest[self.upper.tensors :]
            # projected and feed(fed): [N, P]
            layer = lowest(projected + feed(fed), layer)
            # [N, H]
            hidden, upper = above(layer[0], upper)
            # [N, G x S]
            weights, covered = attend(scorer, hidden, len(memory.mask), tuple(coverage))
            # The projected state and the projected context, both [N, D], to the readout [N, R].
            fed = self.function(output(hidden) + self.output.bias + mix(weights, during))
            return StepOutput(fed, weights), (*layer, *upper, fed, *covered)

        return advance

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """o_t, which each step has computed already: [B, T, R]."""
        return hidden


class BahdanauDecoder(Decoder):
    """a_t by s_{t-1}; s_t = cell(y_t, c_t, s_{t-1}); readout f(W s_t + Y y_t + C c_t).

    y_t is the input of the step, the symbol before the one that is predicted. The attention does not
    read the upper layers, so with known inputs these run after the loop, over all steps at once.

    Reference: Bahdanau et al. 2015, section 3.1 and appendix A.2.2.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.attended = glorot(gate_width(self.cell), sizes.memory)
        self.input = glorot(self.before, sizes.inputs)

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """[P, C] into the gates, [D, C] into the readout."""
        return self.attended, self.context

    def stepper(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """See `Decoder.stepper`."""
        attentional, above = self.attentional(memory, linear), self.upper.stepper(len(memory.mask), linear)
        split = self.layer_tensors

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            # A state is (lowest, upper, coverage); `attentional` takes it without the upper layers.
            upper = state[split : split + self.upper.tensors]
            output, lower = attentional(projected, (*state[:split], *state[split + self.upper.tensors :]))
            hidden, upper = above(output.hidden, upper)
            return StepOutput(hidden, output.weights), (*lower[:split], *upper, *lower[split:])

        return advance

    def attentional(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """A step of the lowest layer alone, whose state consists of its own tensors and the coverage."""
        during = DeferredMixture(memory.during)
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        step, split = self.cell.stepper(linear), self.layer_tensors

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            # by s_{t-1} [N, H]: [N, G x S]
            weights, covered = attend(scorer, state[0], len(memory.mask), state[split:])
            # [N, P] + [N, P]
            layer = step(projected + mix(weights, during), state[:split])
            return StepOutput(layer[0], weights), (*layer, *covered)

        return advance

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """Run the loop over the lowest layer, then the upper layers by their fused kernels."""
        split, above = self.layer_tensors, self.layer_tensors + self.upper.tensors
        lower = (*state[:split], *state[above:])
        output = looped(self.attentional(memory), self.project(inputs.transpose(0, 1)), lower)
        return StepOutput(self.upper(output.hidden, state[split:above]), output.weights)

    def share(self, inputs: Tensor) -> Tensor:
        """Y y_t: [..., E] to [..., D]."""
        return nn.functional.linear(inputs, self.input)

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """Deep output (Pascanu et al. 2014), [B, T, R]."""
        return self.function(self._written(hidden, linear) + share + context)


class ConditionalDecoder(BahdanauDecoder):
    """s' = cell(y_t, s_{t-1}); a_t by s'; s_t = second(c_t, s'); readout as Bahdanau's.

    Reference: Sennrich et al. 2017, "Nematus", section 2.1.
    """

    def __init__(self, sizes: DecoderOptions, attention: Attention) -> None:
        super().__init__(sizes, attention)
        self.second = cells_of(sizes.made_of, [sizes.memory], sizes.hidden)[0]
        # The second cell's input is the context, so its input weight is what projects the context into the
        # gates; it is initialised like that of the other decoders.
        weight = self.second.input_map()
        if isinstance(weight, nn.Parameter):
            self.attended = weight
            if sizes.made_of.of_cells.input_init == "default":
                nn.init.xavier_uniform_(self.attended)
        else:  # a cell whose input weight has several parts has initialised them itself
            del self.attended

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """[P, C] into the second transition, [D, C] into the readout."""
        return self.second.input_map(), self.context

    def attentional(self, memory: Memory, linear: Linears = DeferredLinear) -> DecoderStep:
        """A step of the lowest layer alone: two transitions, with the attention between them."""
        during = DeferredMixture(memory.during)
        scorer = self.attention.scorer(memory.keys, memory.mask, linear)
        first, second, split = self.cell.stepper(linear), self.second.stepper(linear), self.layer_tensors
        # The second cell's projection without its product, which `during` contains: the bias, [P].
        bias = self.second.project(memory.during.new_zeros(1, 1, self.second.inputs))[0, 0]

        def advance(projected: Tensor, state: DecoderState) -> tuple[StepOutput, DecoderState]:
            # s', of which the first tensor is the hidden state [N, H]
            middle = first(projected, state[:split])
            # [N, G x S]
            weights, covered = attend(scorer, middle[0], len(memory.mask), state[split:])
            # [N, P]
            layer = second(mix(weights, during) + bias, middle)
            return StepOutput(layer[0], weights), (*layer, *covered)

        return advance


class ParallelDecoder(Decoder):
    """s_t = cells(y_t, s_{t-1}); a_t by the top s_t; readout f(W s_t + C c_t).

    The recurrence does not read the context, so all steps of a known target are one call of the fused
    kernel and one of the attention.

    Reference: Luong et al. 2015, section 3.1, without the input feeding of section 3.3.
    """

    def context_maps(self) -> tuple[Tensor, Tensor]:
        """Nothing within a step; [D, C] into the readout."""
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
            # [N, H]
            hidden, upper = above(layer[0], state[split:])
            # [N, G x S]
            weights, _ = attend(scorer, hidden, len(memory.mask), ())
            return StepOutput(hidden, weights), (*layer, *upper)

        return advance

    def run(self, inputs: Tensor, memory: Memory, state: DecoderState) -> StepOutput:
        """Run all steps at once; see `Decoder.run`."""
        split = self.layer_tensors
        # [B, T, H]
        hidden, _ = run_cell(self.cell, inputs, cast_like(inputs, state[:split]))
        hidden = at_least_float32(self.upper(hidden, state[split:]))
        scorer = self.attention.scorer(memory.keys, memory.mask)
        with torch.autocast(inputs.device.type, enabled=False):
            # weights: [B, T, G x S], each target step being a query
            return StepOutput(hidden, scorer(hidden, None))

    def finish(
        self, hidden: Tensor, share: Tensor, context: Tensor, linear: Linears = DeferredLinear
    ) -> Tensor:
        """Luong's attentional vector, [B, T, R]."""
        return self.function(self._written(hidden, linear) + context)


DECODERS: dict[str, type[Decoder]] = {
    "input_feeding": InputFeedingDecoder,
    "conditional": ConditionalDecoder,
    "bahdanau": BahdanauDecoder,
    "parallel": ParallelDecoder,
}


def looped(advance: DecoderStep, projected: Tensor, state: DecoderState) -> StepOutput:
    """Run a step function over all steps.

    Args:
        advance: The step function.
        projected: Projected inputs, time first, [T, N, P].
        state: The state before the first step.

    Returns:
        The outputs of all steps, [N, T, ...].
    """
    outputs = []
    # The projections before the loop may run in half precision; the recurrence itself always in full.
    with torch.autocast(projected.device.type, enabled=False):
        for each in at_least_float32(projected).unbind(0):
            output, state = advance(each, state)
            outputs.append(output)
        return StepOutput.stacked(outputs)
