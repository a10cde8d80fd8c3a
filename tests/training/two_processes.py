"""One of two training processes, started by test_distributed.py with torchrun's variables set."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seqtool.errors import DivergedError, InterruptedRunError, StorageError
from seqtool.lm.batches import TrainingWindows, Window
from seqtool.lm.settings import LanguageModelTraining, VocabularySettings
from seqtool.lm.train import StreamLoss
from seqtool.lm.vocabulary import Symbols
from seqtool.models.tensors import write_tensors
from seqtool.nn.losses import LossSum
from seqtool.training import distributed
from seqtool.training.loop import fit
from seqtool.training.progress import FitResult, SilentReporter
from seqtool.training.run_folder import RunFolder
from seqtool.training.settings import TrainingSettings
from seqtool.training.state import RunFingerprint
from tests.lm.tiny_text import network_of, random_ids
from tests.training.tiny_run import CPU, TinyBatch, TinyRun, squared_error, tiny_model


class UnevenModel(nn.Module):
    """One part is used only for batches of more than three rows, one never; with dropout, a running mean."""

    running_mean: torch.Tensor

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.has_mean = dropout > 0
        self.register_buffer("running_mean", torch.zeros(()).double())
        self.common = tiny_model(dropout=dropout)
        self.rare = nn.Linear(3, 1).double()
        self.unused = nn.Linear(2, 2).double()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.common(inputs)
        if self.has_mean:  # of different batches on each process
            outputs = outputs + self.running_mean
            self.running_mean.lerp_(inputs.mean().detach(), 0.5)
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
    """A run on all processes; six batches in groups of four leave a last group of two."""

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
                fingerprint=RunFingerprint({}),
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


class StreamRun(TinyRun):
    """A language model in float64 whose loss keeps the recurrent state of each group of rows."""

    def __init__(self, folder: Path, *, accumulation: int, is_stream: bool, dropout: float = 0.0) -> None:
        settings = LanguageModelTraining(
            epochs=2, window=6, batch_tokens=24, accumulation=accumulation, average="none", precision="fp32"
        )
        super().__init__(folder, settings, model=network_of(dropout=dropout, weight_drop=dropout))
        ids = random_ids(200)
        ends = [3, 4, 30, 45, 47, 90, 97, 110, 140, 144, 170]
        self.windows = TrainingWindows(
            [ids] if is_stream else np.split(ids, ends),
            is_stream=is_stream,
            settings=settings,
            seed=1,
            parallel_groups=accumulation * distributed.world_size(),
            device=CPU,
        )
        symbols = Symbols.build(["ab"], VocabularySettings())
        self.stream = StreamLoss(self.model, settings, symbols)  # type: ignore[arg-type]

    def read(self, window: Window) -> LossSum:
        self.updates += 1
        if self.updates == self.interrupt_in:
            os.kill(os.getpid(), signal.SIGINT)
        return self.stream(window)

    def fit(self, *, resume: bool = False, reporter: object = None) -> FitResult:
        with RunFolder.create_for_all(self.folder, device=CPU, task="lm", name="tiny", resume=resume) as run:
            return fit(
                model=self.model,
                batches=self.windows,
                loss=self.read,
                evaluate=self.metrics,
                select="-loss",
                settings=self.settings,
                seed=1,
                device=CPU,
                run=run,
                reporter=SilentReporter(),
                fingerprint=RunFingerprint({}),
                resume=resume,
                carried=self.stream,
            )


def last_state(run: TinyRun) -> dict[str, torch.Tensor]:
    """The tensors of the newest checkpoint."""
    newest = run.checkpoints.load_newest()
    assert newest is not None
    return newest.tensors


def assert_same_end(run: TinyRun, other: TinyRun) -> None:
    """Compare bit by bit."""
    expected, found = last_state(run), last_state(other)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def compare_streams(folder: Path, *, is_stream: bool) -> None:
    """A run to compare with that of the other program, and two equal runs, one of which is interrupted."""
    StreamRun(folder / "plain", accumulation=1, is_stream=is_stream).fit()
    whole, stopped, again = (
        StreamRun(folder / name, accumulation=2, is_stream=is_stream, dropout=0.3)
        for name in ("whole", "stopped", "stopped")
    )
    whole.fit()
    stopped.interrupt_in = 5  # the third update of two windows each
    with pytest.raises(InterruptedRunError):
        stopped.fit()
    assert stopped.updates == 6
    again.fit(resume=True)
    assert again.updates == whole.updates - 6
    assert_same_end(whole, again)


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
    if number == 1:  # a signal to only one process stops both
        stopped.interrupt_in = 5
    with pytest.raises(InterruptedRunError) as caught:
        stopped.fit()
    assert caught.value.exit_code == 128 + signal.SIGINT
    assert stopped.updates < whole.updates
    again = shared_run(folder / "stopped", dropout=0.3)
    again.fit(resume=True)
    assert torch.equal(weights(again), weights(whole))
    assert_same_end(again, whole)

    mine = torch.full((1 + 2 * number, 2), float(number))  # one process has one row, the other three
    gathered = distributed.gather(mine, CPU)
    assert [each.tolist() for each in gathered] == [[[0.0, 0.0]], [[1.0, 1.0]] * 3]
    compare_streams(folder / "stream", is_stream=True)
    compare_streams(folder / "documents", is_stream=False)

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
