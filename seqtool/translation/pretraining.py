"""What a translator learns from raw text before it sees a pair: both of its halves are language models first.

The encoder predicts, in each direction, the symbol that it reads next. The decoder writes a text without a
source, which any decoder can do. The translator then begins with their weights.

Reference: Ramachandran et al. 2017, "Unsupervised pretraining for sequence to sequence learning".
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch

from seqtool.devices import resolve_device
from seqtool.errors import DataError, counted
from seqtool.nn.losses import LossSum
from seqtool.nn.symbol_prediction import SymbolPrediction
from seqtool.settings import read_toml, validate
from seqtool.settings_keys import dotted, put
from seqtool.text.batching import LazyBatches, prediction_batches, training_batches
from seqtool.text.data_files import files_below
from seqtool.text.lines import lines_of
from seqtool.text.parallel import SentencePair
from seqtool.training.defaults import PACE, Pace, paced
from seqtool.training.job import Job
from seqtool.training.progress import FitResult
from seqtool.translation.batches import Batch, EncodedPair, SourceBatch, pair_batch, source_batch
from seqtool.translation.data import TranslationData
from seqtool.translation.network import Network
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.settings import TranslatorSettings
from seqtool.translation.teaching import Teacher
from seqtool.translation.train import build_model
from seqtool.translation.training_settings import TranslatorTraining
from seqtool.translation.vocabulary import EncodedSource, copies_of

OF_TEXT: dict[str, Any] = {"schedule": "linear", "label_smoothing": 0.0, "select": "loss"}
OF_THE_RUN = ("source_text", "target_text")  # settings of data that the job has no use for
BY_TEXT = Pace(
    batches=200,
    batch_tokens=(128, 1024),
    updates=2000,
    base=1_000_000,
    growth=0.25,
    epochs=(1, 20),
    step=2.0,
)
MOST_TEXTS = 300_000  # of each side: more than are read in the time, on a CPU

TextBatch = SourceBatch | Batch  # sources alone, or targets of empty sources


@dataclass(frozen=True)
class Texts:
    """Encoded texts of one side or both; texts of the target side are pairs with an empty source.

    Attributes:
        sources: Texts in the source language.
        targets: Texts in the target language.
    """

    sources: Sequence[EncodedSource] = ()
    targets: Sequence[EncodedPair] = ()

    @property
    def lengths(self) -> list[int]:
        """Number of symbols of each text, those of the source language first."""
        return [len(each.ids) for each in self.sources] + [len(each.target) for each in self.targets]

    def batch(self, numbers: Sequence[int]) -> TextBatch:
        """A batch of the texts with these numbers, which are of one side."""
        first = len(self.sources)
        if numbers[0] < first:
            return source_batch([self.sources[number] for number in numbers])
        return pair_batch([self.targets[number - first] for number in numbers])

    def batches(self, cut: Callable[[list[int]], list[list[int]]]) -> list[list[int]]:
        """Batches of numbers, each of one side.

        Args:
            cut: From the lengths of texts to the batches of their numbers.
        """
        lengths, first = self.lengths, len(self.sources)
        ahead = cut(lengths[:first]) if first else []
        behind = cut(lengths[first:]) if self.targets else []
        return ahead + [[first + number for number in part] for part in behind]


def prepare_pretraining(
    settings: TranslatorSettings, data: TranslationData, recorded: Path | None = None
) -> Job[TranslatorModel, TextBatch]:
    """The job of learning from raw text, which comes before that of the pairs.

    Args:
        settings: Settings of the whole run.
        data: Its pairs, from which the vocabulary is built. Their sides are texts as well, and those of dev
            show which weights are the best.
        recorded: Recipe of the job if it is resumed; None = a new one.

    Raises:
        UsageError, DataError: a file is missing, or there is no text.
    """
    device = resolve_device(settings.device)
    torch.manual_seed(settings.seed)
    model = build_model(settings, data, device, Teacher.of(settings, device))
    names = {"source": settings.data.source_text, "target": settings.data.target_text}
    raw = {side: sampled(texts_of(paths), settings.seed) for side, paths in names.items() if paths}
    sides = {side: [*sides_of(data.train, side), *texts] for side, texts in raw.items()}
    most = settings.data.max_length
    texts, held = encoded(model, sides, most), encoded(model, {s: sides_of(data.dev, s) for s in sides})
    for side, kept in (("source", texts.sources), ("target", texts.targets)):
        if side in sides and not kept:
            raise DataError(f"data.{side}_text: every text has more than {most} symbols (data.max_length)")
    if "source" in sides:
        own = model.description.model
        head = SymbolPrediction(own.hidden, own.embedding, len(model.vocabularies.source.symbols))
        model.network.symbol_prediction = head.to(device)
    stage = _settings(settings, texts, held, recorded)

    def batches(epoch: int) -> LazyBatches[TextBatch]:
        def cut(lengths: list[int]) -> list[list[int]]:
            return training_batches(lengths, budget=stage.training.batch_tokens, seed=stage.seed, epoch=epoch)

        parts, lengths = texts.batches(cut), texts.lengths
        # Those of both sides in turn, in an order of their own.
        order = numpy.random.default_rng([stage.seed, epoch]).permutation(len(parts))
        parts = [parts[number] for number in order]
        sizes = [len(part) * max(lengths[number] for number in part) for part in parts]
        return LazyBatches(sizes, lambda number: texts.batch(parts[number]).to(device))

    return Job(
        settings=stage,
        data=data,
        model=model,
        batches=batches,
        loss=lambda batch: loss_of(model.network, batch),
        evaluate=lambda: {"loss": _mean_loss(model, held, stage.training.batch_tokens)},
        select="-loss",
        facts=tuple(_described(sides, texts)),
        conclude=_conclude,
        scored="on the texts of the development part",
        inputs={f"{side} text": _digest(lines) for side, lines in raw.items()},
    )


def texts_of(names: Iterable[str]) -> Iterator[str]:
    """The lines of files (also .gz) and of all files in folders, without blank ones.

    Raises:
        UsageError, DataError, StorageError: a file is missing, or is not UTF-8 text.
    """
    for file in (file for name in names for file in files_below(Path(name))):
        yield from (line for line in lines_of(file) if line.strip())


def sampled(texts: Iterable[str], seed: int, most: int = MOST_TEXTS) -> list[str]:
    """All texts, or a random sample of them in constant memory (Vitter 1985, algorithm R)."""
    kept: list[str] = []
    draw = random.Random(seed)
    for number, text in enumerate(texts):
        if number < most:
            kept.append(text)
        elif (place := draw.randrange(number + 1)) < most:
            kept[place] = text
    return kept


def sides_of(pairs: Iterable[SentencePair], side: str) -> list[str]:
    """The sources or the targets of pairs."""
    return [pair.source if side == "source" else pair.target or "" for pair in pairs]


def encoded(model: TranslatorModel, sides: dict[str, list[str]], most: int | None = None) -> Texts:
    """Encode texts; those with more than `most` symbols are left out (None = no limit)."""
    vocabularies, own = model.vocabularies, model.description.model

    def source(text: str) -> EncodedSource:
        copies, apart = copies_of(own), own.reads_apart
        return vocabularies.encode_source(SentencePair(text), copies=copies, apart=apart)

    nothing = source("")
    sources = [source(text) for text in sides.get("source", ())]
    targets = [vocabularies.encode_target(text, ()) for text in sides.get("target", ())]
    return Texts(
        [each for each in sources if most is None or len(each.ids) <= most + 1],
        [EncodedPair(nothing, ids) for ids in targets if most is None or len(ids) <= most + 1],
    )


def loss_of(network: Network[Any, Any], batch: TextBatch) -> LossSum:
    """Summed loss of a batch of one side, nats."""
    return network.source_loss(batch) if isinstance(batch, SourceBatch) else network.loss(batch)


def _settings(
    settings: TranslatorSettings, texts: Texts, held: Texts, recorded: Path | None
) -> TranslatorSettings:
    """The settings of the job: those of the run, but for training."""
    tables = settings.model_dump(exclude_unset=True, by_alias=True)
    kept = settings.training.model_dump(include={"precision"}, exclude_unset=True)
    tables |= {"name": "pretraining", "training": {**OF_TEXT, **kept}}
    tables["data"] = {key: value for key, value in tables["data"].items() if key not in OF_THE_RUN}
    chosen = paced(TranslatorTraining(), BY_TEXT, sum(texts.lengths), sum(held.lengths))
    if recorded is not None and recorded.is_file():
        before = dotted(read_toml(recorded))
        chosen = {key: before[key] for key in PACE if key in before}
    for key, value in {**chosen, "training.max_minutes": settings.training.text_minutes}.items():
        tables = put(tables, key, value)
    return validate(TranslatorSettings, tables, "settings")


@torch.no_grad()
def _mean_loss(model: TranslatorModel, texts: Texts, budget: int) -> float:
    """Mean loss of texts, nats per symbol that is predicted."""
    total, count = 0.0, 0
    for part in texts.batches(lambda lengths: prediction_batches(lengths, budget=budget)):
        loss = loss_of(model.network, texts.batch(part).to(model.device))
        total, count = total + float(loss.total), count + loss.count
    return total / max(count, 1)


def _conclude(model: TranslatorModel, result: FitResult, say: Callable[[str], None]) -> tuple[str, ...]:
    """Drop what only this job needs."""
    model.network.symbol_prediction = None
    return ("no pairs yet: this is the first stage of a run, and its model is no translator",)


def _described(sides: dict[str, list[str]], texts: Texts) -> Iterator[str]:
    """How much text there is of each side, and how much of it is left out; what its score on dev is."""
    lengths, first = texts.lengths, len(texts.sources)
    for side, own in (("source", lengths[:first]), ("target", lengths[first:])):
        if side in sides:
            left = len(sides[side]) - len(own)
            out = f"; {counted(left, 'longer one')} left out (data.max_length)" if left else ""
            yield f"{side} text: {counted(len(own), 'line')}, {counted(sum(own), 'symbol')}{out}"
    yield "dev: loss of its sides as texts, nats per symbol"


def _digest(texts: Iterable[str]) -> str:
    """SHA-256 of texts."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
