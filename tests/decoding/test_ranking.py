"""Top-k and argmax against a full sort."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqtool.decoding.ranking import argmax_per_row, top_per_row


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(1, 4),
    st.sampled_from([1, 5, 64, 300, 512, 513, 700, 1152, 1153, 4800, 5001]),
    st.integers(1, 9),
    st.sampled_from([0, 1, 3]),
)
def test_the_first_of_equals_come_first(seed: int, rows: int, width: int, count: int, levels: int):
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    values = (values * levels).round() if levels else values
    values[values < -1.5] = -torch.inf
    for strided in (values, torch.cat([values, values], 1)[:, :width]):
        best, columns = top_per_row(strided, count)
        real = best > -torch.inf
        ordered = values.sort(dim=1, descending=True, stable=True)
        assert torch.equal(best, ordered.values[:, :count])
        assert torch.equal(columns[real], ordered.indices[:, :count][real])
        assert torch.equal(argmax_per_row(strided)[real[:, 0]], columns[:, 0][real[:, 0]])


@pytest.mark.parametrize("width", [300, 1500])
def test_columns_of_padding_change_nothing(width: int):
    values = torch.randn(3, 290).mul(2).round()
    padded = torch.nn.functional.pad(values, (0, width - 290), value=-torch.inf)
    for own, other in zip(top_per_row(values, 7), top_per_row(padded, 7), strict=True):
        assert torch.equal(own, other)


def test_no_column_is_named_twice():
    values = torch.full((2, 1300), -torch.inf)
    values[0, 1299] = values[1, 0] = 1.0
    for row in top_per_row(values, 8)[1]:
        assert len(set(row.tolist())) == 8
