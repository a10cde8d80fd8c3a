"""Library kernels with wrong gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqtool.nn.cells import build_cell, lstm
from seqtool.nn.cells.running import run_cell


def input_gradient(name: str, width: int, *, half: bool) -> Tensor:
    torch.manual_seed(0)
    cell, inputs = build_cell(name, 16, width), torch.randn(4, 3, 16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs, _ = run_cell(cell, inputs)
    return torch.autograd.grad((outputs.float() * torch.randn(4, 3, width)).sum(), inputs)[0].flatten()


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("width", [512, 1000, 1024, 1280])
def test_gradients_in_half_precision_are_those_in_full(name: str, width: int):
    """oneDNN's LSTM with AMX has wrong ones at 1,024 and 1,280: without the workaround this fails there."""
    full, halved = (input_gradient(name, width, half=half) for half in (False, True))
    assert functional.cosine_similarity(full, halved, dim=0).item() > 0.99


def test_a_kernel_with_a_wrong_gradient_is_used_where_nothing_is_learned(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lstm, "half_gradient_is_right", lambda hidden: False)
    cell, inputs = build_cell("lstm", 16, 32), torch.randn(4, 3, 16)
    assert cell.fused() is not None  # in float32
    with torch.autocast("cpu", torch.bfloat16):
        assert cell.fused() is None
        stepped, _ = run_cell(cell, inputs)
        with torch.no_grad():
            assert cell.fused() is not None
            kernel, _ = run_cell(cell, inputs)
    torch.testing.assert_close(stepped.float(), kernel.float(), rtol=0.02, atol=0.02)
