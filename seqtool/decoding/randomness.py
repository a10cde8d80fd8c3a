"""Random numbers that depend on what they are for, not on how many were drawn before.

A generator with a state would give a sentence other numbers in another batch. Here a number is a
hash of its place: seed, sentence, sample, step.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 64


def _signed(value: int) -> int:
    """The same 64 bits as a signed number, as tensors have them."""
    value &= 2**BITS - 1
    return value - 2**BITS if value >= 2 ** (BITS - 1) else value


GAMMA = _signed(0x9E3779B97F4A7C15)
FIRST = _signed(0xBF58476D1CE4E5B9)
SECOND = _signed(0x94D049BB133111EB)


def uniform(seed: int, *counters: Tensor) -> Tensor:
    """Numbers in [0, 1), one for each row of the counters, 53 bits of them random.

    Args:
        seed: Any integer; what is above 64 bits is ignored.
        counters: int64 [N] each, or of shapes that go together, what the number is for.

    Reference: the output function of splitmix64 (Steele, Lea and Flood 2014, figure 16), once a counter.
    """
    state = _mixed(torch.full_like(counters[0], _signed(seed)))
    for counter in counters:
        state = _mixed(state ^ counter)
    return _shifted(state, 11).to(torch.float64) * 2.0**-53


def gumbel(seed: int, *counters: Tensor) -> Tensor:
    """Numbers of the standard Gumbel distribution (arguments as of `uniform`).

    Of log probabilities with such a number each, the largest is a draw (Maddison et al. 2014, section 2).
    """
    inside = uniform(seed, *counters) + 2.0**-54  # never 0
    return -torch.log(-torch.log(inside))


def _mixed(state: Tensor) -> Tensor:
    state = state + GAMMA
    state = (state ^ _shifted(state, 30)) * FIRST
    state = (state ^ _shifted(state, 27)) * SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in: the sign is a bit like any other."""
    shifted: Tensor = (state >> bits) & (2 ** (BITS - bits) - 1)
    return shifted
