"""Hierarchical recurrence: words make a sentence's vector, sentences a document's state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import State
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.recurrence import cells_of, starts_of


class DocumentState(nn.Module):
    """A cell that reads the sentence vectors of a document, and gives each sentence the state before it.

    Args:
        options: Cell and its options.
        inputs: Width I of a sentence vector.
        hidden: Width H of the state.

    Reference: Serban et al. 2016, "Building end-to-end dialogue systems using generative hierarchical
    neural network models", section 3 (the context RNN).
    """

    def __init__(self, options: LayerOptions, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = cells_of(options, [inputs], hidden)[0]
        self.start = starts_of(options, [self.cell])[0]
        self.outputs = hidden

    def initial(self, documents: int, like: Tensor) -> State:
        """The state before the first sentence of each document, on the device and of the type of `like`."""
        state: State = self.start(self.cell.initial(documents, like))
        return state

    def forward(self, vectors: Tensor, state: State) -> tuple[Tensor, State]:
        """Read sentences in their order.

        Args:
            vectors: Sentence vectors of D documents with S sentences each, [D, S, I], right-padded with 0.
            state: State before the first of these sentences.

        Returns:
            The output before each sentence, [D, S, H], and the state after the last sentence.
        """
        outputs, after = run_cell(self.cell, vectors, state)  # [D, S, H]
        before = torch.cat([state[0][:, None].to(outputs.dtype), outputs[:, :-1]], 1)  # [D, S, H]
        return before, tuple(at_least_float32(part) for part in after)


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """The final outputs of both directions of a bidirectional layer, [B, 2H].

    Args:
        states: Outputs of the layer, the forward half first, [B, T, 2H].
        mask: True at real tokens, right-padded, at least one per sentence, [B, T].
    """
    ahead, back = states.chunk(2, 2)
    last = mask.sum(1) - 1
    return torch.cat([ahead[torch.arange(len(states), device=states.device), last], back[:, 0]], 1)
