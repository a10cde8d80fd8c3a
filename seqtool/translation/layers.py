"""Parts that all decoders share: their options, the layers above the lowest, small helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtool.nn.attention import Scorer
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import Cell
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import DeferredLinear, DeferredMixture, Linears
from seqtool.nn.recurrence import cells_of, joints
from seqtool.nn.regularization import SequenceDropout

DecoderState = tuple[Tensor, ...]  # every tensor has N rows first, [N, ...]


class DecoderOptions(NamedTuple):
    """Widths and options that all decoders share."""

    made_of: LayerOptions
    inputs: int  # E, width of an embedding
    hidden: int  # H, width of each layer
    memory: int  # C, width of an encoder state
    layers: int  # number of layers, the attentional one included
    output: int  # R, width of the readout
    readout: str  # activation of the readout, a name in READOUTS
    dropout: float  # dropout probability between layers, in [0, 1)


class Layers(nn.Module):
    """The recurrent layers above the lowest, run step by step or over all steps at once.

    Args:
        sizes: Options of the decoder.
    """

    def __init__(self, sizes: DecoderOptions) -> None:
        super().__init__()
        above = sizes.layers - 1
        self.cells = nn.ModuleList(cells_of(sizes.made_of, [sizes.hidden] * above, sizes.hidden, 1))
        self.joints = joints(sizes.made_of, sizes.hidden, above)
        self.dropout = SequenceDropout(sizes.dropout, sizes.made_of.locked)
        self.width = sizes.hidden

    @property
    def tensors(self) -> int:
        """Number of tensors in the state of these layers."""
        return len(self.initial(torch.empty(1, self.width, device="meta")))

    def initial(self, start: Tensor) -> DecoderState:
        """The state before the first step, each layer's hidden state being `start`, [N, H]."""
        return tuple(tensor for cell in self._cells() for tensor in cell.started(start))

    def stepper(
        self, sentences: int, linear: Linears = DeferredLinear
    ) -> Callable[[Tensor, DecoderState], tuple[Tensor, DecoderState]]:
        """A function that takes one step through all layers.

        It takes the output of the lowest layer [N, H] and the state of these layers, and returns the
        output of the top layer [N, H] and the new state.

        Args:
            sentences: B, the number of sentences, each of which keeps its dropout mask.
            linear: Makes the matrix products of the loop from their weights.
        """
        cells = self._cells()
        steps = [cell.stepper(linear) for cell in cells]
        drops = [self.dropout.by_steps(cell.input_map(), sentences, self.width) for cell in cells]

        def advance(hidden: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
            following: list[Tensor] = []
            # the number of tensors in the state of one layer
            each = len(state) // max(len(cells), 1)
            for number, (cell, step, drop) in enumerate(zip(cells, steps, drops, strict=True)):
                # [N, H] to [N, P] to the layer's state, of which the first is its output [N, H]
                layer = step(cell.project(drop(hidden)), state[each * number : each * (number + 1)])
                # [N, H], with a residual or highway connection where the options say so
                hidden = self.joints[number](hidden, layer[0])
                following += layer
            return hidden, tuple(following)

        return advance

    def forward(self, hidden: Tensor, state: DecoderState) -> Tensor:
        """Outputs of the top layer over all steps, [B, T, H].

        Args:
            hidden: Outputs of the lowest layer, [B, T, H].
            state: State of these layers before the first step.
        """
        each = len(state) // max(len(self.cells), 1)
        for number, cell in enumerate(self._cells()):
            inputs = self.dropout(hidden)
            start = cast_like(inputs, state[each * number : each * (number + 1)])
            outputs, _ = run_cell(cell, inputs, start)
            hidden = self.joints[number](hidden, outputs)
        return hidden

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.cells if isinstance(cell, Cell)]


def gate_width(cell: Cell) -> int:
    """P, the width of a cell's projected inputs."""
    return len(cell.input_map())


def cast_like(inputs: Tensor, state: DecoderState) -> DecoderState:
    """A state in the data type of the inputs, which the fused kernels require."""
    return tuple(each.to(inputs.dtype) for each in state)


def attend(
    scorer: Scorer, query: Tensor, sentences: int, coverage: DecoderState
) -> tuple[Tensor, DecoderState]:
    """Attend to the sources once.

    Args:
        scorer: Computes attention weights from queries by sentence, [B, K, H].
        query: Hidden states that attend, [N, H].
        sentences: B, the number of sentences.
        coverage: The coverage so far, [N, S]; empty where the attention does not read it.

    Returns:
        Attention weights, [N, G x S], and the coverage with them added.
    """
    # [N, S] to [B, K, S]
    before = by_sentence(coverage[0], sentences) if coverage else None
    # [B, K, G x S] to [N, G x S]
    weights = scorer(by_sentence(query, sentences), before).flatten(0, 1)
    return weights, tuple(each + weights for each in coverage)


def mix(weights: Tensor, values: DeferredMixture) -> Tensor:
    """The context: weights [N, G x S] times values [B, G x S, P], [N, P]."""
    return values(by_sentence(weights, len(values.values))).flatten(0, 1)


def by_sentence(rows: Tensor, sentences: int) -> Tensor:
    """Rows [N, ...] grouped by sentence, [B, K, ...]."""
    return rows.view(sentences, len(rows) // sentences, *rows.shape[1:])
