"""One symbol at a time, fast: what the layers make of a symbol is looked up, the rest is one product each.

The input half of the lowest layer's gates is the same whenever a symbol comes, so it is a row of a
table. For LSTM layers the other halves of an upper layer, input and recurrent, are one product with
what stands side by side in one buffer, and all that follows is done in place: at one row a step is
bound by reading the weights, and by how many operations there are, not by arithmetic. The library's
matrix-vector product reads with one thread only; as a batch of products, a part of the weights each,
it reads with all of them. In 8-bit integers there is a quarter as much to read.
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
    """Some rows of text that go on symbol by symbol."""

    def step(self, last: Tensor) -> Tensor:
        """Scores of the next symbols after these: [N] to [N, V], raw; valid until the next call."""

    def states(self) -> list[State]:
        """Of all layers, the lowest first."""


def stepper_of(
    network: LanguageNetwork,
    states: Sequence[State],
    forbidden: Sequence[int] = (),
    *,
    int8: bool = False,
) -> SymbolStepper:
    """The fastest stepper for a network.

    Args:
        network: In evaluation mode.
        states: To begin with; they are not changed.
        forbidden: Symbols whose scores shall be -inf.
        int8: Products in 8-bit integers; `steps_in_place` says which networks have them.
    """
    if int8 or steps_in_place(network):
        return LSTMStepper(network, states, forbidden, int8=int8)
    return HoistedStepper(network, states, forbidden)


def steps_in_place(network: LanguageNetwork) -> bool:
    """Whether `LSTMStepper` can do it: LSTM layers on the CPU, one after the other, and a plain softmax."""
    cells = network.stack.layers
    options = network.stack.options
    plain = network.adaptive is None and not options.residual and not options.highway
    on_cpu = network.embedding.weight.device.type == "cpu"
    return (
        plain and on_cpu and all(isinstance(cell, LSTMCell) and not cell.runs_step_by_step for cell in cells)
    )


class HoistedStepper:
    """Any cells; only the table of the lowest layer's inputs is made in advance.

    Args:
        network, states, forbidden: As of `stepper_of`.
    """

    def __init__(
        self, network: LanguageNetwork, states: Sequence[State], forbidden: Sequence[int] = ()
    ) -> None:
        self._network = network
        self._forbidden = list(forbidden)
        self._cells = network.stack.layers
        self._steps = [cell.stepper() for cell in self._cells]
        self._table = at_least_float32(self._cells[0].project(network.embedding.weight[None])[0])
        self._states = list(states)

    def step(self, last: Tensor) -> Tensor:
        """Scores after these symbols."""
        after = [self._steps[0](self._table[last], self._states[0])]
        values, joints = after[0][0], self._network.stack.joints
        above = zip(self._cells[1:], self._steps[1:], self._states[1:], joints, strict=True)
        for cell, step, state, joint in above:
            after.append(step(at_least_float32(cell.project(values[:, None])[:, 0]), state))
            values = joint(values, after[-1][0])
        self._states = after
        narrow = self._network.narrow
        features = values if narrow is None else narrow(values)
        if self._network.adaptive is not None:
            scores = self._network.log_probabilities(features)
        else:
            scores = functional.linear(features, *self._network.projection)
        scores[:, self._forbidden] = -torch.inf
        return scores

    def states(self) -> list[State]:
        """Of all layers."""
        return list(self._states)


class LSTMStepper:
    """LSTM layers on the CPU, in place.

    Args:
        network, states, forbidden, int8: As of `stepper_of`.
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
        output = (weight if narrow is None else weight @ narrow.weight).detach().contiguous()
        self._bias = bias.detach().clone()
        self._bias[list(forbidden)] = -torch.inf
        rows = len(states[0][0])
        cells = [cell for cell in network.stack.cells if isinstance(cell, LSTMCell)]
        self._layers = [_Layer(cell, rows, product, lowest=cell is cells[0]) for cell in cells]
        for layer, above in zip(self._layers, self._layers[1:], strict=False):
            layer.outputs.append(above.below)
        for layer, state in zip(self._layers, states, strict=True):
            layer.start(state)
        self._table = (
            _arranged(cells[0].project(network.embedding.weight[None])[0].detach().t()).t().contiguous()
        )
        self._offset = self._table.new_empty(rows, self._table.shape[1])
        self._output = product(output, self._layers[-1].own)

    def step(self, last: Tensor) -> Tensor:
        """Scores after these symbols."""
        lowest, *upper = self._layers
        torch.index_select(self._table, 0, last, out=self._offset)
        lowest.advance(self._offset)
        for layer in upper:
            layer.advance(layer.bias)
        return self._output.plus(self._bias)

    def states(self) -> list[State]:
        """Of all layers, as they are now."""
        return [layer.state() for layer in self._layers]


class _Layer:
    """A layer's weights, arranged, and its buffers.

    A hyperbolic tangent takes four times as long here as a sigmoid, so all are made of sigmoids:
    tanh x = 2 sigmoid(2 x) - 1, where the doubling costs nothing since the candidate's weights and the
    memory are doubled from the start. Hidden states are kept in the unit of the products.

    Args:
        cell: What is stepped.
        rows: N.
        product: The arithmetic.
        lowest: Whether the input half of the gates comes from the table.
    """

    def __init__(
        self, cell: LSTMCell, rows: int, product: type[_Product | _Int8Product], *, lowest: bool
    ) -> None:
        weights = weights_of(cell.kernel)
        self.bias = _arranged((weights.input_bias + weights.recurrent_bias).detach())
        halves = [weights.recurrent] if lowest else [weights.inputs, weights.recurrent]
        width, below = cell.hidden, 0 if lowest else cell.inputs
        read = torch.zeros(rows, below + width, dtype=product.reads or self.bias.dtype)
        self.below, self.own = read[:, :below], read[:, below:]
        self.outputs = [self.own]  # where a new hidden state is to be copied to
        self._product, self._unit = product(_arranged(torch.cat(halves, 1).detach()), read), product.unit
        self._gates = _flat(self._product.result)
        self._input, self._forget, self._output, self._candidate = (
            _flat(each) for each in self._product.result.chunk(4, 1)
        )
        self._memory, self._hidden, self._squashed, self._written = (
            _flat(self.bias.new_empty(rows, width)) for _ in range(4)
        )
        if product.reads is None:  # it is read as it is: made in place
            self._hidden, self.outputs = _flat(self.own), []
        most = torch.full_like(self._memory, self._unit)
        self._limits = (-most, most)

    def start(self, state: State) -> None:
        """Stand where a state says."""
        hidden, memory = state
        largest = self._product.largest
        torch.mul(_flat(hidden.clamp(-largest, largest)), self._unit, out=self._hidden)
        torch.mul(_flat(memory), 2.0, out=self._memory)
        self._write()

    def state(self) -> State:
        """Where it stands, copied; [N, H] each."""
        hidden, memory = self._hidden / self._unit, self._memory / 2.0
        return hidden.view_as(self.own), memory.view_as(self.own)

    def advance(self, offset: Tensor) -> None:
        """One step: the gates are `offset` plus the product with what is read."""
        self._product.plus(offset)
        self._gates.sigmoid_()
        self._memory.mul_(self._forget).addcmul_(self._input, self._candidate, value=4.0)
        self._memory.sub_(self._input, alpha=2.0)
        torch.sigmoid(self._memory, out=self._squashed)
        torch.lerp(*self._limits, self._squashed, out=self._squashed)
        torch.mul(self._output, self._squashed, out=self._hidden)
        self._write()

    def _write(self) -> None:
        """The hidden state goes to where it is read."""
        ready = self._product.rounded(self._hidden, self._written)
        for place in self.outputs:
            place.copy_(ready)


def _arranged(gates: Tensor) -> Tensor:
    """Gates along the first dimension, with the candidate last and doubled: see `_Layer`."""
    first, second, candidate, output = gates.chunk(4)
    return torch.cat([first, second, output, 2.0 * candidate])


def _flat(values: Tensor) -> Tensor:
    """One row as a vector, which takes less time to begin with than a matrix; several as they are."""
    return values[0] if len(values) == 1 else values


class _Product:
    """values weight^T, for values that change in place.

    Args:
        weight: [M, D], contiguous.
        values: [N, D].
    """

    reads: torch.dtype | None = None  # what the weights are
    unit = 1.0
    largest = float("inf")

    def __init__(self, weight: Tensor, values: Tensor) -> None:
        self.result = weight.new_empty(len(values), len(weight))
        self._weight, self._values = weight.t(), values
        threads = torch.get_num_threads()
        self._parts = threads if len(values) == 1 and len(weight) % threads == 0 else 1
        if self._parts > 1:  # one row: each part of the weights is read by a thread of its own
            part = len(weight) // threads
            self._batch = values[None].expand(threads, -1, -1)
            self._weights = weight.view(threads, part, -1).transpose(1, 2)
            self._results = self.result.view(threads, 1, part)

    @staticmethod
    def rounded(hidden: Tensor, out: Tensor) -> Tensor:
        """A hidden state as it is read."""
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
    """values weight^T in 8-bit integers, for states of LSTM layers, which change in place.

    A state is less than 1 in size, so all values have one step, 1 / 127, whatever row they are in; a
    learned start beyond that counts as 1. Weights have a step an output. Sums of integers are exact:
    a row's result does not depend on the others.

    Args:
        weight: [M, D].
        values: [N, D], states in steps.
    """

    reads: torch.dtype | None = torch.int8
    unit = float(LARGEST)
    largest = 1.0

    def __init__(self, weight: Tensor, values: Tensor) -> None:
        step = scale_of(weight)
        self._weight = rounded(weight, step).t()  # [D, M]; rows of D values are read fastest so
        self._step = step[:, 0] / LARGEST
        self._values = values
        self._sums = torch.empty(len(values), len(weight), dtype=torch.int32)
        self.result = weight.new_empty(len(values), len(weight))

    @staticmethod
    def rounded(hidden: Tensor, out: Tensor) -> Tensor:
        """A hidden state as it is read; made in `out`."""
        return torch.round(hidden, out=out)

    def plus(self, offset: Tensor) -> Tensor:
        """The product plus an offset [M] or [N, M]; valid until the next call."""
        torch._int_mm(self._values, self._weight, out=self._sums)
        self.result.copy_(self._sums)
        return torch.addcmul(offset, self.result, self._step, out=self.result)
