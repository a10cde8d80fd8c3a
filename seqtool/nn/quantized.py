"""A linear map in 8-bit integers, for inference on a CPU.

Inputs get a scale a row, weights a scale an output, so a row's result depends on no other row;
sums of products of integers are exact, whatever order they are made in.

Reference: Jacob et al. 2018, section 2 (symmetric, without zero points).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from seqtool.errors import SettingsError

LARGEST = 127  # symmetric: -128 is not used


CHUNK = 64  # rows at a time: their sums stay in the processor's cache until they are scaled


class Int8Linear:
    """`x -> x W^T + b` with 8-bit inputs and weights.

    The largest error of an output is about 1 part in 127 of sum_i |x_i| max |W| for its inputs
    and as much for its weights; errors are mostly much smaller, since they cancel.

    Args:
        weight: [O, I], finite.
        bias: [O], or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        scale = scale_of(weight.float())
        self._weight = rounded(weight.float(), scale).t().contiguous()  # [I, O]
        self._scale = scale[:, 0]  # [O]
        self._bias = scale.new_zeros(len(scale)) if bias is None else bias.float()

    def __call__(self, inputs: Tensor) -> Tensor:
        """[..., I] float32 to [..., O] float32."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = scale_of(rows)
        small = rounded(rows, scale)
        result = rows.new_empty(len(rows), len(self._bias))
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            sums = torch._int_mm(small[part], self._weight)
            torch.addcmul(self._bias, sums.to(torch.float32).mul_(scale[part]), self._scale, out=result[part])
        return result.view(*inputs.shape[:-1], -1)


class Int8Linears:
    """From a weight to its product in 8-bit integers, made once for each; follows `nn.deferred.Linears`.

    Weights must not change as long as this is used.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Int8Linear]] = {}  # by identity; the weight is kept alive

    def __call__(self, weight: Tensor) -> Int8Linear:
        """[O, I], the very tensor each time, to its product."""
        if id(weight) not in self._made:
            self._made[id(weight)] = weight, Int8Linear(weight.detach())
        return self._made[id(weight)][1]


@cache
def sums_are_exact() -> bool:
    """Whether sums of products are exact here.

    Without instructions for them (VNNI, AMX), or with a library that was told to do without, pairs of
    products are added in 16 bits, which overflow; so the largest products there are, are tried.
    """
    values = torch.full((64, 64), LARGEST, dtype=torch.int8)
    return bool((torch._int_mm(values, values) == 64 * LARGEST**2).all())


def require_exact_sums() -> None:
    """See to it that sums of products are exact here.

    Raises:
        SettingsError: they are not.
    """
    if not sums_are_exact():
        raise SettingsError("precision int8 needs a processor with 8-bit products (VNNI or AMX); use fp32")


def scale_of(rows: Tensor) -> Tensor:
    """What a step of the integers stands for in each row, [N, 1]; of a row of zeros, anything."""
    return rows.abs().amax(1, keepdim=True).clamp_(min=1e-30) / LARGEST


def rounded(rows: Tensor, scale: Tensor) -> Tensor:
    """Each value as a number of such steps, int8."""
    return (rows / scale).round_().to(torch.int8)
