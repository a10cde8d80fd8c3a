"""How probable a text is to a network, symbol by symbol, whatever the pieces it is read in.

Two protocols. *Streaming*: the state goes from the first symbol of a document to its last. *Cold*:
every so many symbols the state starts anew, as in networks with a fixed context; the symbol before
is still read. Figures of the two are not comparable, so each is named wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtool.lm.model import LanguageNetwork
from seqtool.lm.vocabulary import PADDING, START, Ids
from seqtool.nn.cells import State
from seqtool.text.batching import prediction_batches

CHUNK = 1024  # symbols that one row reads at a time; memory does not depend on the length of a text
BUDGET = 16_384  # symbols of all rows together

LogProbabilities = NDArray[np.float64]  # nats, one a symbol


class ScoredPiece(NamedTuple):
    """What a reader made of n symbols that follow one another."""

    log_probabilities: LogProbabilities  # of each, [n]
    states: Tensor  # [n, H], of the uppermost layer; from the i-th the i-th symbol was predicted


class Reader:
    """Reads one document after the other, and says of each symbol how probable it was.

    Args:
        network: In evaluation mode.
        device: Where it is.
        chunk: Symbols at a time; what is said does not depend on it, but for rounding.
    """

    steps: int = 0  # that it has taken to learn from what it read

    def __init__(self, network: LanguageNetwork, device: torch.device, chunk: int = CHUNK) -> None:
        self.network, self.device, self.chunk = network, device, chunk
        self.states: list[State] = []
        self.last = START
        self.reset()

    def reset(self) -> None:
        """A new document begins."""
        self.states, self.last = self.network.initial(1), START

    def read(self, ids: Ids) -> LogProbabilities:
        """Log probability of each symbol given all before it in its document, [n] to [n]."""
        return np.concatenate([np.zeros(0), *(piece.log_probabilities for piece in self.pieces(ids))])

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """As `read`, with the states, in pieces of bounded length; the reader is where the last one ended."""
        for start in range(0, len(ids), self.chunk):
            yield self._read(ids[start : start + self.chunk])

    @torch.inference_mode()
    def _read(self, ids: Ids) -> ScoredPiece:
        inputs = np.concatenate([[self.last], ids[:-1]]).astype(np.int64)
        outputs, self.states = self.network(torch.from_numpy(inputs).to(self.device)[None], self.states)
        targets = torch.from_numpy(ids.astype(np.int64)).to(self.device)
        self.last = int(ids[-1])
        values = self.network.log_probabilities_of(outputs.features[0], targets)
        return ScoredPiece(values.double().cpu().numpy(), outputs.states[0])


@torch.inference_mode()
def score_rows(
    network: LanguageNetwork, rows: Sequence[Ids], device: torch.device, *, chunk: int = CHUNK
) -> list[LogProbabilities]:
    """Rows that do not follow one another, many side by side; each begins with a fresh state.

    Args:
        network: In evaluation mode.
        rows: Each the symbol before, then its own.
        device: Where the network is.
        chunk: Steps at a time.

    Returns:
        Log probability of each row's own symbols.
    """
    lengths = [len(row) - 1 for row in rows]
    found = [np.zeros(length) for length in lengths]
    budget = max(BUDGET // chunk, 1) * max(min(chunk, max(lengths, default=1)), 1)
    for part in prediction_batches([min(length, chunk) for length in lengths], budget=budget):
        order = sorted(part, key=lambda i: -lengths[i])
        for first, values in _side_by_side(network, [rows[i] for i in order], device, chunk):
            for number, value in zip(order, values, strict=False):
                stop = min(first + len(value), lengths[number])
                found[number][first:stop] = value[: stop - first]
    return found


def _side_by_side(
    network: LanguageNetwork, rows: Sequence[Ids], device: torch.device, chunk: int
) -> Iterator[tuple[int, LogProbabilities]]:
    """The first step of each chunk, and log probabilities of the rows that reach it, longest rows first."""
    lengths = np.array([len(row) - 1 for row in rows])
    states = network.initial(len(rows))
    for first in range(0, int(lengths.max(initial=0)), chunk):
        alive = int((lengths > first).sum())
        steps = min(chunk, int(lengths[0]) - first)
        ids = np.full((alive, steps + 1), PADDING, np.int64)
        for place, row in enumerate(rows[:alive]):
            piece = row[first : first + steps + 1]
            ids[place, : len(piece)] = piece
        symbols = torch.from_numpy(ids).to(device)
        states = [tuple(part[:alive] for part in layer) for layer in states]
        outputs, states = network(symbols[:, :-1], states)
        values = network.log_probabilities_of(outputs.features.flatten(0, 1), symbols[:, 1:].flatten())
        yield first, values.view(alive, steps).double().cpu().numpy()


def cold_rows(ids: Ids, window: int) -> list[Ids]:
    """A document in windows of so many symbols, each with the symbol before it."""
    whole = np.concatenate([[START], ids]).astype(np.int32)
    return [whole[start : start + window + 1] for start in range(0, len(ids), window)]


def warmed_rows(ids: Ids, *, rows: int, warmup: int) -> list[tuple[Ids, int]]:
    """A document in equal pieces, each preceded by symbols that only move the state, and how many.

    A quick look at a long stream: all pieces are read side by side.
    """
    whole = np.concatenate([[START], ids]).astype(np.int32)
    width = -(-len(ids) // rows)
    pieces = []
    for start in range(0, len(ids), width):
        before = min(start, warmup)
        pieces.append((whole[start - before : start + width + 1], before))
    return pieces
