"""Counter-based random numbers: they depend on what they are used for, not on how many were drawn before.

A generator with a state would give a sentence different numbers in a different batch. Here a number is a hash
of the seed and of counters such as sentence, sample and step.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 64


def _signed(value: int) -> int:
    """The same 64 bits as a signed integer, the type that tensors have."""
    value &= 2**BITS - 1
    return value - 2**BITS if value >= 2 ** (BITS - 1) else value


GAMMA = _signed(0x9E3779B97F4A7C15)
FIRST = _signed(0xBF58476D1CE4E5B9)
SECOND = _signed(0x94D049BB133111EB)


def uniform(seed: int, *counters: Tensor) -> Tensor:
    """Uniform random numbers in [0, 1) with 53 random bits, one per element of the counters.

    Args:
        seed: Any integer; bits above the lowest 64 are ignored.
        counters: Counters that identify each number, int64, [N] each or of shapes that broadcast.

    Reference: the output function of splitmix64 (Steele, Lea and Flood 2014, figure 16), once a counter.
    """
    state = _mixed(torch.full_like(counters[0], _signed(seed)))
    for counter in counters:
        state = _mixed(state ^ counter)
    return _shifted(state, 11).to(torch.float64) * 2.0**-53


def gumbel(seed: int, *counters: Tensor) -> Tensor:
    """Random numbers of the standard Gumbel distribution (arguments as in `uniform`).

    The argmax of log probabilities plus such numbers is a draw from their distribution (Maddison et al. 2014,
    section 2).
    """
    inside = uniform(seed, *counters) + 2.0**-54  # never 0
    return -torch.log(-torch.log(inside))


def _mixed(state: Tensor) -> Tensor:
    state = state + GAMMA
    state = (state ^ _shifted(state, 30)) * FIRST
    state = (state ^ _shifted(state, 27)) * SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Logical shift to the right: zeros are shifted in, whatever the sign bit."""
    shifted: Tensor = (state >> bits) & (2 ** (BITS - bits) - 1)
    return shifted
