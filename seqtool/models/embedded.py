"""Vectors of a text by any model."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Embedded(NamedTuple):
    """The vectors of one line.

    Attributes:
        words: Its words, or the symbols that the model reads, T of them.
        vectors: A vector for each of them in its context, float32, on the CPU, [T, D].
        line: The vector of the whole line; zeros if it has no words, [D].
    """

    words: list[str]
    vectors: Tensor
    line: Tensor
