"""What stands beside a network's figure: a Kneser-Ney n-gram and xz, trained on the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqtool.lm.ngram import Flags, KneserNey, xz_bits
from seqtool.lm.scoring import LogProbabilities
from seqtool.lm.vocabulary import Ids

NGRAM, XZ = "kneser_ney", "xz"
NAMES = {NGRAM: "a Kneser-Ney n-gram", XZ: "xz"}  # for people
LIMIT = 20_000_000  # symbols (for xz bytes) that a baseline learns from: minutes and 2 GB at the most
ORDERS: dict[str, tuple[int, ...]] = {  # of a kind of symbol; the first is taken where there is no dev part
    "character": (7, 5, 6, 8),
    "byte": (7, 5, 6, 8),
    "sentencepiece": (5, 3, 4),
    "word": (4, 3, 5),
}


@dataclass(frozen=True, eq=False)
class BaselineScores:
    """What the baselines make of a text."""

    nats_per_character: dict[str, float]  # by `NGRAM` and `XZ`
    log_probabilities: list[LogProbabilities]  # by the n-gram, of each document's symbols


@dataclass(frozen=True, eq=False)
class Baselines:
    """The baselines of a data set.

    Args:
        ngram: Over the symbols of a model.
        kind: What these are.
        symbols: How many of them the n-gram has seen.
        available: How many there were.
        text: What xz looks back on, UTF-8.
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
        """Learn from the training part; of a long one, from its end, which is next to what was held out.

        Args:
            documents: Symbols of each document.
            kind: What they are: character, byte, sentencepiece or word.
            size: How many different ones there are.
            texts: The documents.
            dev: Those of the development part, which choose the n-gram's order among a few; without
                them it is the usual one of the kind.
            limit: Most symbols (bytes) that are used.
        """
        ids, starts = joined(documents)
        ngram = _best(ids[-limit:], starts[-limit:], size, ORDERS[kind], dev)
        return cls(ngram, kind, min(len(ids), limit), len(ids), "".join(texts).encode()[-limit:])

    def log_probabilities(self, documents: Sequence[Ids]) -> list[LogProbabilities]:
        """By the n-gram, nats, of the symbols of each document; none sees another one."""
        return _log_probabilities(self.ngram, documents)

    def score(self, documents: Sequence[Ids], texts: Sequence[str]) -> BaselineScores:
        """Figures of a text, which none of the baselines may have seen.

        Args:
            documents: Its symbols.
            texts: The same documents as they are.
        """
        characters = sum(map(len, texts))
        found = self.log_probabilities(documents)
        by_ngram = -sum(float(each.sum()) for each in found)
        by_xz = xz_bits(self.text, "".join(texts).encode()) * np.log(2)
        return BaselineScores({NGRAM: by_ngram / characters, XZ: float(by_xz) / characters}, found)

    def describe(self) -> str:
        """One line for people."""
        end = "" if self.symbols == self.available else f"the last of {self.available:,}, "
        return (
            f"modified Kneser-Ney {self.ngram.order}-gram ({end}{self.symbols:,} {self.kind} symbols); xz -9e"
        )


def verdict(network: float, baselines: Mapping[str, float]) -> str | None:
    """A warning where the strongest baseline predicts a text better than the network.

    Args:
        network: Nats a character.
        baselines: The same, by name.
    """
    if not baselines or min(baselines.values()) >= network:
        return None
    best = min(baselines, key=lambda name: baselines[name])
    return (
        f"the network needs {network:.4f} nats a character; on the same training text "
        f"{NAMES.get(best, best)} needs only {baselines[best]:.4f}: train longer, or a larger network"
    )


def comparable(figures: Mapping[str, float], unknown: int) -> dict[str, float]:
    """Those that a network's figure can be held against: with unknown symbols, of the same symbols only."""
    return {name: value for name, value in figures.items() if not unknown or name == NGRAM}


def joined(documents: Sequence[Ids]) -> tuple[Ids, Flags]:
    """Documents one after the other, [n], and where each begins, [n]."""
    ids = np.concatenate([np.zeros(0, np.int32), *documents])
    starts = np.zeros(len(ids), np.bool_)
    lengths = [len(document) for document in documents if len(document)]
    starts[np.cumsum([0, *lengths])[:-1]] = True
    return ids, starts


def _best(ids: Ids, starts: Flags, size: int, orders: Sequence[int], dev: Sequence[Ids]) -> KneserNey:
    """The n-gram of that order to which the development part is most probable; the first without one."""
    best, highest = None, -np.inf
    for order in orders if any(map(len, dev)) else orders[:1]:
        ngram = KneserNey.train(ids, size=size, order=order, starts=starts)
        found = sum(float(each.sum()) for each in _log_probabilities(ngram, dev))
        if best is None or found > highest:
            best, highest = ngram, found
    assert best is not None
    return best


def _log_probabilities(ngram: KneserNey, documents: Sequence[Ids]) -> list[LogProbabilities]:
    ids, starts = joined(documents)
    ends = np.cumsum([len(document) for document in documents], dtype=np.int64)
    return np.split(ngram.log_probabilities(ids, starts=starts), ends[:-1]) if documents else []
