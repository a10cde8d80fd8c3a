"""One of two training processes, started by test_distributed.py with torchrun's variables set."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seqtool.errors import DivergedError, InterruptedRunError, StorageError
from seqtool.nn.losses import LossSum
from seqtool.training import distributed
from seqtool.training.loop import fit
from seqtool.training.progress import FitResult, SilentReporter
from seqtool.training.runfolder import RunFolder
from seqtool.training.settings import TrainingSettings
from seqtool.training.tensorfile import write_tensors
from tests.training.tiny_run import CPU, TinyBatch, TinyRun, squared_error, tiny_model


class UnevenModel(nn.Module):
    """One part is only used for batches of more than three, one never."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.common = tiny_model(dropout=dropout)
        self.rare = nn.Linear(3, 1).double()
        self.unused = nn.Linear(2, 2).double()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.common(inputs)
        return outputs + self.rare(inputs) if len(inputs) > 3 else outputs


def settings_of(accumulation: int) -> TrainingSettings:
    return TrainingSettings(
        epochs=3,
        accumulation=accumulation,
        learning_rate=0.05,
        weight_decay=0.1,
        clip_norm=0.5,
        precision="fp32",
        average="ema",
    )


class SharedRun(TinyRun):
    """A run of all processes together; six batches in groups of four leave a group of two."""

    def fit(self, *, resume: bool = False, reporter: object = None) -> FitResult:
        with RunFolder.create_for_all(
            self.folder, device=CPU, task="tiny", name="tiny", resume=resume
        ) as run:
            assert run.path == self.folder
            return fit(
                model=self.model,
                batches=self.batches,
                loss=self.changes.get("loss", self.loss),
                evaluate=self.metrics,
                select="-loss",
                settings=self.settings,
                seed=1,
                device=CPU,
                run=run,
                reporter=SilentReporter(),
                fingerprint={},
                resume=resume,
            )


def shared_run(folder: Path, dropout: float = 0.0) -> SharedRun:
    # The processes begin with different weights: process 0's must reach the other.
    torch.manual_seed(distributed.rank())
    run = SharedRun(folder, settings_of(accumulation=2), model=UnevenModel(dropout))
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(0.1 * distributed.rank())
    return run


def weights(run: TinyRun) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(run.model.parameters()).detach()


def main(folder: Path) -> None:
    number = distributed.rank()
    plain = shared_run(folder / "plain")
    plain.fit()
    write_tensors(folder / f"plain-{number}.safetensors", {"weights": weights(plain)})

    whole = shared_run(folder / "whole", dropout=0.3)
    whole.fit()
    stopped = shared_run(folder / "stopped", dropout=0.3)
    if number == 1:  # a signal that only one process gets stops both
        stopped.interrupt_in = 5
    with pytest.raises(InterruptedRunError) as caught:
        stopped.fit()
    assert caught.value.exit_code == 128 + signal.SIGINT
    assert stopped.updates < whole.updates
    again = shared_run(folder / "stopped", dropout=0.3)
    again.fit(resume=True)
    assert torch.equal(weights(again), weights(whole))

    diverging = shared_run(folder / "diverging")

    def not_finite(batch: TinyBatch) -> LossSum:
        result = squared_error(diverging.model, batch)
        return result._replace(total=result.total * float("nan")) if number == 1 else result

    diverging.changes["loss"] = not_finite
    with pytest.raises(DivergedError) as diverged:
        diverging.fit()
    (folder / f"diverged-{number}").write_text(str(diverged.value))

    dying = shared_run(folder / "dying")
    if number == 1:

        def die(batch: TinyBatch) -> LossSum:
            os._exit(9)

        dying.changes["loss"] = die
    dying.fit()


if __name__ == "__main__":
    try:
        with distributed.process_group(CPU, time_limit=20):
            main(Path(sys.argv[1]))
    except StorageError as error:
        print(error)
        os._exit(error.exit_code)
