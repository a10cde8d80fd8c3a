"""The best of many, fast, and with one answer where several are equal.

`topk` leaves open which of equal values it takes, and a row of equal scores is not rare where
they were rounded to bfloat16. Here the smaller place always comes first, so that what a search
finds never depends on a kernel or on how wide a batch has made the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

NARROW = 512  # columns that are looked through as they are
# Columns of a block: their largest value is found at the speed of reading them. `topk` of k among
# fewer than 64 k goes another way, three times as slow, and k blocks have 96 k together; and `amax`
# is three times as fast over a multiple of 32.
WIDE = 96


def top_per_row(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest values of each row, with their columns; of equals, the smaller column first.

    Where a row has too few values but -inf, these fill up, from any columns.

    A column among the `count` best is in a block of columns whose largest value is among the
    `count` best of all blocks, so only these are looked through.

    Args:
        values: [N, V], no NaN.
        count: How many, at least 1.

    Returns:
        Values and columns, [N, min(count, V)].
    """
    width = values.shape[1]
    if width <= max(NARROW, 2 * count * WIDE):
        return _top_of_narrow(values, count)
    blocks = width // WIDE
    cut = values[:, : blocks * WIDE].view(-1, blocks, WIDE)
    chosen = top_per_row(cut.amax(2), count)[1].sort(1).values  # columns must rise, for the sake of equals
    rows = torch.arange(len(values), device=values.device)[:, None]
    found = cut[rows, chosen].flatten(1)
    if blocks * WIDE < width:
        found = torch.cat([found, values[:, blocks * WIDE :]], 1)
    best, places = top_per_row(found, count)
    last = places - count * WIDE + blocks * WIDE  # of those behind the last block
    within = chosen.gather(1, (places // WIDE).clamp(max=count - 1)) * WIDE + places % WIDE
    return best, torch.where(places < count * WIDE, within, last)


def argmax_per_row(values: Tensor) -> Tensor:
    """The first column of the largest value of each row: [N, V], no NaN, to [N]."""
    width = values.shape[1]
    blocks = width // WIDE
    if blocks < 2:
        return values.argmax(1)
    maxima = values[:, : blocks * WIDE].view(-1, blocks, WIDE).amax(2)
    if blocks * WIDE < width:
        maxima = torch.cat([maxima, values[:, blocks * WIDE :].amax(1, keepdim=True)], 1)
    columns: Tensor = maxima.argmax(1, keepdim=True) * WIDE + torch.arange(WIDE, device=values.device)
    columns = columns.clamp(max=width - 1)  # the last block may be narrower: its last column again
    place = values.gather(1, columns).argmax(1, keepdim=True)
    return columns.gather(1, place)[:, 0]


def first_of_sorted(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """`top_per_row` by sorting whole rows, -inf as well."""
    ordered, places = values.sort(dim=1, descending=True, stable=True)
    return ordered[:, :count], places[:, :count]


def _top_of_narrow(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """By `topk`, and by sorting the rows where it had a choice."""
    if count >= values.shape[1]:
        return first_of_sorted(values, count)
    best, places = values.topk(count + 1, 1)
    equal = ((best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)).any(1)
    best, places = best[:, :count], places[:, :count]
    if equal.any():
        rows = equal.nonzero()[:, 0]
        best[rows], places[rows] = first_of_sorted(values[rows], count)
    return best, places
