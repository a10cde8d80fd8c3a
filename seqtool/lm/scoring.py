"""Log probabilities of the symbols of a text by a network, independent of the pieces that it is read in.

There are two protocols. *Streaming*: the state is carried from the first symbol of a document to its
last. *Cold*: the state starts anew in every window, as in networks with a fixed context, but the first
symbol of a window is still predicted from the one before it. Scores by different protocols are not
comparable, so the protocol is shown with each.
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

CHUNK = 1024  # symbols of a row that are read at a time, which bounds memory for texts of any length
BUDGET = 16_384  # symbols of all rows that are read at a time

LogProbabilities = NDArray[np.float64]  # log probability of each symbol, nats, [n]


class ScoredPiece(NamedTuple):
    """The result of reading n consecutive symbols."""

    log_probabilities: LogProbabilities  # log probability of each symbol, nats, [n]
    states: Tensor  # state of the top layer from which each symbol was predicted, [n, H]


class Reader:
    """Reads documents one after the other and returns the log probability of each symbol.

    Args:
        network: The network in evaluation mode.
        device: Device of the network.
        chunk: Symbols read at a time, at least 1; results do not depend on it, apart from rounding.
    """

    steps: int = 0  # number of adaptation steps taken

    def __init__(self, network: LanguageNetwork, device: torch.device, chunk: int = CHUNK) -> None:
        self.network, self.device, self.chunk = network, device, chunk
        self.states: list[State] = []
        self.last = START
        self.reset()

    def reset(self) -> None:
        """Begin a new document."""
        self.states, self.last = self.network.initial(1), START

    def read(self, ids: Ids) -> LogProbabilities:
        """Log probability of each symbol given all symbols before it in its document, nats, [n].

        Args:
            ids: The next symbols of the document, [n].
        """
        return np.concatenate([np.zeros(0), *(piece.log_probabilities for piece in self.pieces(ids))])

    def pieces(self, ids: Ids) -> Iterator[ScoredPiece]:
        """As `read`, with the states, in pieces of bounded length; each moves the reader to its end."""
        for start in range(0, len(ids), self.chunk):
            yield self._read(ids[start : start + self.chunk])

    @torch.inference_mode()
    def _read(self, ids: Ids) -> ScoredPiece:
        """Read one piece of n symbols."""
        # [n], each symbol's predecessor
        inputs = np.concatenate([[self.last], ids[:-1]]).astype(np.int64)
        # features [1, n, D], states [1, n, H]
        outputs, self.states = self.network(torch.from_numpy(inputs).to(self.device)[None], self.states)
        targets = torch.from_numpy(ids.astype(np.int64)).to(self.device)
        self.last = int(ids[-1])
        values = self.network.log_probabilities_of(outputs.features[0], targets)
        return ScoredPiece(values.double().cpu().numpy(), outputs.states[0])


@torch.inference_mode()
def score_rows(
    network: LanguageNetwork, rows: Sequence[Ids], device: torch.device, *, chunk: int = CHUNK
) -> list[LogProbabilities]:
    """Score independent rows, many in parallel; each begins with a fresh state.

    Args:
        network: The network in evaluation mode.
        rows: Rows of symbols, the first of which is only read and not scored.
        device: Device of the network.
        chunk: Steps at a time, at least 1.

    Returns:
        Log probability of each symbol of each row but the first, nats.
    """
    lengths = [len(row) - 1 for row in rows]
    found = [np.zeros(length) for length in lengths]
    budget = max(BUDGET // chunk, 1) * max(min(chunk, max(lengths, default=1)), 1)
    for part in prediction_batches([min(length, chunk) for length in lengths], budget=budget):
        order = sorted(part, key=lambda i: -lengths[i])
        for first, values in _in_parallel(network, [rows[i] for i in order], device, chunk):
            for number, value in zip(order, values, strict=False):
                stop = min(first + len(value), lengths[number])
                found[number][first:stop] = value[: stop - first]
    return found


def _in_parallel(
    network: LanguageNetwork, rows: Sequence[Ids], device: torch.device, chunk: int
) -> Iterator[tuple[int, LogProbabilities]]:
    """The first step of each chunk, and log probabilities [rows that reach it, steps] there.

    Args:
        network: The network in evaluation mode.
        rows: Rows as in `score_rows`, the longest first.
        device: Device of the network.
        chunk: Steps at a time.
    """
    lengths = np.array([len(row) - 1 for row in rows])
    states = network.initial(len(rows))
    for first in range(0, int(lengths.max(initial=0)), chunk):
        alive = int((lengths > first).sum())
        steps = min(chunk, int(lengths[0]) - first)
        # [alive, steps + 1], since each symbol is read at one step and predicted at the one before
        ids = np.full((alive, steps + 1), PADDING, np.int64)
        for place, row in enumerate(rows[:alive]):
            piece = row[first : first + steps + 1]
            ids[place, : len(piece)] = piece
        symbols = torch.from_numpy(ids).to(device)
        states = [tuple(part[:alive] for part in layer) for layer in states]
        outputs, states = network(symbols[:, :-1], states)
        # [alive x steps]
        values = network.log_probabilities_of(outputs.features.flatten(0, 1), symbols[:, 1:].flatten())
        yield first, values.view(alive, steps).double().cpu().numpy()


def cold_rows(ids: Ids, window: int) -> list[Ids]:
    """The rows of a document by the protocol "cold": windows, each after the symbol before it."""
    whole = np.concatenate([[START], ids]).astype(np.int32)
    return [whole[start : start + window + 1] for start in range(0, len(ids), window)]


def warmed_rows(ids: Ids, *, rows: int, warmup: int) -> list[tuple[Ids, int]]:
    """A document in pieces that can be read in parallel, for a fast estimate of its streaming score.

    Args:
        ids: Symbols of the document, [n].
        rows: Number of pieces, at least 1; there may be fewer for a short document.
        warmup: Symbols before each piece that are read first, to bring the state into use.

    Returns:
        Each piece, preceded by its warm-up symbols and one more, and the number of warm-up symbols.
    """
    whole = np.concatenate([[START], ids]).astype(np.int32)
    width = -(-len(ids) // rows)
    pieces = []
    for start in range(0, len(ids), width):
        before = min(start, warmup)
        pieces.append((whole[start - before : start + width + 1], before))
    return pieces
