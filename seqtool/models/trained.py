"""The base of all trained models, whatever their task: loading, saving, device and precision."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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
    """Vocabulary files of a model folder: content by file name."""

    texts: Mapping[str, str] = MappingProxyType({})
    codecs: Mapping[str, bytes] = MappingProxyType({})  # vocabularies as `vocab build` writes them


class TrainedModel(ABC):
    """A model ready to use.

    Args:
        network: The network with its weights.
        description: The description of the model, as in its folder.
        device: Device that the model runs on.
        precision: Number type of matrix products.
        place: The folder that it was loaded from, for messages; without one its name is used.
    """

    TASKS: ClassVar[tuple[str, ...]]  # tasks whose model folders this class can load
    USAGE: ClassVar[str]  # a command that uses the model, with {} in place of its folder
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
        """Load a model.

        Args:
            path: Model folder, or run folder with a model.
            device: auto, cpu, cuda, cuda:N or mps.
            precision: auto, fp32, bf16, fp16, or whatever else the class accepts.

        Returns:
            The model, ready to use.

        Raises:
            UsageError: there is no such folder or no such device.
            ModelError: the model is damaged, foreign, made by a newer seqtool, or of another task.
        """
        where = resolve_device(device)
        return cls.from_folder(
            load_model_folder(path, task=cls.TASKS),
            name=str(path),
            device=where,
            precision=cls.precision_for(precision, where),
        )

    @property
    def members(self) -> Sequence[TrainedModel]:
        """The single models that it consists of."""
        return (self,)

    @classmethod
    @abstractmethod
    def precision_for(cls, name: str, device: torch.device) -> torch.dtype | None:
        """The number type that a value of `--precision` stands for; None = it depends on the model."""

    @classmethod
    @abstractmethod
    def from_folder(
        cls, folder: ModelFolder, *, name: str, device: torch.device, precision: torch.dtype | None
    ) -> Self:
        """Build the model from the content of its folder; errors as for `load`.

        Args:
            folder: Content of the model folder.
            name: The folder, for messages.
            device: Device that the model runs on.
            precision: Number type of matrix products; None = it depends on the model.

        Returns:
            The model, ready to use.
        """

    @property
    def usage(self) -> str:
        """A command that uses the model, with {} in place of its folder."""
        return self.USAGE

    @property
    @abstractmethod
    def kind(self) -> str:
        """Kind of model for its card, as in "translator"."""

    @property
    def task(self) -> str:
        """The task that is written to its folder."""
        return self.TASKS[0]

    @abstractmethod
    def files(self) -> ModelFiles:
        """The files of its folder other than the description and the weights."""

    def save(self, path: Path, *, card: str) -> None:
        """Write a self-contained model folder.

        Args:
            path: The folder; an existing one is replaced in one rename.
            card: Markdown of its README.md.

        Raises:
            StorageError: the folder cannot be written; an existing one is unchanged.
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
        """Discard everything that was computed from the weights and cached: the weights have changed."""

    def autocast(self) -> torch.autocast:
        """Context manager in which the network runs: autocast in 16-bit precision, otherwise no effect."""
        half = self.is_half
        return torch.autocast(self.device.type, dtype=self.precision if half else None, enabled=half)

    @property
    def is_half(self) -> bool:
        """Whether matrix products are computed in 16 bits."""
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
    """Build a network with the weights of a model folder; memory is allocated only if all shapes fit.

    Args:
        build: Function that builds the network of the description; called on the meta device.
        folder: Content of the model folder, which may be foreign.
        layers: Number of layers according to the description; each layer has at least one tensor.
        name: The folder, for messages.

    Returns:
        The network, on the CPU.

    Raises:
        ModelError: the folder is damaged or foreign.
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
