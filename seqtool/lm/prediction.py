"""A trained language model at work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from seqtool.devices import resolve_precision
from seqtool.errors import ModelError, SettingsError
from seqtool.lm.adaptation import AdaptingReader, CachingReader
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.scoring import Reader
from seqtool.lm.settings import AdaptationSettings, DataSettings, ModelSettings, VocabularySettings
from seqtool.lm.vocabulary import Symbols
from seqtool.models.folder import ModelFolder, save_model_folder
from seqtool.models.tensors import model_tensors
from seqtool.models.trained import TrainedModel, restored
from seqtool.settings import validate

TASK = "lm"
DATA_KEYS = {"documents", "normalization", "lowercase"}  # of `[data]`: how texts given to the model are read


@dataclass(frozen=True)
class Fingerprint:
    """What a figure was measured on; only figures with equal ones can be compared."""

    digest: str  # SHA-256 of the text
    characters: int
    split: str  # how the text was cut out of its files
    protocol: str  # how it was read

    @property
    def short(self) -> str:
        """For people."""
        return f"{self.protocol}, {self.characters:,} characters ({self.split}), sha256 {self.digest[:12]}"


@dataclass(frozen=True)
class Measured:
    """Figures beside what they were measured on."""

    fingerprint: Fingerprint
    nats_per_character: dict[str, float]  # by what reads: network, and the yardsticks


@dataclass(frozen=True)
class LanguageModelDescription:
    """What a model folder says of a language model beside weights and symbols."""

    name: str
    model: ModelSettings
    vocabulary: VocabularySettings
    data: DataSettings  # how texts are read only
    adaptation: AdaptationSettings
    measured: Measured | None = None  # on dev, when training ended

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "model": self.model.model_dump(by_alias=True),
            "vocabulary": self.vocabulary.model_dump(),
            "data": self.data.model_dump(include=DATA_KEYS),
            "adaptation": self.adaptation.model_dump(),
            "measured": None if self.measured is None else dataclasses.asdict(self.measured),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], where: str) -> LanguageModelDescription:
        """The inverse of `to_config`.

        Raises:
            ModelError: something is missing or not what it should be.
        """
        try:
            measured = config["measured"]
            if measured is not None:
                figures = {str(name): float(value) for name, value in measured["nats_per_character"].items()}
                measured = Measured(Fingerprint(**measured["fingerprint"]), figures)
            return cls(
                str(config["name"]),
                validate(ModelSettings, config["model"], where),
                validate(VocabularySettings, config["vocabulary"], where),
                validate(DataSettings, config["data"], where),
                validate(AdaptationSettings, config["adaptation"], where),
                measured,
            )
        except Exception as error:
            raise ModelError(f"{where}: damaged or foreign: {error}") from error


class LanguageModel(TrainedModel):
    """A language model ready to use.

    Args:
        network: With its weights.
        symbols: Of the network.
        description: The rest.
        device: Where it runs.
        precision: float32 or bfloat16, of the products.
        place: Where it was read from, for messages.
    """

    TASKS = (TASK,)
    USAGE = "seqtool lm sample -m {}"
    network: LanguageNetwork

    def __init__(
        self,
        network: LanguageNetwork,
        symbols: Symbols,
        description: LanguageModelDescription,
        *,
        device: torch.device,
        precision: torch.dtype,
        place: str = "",
    ) -> None:
        super().__init__(device=device, precision=precision)
        self.place = place or description.name
        self.network = network.to(device).eval()
        self.symbols = symbols
        self.description = description

    @property
    def kind(self) -> str:
        """What the model is, for its card."""
        return "language model"

    def reader(self, *, adapt: bool = False, cache: bool = False) -> Reader:
        """To score texts symbol by symbol.

        Args:
            adapt: Learn from what has been read (on a copy of the network).
            cache: Mix in what followed similar states not long ago.
        """
        settings = self.description.adaptation
        reader = (
            AdaptingReader(self.network, self.device, settings)
            if adapt
            else Reader(self.network, self.device)
        )
        return CachingReader(reader, settings) if cache else reader

    def save(self, path: Path, *, card: str) -> None:
        """Write a self-contained model folder (errors of `save_model_folder`)."""
        save_model_folder(
            path,
            task=TASK,
            config=self.description.to_config(),
            tensors=model_tensors(self.network),
            texts={},
            codecs=self.symbols.to_files(),
            card=card,
        )

    @classmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype:
        """The arithmetic that `--precision` means; auto = fp32: a probability should be exact."""
        if name == "int8":
            raise SettingsError(
                "precision int8 is for translators at work (`translate`, `evaluate`) and for `lm sample`; "
                "use fp32 or bf16"
            )
        return torch.float32 if name == "auto" else resolve_precision(name, device)

    @classmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None
    ) -> Self:
        """A language model from what a model folder holds (errors as `load`)."""
        description = LanguageModelDescription.from_config(folder.config, name)
        symbols = Symbols.from_files(folder.codecs, name)

        def build() -> LanguageNetwork:
            return LanguageNetwork(len(symbols), description.model, symbols.impossible)

        network = restored(build, folder, description.model.layers, name)
        kind = precision or torch.float32
        return cls(network, symbols, description, device=device, precision=kind, place=name)
