from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seqtool.errors import UsageError
from seqtool.training.progress import FitResult, SilentReporter, StepReport, TensorBoardReporter
from seqtool.training.settings import TrainingSettings
from tests.training.tiny_run import TinyRun


def test_without_the_package_the_command_to_install_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"install it with: pip install tensorboard"):
        TensorBoardReporter(tmp_path, SilentReporter())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_curves_are_written_and_everything_is_passed_on(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    heard: list[str] = []

    class Listener(SilentReporter):
        def started(self, total_steps: int, step: int, parameters: int) -> None:
            heard.append(f"started {total_steps} {step} {parameters}")

        def step(self, report: StepReport) -> None:
            heard.append("step")

        def message(self, text: str) -> None:
            heard.append(text)

        def finished(self, result: FitResult) -> None:
            heard.append("finished")

    reporter = TensorBoardReporter(tmp_path / "events", Listener(), every=4)
    reporter.message("hello")
    run = TinyRun(tmp_path / "run", TrainingSettings(epochs=2, precision="fp32"))
    run.fit(reporter=reporter)
    assert heard == ["hello", "started 12 0 21", *["step"] * 12, "finished"]
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "train/loss",
        "train/learning_rate",
        "train/gradient_norm",
        "dev/score",
        "dev/loss",
    }
    assert [point.step for point in events.Scalars("train/loss")] == [4, 8, 12]
    assert [point.step for point in events.Scalars("dev/score")] == [6, 12]
