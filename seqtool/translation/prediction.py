"""A trained translator at work: lines in, lines out, the same whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.hypothesis import Hypothesis
from seqtool.decoding.penalties import LengthPenalty
from seqtool.errors import DataError, ModelError
from seqtool.settings import validate
from seqtool.text.batching import prediction_batches
from seqtool.text.parallel import SentencePair, parse_source
from seqtool.training.devices import resolve_device, resolve_precision
from seqtool.training.modelfolder import ModelFolder, load_model_folder, save_model_folder
from seqtool.training.tensorfile import model_tensors, restore_weights
from seqtool.translation.encoding import EncodedPair, source_batch
from seqtool.translation.model import Translator
from seqtool.translation.reading import Reading, read_pairs
from seqtool.translation.search import Tables, TranslatorStep
from seqtool.translation.settings import DataSettings, DecodingSettings, ModelSettings, VocabularySettings
from seqtool.translation.vocabularies import END, START, EncodedSource, Vocabularies

TASK = "translate"
BATCH_TOKENS = 4096
DATA_KEYS = {"columns", "feature_separator"}  # of `[data]`: how lines given to `translate` are read


@dataclass(frozen=True)
class TranslatorDescription:
    """What a model folder says of a translator beside weights and vocabularies."""

    name: str
    model: ModelSettings
    vocabulary: VocabularySettings
    data: DataSettings  # columns and separator only
    decoding: DecodingSettings

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "model": self.model.model_dump(by_alias=True),
            "vocabulary": self.vocabulary.model_dump(exclude={"source_file", "target_file"}),
            "data": self.data.model_dump(include=DATA_KEYS),
            "decoding": self.decoding.model_dump(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], where: str) -> TranslatorDescription:
        """The inverse of `to_config`.

        Raises:
            ModelError: something is missing or not what it should be.
        """
        try:
            return cls(
                str(config["name"]),
                validate(ModelSettings, config["model"], where),
                validate(VocabularySettings, config["vocabulary"], where),
                validate(DataSettings, config["data"], where),
                validate(DecodingSettings, config["decoding"], where),
            )
        except Exception as error:
            raise ModelError(f"{where}: damaged or foreign: {error}") from error


@dataclass(frozen=True)
class SearchOptions:
    """How to search, and for what."""

    beam: int = 5
    beam_penalty: LengthPenalty = "average"
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    nbest: int = 1
    max_length: int = 0  # symbols of an output at most; 0 = twice those of the source and ten

    @classmethod
    def of(cls, decoding: DecodingSettings) -> SearchOptions:
        """What a recipe says."""
        return cls(decoding.beam, decoding.beam_penalty, decoding.length_penalty, decoding.coverage_penalty)

    def describe(self) -> str:
        """A few words for people."""
        if self.beam == 1:
            return "greedy"
        parts = [f"beam {self.beam}", f"length penalty {self.beam_penalty} {self.length_penalty:g}"]
        if self.coverage_penalty:
            parts.append(f"coverage penalty {self.coverage_penalty:g}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Translation:
    """One of the translations of a line."""

    text: str
    hypothesis: Hypothesis


class TranslatorModel:
    """A translator ready to use.

    Args:
        network: With its weights.
        vocabularies: Of the network.
        description: The rest.
        device: Where it runs.
        precision: float32, or bfloat16 for the products of encoder and decoder.
    """

    def __init__(
        self,
        network: Translator,
        vocabularies: Vocabularies,
        description: TranslatorDescription,
        *,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.network = network.to(device).eval()
        self.vocabularies = vocabularies
        self.description = description
        self.device = device
        self.precision = precision
        self._tables: Tables | None = None

    def translate(self, lines: Sequence[str], options: SearchOptions | None = None) -> list[str]:
        """The best translation of each line; an empty line gives an empty one.

        Args:
            lines: As `seqtool translate` reads them: for a model with features source and features
                stand between tabs.
            options: Of the search; None = the model's own.

        Raises:
            DataError: a line that is not what the model reads.
        """
        pairs = [self.parse(line, number) for number, line in enumerate(lines, 1)]
        return [found[0].text if found else "" for found in self.search(pairs, options)]

    def parse(self, line: str, number: int = 0, file: str = "line") -> SentencePair:
        """A line as the model reads it (errors of `translate`)."""
        data = self.description.data
        return parse_source(line, data.columns, data.feature_separator, file=file, number=number)

    @torch.inference_mode()
    def search(
        self,
        pairs: Sequence[SentencePair],
        options: SearchOptions | None = None,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[list[Translation]]:
        """The n best translations of each source, best first; none of an empty one.

        Args:
            pairs: Sources with their features; targets are not looked at.
            options: Of the search; None = the model's own.
            batch_tokens: Padded source symbols times the beam a batch; a longer sentence is a batch
                of its own.
        """
        chosen = options or SearchOptions.of(self.description.decoding)
        filled = [i for i, pair in enumerate(pairs) if pair.source.strip()]
        encoded = [self._encoded(pairs[i]) for i in filled]
        result: list[list[Translation]] = [[] for _ in pairs]
        budget = max(batch_tokens // chosen.beam, 1)
        for part in prediction_batches([len(source.ids) for source in encoded], budget=budget):
            sources = [encoded[i] for i in part]
            for i, source, found in zip(part, sources, self._search(sources, chosen), strict=True):
                result[filled[i]] = [
                    Translation(self.vocabularies.text(each.tokens, source.extra), each) for each in found
                ]
        return result

    def read(
        self,
        pairs: Sequence[SentencePair],
        targets: Sequence[Sequence[int]] | None = None,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> list[Reading]:
        """What the model makes of given outputs: probabilities, attention, what it copies.

        Args:
            pairs: Sources, with targets unless these come as ids.
            targets: Extended ids without END, such as those of a hypothesis; None = the pairs' own.
            batch_tokens: Padded symbols a batch.
        """
        encoded = []
        for number, pair in enumerate(pairs):
            source = self._encoded(pair)
            if targets is None:
                ids = self.vocabularies.encode_target(pair.target or "", source.extra)
            else:
                ids = [*targets[number], END]
            encoded.append(EncodedPair(source, ids))
        readings = read_pairs(
            self.network, encoded, device=self.device, autocast=self._autocast(), batch_tokens=batch_tokens
        )
        return [
            reading._replace(
                source_symbols=tuple(self.vocabularies.source_symbols(pair)),
                target_symbols=tuple(self.vocabularies.target_symbols(each.target, each.source.extra)),
            )
            for pair, each, reading in zip(pairs, encoded, readings, strict=True)
        ]

    def save(self, path: Path, *, card: str) -> None:
        """Write a self-contained model folder (errors of `save_model_folder`)."""
        save_model_folder(
            path,
            task=TASK,
            config=self.description.to_config(),
            tensors=model_tensors(self.network),
            texts={},
            codecs=self.vocabularies.to_files(),
            card=card,
        )

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", precision: str = "auto") -> TranslatorModel:
        """Read a model folder or the model of a run folder.

        Raises:
            UsageError: no such folder, or no such device.
            ModelError: damaged, foreign, newer, or the model of another task.
        """
        where = resolve_device(device)
        return cls.from_folder(
            load_model_folder(path, task=TASK),
            name=str(path),
            device=where,
            precision=resolve_precision(precision, where),
        )

    @classmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype
    ) -> TranslatorModel:
        """A translator from what a model folder holds; `name` stands in messages (errors as `load`)."""
        description = TranslatorDescription.from_config(folder.config, name)
        vocabularies = Vocabularies.from_files(folder.codecs, name)
        network = _network(folder, description, vocabularies, name)
        return cls(network, vocabularies, description, device=device, precision=precision)

    def forget_tables(self) -> None:
        """Drop what was computed from the weights; needed after they have changed."""
        self._tables = None

    def _encoded(self, pair: SentencePair) -> EncodedSource:
        ends = self.description.model.output == "positions"
        return self.vocabularies.encode_source(pair, copy_end=ends)

    def _search(self, sources: Sequence[EncodedSource], options: SearchOptions) -> list[list[Hypothesis]]:
        batch = source_batch(sources).to(self.device)
        limits = [options.max_length or 2 * len(source.ids) + 10 for source in sources]
        with self._autocast():
            source = self.network.encode(batch.source, batch.symbols)
            if self._tables is None:
                self._tables = Tables.of(self.network)
            step = TranslatorStep(self.network, self._tables, source, batch.extra)
            return beam_search(
                step,
                step.initial(),
                start=START,
                end=END,
                max_lengths=torch.tensor(limits, device=self.device),
                options=BeamOptions(
                    beam=options.beam,
                    nbest=options.nbest,
                    length_penalty=options.beam_penalty,
                    alpha=options.length_penalty,
                    coverage_penalty=options.coverage_penalty,
                ),
                source_mask=source.memory.mask,
            )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision != torch.float32)


def _network(
    folder: ModelFolder, description: TranslatorDescription, vocabularies: Vocabularies, name: str
) -> Translator:
    """The network with its weights, built for real only once the shapes have been found to fit."""
    layers = description.model.encoder_layers + description.model.decoder_layers
    if layers > len(folder.tensors):
        raise ModelError(f"{name}: {layers} layers, but {len(folder.tensors)} tensors")

    def build() -> Translator:
        sizes = len(vocabularies.source.symbols), len(vocabularies.target.symbols)
        network = Translator(*sizes, description.model)
        restore_weights(network, folder.tensors, name)
        return network

    try:
        with torch.device("meta"):  # sizes in a foreign file must not take memory
            build()
        return build()
    except (RuntimeError, ValueError, KeyError, DataError) as error:
        raise ModelError(f"{name}: damaged or foreign: {error}") from error
