"""Baselines that a network is compared with: a Kneser-Ney n-gram and xz, trained on the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqtool.lm.ngram import Flags, KneserNey, xz_bits
from seqtool.lm.scoring import LogProbabilities
from seqtool.lm.vocabulary import Ids

NGRAM, XZ = "kneser_ney", "xz"
NAMES = {NGRAM: "a Kneser-Ney n-gram", XZ: "xz"}  # names in tables and messages
LIMIT = 20_000_000  # most symbols (bytes for xz) that a baseline learns from; takes minutes and 2 GB
ORDERS: dict[str, tuple[int, ...]] = {  # n-gram orders to choose from on dev; the first without a dev part
    "character": (7, 5, 6, 8),
    "byte": (7, 5, 6, 8),
    "sentencepiece": (5, 3, 4),
    "word": (4, 3, 5),
}


@dataclass(frozen=True, eq=False)
class BaselineScores:
    """Scores of a text by the baselines."""

    nats_per_character: dict[str, float]  # of each baseline, with the keys `NGRAM` and `XZ`
    log_probabilities: list[LogProbabilities]  # of each document's symbols by the n-gram


@dataclass(frozen=True, eq=False)
class Baselines:
    """The trained baselines of a data set.

    Args:
        ngram: The n-gram model, over the symbols of the network that it is compared with.
        kind: Kind of these symbols.
        symbols: Number of symbols that the n-gram was trained on.
        available: Number of symbols of the training part.
        text: The text that xz has read beforehand, UTF-8.
    """

    ngram: KneserNey
    kind: str
    symbols: int
    available: int
    text: bytes

    @classmethod
    def train(
        cls,
        documents: Sequence[Ids],
        *,
        kind: str,
        size: int,
        texts: Sequence[str],
        dev: Sequence[Ids] = (),
        limit: int = LIMIT,
    ) -> Baselines:
        """Train the baselines on the training part, or on its last `limit` symbols, which precede dev.

        Args:
            documents: Symbols of each document.
            kind: Kind of the symbols: character, byte, sentencepiece or word.
            size: Number of different symbols, V.
            texts: The same documents as text.
            dev: Symbols of each document of the development part, on which the n-gram's order is
                chosen; without them it is the first of `ORDERS`.
            limit: Most symbols (bytes for xz) to train on, at least 1.
        """
        ids, starts = joined(documents)
        ngram = _best(ids[-limit:], starts[-limit:], size, ORDERS[kind], dev)
        return cls(ngram, kind, min(len(ids), limit), len(ids), "".join(texts).encode()[-limit:])

    def log_probabilities(self, documents: Sequence[Ids]) -> list[LogProbabilities]:
        """Log probabilities of each document's symbols by the n-gram, nats; no context crosses documents."""
        return _log_probabilities(self.ngram, documents)

    def score(self, documents: Sequence[Ids], texts: Sequence[str]) -> BaselineScores:
        """Score a text that is not part of the training text.

        Args:
            documents: Symbols of each document.
            texts: The same documents as text.
        """
        characters = sum(map(len, texts))
        found = self.log_probabilities(documents)
        by_ngram = -sum(float(each.sum()) for each in found)
        by_xz = xz_bits(self.text, "".join(texts).encode()) * np.log(2)
        return BaselineScores({NGRAM: by_ngram / characters, XZ: float(by_xz) / characters}, found)

    def describe(self) -> str:
        """One line about the baselines: order of the n-gram, number of symbols, xz preset."""
        end = "" if self.symbols == self.available else f"the last of {self.available:,}, "
        return (
            f"modified Kneser-Ney {self.ngram.order}-gram ({end}{self.symbols:,} {self.kind} symbols); xz -9e"
        )


def verdict(network: float, baselines: Mapping[str, float], stopped_by: str = "") -> str | None:
    """A warning if the best baseline predicts a text better than the network, else None.

    Args:
        network: Nats per character of the network.
        baselines: Nats per character of each baseline.
        stopped_by: The limit that ended the training of the network, as in its manifest; empty = unknown.
    """
    if not baselines or min(baselines.values()) >= network:
        return None
    best = min(baselines, key=lambda name: baselines[name])
    longer = "train longer (--epochs, --max-minutes) or a larger network (--set model.hidden=N)"
    if stopped_by == "max_minutes":
        longer = (
            "time ended its training, so give it more minutes (--max-minutes), or a smaller network that "
            "makes more updates in the same time (--set model.hidden=N)"
        )
    return (
        f"the network needs {network:.4f} nats per character; {NAMES.get(best, best)} trained on the same "
        f"text needs only {baselines[best]:.4f}: {longer}"
    )


def comparable(figures: Mapping[str, float], unknown: int) -> dict[str, float]:
    """The baselines that can be compared with a network whose text has `unknown` unknown symbols.

    With any, only the n-gram is comparable, since it predicts the same symbols.
    """
    return {name: value for name, value in figures.items() if not unknown or name == NGRAM}


def joined(documents: Sequence[Ids]) -> tuple[Ids, Flags]:
    """All documents in one array, [n], and True at the first symbol of each, [n]."""
    ids = np.concatenate([np.zeros(0, np.int32), *documents])
    starts = np.zeros(len(ids), np.bool_)
    lengths = [len(document) for document in documents if len(document)]
    starts[np.cumsum([0, *lengths])[:-1]] = True
    return ids, starts


def _best(ids: Ids, starts: Flags, size: int, orders: Sequence[int], dev: Sequence[Ids]) -> KneserNey:
    """The n-gram whose order gives dev the highest probability; without dev, that of the first order."""
    best, highest = None, -np.inf
    for order in orders if any(map(len, dev)) else orders[:1]:
        ngram = KneserNey.train(ids, size=size, order=order, starts=starts)
        found = sum(float(each.sum()) for each in _log_probabilities(ngram, dev))
        if best is None or found > highest:
            best, highest = ngram, found
    assert best is not None
    return best


def _log_probabilities(ngram: KneserNey, documents: Sequence[Ids]) -> list[LogProbabilities]:
    """Log probabilities of each document's symbols, nats."""
    ids, starts = joined(documents)
    ends = np.cumsum([len(document) for document in documents], dtype=np.int64)
    return np.split(ngram.log_probabilities(ids, starts=starts), ends[:-1]) if documents else []
