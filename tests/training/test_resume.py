from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seqtool.errors import InterruptedRunError, ModelError, UsageError
from seqtool.nn.losses import LossSum
from seqtool.settings_keys import default_values
from seqtool.training.checkpoint import Checkpoint, Checkpoints
from seqtool.training.optimization import Averaging, build_optimizer
from seqtool.training.progress import SilentReporter
from seqtool.training.settings import TrainingSettings
from seqtool.training.state import Position, RunFingerprint, RunState, check_fingerprint
from seqtool.training.update import Arithmetic
from tests.listeners import Listener
from tests.training.tiny_run import CPU, TinyBatch, TinyRun, squared_error, tiny_model

# 12 updates over two epochs; evaluations at 4, 8 and 12; warm-up until 2; the plateau cuts in between.
STEPS = 12
SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "learning_rate": 0.01,
    "warmup_steps": 2,
    "weight_decay": 0.1,
    "evaluate_every": 4,
    "report_every": 3,
    "average": "ema",
    "precision": "fp32",
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "plateau": {"schedule": "plateau", "plateau_patience": 0},
    "step": {"schedule": "step", "decay_steps": 4},
    "cosine": {"schedule": "cosine", "optimizer": "nadam"},
    "linear": {"schedule": "linear", "optimizer": "sgd", "momentum": 0.9, "clip_norm": 0.5},
}


def settings_of(schedule: str, **changes: Any) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS, **SCHEDULES[schedule], **changes})


class WorseningRun(TinyRun):
    """A run whose first evaluation is the best: it gets worse with every update."""

    def metrics(self) -> dict[str, float]:
        start = tiny_model(seed=0).state_dict()
        distances = [float((tensor - start[name]).norm()) for name, tensor in self.model.state_dict().items()]
        return {"score": -sum(distances)}


def interrupted(
    folder: Path, settings: TrainingSettings, step: int, kind: type[TinyRun] = TinyRun, **changes: Any
) -> TinyRun:
    run = kind(folder, settings, **changes)
    run.interrupt_in = step
    with pytest.raises(InterruptedRunError, match=rf"interrupted after step {step};") as caught:
        run.fit()
    assert caught.value.exit_code == 130
    return run


def resumed(
    folder: Path, settings: TrainingSettings, kind: type[TinyRun] = TinyRun, **changes: Any
) -> TinyRun:
    torch.manual_seed(99)
    run = kind(folder, settings, **{"model": tiny_model(seed=98), **changes})
    run.fit(resume=True)
    return run


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_stopped_at_any_step_ends_as_the_uninterrupted_one(tmp_path: Path, schedule: str):
    settings = settings_of(schedule)
    whole = TinyRun(tmp_path / "whole", settings)
    whole.fit()
    expected = whole.trace()
    assert expected["position"]["step"] == STEPS
    for step in range(1, STEPS):
        folder = tmp_path / f"stopped-{step}"
        interrupted(folder, settings, step)
        run = resumed(folder, settings)
        assert run.updates == STEPS - step
        assert run.trace() == expected, f"stopped after step {step}"


def test_a_run_stopped_after_every_step_ends_as_the_uninterrupted_one(tmp_path: Path):
    settings = settings_of("plateau", evaluate_every=0, checkpoint_every=5, accumulation=2, epochs=4)
    whole = TinyRun(tmp_path / "whole", settings)
    whole.fit()
    for session in itertools.count():
        run = TinyRun(tmp_path / "stopped", settings, model=tiny_model(seed=session))
        run.interrupt_in = 2  # batches, that is one update
        try:
            run.fit(resume=session > 0)
            break
        except InterruptedRunError:
            continue
    assert session == STEPS - 1  # the last signal arrives when the run is finished
    assert run.trace() == whole.trace()


def test_a_signal_during_the_last_update_changes_nothing(tmp_path: Path):
    run = TinyRun(tmp_path / "run", settings_of("step"))
    run.interrupt_in = STEPS
    assert run.fit().steps == STEPS


def _items(checkpoint_values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> list[str]:
    counters = [f"position/{name}" for name in checkpoint_values["position"]]
    return [*tensors, *counters, "average_count", "events_size"]


def _fresh(settings: TrainingSettings) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of a run before its first update, with another seed."""
    model = tiny_model(seed=98)
    averaging = Averaging(model, settings.average_decay)
    arithmetic = Arithmetic.of(CPU, torch.float32)
    torch.manual_seed(97)
    optimizer = build_optimizer(model, settings)
    return RunState(model, optimizer, averaging, arithmetic, Position(), RunFingerprint({})).capture(0)


# Used only with a time limit, with float16 or after lowering a limit; the tests below cover each of them.
NOT_COMPARED = {
    "position/seconds",
    "position/evaluated_seconds",
    "position/evaluation_seconds",
    "position/skipped",
    "position/learning_rate",
}


def test_every_item_of_the_saved_state_is_needed(tmp_path: Path):
    """Negative control: if any one item is reset to its initial value, the run ends differently."""
    settings = settings_of("plateau", plateau_patience=1, evaluate_every=2)
    whole = WorseningRun(tmp_path / "whole", settings)
    whole.fit()
    expected = whole.trace()
    needed: set[str] = set()
    names: list[str] = []
    for step in (5, 6, 8):
        stopped = interrupted(tmp_path / f"stopped-{step}", settings, step, kind=WorseningRun)
        saved = stopped.checkpoints.load_newest()
        assert saved is not None
        names = _items(saved.values, saved.tensors)
        copy = tmp_path / "untouched"
        assert not _ends_otherwise(stopped, copy, saved.tensors, saved.values, expected)
        for name in sorted(set(names) - needed):
            if _ends_otherwise(stopped, copy, *_put_back(name, saved, *_fresh(settings)), expected):
                needed.add(name)
    assert len(names) > 25
    assert set(names) - needed == NOT_COMPARED


def _put_back(
    name: str, saved: Checkpoint, fresh_tensors: dict[str, torch.Tensor], fresh_values: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, values = dict(saved.tensors), dict(saved.values)
    group, _, key = name.partition("/")
    if name in tensors:
        tensors[name] = fresh_tensors.get(name, torch.zeros_like(tensors[name]))
    elif group == "position":
        values["position"] = {**values["position"], key: fresh_values["position"][key]}
    else:
        values[name] = fresh_values[name]
    return tensors, values


def _ends_otherwise(
    stopped: TinyRun,
    copy: Path,
    tensors: dict[str, torch.Tensor],
    values: dict[str, Any],
    expected: dict[str, Any],
) -> bool:
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(stopped.folder, copy)
    Checkpoints(copy / "state").save(stopped.updates, tensors, values, best=2)
    try:
        return resumed(copy, stopped.settings, kind=WorseningRun).trace() != expected
    except (ModelError, AssertionError):
        return True  # it does not even start, or does not end


@pytest.mark.parametrize("group", ["model", "optimizer", "average", "random"])
def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path: Path, group: str):
    settings = settings_of("step")
    run = interrupted(tmp_path / "run", settings, 5)
    saved = run.checkpoints.load_newest()
    assert saved is not None
    for name in [name for name in saved.tensors if name.startswith(group)]:
        tensors = {key: tensor for key, tensor in saved.tensors.items() if key != name}
        run.checkpoints.save(5, tensors, saved.values)
        with pytest.raises(ModelError, match=r"missing|lacks"):
            resumed(tmp_path / "run", settings)


def test_the_clock_continues(tmp_path: Path):
    settings = settings_of("step")
    run = interrupted(tmp_path / "run", settings, 5)
    saved = run.checkpoints.load_newest()
    assert saved is not None
    saved.values["position"]["seconds"] = 1000.0
    run.checkpoints.save(5, saved.tensors, saved.values)
    again = TinyRun(tmp_path / "run", settings)
    assert 1000 < again.fit(resume=True).seconds < 1100


@pytest.mark.parametrize(
    ("evaluated", "duration", "count"),
    [(1000.0, 0.0, 2), (100.0, 0.0, 3), (1000.0, 400.0, 1), (900.0, 20.0, 2)],
)
def test_time_and_cost_of_the_last_evaluation_continue(
    tmp_path: Path, evaluated: float, duration: float, count: int
):
    """An eighth of 4000 s has passed since an evaluation after 100 s, but not since a later one.

    An evaluation that takes more than a quarter of the time since the last one has to wait.
    """
    settings = settings_of("step", evaluate_every=0).model_copy(update={"max_minutes": 4000 / 60})
    run = interrupted(tmp_path / "run", settings, 5)
    saved = run.checkpoints.load_newest()
    assert saved is not None
    times = {"seconds": 1000.0, "evaluated_seconds": evaluated, "evaluation_seconds": duration}
    saved.values["position"] |= times
    run.checkpoints.save(5, saved.tensors, saved.values)
    listener = Listener()
    TinyRun(tmp_path / "run", settings).fit(resume=True, reporter=listener)
    assert len(listener.evaluations) == count  # at the end, if due after the first epoch, and at once


def test_restoring_brings_back_every_counter():
    settings = settings_of("plateau")
    model = tiny_model()

    def state(position: Position) -> RunState:
        averaging = Averaging(model, 0.9)
        arithmetic = Arithmetic.of(CPU, torch.float32)
        optimizer = build_optimizer(model, settings)
        return RunState(model, optimizer, averaging, arithmetic, position, RunFingerprint({}))

    fields = dataclasses.fields(Position)
    position = Position(**{field.name: number for number, field in enumerate(fields, start=1)})
    first = state(position)
    model(torch.zeros(1, 3).double()).sum().backward()
    first.optimizer.step()
    tensors, values = first.capture(events_size=17)
    second = state(Position())
    assert second.restore(Checkpoint(1, tensors, values), "here") == 17
    assert second.position == position


def test_changed_settings_are_refused_with_every_difference(tmp_path: Path):
    interrupted(tmp_path / "run", settings_of("step"), 5)
    with pytest.raises(UsageError) as caught:
        resumed(
            tmp_path / "run",
            settings_of("step", learning_rate=0.5),
            fingerprint=RunFingerprint(
                {
                    "training": settings_of("step", learning_rate=0.5, clip_norm=1.0).model_dump(),
                    "data": "xyz",
                }
            ),
        )
    message = str(caught.value)
    assert "training.learning_rate was 0.01, is 0.5" in message
    assert "training.clip_norm was 5.0, is 1.0" in message
    assert "data was abc, is xyz" in message
    assert "schedule" not in message


@pytest.mark.parametrize(("value", "fits"), [(5.0, True), (1.0, False)])
def test_a_run_that_is_older_than_a_setting_had_its_default(tmp_path: Path, value: float, fits: bool):
    run = interrupted(tmp_path / "run", settings_of("step"), 5)
    saved = run.checkpoints.load_newest()
    assert saved is not None
    del saved.values["fingerprint"]["training"]["clip_norm"]
    run.checkpoints.save(5, saved.tensors, saved.values)
    settings = settings_of("step", clip_norm=value)
    defaults = {f"training.{key}": value for key, value in default_values(TrainingSettings).items()}
    now = RunFingerprint({"training": settings.model_dump(), "data": "abc"}, defaults)
    if fits:
        assert resumed(tmp_path / "run", settings, fingerprint=now).updates == 7
        return
    with pytest.raises(UsageError, match=r"training\.clip_norm was 5\.0, is 1\.0"):
        resumed(tmp_path / "run", settings, fingerprint=now)


def test_an_empty_table_is_a_value():
    was = {"settings": {"bias": {}}}
    check_fingerprint(was, RunFingerprint(was, {"settings.bias": "auto"}), "run")
    with pytest.raises(UsageError, match=r"\(bias was {}, is auto"):
        check_fingerprint(
            was, RunFingerprint({"settings": {"bias": "auto"}}, {"settings.bias": "auto"}), "run"
        )


def test_a_new_setting_of_a_table_that_need_not_be_there_has_its_default_too():
    now = {"data": {"hub": {"id": "a/b", "streaming": False}}}
    defaults = {"data.hub": None, "data.hub.streaming": False}
    check_fingerprint({"data": {"hub": {"id": "a/b"}}}, RunFingerprint(now, defaults), "run")
    with pytest.raises(UsageError, match=r"data\.hub was None"):
        check_fingerprint({"data": {"hub": None}}, RunFingerprint(now, defaults), "run")


def test_a_run_may_be_made_longer(tmp_path: Path):
    run = TinyRun(tmp_path / "run", settings_of("step"))
    run.fit()
    longer = resumed(tmp_path / "run", settings_of("step", epochs=3, patience=50, max_steps=100))
    assert longer.updates == 6
    assert longer.checkpoints.steps()[-1] == 18


def test_a_run_may_be_made_shorter(tmp_path: Path):
    run = interrupted(tmp_path / "run", settings_of("step", evaluate_every=5), 8)
    shorter = resumed(tmp_path / "run", settings_of("step", evaluate_every=5, max_steps=5))
    assert shorter.updates == 0
    last = shorter.events()[-1]
    assert (last["event"], last["step"]) == ("evaluation", 8)
    assert last["learning_rate"] == run.settings.learning_rate / 2
    assert shorter.checkpoints.steps()[-1] == 8


def test_a_finished_run_returns_at_once_with_its_best_weights(tmp_path: Path):
    first = TinyRun(tmp_path / "run", settings_of("plateau"))
    result = first.fit()
    again = TinyRun(tmp_path / "run", settings_of("plateau"), model=tiny_model(seed=5))
    assert again.fit(resume=True)._replace(seconds=0) == result._replace(seconds=0)
    assert again.updates == 0
    assert again.trace() == first.trace()


def test_resuming_nothing_starts_afresh(tmp_path: Path):
    run = TinyRun(tmp_path / "run", settings_of("step"))
    assert run.fit(resume=True).steps == STEPS


def test_a_damaged_newest_checkpoint_is_reported_and_the_run_ends_the_same(tmp_path: Path):
    settings = settings_of("plateau", checkpoint_every=1)
    whole = TinyRun(tmp_path / "whole", settings)
    whole.fit()
    interrupted(tmp_path / "run", settings, 7)
    path = tmp_path / "run" / "state" / "step-000007.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []

    class Listener(SilentReporter):
        def message(self, text: str) -> None:
            said.append(text)

    run = TinyRun(tmp_path / "run", settings, model=tiny_model(seed=5))
    run.fit(resume=True, reporter=Listener())
    assert run.updates == 6
    assert run.trace() == whole.trace()
    assert len(said) == 1
    assert "the checkpoint of step 7 cannot be used" in said[0]


# The mean of the weights (asgd), which starts when evaluations no longer improve


ASGD: dict[str, Any] = {"average": "asgd", "average_patience": 2, "evaluate_every": 2}


class TracedRun(WorseningRun):
    """A run that records its weights after each update."""

    def __init__(self, folder: Path, settings: TrainingSettings, **changes: Any) -> None:
        super().__init__(folder, settings, **changes)
        self.weights: list[dict[str, torch.Tensor]] = []

    def loss(self, batch: TinyBatch) -> LossSum:  # before an update, so after the one before
        self.weights.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return super().loss(batch)


def test_the_mean_begins_after_so_many_evaluations_without_improvement(tmp_path: Path):
    """The evaluation after 2 updates is the best; the second one after it (6 updates) starts the mean."""
    run = TracedRun(tmp_path / "run", settings_of("step", **ASGD))
    run.fit()
    saved = run.checkpoints.load_newest()
    assert saved is not None
    assert saved.values["average_count"] == 1 + (STEPS - 6)
    last = {name: saved.tensors[f"model/{name}"] for name in run.weights[0]}
    since = [*run.weights[6:], last]
    assert len(since) == 1 + (STEPS - 6)
    for name in last:
        expected = torch.stack([weights[name] for weights in since]).mean(0)
        torch.testing.assert_close(saved.tensors[f"average/{name}"], expected, rtol=1e-12, atol=1e-12)
    first = run.checkpoints.load(2)  # the best; before the mean began it was the weights themselves
    assert all(first.tensors[f"average/{name}"].equal(run.weights[2][name]) for name in last)


def test_a_run_with_a_mean_stopped_at_any_step_ends_as_the_uninterrupted_one(tmp_path: Path):
    settings = settings_of("step", **ASGD)
    whole = WorseningRun(tmp_path / "whole", settings)
    whole.fit()
    expected = whole.trace()
    assert expected["average_count"] == 7
    for step in range(1, STEPS):
        folder = tmp_path / f"stopped-{step}"
        interrupted(folder, settings, step, kind=WorseningRun)
        assert resumed(folder, settings, kind=WorseningRun).trace() == expected, f"stopped after step {step}"


# State that a loss keeps from one batch to the next


class Remembering:
    """A loss that depends on all previous batches, and the state that it keeps of them."""

    def __init__(self, forgets: bool = False) -> None:
        self.model: nn.Module = tiny_model()
        self.memory = torch.zeros(3).double()
        self.forgets = forgets

    def __call__(self, batch: TinyBatch) -> LossSum:
        inputs, targets = batch
        self.memory = 0.9 * self.memory + inputs.mean(0)
        return squared_error(self.model, (inputs + self.memory, targets))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {} if self.forgets else {"memory": self.memory}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.memory = tensors.get("memory", torch.zeros(3).double())


class RememberingRun(TinyRun):
    def __init__(self, folder: Path, settings: TrainingSettings, **changes: Any) -> None:
        super().__init__(folder, settings, **{"carried": Remembering(), **changes})
        self.changes["carried"].model = self.model

    def loss(self, batch: TinyBatch) -> LossSum:
        super().loss(batch)  # counts updates, and interrupts
        remembered: LossSum = self.changes["carried"](batch)
        return remembered


def test_what_a_loss_remembers_is_in_the_checkpoint_and_comes_back(tmp_path: Path):
    settings = settings_of("step")
    whole = RememberingRun(tmp_path / "whole", settings)
    whole.fit()
    for step in range(1, STEPS):
        folder = tmp_path / f"stopped-{step}"
        interrupted(folder, settings, step, kind=RememberingRun)
        run = resumed(folder, settings, kind=RememberingRun)
        assert run.trace() == whole.trace(), f"stopped after step {step}"
        assert run.changes["carried"].memory.equal(whole.changes["carried"].memory)


def test_a_run_whose_loss_forgets_ends_otherwise(tmp_path: Path):
    """Negative control of the test above."""
    settings = settings_of("step")
    whole = RememberingRun(tmp_path / "whole", settings)
    whole.fit()
    interrupted(tmp_path / "run", settings, 5, kind=RememberingRun, carried=Remembering(forgets=True))
    run = resumed(tmp_path / "run", settings, kind=RememberingRun, carried=Remembering(forgets=True))
    assert run.trace()["weights"] != whole.trace()["weights"]


def test_a_checkpoint_that_lacks_what_a_loss_remembers_is_refused(tmp_path: Path):
    settings = settings_of("step")
    run = interrupted(tmp_path / "run", settings, 5, kind=RememberingRun)
    saved = run.checkpoints.load_newest()
    assert saved is not None
    assert saved.tensors["carried/memory/0"].equal(run.changes["carried"].memory)
    del saved.tensors["carried/memory/0"]
    run.checkpoints.save(5, saved.tensors, saved.values)
    with pytest.raises(ModelError, match="'carried/memory/0' is missing or not valid"):
        resumed(tmp_path / "run", settings, kind=RememberingRun)
