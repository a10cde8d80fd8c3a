"""A recurrence over the sentences of a document."""

from __future__ import annotations

import pytest
import torch

from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.cells import CELLS
from seqtool.nn.hierarchy import DocumentState, sentence_vectors


def document(cell: str, **options: bool) -> DocumentState:
    torch.manual_seed(0)
    found = DocumentState(LayerOptions(cell, **options), 3, 4).double().eval()  # type: ignore[arg-type]
    for parameter in found.parameters():
        torch.nn.init.normal_(parameter)
    return found


VECTORS = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("cell", CELLS)
def test_each_sentence_gets_the_output_after_the_one_before(cell: str) -> None:
    state = document(cell)
    before, after = state(VECTORS, state.initial(2, VECTORS))
    now = state.initial(2, VECTORS)
    for sentence in range(5):
        torch.testing.assert_close(before[:, sentence], now[0])
        now = state.cell.step(state.cell.project(VECTORS[:, sentence : sentence + 1])[:, 0], now)
    torch.testing.assert_close(after[0], now[0])


def test_a_document_can_be_read_in_parts() -> None:
    state = document("lstm", learned_start=True)
    whole, end = state(VECTORS, state.initial(2, VECTORS))
    first, middle = state(VECTORS[:, :2], state.initial(2, VECTORS))
    second, last = state(VECTORS[:, 2:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(last, end)
    assert whole[0, 0].equal(state.start.parts["0"])


def test_a_sentence_is_what_both_directions_end_with() -> None:
    states = torch.arange(24.0).view(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    found = sentence_vectors(states, mask)
    assert found.tolist() == [[4, 5, 2, 3], [20, 21, 14, 15]]
