"""A language model from its folder: what reads, scores and writes text all stand on it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import ClassVar, Self

import torch

from seqtool.devices import resolve_precision
from seqtool.errors import SettingsError
from seqtool.lm.adaptation import AdaptingReader, CachingReader
from seqtool.lm.model import LanguageNetwork
from seqtool.lm.scoring import Reader
from seqtool.lm.settings import AdaptationSettings, DataSettings, ModelSettings, VocabularySettings
from seqtool.lm.vocabulary import Symbols
from seqtool.models.description import Description
from seqtool.models.folder import ModelFolder
from seqtool.models.trained import ModelFiles, TrainedModel, restored
from seqtool.settings import Settings

TASK = "lm"


class Fingerprint(Settings):
    """What a figure was measured on; only figures with equal ones can be compared."""

    digest: str  # SHA-256 of the text
    characters: int
    split: str  # how the text was cut out of its files
    protocol: str  # how it was read

    @property
    def short(self) -> str:
        """For people."""
        return f"{self.protocol}, {self.characters:,} characters ({self.split}), sha256 {self.digest[:12]}"


class Measured(Settings):
    """Figures beside what they were measured on."""

    fingerprint: Fingerprint
    nats_per_character: dict[str, float]  # by what predicts: the network, and the baselines


class LanguageModelDescription(Description):
    """What a model folder says of a language model beside its weights and symbols."""

    KEPT: ClassVar[Mapping[str, Set[str]]] = {
        "data": {"documents", "normalization", "lowercase"}
    }  # how texts given to the model are read

    model: ModelSettings
    vocabulary: VocabularySettings
    data: DataSettings
    adaptation: AdaptationSettings
    measured: Measured | None  # on dev, when training ended


class LoadedLanguageModel(TrainedModel):
    """Network, symbols and description of a language model.

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
    description: LanguageModelDescription

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
        super().__init__(network, description, device=device, precision=precision, place=place)
        self.symbols = symbols

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

    def files(self) -> ModelFiles:
        """Symbols."""
        return ModelFiles(codecs=self.symbols.to_files())

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
