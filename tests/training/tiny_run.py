"""A run that trains in milliseconds: a float64 network with dropout on uneven batches."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqtool.nn.losses import LossSum
from seqtool.training.checkpoint import Checkpoints
from seqtool.training.loop import fit
from seqtool.training.progress import FitResult, Reporter, SilentReporter
from seqtool.training.run_folder import RunFolder
from seqtool.training.settings import TrainingSettings
from seqtool.training.state import RunFingerprint

TinyBatch = tuple[Tensor, Tensor]
CPU = torch.device("cpu")


def tiny_model(seed: int = 0, dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1)).double()


def tiny_batches(sizes: Sequence[int] = (3, 5, 2, 4, 1, 3)) -> list[TinyBatch]:
    source = torch.Generator().manual_seed(7)
    return [
        (torch.randn(n, 3, generator=source).double(), torch.randn(n, 1, generator=source).double())
        for n in sizes
    ]


def squared_error(model: nn.Module, batch: TinyBatch) -> LossSum:
    inputs, targets = batch
    return LossSum(((model(inputs) - targets) ** 2).sum(), len(inputs), "sentence")


def jumpy_metrics(model: nn.Module) -> dict[str, float]:
    """A metric that sometimes improves and sometimes does not; it depends on the weights alone."""
    total = torch.stack([parameter.sum() for parameter in model.parameters()]).sum()
    return {"score": float(torch.sin(1000 * total)), "loss": float(total.square())}


class TinyRun:
    """A run folder with the arguments of `fit`, all of them fixed but the settings."""

    def __init__(self, folder: Path, settings: TrainingSettings, **changes: Any) -> None:
        self.folder = folder
        self.settings = settings
        self.changes = changes
        self.model = changes.pop("model", None) or tiny_model()
        self.updates = 0
        self.interrupt_in: int | None = None  # updates of this session before SIGINT

    def loss(self, batch: TinyBatch) -> LossSum:
        self.updates += 1
        if self.updates == self.interrupt_in:
            os.kill(os.getpid(), signal.SIGINT)
        return squared_error(self.model, batch)

    def metrics(self) -> dict[str, float]:
        return jumpy_metrics(self.model)

    def batches(self, epoch: int) -> list[TinyBatch]:
        source = torch.Generator().manual_seed(epoch)
        plain = tiny_batches()
        return [plain[index] for index in torch.randperm(len(plain), generator=source)]

    def fit(self, *, resume: bool = False, reporter: Reporter | None = None) -> FitResult:
        with RunFolder.create(self.folder, task="tiny", name="tiny", resume=resume) as run:
            options: dict[str, Any] = {
                "batches": self.batches,
                "loss": self.loss,
                "evaluate": self.metrics,
                "select": "score",
                "seed": 1,
                "fingerprint": RunFingerprint({"training": self.settings.model_dump(), "data": "abc"}),
            }
            options |= self.changes
            return fit(
                model=self.model,
                settings=self.settings,
                device=CPU,
                run=run,
                reporter=reporter or SilentReporter(),
                resume=resume,
                **options,
            )

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder / "state")

    def events(self) -> list[dict[str, Any]]:
        """Events without their times."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        for event in events:
            del event["seconds"]
        return events

    def trace(self) -> dict[str, Any]:
        """Everything that a finished run leaves behind, bit for bit, without times."""
        newest = self.checkpoints.load_newest()
        assert newest is not None
        position = {key: value for key, value in newest.values["position"].items() if "seconds" not in key}
        weights = {name: tensor.tolist() for name, tensor in self.model.state_dict().items()}
        tensors = {name: tensor.tolist() for name, tensor in newest.tensors.items()}
        return {
            "position": position,
            "average_count": newest.values["average_count"],
            "tensors": tensors,
            "weights": weights,
            "events": self.events(),
        }
