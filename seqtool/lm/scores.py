"""How well a language model predicts a text: exact sums over its symbols, by a named protocol."""

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
    """How a text is read.

    Args:
        name: "streaming": the state goes through each document; "cold": it starts anew every `window`
            symbols, of which the first still follows the symbol before it.
        window: Of cold reading, in symbols.
        adapt: Whether the network learns from what it has read.
        cache: Whether past states vote.

    Raises:
        UsageError: cold reading that adapts or has a cache.
    """

    name: Literal["streaming", "cold"] = "streaming"
    window: int = 256
    adapt: bool = False
    cache: bool = False

    def __post_init__(self) -> None:
        if self.name == "cold" and (self.adapt or self.cache):
            raise UsageError(
                "protocol cold reads every window as if it were alone, and adaptation and cache remember: "
                "use the streaming protocol with them"
            )
        if self.window < 1:
            raise UsageError(f"windows of {self.window} symbols; expected at least 1")

    def describe(self) -> str:
        """Its name wherever a figure is shown."""
        if self.name == "cold":
            return f"cold windows of {self.window}"
        more = [name for name, used in (("dynamic evaluation", self.adapt), ("cache", self.cache)) if used]
        return ", ".join(["streaming", *more])


@dataclass(frozen=True)
class Mixture:
    """The network and the n-gram together."""

    nats_per_character: float
    weight: float  # of the network
    found_on: str  # the text on which the weight is the best one


@dataclass(frozen=True, eq=False)
class TextScores:
    """What a text cost a network.

    Args:
        fingerprint: Text and protocol; figures with another one cannot be compared.
        kind: What the network's symbols are.
        documents: Sums of each document, [D, 5]: nats, symbols, characters, bytes, words. Line ends count
            as characters and as words.
        blocks: The same of each block of 1,000 characters, none across a document's beginning, [N, 5].
        unknown: Symbols that the model does not have.
        lines: Nats of each line of each document, [L].
        yardsticks: Nats a character, by name.
        mixture: With the n-gram, where that was asked for.
    """

    fingerprint: Fingerprint
    kind: str
    documents: Array
    blocks: Array
    unknown: int = 0
    lines: Sequence[Array] = ()
    yardsticks: dict[str, float] = field(default_factory=dict)
    mixture: Mixture | None = None

    @property
    def nats(self) -> float:
        """Of the whole text."""
        return float(self.documents[:, NATS].sum())

    @property
    def symbols(self) -> int:
        """How many were predicted."""
        return self._total(SYMBOLS)

    @property
    def characters(self) -> int:
        """Of the text, line ends included."""
        return self._total(CHARACTERS)

    @property
    def bytes(self) -> int:
        """Of its UTF-8."""
        return self._total(BYTES)

    @property
    def words(self) -> int:
        """What stands between white space, and line ends."""
        return self._total(WORDS)

    @property
    def resampled(self) -> str:
        """What intervals and tests take for independent."""
        return "documents" if len(self.documents) >= ENOUGH_DOCUMENTS else f"blocks of {BLOCK:,} characters"

    def scores(self) -> dict[str, Score]:
        """The figures, with statistics of documents where there are enough of them, else of blocks."""
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
        """What a reader of the figures has to know."""
        found = []
        if self.unknown:
            found.append(
                f"{self.unknown:,} of {self.symbols:,} symbols are unknown to the model: what they stand for "
                "was not predicted, so bits and nats a character are too low; do not compare them"
            )
        worse = verdict(self.nats_per_character, comparable(self.baselines, self.unknown))
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
        model: Reads it.
        part: The text, in documents.
        protocol: How.
        baselines: To stand beside it; of the model's symbols.
        interpolate_on: Held-out text (dev) on which to find the best weight of the network in a mixture
            with the n-gram of `baselines`, which is then used on `part`.
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
    """Log probabilities of the symbols of each document, nats; what is long is never in memory as a whole."""
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
    """Of the network, in the mixture that finds the part most probable."""
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
