"""The metrics of a language model on a text: exact sums over its symbols, by a named protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqtool.errors import UsageError
from seqtool.evaluation.score import Array, Score, Unit, divide
from seqtool.lm.baselines import Baselines, comparable, verdict
from seqtool.lm.data import Part
from seqtool.lm.ngram import best_weight, interpolate
from seqtool.lm.prediction import Fingerprint, LanguageModel
from seqtool.lm.scoring import LogProbabilities, cold_rows, score_rows
from seqtool.lm.text_blocks import BLOCK, block_statistics, line_costs
from seqtool.lm.vocabulary import START, UNKNOWN, Ids

ENOUGH_DOCUMENTS = 30  # from so many on, whole documents are resampled; below it blocks of them
METRICS = (
    "nats_per_character",
    "bits_per_character",
    "bits_per_byte",
    "perplexity",
    "perplexity_per_word",
    "loss",
)
NATS, SYMBOLS, CHARACTERS, BYTES, WORDS = range(5)  # columns of statistics


@dataclass(frozen=True)
class Protocol:
    """How a text is read when it is scored.

    Args:
        name: "streaming" = the state is carried through each document; "cold" = the state starts anew
            every `window` symbols, and the first of them is predicted from the symbol before it.
        window: Length of the windows of the protocol "cold", symbols, at least 1.
        adapt: Whether the network adapts to the text that it reads (dynamic evaluation).
        cache: Whether the neural cache is used.

    Raises:
        UsageError: the protocol "cold" with adaptation or cache, or a window below 1.
    """

    name: Literal["streaming", "cold"] = "streaming"
    window: int = 256
    adapt: bool = False
    cache: bool = False

    def __post_init__(self) -> None:
        if self.name == "cold" and (self.adapt or self.cache):
            raise UsageError(
                "protocol cold reads every window by itself, but adaptation and cache carry information from "
                "window to window: use --protocol streaming with --adapt and --cache"
            )
        if self.window < 1:
            raise UsageError(f"windows of {self.window} symbols; expected at least 1")

    def describe(self) -> str:
        """The name of the protocol, shown with every score."""
        if self.name == "cold":
            return f"cold windows of {self.window}"
        more = [name for name, used in (("dynamic evaluation", self.adapt), ("cache", self.cache)) if used]
        return ", ".join(["streaming", *more])


@dataclass(frozen=True)
class Mixture:
    """The score of the network interpolated with the n-gram."""

    nats_per_character: float
    weight: float  # weight of the network, in (0, 1)
    found_on: str  # name of the text on which the weight was optimised


@dataclass(frozen=True, eq=False)
class TextScores:
    """The scores of a text by a network.

    Args:
        fingerprint: Text and protocol; only scores with the same fingerprint are comparable.
        kind: Kind of the network's symbols.
        documents: Sums over each document, [D, 5]: nats, symbols, characters, bytes, words. A line end
            counts as a character and as a word.
        blocks: The same sums over each block of 1,000 characters of a document, [N, 5].
        unknown: Number of symbols of the text that are unknown to the model.
        lines: For each document the nats of each of its L lines, [L].
        baselines: Nats per character of each baseline.
        mixture: Score of the mixture with the n-gram, if it was asked for.
        stopped_by: The limit that ended the network's training; empty = unknown.
    """

    fingerprint: Fingerprint
    kind: str
    documents: Array
    blocks: Array
    unknown: int = 0
    lines: Sequence[Array] = ()
    baselines: dict[str, float] = field(default_factory=dict)
    mixture: Mixture | None = None
    stopped_by: str = ""

    @property
    def nats(self) -> float:
        """Negative log probability of the whole text, nats."""
        return float(self.documents[:, NATS].sum())

    @property
    def symbols(self) -> int:
        """Number of symbols predicted."""
        return self._total(SYMBOLS)

    @property
    def characters(self) -> int:
        """Number of characters of the text, line ends included."""
        return self._total(CHARACTERS)

    @property
    def bytes(self) -> int:
        """Number of bytes of the text in UTF-8."""
        return self._total(BYTES)

    @property
    def words(self) -> int:
        """Number of words of the text, which white space separates, plus that of line ends."""
        return self._total(WORDS)

    @property
    def resampled(self) -> str:
        """The units that intervals and tests resample as independent."""
        return "documents" if len(self.documents) >= ENOUGH_DOCUMENTS else f"blocks of {BLOCK:,} characters"

    def scores(self) -> dict[str, Score]:
        """The scores, with statistics by document if there are enough of them, else by block."""
        statistics = self.documents if len(self.documents) >= ENOUGH_DOCUMENTS else self.blocks
        signature = f"{self.fingerprint.protocol}, {self.kind} symbols"
        if self.unknown:
            signature += f", {self.unknown} unknown"
        bits = 1.0 / math.log(2)
        return {
            "nats_per_character": _ratio("nats_per_character", "nats", statistics, CHARACTERS, signature),
            "bits_per_character": _ratio(
                "bits_per_character", "bits", statistics, CHARACTERS, signature, bits
            ),
            "bits_per_byte": _ratio("bits_per_byte", "bits", statistics, BYTES, signature, bits),
            "perplexity": _perplexity("perplexity", statistics, SYMBOLS, signature),
            "perplexity_per_word": _perplexity("perplexity_per_word", statistics, WORDS, signature),
            "loss": _ratio("loss", "nats", statistics, SYMBOLS, signature),
        }

    @property
    def nats_per_character(self) -> float:
        """Nats per character, comparable between models whatever their symbols are."""
        return self.nats / self.characters

    @property
    def warnings(self) -> tuple[str, ...]:
        """What limits the validity of the scores: unknown symbols, a baseline that is better."""
        found = []
        if self.unknown:
            found.append(
                f"{self.unknown:,} of {self.symbols:,} symbols are unknown to the model: the characters that "
                "they stand for were not predicted, so bits and nats per character are too low to compare"
            )
        comparables = comparable(self.baselines, self.unknown)
        worse = verdict(self.nats_per_character, comparables, self.stopped_by)
        return (*found, *([worse] if worse else []))

    def _total(self, column: int) -> int:
        return int(self.documents[:, column].sum())


def evaluate_text(
    model: LanguageModel,
    part: Part,
    protocol: Protocol,
    *,
    baselines: Baselines | None = None,
    interpolate_on: Part | None = None,
) -> TextScores:
    """Score a text.

    Args:
        model: The language model.
        part: The text, in documents.
        protocol: How the text is read.
        baselines: Baselines over the model's symbols, to be scored on the same text.
        interpolate_on: Held-out text (dev) on which the weight of the network in a mixture with the
            n-gram of `baselines` is optimised; `part` is then scored with that weight.
    """
    documents = [model.symbols.encode(document) for document in part.documents]
    found = score_documents(model, documents, protocol)
    figures = None if baselines is None else baselines.score(documents, part.documents)
    mixture = None
    if baselines is not None and figures is not None and interpolate_on is not None:
        weight = _weight(model, interpolate_on, protocol, baselines)
        mixed = interpolate(np.concatenate(found), np.concatenate(figures.log_probabilities), weight)
        mixture = Mixture(-float(mixed.sum()) / part.size, weight, interpolate_on.name)
    by_block = block_statistics(model.symbols, part.documents, documents, found)
    return TextScores(
        Fingerprint(
            digest=part.digest, characters=part.size, split=part.protocol, protocol=protocol.describe()
        ),
        model.symbols.codec.kind,
        np.stack([each.sum(axis=0) for each in by_block]),
        np.concatenate(by_block),
        sum(int((ids == UNKNOWN).sum()) for ids in documents),
        line_costs(model.symbols, part.documents, documents, found),
        {} if figures is None else figures.nats_per_character,
        mixture,
    )


def score_documents(
    model: LanguageModel, documents: Sequence[Ids], protocol: Protocol
) -> list[LogProbabilities]:
    """Log probabilities of each document's symbols, nats.

    Args:
        model: The language model.
        documents: Symbols of each document; a long one is read in pieces, in bounded memory.
        protocol: How they are read.
    """
    with model.autocast():
        if protocol.name == "cold":
            rows = [cold_rows(ids, protocol.window) for ids in documents]
            scored = iter(score_rows(model.network, [row for each in rows for row in each], model.device))
            return [np.concatenate([np.zeros(0), *(next(scored) for _ in each)]) for each in rows]
        if len(documents) > 1 and not protocol.adapt and not protocol.cache:
            whole = [np.concatenate([[START], ids]).astype(np.int32) for ids in documents]
            return score_rows(model.network, whole, model.device)
        reader, found = model.reader(adapt=protocol.adapt, cache=protocol.cache), []
        for ids in documents:
            reader.reset()
            found.append(reader.read(ids))
        return found


def _weight(model: LanguageModel, part: Part, protocol: Protocol, baselines: Baselines) -> float:
    """The weight of the network in the mixture that gives the part the highest probability."""
    documents = [model.symbols.encode(document) for document in part.documents]
    own = score_documents(model, documents, protocol)
    return best_weight(np.concatenate(own), np.concatenate(baselines.log_probabilities(documents)))


def _ratio(name: str, unit: Unit, statistics: Array, below: int, signature: str, scale: float = 1.0) -> Score:
    return Score(name, unit, signature, statistics[:, [NATS, below]], partial(_quotient, scale=scale))


def _perplexity(name: str, statistics: Array, below: int, signature: str) -> Score:
    return Score(name, "plain", signature, statistics[:, [NATS, below]], _exponential)


def _quotient(sums: NDArray[np.float64], scale: float) -> Array:
    return scale * divide(sums[..., 0], sums[..., 1])


def _exponential(sums: NDArray[np.float64]) -> Array:
    return np.exp(np.minimum(divide(sums[..., 0], sums[..., 1]), 700.0))
