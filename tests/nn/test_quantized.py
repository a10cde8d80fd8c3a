"""8-bit products: exact for integers, close otherwise, and independent for each row."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seqtool.nn.quantized import CHUNK, LARGEST, Int8Linear, Int8Linears, require_exact_sums


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_whole_numbers_with_the_largest_among_them_come_out_exactly() -> None:
    source = torch.Generator().manual_seed(0)
    weight = torch.randint(-LARGEST, LARGEST + 1, (40, 16), generator=source).float()
    rows = torch.randint(-LARGEST, LARGEST + 1, (9, 16), generator=source).float()
    weight[:, 3], rows[:, 5] = LARGEST, -LARGEST
    bias = torch.arange(40.0)
    scaled = Int8Linear(weight * 0.25, bias)(rows * 0.5)
    assert torch.equal(scaled, functional.linear(rows * 0.5, weight * 0.25, bias))


def test_outputs_are_within_the_error_of_the_rounding() -> None:
    weight, bias, rows = some(50, 64), some(50, seed=1), some(7, 3, 64, seed=2)
    found, exact = Int8Linear(weight, bias)(rows), functional.linear(rows, weight, bias)
    assert found.shape == exact.shape
    step = rows.abs().amax(2, keepdim=True) / LARGEST, weight.abs().amax(1) / LARGEST
    bound = 0.5 * (step[0] * weight.abs().sum(1) + step[1] * rows.abs().sum(2, keepdim=True))
    bound = bound + 16 * step[0] * step[1]  # where both are rounded, a quarter of a step each of 64
    assert (found - exact).abs().le(bound + 1e-5).all()
    assert (found - exact).abs().mean() > 0  # it does round


def test_a_row_depends_on_no_other() -> None:
    linear = Int8Linear(some(70, 32), some(70, seed=1))
    rows = some(2 * CHUNK + 5, 32, seed=2) * torch.logspace(-6, 6, 2 * CHUNK + 5)[:, None]
    whole = linear(rows)
    for place in (0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 4):
        assert torch.equal(linear(rows[place : place + 1])[0], whole[place])


def test_zeros_give_the_bias() -> None:
    bias = some(6)
    assert torch.equal(Int8Linear(torch.zeros(6, 4), bias)(some(2, 4)), bias.expand(2, 6))
    assert torch.equal(Int8Linear(some(6, 4), bias)(torch.zeros(2, 4)), bias.expand(2, 6))


def test_a_weight_is_rounded_once_whatever_passes_it_serves() -> None:
    linears, weight, rows = Int8Linears(), some(6, 4), some(3, 4, seed=1)
    assert linears(weight) is linears(weight)
    assert linears(weight.clone()) is not linears(weight)
    assert torch.equal(linears(weight)(rows), Int8Linear(weight, torch.zeros(6))(rows))


def test_a_processor_whose_sums_overflow_is_refused() -> None:
    require_exact_sums()
    program = "from seqtool.nn.quantized import require_exact_sums; require_exact_sums()"
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0:
        pytest.skip("the library sums exactly here without VNNI too")
    assert "SettingsError: precision int8 needs a processor with 8-bit products" in found.stderr
