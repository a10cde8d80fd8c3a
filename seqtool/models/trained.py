"""What every trained model can do, whatever its task: come out of its folder, run in its arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import torch
from torch import nn

from seqtool.devices import resolve_device
from seqtool.errors import DataError, ModelError
from seqtool.models.folder import ModelFolder, load_model_folder
from seqtool.models.tensors import materialise

NetworkType = TypeVar("NetworkType", bound=nn.Module)


class TrainedModel(ABC):
    """A model ready to use.

    Args:
        device: Where it runs.
        precision: Of its products.
    """

    TASKS: ClassVar[tuple[str, ...]]  # whose folders it reads
    USAGE: ClassVar[str]  # what to type next, with {} for the folder
    network: nn.Module

    def __init__(self, *, device: torch.device, precision: torch.dtype) -> None:
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

    @abstractmethod
    def save(self, path: Path, *, card: str) -> None:
        """Write a self-contained model folder (errors of `save_model_folder`)."""

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
