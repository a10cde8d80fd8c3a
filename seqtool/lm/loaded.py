"""A language model as loaded from its folder; reading, scoring and sampling are built on it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import ClassVar, Self

import torch

from seqtool.devices import resolve_precision
from seqtool.errors import SettingsError, UsageError
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
    """Text and protocol of a score; only scores with equal fingerprints are comparable."""

    digest: str  # SHA-256 of the text
    characters: int  # number of characters of the text
    split: str  # how the text was split off its files
    protocol: str  # how it was read

    @property
    def short(self) -> str:
        """The fingerprint in one line, with a shortened digest."""
        return f"{self.protocol}, {self.characters:,} characters ({self.split}), sha256 {self.digest[:12]}"


class RecordedScores(Settings):
    """Scores on dev that are recorded in the model folder, with their fingerprint."""

    fingerprint: Fingerprint
    nats_per_character: dict[str, float]  # of the network and of each baseline


class LanguageModelDescription(Description):
    """The configuration of a language model in its model folder, beside weights and symbols."""

    KEPT: ClassVar[Mapping[str, Set[str]]] = {
        "data": {"documents", "normalization", "lowercase", "direction"}
    }  # how the model reads texts that it is given

    model: ModelSettings
    vocabulary: VocabularySettings
    data: DataSettings
    adaptation: AdaptationSettings
    measured: RecordedScores | None  # on dev, when training ended


class LoadedLanguageModel(TrainedModel):
    """Network, symbols and description of a language model.

    Args:
        network: The network with its weights.
        symbols: Symbols of the network.
        description: The rest of the model's configuration.
        device: Device that the network is on.
        precision: Arithmetic of matrix products, float32 or bfloat16.
        place: Name of the model in messages.
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
        """What kind of model this is, for the model card."""
        return "language model"

    def reader(self, *, adapt: bool = False, cache: bool = False) -> Reader:
        """A reader that scores texts symbol by symbol.

        Args:
            adapt: Whether a copy of the network adapts to the text that it reads (dynamic evaluation).
            cache: Whether the neural cache is used.
        """
        settings = self.description.adaptation
        reader = (
            AdaptingReader(self.network, self.device, settings)
            if adapt
            else Reader(self.network, self.device)
        )
        return CachingReader(reader, settings) if cache else reader

    @property
    def usage(self) -> str:
        """See `TrainedModel.usage`; a model that reads from the end cannot write."""
        backward = self.description.data.direction == "backward"
        return "seqtool embed -m {} < text.txt" if backward else self.USAGE

    def require_forward(self, purpose: str) -> None:
        """Refuse a model that reads from the end for what needs one that reads forward.

        Args:
            purpose: What it would do, as in "write text".

        Raises:
            UsageError: it reads from the end.
        """
        if self.description.data.direction == "backward":
            raise UsageError(
                f"{self.place}: reads text from its end (data.direction = 'backward') and cannot {purpose}; "
                "use a model that reads forward"
            )

    def files(self) -> ModelFiles:
        """The model's files: its symbols."""
        return ModelFiles(codecs=self.symbols.to_files())

    @classmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype:
        """The arithmetic that `--precision` names; auto = fp32, so that probabilities are exact."""
        if name == "int8":
            raise SettingsError(
                "precision int8 is for translators (`translate`, `evaluate`) and for `lm sample`; "
                "use fp32 or bf16"
            )
        return torch.float32 if name == "auto" else resolve_precision(name, device)

    @classmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None
    ) -> Self:
        """A language model from the contents of a model folder.

        Args:
            folder: The contents.
            name: Name of the model in messages.
            device: Device that the model shall run on.
            precision: Arithmetic of matrix products; None = float32.

        Raises:
            ModelError: the contents are damaged or do not fit each other.
        """
        description = LanguageModelDescription.from_config(folder.config, name)
        symbols = Symbols.from_files(folder.codecs, name)

        def build() -> LanguageNetwork:
            return LanguageNetwork(len(symbols), description.model, symbols.impossible)

        network = restored(build, folder, description.model.layers, name)
        kind = precision or torch.float32
        return cls(network, symbols, description, device=device, precision=kind, place=name)
