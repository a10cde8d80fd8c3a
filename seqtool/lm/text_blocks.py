"""Scores by blocks of characters, so that models with different symbols can be compared by resampling.

The blocks of two models must consist of the same characters, whatever their symbols are, so it has to be
known which characters each symbol stands for. A score over a whole text does not need this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqtool.evaluation.score import Array
from seqtool.lm.scoring import LogProbabilities
from seqtool.lm.vocabulary import LINE_END, Ids, Symbols

BLOCK = 1000  # characters
_WORD_OR_LINE_END = re.compile(r"\n|\S+")

Places = NDArray[np.float64]


def block_statistics(
    symbols: Symbols, texts: Sequence[str], ids: Sequence[Ids], found: Sequence[LogProbabilities]
) -> list[Array]:
    """Sums over each block: nats, symbols, characters, bytes, words and line ends.

    A symbol or a word belongs to the block in which it ends. An empty document has one empty block.

    Args:
        symbols: The symbols of the model.
        texts: The documents.
        ids: Symbols of each document.
        found: Log probability of each of these symbols, nats.

    Returns:
        For each document the sums over its blocks, [blocks, 5].
    """
    result = []
    for text, numbers, values in zip(texts, ids, found, strict=True):
        count = max(-(-len(text) // BLOCK), 1)
        at = _blocks(symbol_ends(symbols, text, numbers), count)
        words = np.array([each.end() for each in _WORD_OR_LINE_END.finditer(text)], np.float64)
        sizes = byte_sizes(text)
        everywhere = _blocks(np.arange(1.0, len(text) + 1), count)
        columns = (
            np.bincount(at, -values, count),
            np.bincount(at, minlength=count),
            np.bincount(everywhere, minlength=count),
            np.bincount(everywhere, sizes, count),
            np.bincount(_blocks(words, count), minlength=count),
        )
        result.append(np.stack(columns, axis=1).astype(np.float64))
    return result


def line_costs(
    symbols: Symbols, texts: Sequence[str], ids: Sequence[Ids], found: Sequence[LogProbabilities]
) -> list[Array]:
    """Nats of each line of each document, its end included, [L]; a symbol belongs to the line it ends in.

    Args:
        symbols: The symbols of the model.
        texts: The documents.
        ids: Their symbols.
        found: Log probabilities of these.
    """
    result = []
    for text, numbers, values in zip(texts, ids, found, strict=True):
        ends = np.flatnonzero(_code_points(text) == ord("\n")) + 1.0
        if text and not text.endswith("\n"):
            ends = np.append(ends, len(text))
        at = np.searchsorted(ends, symbol_ends(symbols, text, numbers))
        costs = np.bincount(np.minimum(at, max(len(ends) - 1, 0)), -values, len(ends))
        result.append(costs.astype(np.float64))
    return result


def split_lines(text: str) -> list[str]:
    """The lines of a text with their ends; nothing but a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def symbol_ends(symbols: Symbols, text: str, ids: Ids) -> Places:
    """Number of characters of a text that have been read after each of its n symbols, [n].

    Exact for characters, bytes, and characters spelled in bytes, of which each counts as the end of its
    character. Words and subwords do not keep runs of spaces, so the ends of those in a line are
    interpolated in proportion to their lengths.
    """
    if len(ids) == len(text) and symbols.codec.kind == "character":
        return np.arange(1, len(ids) + 1, dtype=np.float64)
    spelled = np.cumsum(symbols.byte_lengths[ids], dtype=np.float64)
    ends = np.cumsum(byte_sizes(text), dtype=np.float64)
    if not symbols.by_lines and len(ids) and spelled[-1] == ends[-1]:
        return (np.searchsorted(ends, spelled) + 1).astype(np.float64)
    at_ends = ids == LINE_END
    lines = np.flatnonzero(_code_points(text) == ord("\n")) + 1.0
    if at_ends.sum() != len(lines):
        at_ends, lines = np.zeros_like(at_ends), lines[:0]
    known, places = np.append(0.0, spelled[at_ends]), np.append(0.0, lines)
    if len(ids) and spelled[-1] > known[-1]:
        known, places = np.append(known, spelled[-1]), np.append(places, len(text))
    return np.asarray(np.interp(spelled, known, places), np.float64)


def byte_sizes(text: str) -> NDArray[np.int64]:
    """Number of bytes of each character in UTF-8, [n]."""
    points = _code_points(text)
    return np.digitize(points, [0x80, 0x800, 0x10000]) + 1


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def _blocks(ends: Places, count: int) -> NDArray[np.int64]:
    """Index of the block that contains each end, given as a number of characters from the beginning."""
    return np.clip(np.ceil(ends / BLOCK).astype(np.int64) - 1, 0, count - 1)
