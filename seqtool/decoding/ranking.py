"""Fast and deterministic top-k and argmax.

`topk` does not specify which of equal values it returns, and equal scores are not rare where they were
rounded to bfloat16. Here the smaller column always comes first, so that the results of a search depend
neither on a kernel nor on the width of the rows in a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

NARROW = 512  # largest number of columns that are searched without blocks
# Columns of a block, whose largest value is found at the speed of reading them. `topk` of k among fewer than
# 64 k columns uses another algorithm, three times as slow; k blocks have 96 k. And `amax` is three times as
# fast over a multiple of 32 columns.
WIDE = 96


def top_per_row(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values of each row, with their columns; of equal values, the smaller column first.

    If a row has too few values above -inf, the rest are -inf from arbitrary columns.

    A column among the `count` best is in a block whose largest value is among the `count` best of all blocks,
    so only these blocks are searched.

    Args:
        values: Values without NaN, [N, V].
        count: Number of values per row, at least 1.

    Returns:
        Values and columns, [N, min(count, V)] each.
    """
    width = values.shape[1]
    if width <= max(NARROW, 2 * count * WIDE):
        return _top_of_narrow(values, count)
    blocks = width // WIDE
    cut = values[:, : blocks * WIDE].view(-1, blocks, WIDE)  # [N, blocks, WIDE]
    # The best blocks, in ascending order so that of equal values the smaller column stays first, [N, count].
    chosen = top_per_row(cut.amax(2), count)[1].sort(1).values
    rows = torch.arange(len(values), device=values.device)[:, None]
    found = cut[rows, chosen].flatten(1)  # [N, count x WIDE], and then the columns after the last block
    if blocks * WIDE < width:
        found = torch.cat([found, values[:, blocks * WIDE :]], 1)
    best, places = top_per_row(found, count)  # [N, count] each
    # From places in `found` to columns: after the last block, and within the chosen blocks.
    last = places - count * WIDE + blocks * WIDE
    within = chosen.gather(1, (places // WIDE).clamp(max=count - 1)) * WIDE + places % WIDE
    return best, torch.where(places < count * WIDE, within, last)


def argmax_per_row(values: Tensor) -> Tensor:
    """The first column with the largest value of each row: values [N, V], without NaN, to columns [N]."""
    width = values.shape[1]
    blocks = width // WIDE
    if blocks < 2:
        return values.argmax(1)
    maxima = values[:, : blocks * WIDE].view(-1, blocks, WIDE).amax(2)  # [N, blocks]
    if blocks * WIDE < width:
        maxima = torch.cat([maxima, values[:, blocks * WIDE :].amax(1, keepdim=True)], 1)
    # The columns of the first block with the largest maximum, [N, WIDE].
    columns: Tensor = maxima.argmax(1, keepdim=True) * WIDE + torch.arange(WIDE, device=values.device)
    columns = columns.clamp(max=width - 1)  # the last block may be narrower: repeat its last column
    place = values.gather(1, columns).argmax(1, keepdim=True)
    return columns.gather(1, place)[:, 0]


def first_of_sorted(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`top_per_row` by sorting whole rows; columns of -inf are ordered as well."""
    ordered, places = values.sort(dim=1, descending=True, stable=True)
    return ordered[:, :count], places[:, :count]


def _top_of_narrow(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`top_per_row` by `topk`, and by sorting the rows in which equal values left it a choice."""
    if count >= values.shape[1]:
        return first_of_sorted(values, count)
    best, places = values.topk(count + 1, 1)
    equal = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(1)
    best, places = best[:, :count], places[:, :count]
    if equal.any():
        rows = equal.nonzero()[:, 0]
        best[rows], places[rows] = first_of_sorted(values[rows], count)
    return best, places
