"""Linear maps in 8-bit integers, for inference on a CPU.

Inputs are scaled per row and weights per output, so that the result of a row depends on no other row. Sums of
products of integers are exact in any order.

Reference: Jacob et al. 2018, section 2 (symmetric, without zero points).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from seqtool.errors import SettingsError

LARGEST = 127  # largest absolute value; the range is symmetric, so -128 is not used


CHUNK = 64  # rows per product: their sums stay in the processor's cache until they are scaled


class Int8Linear:
    """`x -> x W^T + b` with 8-bit inputs and weights.

    Rounding the inputs changes an output by at most about 1/127 of sum_i |x_i| max |W|, and rounding the
    weights by as much; most errors are much smaller, since they cancel.

    Args:
        weight: Weight W, finite, [O, I].
        bias: Bias b, [O]; None = 0.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        scale = scale_of(weight.float())
        self._weight = rounded(weight.float(), scale).t().contiguous()  # [I, O]
        self._scale = scale[:, 0]  # [O]
        self._bias = scale.new_zeros(len(scale)) if bias is None else bias.float()

    def __call__(self, inputs: Tensor) -> Tensor:
        """[..., I] float32 to [..., O] float32."""
        rows = inputs.reshape(-1, inputs.shape[-1])  # [N, I]
        scale = scale_of(rows)  # [N, 1]
        small = rounded(rows, scale)  # int8, [N, I]
        result = rows.new_empty(len(rows), len(self._bias))  # [N, O]
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            sums = torch._int_mm(small[part], self._weight)  # int32, [CHUNK, O]
            torch.addcmul(self._bias, sums.to(torch.float32).mul_(scale[part]), self._scale, out=result[part])
        return result.view(*inputs.shape[:-1], -1)


class Int8Linears:
    """8-bit products by weight, each quantised once; follows `nn.deferred.Linears`.

    Weights must not change while this is in use.
    """

    def __init__(self) -> None:
        self._made: dict[int, tuple[Tensor, Int8Linear]] = {}  # by identity, with the weight kept alive

    def __call__(self, weight: Tensor) -> Int8Linear:
        """The product with a weight [O, I]; the same tensor object gets the same product."""
        if id(weight) not in self._made:
            self._made[id(weight)] = weight, Int8Linear(weight.detach())
        return self._made[id(weight)][1]


@cache
def sums_are_exact() -> bool:
    """Whether this machine's sums of 8-bit products are exact.

    Without instructions for them (VNNI, AMX), or if the library was told not to use these, pairs of products
    are added in 16 bits, which overflow. So the largest possible products are tried.
    """
    values = torch.full((64, 64), LARGEST, dtype=torch.int8)
    return bool((torch._int_mm(values, values) == 64 * LARGEST**2).all())


def require_exact_sums() -> None:
    """Refuse 8-bit products where their sums are not exact.

    Raises:
        SettingsError: the processor lacks 8-bit products.
    """
    if not sums_are_exact():
        raise SettingsError("precision int8 needs a processor with 8-bit products (VNNI or AMX); use fp32")


def scale_of(rows: Tensor) -> Tensor:
    """The value of one integer step in each of the rows [N, I]: [N, 1]; arbitrary for a row of zeros."""
    return rows.abs().amax(1, keepdim=True).clamp_(min=1e-30) / LARGEST


def rounded(rows: Tensor, scale: Tensor) -> Tensor:
    """The rows [N, I] in integer steps of `scale`, [N, 1]: int8, [N, I]."""
    return (rows / scale).round_().to(torch.int8)
