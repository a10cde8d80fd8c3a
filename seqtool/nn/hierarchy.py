"""A recurrence above another: words make a sentence's vector, sentences a document's state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import State
from seqtool.nn.cells.running import run_cell
from seqtool.nn.deferred import at_least_float32
from seqtool.nn.recurrence import cells_of, starts_of


class DocumentState(nn.Module):
    """A cell that reads the vectors of a document's sentences; each sentence gets what came before it.

    Args:
        options: What the cell is made of.
        inputs: Width I of a sentence's vector.
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
        """Before the first sentence."""
        state: State = self.start(self.cell.initial(documents, like))
        return state

    def forward(self, vectors: Tensor, state: State) -> tuple[Tensor, State]:
        """Sentences in their order.

        Args:
            vectors: [D, S, I]; 0 at padding, which stands on the right.
            state: Before the first of them.

        Returns:
            The state's output before each sentence, [D, S, H], and the state after the last.
        """
        outputs, after = run_cell(self.cell, vectors, state)
        before = torch.cat([state[0][:, None].to(outputs.dtype), outputs[:, :-1]], 1)
        return before, tuple(at_least_float32(part) for part in after)


def sentence_vectors(states: Tensor, mask: Tensor) -> Tensor:
    """What a bidirectional layer [B, T, 2H] has come to at the end of each direction, [B, 2H].

    Args:
        states: The forward half first.
        mask: Right-padded, at least one real token a row, [B, T].
    """
    ahead, back = states.chunk(2, 2)
    last = mask.sum(1) - 1
    return torch.cat([ahead[torch.arange(len(states), device=states.device), last], back[:, 0]], 1)
