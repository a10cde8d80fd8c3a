"""One symbol at a time, fast: what the layers make of a symbol is looked up, the rest is one product each.

The input half of the lowest layer's gates is the same whenever a symbol comes, so it is a row of a
table. For LSTM layers the other halves of an upper layer, input and recurrent, are one product with
what stands side by side in one buffer, and all that follows is done in place: at one row a step is
bound by reading the weights, and by how many operations there are, not by arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from seqtool.lm.model import LanguageNetwork
from seqtool.nn.cells import Cell, State
from seqtool.nn.cells.lstm import LSTMCell, weights_of


class Stepper(Protocol):
    """Some rows of text that go on symbol by symbol."""

    def step(self, last: Tensor) -> Tensor:
        """Scores of the next symbols after these: [N] to [N, V], raw; valid until the next call."""

    def states(self) -> list[State]:
        """Of all layers, the lowest first."""


def stepper_of(network: LanguageNetwork, states: Sequence[State]) -> Stepper:
    """The fastest stepper for a network and the states to begin with (which are not changed)."""
    cells = [cell for cell in network.stack.cells if isinstance(cell, Cell)]
    plain = network.adaptive is None and not network.stack.residual
    weight = network.embedding.weight
    if plain and weight.device.type == "cpu" and all(isinstance(cell, LSTMCell) for cell in cells):
        return LSTMStepper(network, states)
    return HoistedStepper(network, states)


class HoistedStepper:
    """Any cells; only the table of the lowest layer's inputs is made in advance.

    Args:
        network: In evaluation mode.
        states: To begin with.
    """

    def __init__(self, network: LanguageNetwork, states: Sequence[State]) -> None:
        self._network = network
        self._cells = [cell for cell in network.stack.cells if isinstance(cell, Cell)]
        self._table = self._cells[0].project(network.embedding.weight[None])[0]
        self._states = list(states)

    def step(self, last: Tensor) -> Tensor:
        """Scores after these symbols."""
        lowest, *upper = self._cells
        after = [lowest.step(self._table[last], self._states[0])]
        values = after[0][0]
        for cell, state in zip(upper, self._states[1:], strict=True):
            after.append(cell.step(cell.project(values[:, None])[:, 0], state))
            values = values + after[-1][0] if self._network.stack.residual else after[-1][0]
        self._states = after
        narrow = self._network.narrow
        features = values if narrow is None else narrow(values)
        if self._network.adaptive is not None:
            return self._network.log_probabilities(features)
        weight, bias = self._network.projection
        return functional.linear(features, weight, bias)

    def states(self) -> list[State]:
        """Of all layers."""
        return list(self._states)


class LSTMStepper:
    """LSTM layers on the CPU, in place.

    Args:
        network: In evaluation mode.
        states: To begin with.
    """

    def __init__(self, network: LanguageNetwork, states: Sequence[State]) -> None:
        weight, bias = network.projection
        narrow = network.narrow
        self._output = (weight if narrow is None else weight @ narrow.weight).detach().contiguous()
        self._bias = bias.detach()
        rows = len(states[0][0])
        cells = [cell for cell in network.stack.cells if isinstance(cell, LSTMCell)]
        self._layers = [
            _Layer(cell, state, rows, lowest=cell is cells[0])
            for cell, state in zip(cells, states, strict=True)
        ]
        for layer, above in zip(self._layers, self._layers[1:], strict=False):
            above.place_below(layer)
        self._table = _arranged(cells[0].project(network.embedding.weight[None])[0].detach(), 1).contiguous()
        self._scores = self._output.new_empty(rows, len(self._output))

    def step(self, last: Tensor) -> Tensor:
        """Scores after these symbols."""
        lowest, *upper = self._layers
        lowest.advance(self._table[last])
        for layer in upper:
            layer.advance(layer.bias)
        return _product(self._bias, self._layers[-1].hidden, self._output, self._scores)

    def states(self) -> list[State]:
        """Of all layers, as they are now."""
        return [(layer.hidden.clone(), layer.memory.clone()) for layer in self._layers]


class _Layer:
    """A layer's weights, arranged, and its buffers; its state stands to the right of the layer below's."""

    def __init__(self, cell: LSTMCell, state: State, rows: int, *, lowest: bool) -> None:
        weights = weights_of(cell.kernel)
        self.bias = _arranged((weights.input_bias + weights.recurrent_bias).detach(), 0)
        halves = [weights.recurrent] if lowest else [weights.inputs, weights.recurrent]
        self._weight = _arranged(torch.cat(halves, 1).detach(), 0).contiguous()
        width, below = cell.hidden, 0 if lowest else cell.inputs
        self._read = state[0].new_zeros(rows, below + width)
        self.below, self.hidden = self._read[:, :below], self._read[:, below:]
        self.hidden.copy_(state[0])
        self.memory = state[1].clone()
        self._gates = state[0].new_empty(rows, 4 * width)
        self._sigmoid, self._candidate = self._gates[:, : 3 * width], self._gates[:, 3 * width :]
        self._input, self._forget, self._output = self._sigmoid.chunk(3, 1)
        self._squashed = torch.empty_like(self.memory)
        self._above: Tensor | None = None

    def place_below(self, layer: _Layer) -> None:
        """What `layer` puts out is to stand where this layer reads it."""
        layer._above = self.below

    def advance(self, offset: Tensor) -> None:
        """One step: the gates are `offset` plus the product with what is read."""
        _product(offset, self._read, self._weight, self._gates)
        self._sigmoid.sigmoid_()
        self._candidate.tanh_()
        self.memory.mul_(self._forget).addcmul_(self._input, self._candidate)
        torch.tanh(self.memory, out=self._squashed)
        torch.mul(self._output, self._squashed, out=self.hidden)
        if self._above is not None:
            self._above.copy_(self.hidden)


def _arranged(gates: Tensor, dimension: int) -> Tensor:
    """The candidate comes last, so that one sigmoid does for input, forget and output gate."""
    first, second, candidate, output = gates.chunk(4, dimension)
    return torch.cat([first, second, output, candidate], dimension)


def _product(offset: Tensor, values: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """offset + values weight^T into `out`, [N, ...]; one row is a matrix-vector product."""
    if len(values) == 1:
        row = offset[0] if offset.dim() == 2 else offset
        torch.addmv(row, weight, values[0], out=out[0])
        return out
    return torch.addmm(offset, values, weight.t(), out=out)
