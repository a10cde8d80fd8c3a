"""Fast generation, one symbol per step.

The input half of the lowest layer's gates depends on the symbol alone, so it is looked up in a table.
In an upper LSTM layer, input and hidden state lie side by side in one buffer, so that both halves of
the gates are a single matrix product, and all that follows is computed in place: with one row, the
time of a step is that of reading the weights and of starting operations, not of arithmetic. torch's
matrix-vector product uses one thread; as a batch of products, each with a part of the weights, it uses
all of them. 8-bit integers reduce what is read to a quarter.

Shapes: N rows of text, H width of a layer, V symbols, M outputs of a product, D inputs of a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.lm.model import LanguageNetwork
from seqtool.nn.cells import State
from seqtool.nn.cells.kernel import weights_of
from seqtool.nn.cells.lstm import LSTMCell
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.quantized import LARGEST, rounded, scale_of


class SymbolStepper(Protocol):
    """Generates N rows of text symbol by symbol."""

    def step(self, last: Tensor) -> Tensor:
        """Read one symbol per row, [N].

        Returns:
            Unnormalised scores of the next symbols, nats, [N, V]; valid until the next call.
        """

    def states(self) -> list[State]:
        """The present states of all layers, the lowest first."""


def stepper_of(
    network: LanguageNetwork,
    states: Sequence[State],
    forbidden: Sequence[int] = (),
    *,
    int8: bool = False,
) -> SymbolStepper:
    """The fastest stepper for a network.

    Args:
        network: The network in evaluation mode.
        states: States of all layers to begin with; they are not changed.
        forbidden: Symbols whose scores shall be -inf.
        int8: Whether to compute products in 8-bit integers, only if `steps_in_place(network)`.
    """
    if int8 or steps_in_place(network):
        return LSTMStepper(network, states, forbidden, int8=int8)
    return HoistedStepper(network, states, forbidden)


def steps_in_place(network: LanguageNetwork) -> bool:
    """Whether `LSTMStepper` supports the network: plain LSTM layers and a plain softmax, on the CPU."""
    cells = network.stack.layers
    options = network.stack.options
    plain = network.adaptive is None and not options.residual and not options.highway
    on_cpu = network.embedding.weight.device.type == "cpu"
    return (
        plain and on_cpu and all(isinstance(cell, LSTMCell) and not cell.runs_step_by_step for cell in cells)
    )


class HoistedStepper:
    """A stepper for any cells; only the table of the lowest layer's input halves is computed in advance.

    Args:
        network: See `stepper_of`, as for the other arguments.
        states: States of all layers to begin with.
        forbidden: Symbols whose scores shall be -inf.
    """

    def __init__(
        self, network: LanguageNetwork, states: Sequence[State], forbidden: Sequence[int] = ()
    ) -> None:
        self._network = network
        self._forbidden = list(forbidden)
        self._cells = network.stack.layers
        self._steps = [cell.stepper() for cell in self._cells]
        # [V, P], the input half of the lowest layer's gates for each symbol
        self._table = at_least_float32(self._cells[0].project(network.embedding.weight[None])[0])
        self._states = list(states)

    def step(self, last: Tensor) -> Tensor:
        """See `SymbolStepper.step`."""
        # [N, P] to the new state of the lowest layer
        after = [self._steps[0](self._table[last], self._states[0])]
        # [N, H], the output of the present layer
        values, joints = after[0][0], self._network.stack.joints
        above = zip(self._cells[1:], self._steps[1:], self._states[1:], joints, strict=True)
        for cell, step, state, joint in above:
            after.append(step(at_least_float32(cell.project(values[:, None])[:, 0]), state))
            values = joint(values, after[-1][0])
        self._states = after
        narrow = self._network.narrow
        # [N, D] to [N, V]
        features = values if narrow is None else narrow(values)
        if self._network.adaptive is not None:
            scores = self._network.log_probabilities(features)
        else:
            scores = functional.linear(features, *self._network.projection)
        scores[:, self._forbidden] = -torch.inf
        return scores

    def states(self) -> list[State]:
        """See `SymbolStepper.states`."""
        return list(self._states)


class LSTMStepper:
    """A stepper for LSTM layers on the CPU, which works in place.

    Args:
        network: See `stepper_of`, as for the other arguments.
        states: States of all layers to begin with.
        forbidden: Symbols whose scores shall be -inf.
        int8: Whether to compute products in 8-bit integers.
    """

    def __init__(
        self,
        network: LanguageNetwork,
        states: Sequence[State],
        forbidden: Sequence[int] = (),
        *,
        int8: bool = False,
    ) -> None:
        product = _Int8Product if int8 else _Product
        weight, bias = network.projection
        narrow = network.narrow
        # [V, H]: the projection to the width of tied embeddings is multiplied into the softmax's weight
        output = (weight if narrow is None else weight @ narrow.weight).detach().contiguous()
        self._bias = bias.detach().clone()
        self._bias[list(forbidden)] = -torch.inf
        rows = len(states[0][0])
        cells = [cell for cell in network.stack.cells if isinstance(cell, LSTMCell)]
        self._layers = [_Layer(cell, rows, product, lowest=cell is cells[0]) for cell in cells]
        # A layer writes its output to its own buffer and to the input of the layer above.
        for layer, above in zip(self._layers, self._layers[1:], strict=False):
            layer.outputs.append(above.below)
        for layer, state in zip(self._layers, states, strict=True):
            layer.start(state)
        # [V, 4H], the input half of the lowest layer's gates for each symbol
        self._table = (
            _arranged(cells[0].project(network.embedding.weight[None])[0].detach().t()).t().contiguous()
        )
        # [N, 4H], the rows of the table for the present symbols
        self._offset = self._table.new_empty(rows, self._table.shape[1])
        self._output = product(output, self._layers[-1].own)

    def step(self, last: Tensor) -> Tensor:
        """See `SymbolStepper.step`."""
        lowest, *upper = self._layers
        torch.index_select(self._table, 0, last, out=self._offset)
        lowest.advance(self._offset)
        for layer in upper:
            layer.advance(layer.bias)
        return self._output.plus(self._bias)

    def states(self) -> list[State]:
        """See `SymbolStepper.states`."""
        return [layer.state() for layer in self._layers]


class _Layer:
    """The rearranged weights of an LSTM layer, and its buffers.

    A hyperbolic tangent takes four times as long here as a sigmoid, so it is computed from one:
    tanh x = 2 sigmoid(2 x) - 1. The inner factor costs nothing, since the weights of the candidate and
    the memory cell are stored doubled. Hidden states are stored in the unit of the product (1 for
    floating point, 1 / 127 for 8-bit integers).

    Args:
        cell: The LSTM cell.
        rows: N, number of rows.
        product: Class of the product, which determines the arithmetic.
        lowest: Whether this is the lowest layer, whose input half of the gates comes from the table.
    """

    def __init__(
        self, cell: LSTMCell, rows: int, product: type[_Product | _Int8Product], *, lowest: bool
    ) -> None:
        weights = weights_of(cell.kernel)
        self.bias = _arranged((weights.input_bias + weights.recurrent_bias).detach())
        halves = [weights.recurrent] if lowest else [weights.inputs, weights.recurrent]
        width, below = cell.hidden, 0 if lowest else cell.inputs
        # [N, I + H], what the product reads: the input (unless lowest) and the hidden state, side by side
        read = torch.zeros(rows, below + width, dtype=product.reads or self.bias.dtype)
        self.below, self.own = read[:, :below], read[:, below:]
        self.outputs = [self.own]  # buffers that each new hidden state is copied to
        # weights [4H, I + H]
        self._product, self._unit = product(_arranged(torch.cat(halves, 1).detach()), read), product.unit
        # [N, 4H], and its four parts [N, H]
        self._gates = _flat(self._product.result)
        self._input, self._forget, self._output, self._candidate = (
            _flat(each) for each in self._product.result.chunk(4, 1)
        )
        # [N, H] each: twice the memory cell, the hidden state in the product's unit, two scratch buffers
        self._memory, self._hidden, self._squashed, self._written = (
            _flat(self.bias.new_empty(rows, width)) for _ in range(4)
        )
        if product.reads is None:  # the product reads the hidden state as it is, so compute it in its buffer
            self._hidden, self.outputs = _flat(self.own), []
        most = torch.full_like(self._memory, self._unit)
        self._limits = (-most, most)

    def start(self, state: State) -> None:
        """Set the layer's state, hidden state and memory cell, [N, H] each."""
        hidden, memory = state
        largest = self._product.largest
        torch.mul(_flat(hidden.clamp(-largest, largest)), self._unit, out=self._hidden)
        torch.mul(_flat(memory), 2.0, out=self._memory)
        self._write()

    def state(self) -> State:
        """A copy of the layer's state, hidden state and memory cell, [N, H] each."""
        hidden, memory = self._hidden / self._unit, self._memory / 2.0
        return hidden.view_as(self.own), memory.view_as(self.own)

    def advance(self, offset: Tensor) -> None:
        """Take one step; the gates are `offset` ([4H] or [N, 4H]) plus the product, before the sigmoid."""
        self._product.plus(offset)
        self._gates.sigmoid_()
        # 2 c = f (2 c) + 2 i tanh(g), where tanh(g) = 2 candidate - 1 and candidate = sigmoid(2 g)
        self._memory.mul_(self._forget).addcmul_(self._input, self._candidate, value=4.0)
        self._memory.sub_(self._input, alpha=2.0)
        # unit x tanh(c), by interpolating from -unit to unit with sigmoid(2 c)
        torch.sigmoid(self._memory, out=self._squashed)
        torch.lerp(*self._limits, self._squashed, out=self._squashed)
        # h = o tanh(c)
        torch.mul(self._output, self._squashed, out=self._hidden)
        self._write()

    def _write(self) -> None:
        """Copy the hidden state to the buffers that products read."""
        ready = self._product.rounded(self._hidden, self._written)
        for place in self.outputs:
            place.copy_(ready)


def _arranged(gates: Tensor) -> Tensor:
    """Gates along the first dimension [4H, ...], rearranged to have the candidate last and doubled."""
    first, second, candidate, output = gates.chunk(4)
    return torch.cat([first, second, output, 2.0 * candidate])


def _flat(values: Tensor) -> Tensor:
    """A single row as a vector, on which operations start faster than on a matrix; several rows unchanged."""
    return values[0] if len(values) == 1 else values


class _Product:
    """The product values weight^T [N, M], of a buffer whose values change in place.

    Args:
        weight: Weight, contiguous, [M, D].
        values: The buffer that is read, [N, D].
    """

    reads: torch.dtype | None = None  # data type of the values that are read; None = that of the weights
    unit = 1.0  # factor between a hidden state and the values that are read
    largest = float("inf")  # largest size of a hidden state

    def __init__(self, weight: Tensor, values: Tensor) -> None:
        self.result = weight.new_empty(len(values), len(weight))
        self._weight, self._values = weight.t(), values
        threads = torch.get_num_threads()
        self._parts = threads if len(values) == 1 and len(weight) % threads == 0 else 1
        if self._parts > 1:  # one row: each thread reads its own part of the weights
            part = len(weight) // threads
            # [threads, 1, D]
            self._batch = values[None].expand(threads, -1, -1)
            # [threads, D, M / threads]
            self._weights = weight.view(threads, part, -1).transpose(1, 2)
            # [threads, 1, M / threads], a view of the result
            self._results = self.result.view(threads, 1, part)

    @staticmethod
    def rounded(hidden: Tensor, out: Tensor) -> Tensor:
        """The hidden state as the product reads it: unchanged."""
        return hidden

    def plus(self, offset: Tensor) -> Tensor:
        """The product plus an offset [M] or [N, M]; valid until the next call."""
        if self._parts > 1:
            torch.baddbmm(offset.view(self._parts, 1, -1), self._batch, self._weights, out=self._results)
        elif len(self._values) == 1:
            row = offset[0] if offset.dim() == 2 else offset
            torch.addmv(row, self._weight.t(), self._values[0], out=self.result[0])
        else:
            torch.addmm(offset, self._values, self._weight, out=self.result)
        return self.result


class _Int8Product:
    """The product values weight^T [N, M] in 8-bit integers, of a buffer of LSTM hidden states.

    A hidden state lies between -1 and 1, so all values have the quantisation step 1 / 127; a learned
    initial state outside is clipped. Each output has its own step for its weights. Sums of integers are
    exact, so the result of a row does not depend on the other rows.

    Args:
        weight: Weight, [M, D].
        values: The buffer that is read, hidden states in units of 1 / 127, [N, D].
    """

    reads: torch.dtype | None = torch.int8
    unit = float(LARGEST)
    largest = 1.0

    def __init__(self, weight: Tensor, values: Tensor) -> None:
        step = scale_of(weight)
        self._weight = rounded(weight, step).t()  # [D, M], a view: in memory the D inputs are contiguous
        # [M]
        self._step = step[:, 0] / LARGEST
        self._values = values
        self._sums = torch.empty(len(values), len(weight), dtype=torch.int32)
        self.result = weight.new_empty(len(values), len(weight))

    @staticmethod
    def rounded(hidden: Tensor, out: Tensor) -> Tensor:
        """The hidden state as the product reads it: rounded, in `out`."""
        return torch.round(hidden, out=out)

    def plus(self, offset: Tensor) -> Tensor:
        """The product plus an offset [M] or [N, M]; valid until the next call."""
        torch._int_mm(self._values, self._weight, out=self._sums)
        self.result.copy_(self._sums)
        return torch.addcmul(offset, self.result, self._step, out=self.result)
