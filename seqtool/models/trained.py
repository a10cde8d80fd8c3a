"""What every trained model can do, whatever its task: come out of its folder, run in its arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import nn

from seqtool.devices import resolve_device
from seqtool.errors import DataError, ModelError, UsageError
from seqtool.models.description import Description
from seqtool.models.folder import ModelFolder, load_model_folder, save_model_folder
from seqtool.models.tensors import materialise, model_tensors

NetworkType = TypeVar("NetworkType", bound=nn.Module)


class ModelFiles(NamedTuple):
    """Files of a model folder, content by name."""

    texts: Mapping[str, str] = MappingProxyType({})
    codecs: Mapping[str, bytes] = MappingProxyType({})  # vocabularies as `vocab build` writes them


class TrainedModel(ABC):
    """A model ready to use.

    Args:
        network: The network with its weights.
        description: What its folder says of it.
        device: Where it runs.
        precision: The precision of its products.
        place: Where it was read from, for messages; its name where it was not.
    """

    TASKS: ClassVar[tuple[str, ...]]  # whose folders it reads
    USAGE: ClassVar[str]  # what to type next, with {} for the folder
    network: nn.Module
    description: Description

    def __init__(
        self,
        network: nn.Module,
        description: Description,
        *,
        device: torch.device,
        precision: torch.dtype,
        place: str = "",
    ) -> None:
        self.network = network.to(device).eval()
        self.description = description
        self.place = place or description.name
        self.device = device
        self.precision = precision

    @classmethod
    def load(cls, path: Path, *, device: str = "auto", precision: str = "auto") -> Self:
        """Read a model folder or the model of a run folder.

        Raises:
            UsageError: no such folder, or no such device.
            ModelError: damaged, foreign, newer, or the model of another task.
        """
        where = resolve_device(device)
        return cls.from_folder(
            load_model_folder(path, task=cls.TASKS),
            name=str(path),
            device=where,
            precision=cls.precision_for(precision, where),
        )

    @classmethod
    @abstractmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype | None:
        """The arithmetic that `--precision` means; None = one that depends on the model."""

    @classmethod
    @abstractmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None
    ) -> Self:
        """A model from what a folder holds; `name` stands in messages (errors as `load`)."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What the model is, as in "translator"; for its card."""

    @property
    def task(self) -> str:
        """The task that its folder names."""
        return self.TASKS[0]

    @abstractmethod
    def files(self) -> ModelFiles:
        """What its folder holds beside configuration and weights."""

    def save(self, path: Path, *, card: str) -> None:
        """Write a self-contained model folder.

        Args:
            path: The folder; one that is there is replaced in one move.
            card: Text of its README.md.

        Raises:
            StorageError: those of `save_model_folder`.
        """
        files = self.files()
        save_model_folder(
            path,
            task=self.task,
            config=self.description.to_config(),
            tensors=model_tensors(self.network),
            texts=files.texts,
            codecs=files.codecs,
            card=card,
        )

    def forget(self) -> None:  # noqa: B027 - most models keep nothing
        """Drop what was computed from weights that have changed since."""

    def autocast(self) -> torch.autocast:
        """The context in which the network runs; on where the precision is half."""
        half = self.is_half
        return torch.autocast(self.device.type, dtype=self.precision if half else None, enabled=half)

    @property
    def is_half(self) -> bool:
        """Whether products are made in 16 bits."""
        return self.precision in (torch.bfloat16, torch.float16)


def require_several(texts: object, call: str) -> None:
    """See to it that a list of texts is one: a single text would be read letter by letter.

    Args:
        texts: What was given.
        call: The right call, for the message.

    Raises:
        UsageError: a single text.
    """
    if isinstance(texts, str | bytes):
        raise UsageError(f"a single text is given, expected a list of texts; write {call}")


def restored(build: Callable[[], NetworkType], folder: ModelFolder, layers: int, name: str) -> NetworkType:
    """A network with the weights of a folder, given memory only once the shapes have been found to fit.

    Args:
        build: Makes the network that the folder's configuration asks for; called on the meta device.
        folder: May be foreign.
        layers: Of that network, by the configuration; each has a tensor at least.
        name: Heads messages.

    Raises:
        ModelError: damaged or foreign.
    """
    if layers > len(folder.tensors):
        raise ModelError(f"{name}: {layers} layers, but {len(folder.tensors)} tensors")
    try:
        with torch.device("meta"):  # sizes in a foreign file must not take memory
            network = build()
        materialise(network, folder.tensors, name)
        return network
    except (RuntimeError, ValueError, KeyError, DataError) as error:
        raise ModelError(f"{name}: damaged or foreign: {error}") from error
