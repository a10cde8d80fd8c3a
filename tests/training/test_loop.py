from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from seqtool.errors import (
    DataError,
    DivergedError,
    InterruptedRunError,
    MemoryExhaustedError,
    SettingsError,
    StorageError,
)
from seqtool.nn.losses import LossSum
from seqtool.training import distributed
from seqtool.training import loop as loop_module
from seqtool.training.progress import EvaluationReport, FitResult, SilentReporter, StepReport
from seqtool.training.settings import TrainingSettings
from seqtool.training.update import Arithmetic, GradientNoise, Place, Update, describe_batch, update
from tests.training.tiny_run import CPU, TinyBatch, TinyRun, squared_error, tiny_batches, tiny_model


def quick(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"precision": "fp32", "learning_rate": 0.01, "epochs": 2, **changes})


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.steps: list[StepReport] = []
        self.evaluations: list[EvaluationReport] = []
        self.results: list[FitResult] = []
        self.expected_steps = 0

    def started(self, total_steps: int, step: int, parameters: int) -> None:
        self.expected_steps = total_steps

    def step(self, report: StepReport) -> None:
        self.steps.append(report)

    def evaluation(self, report: EvaluationReport) -> None:
        self.evaluations.append(report)

    def finished(self, result: FitResult) -> None:
        self.results.append(result)


def test_accumulating_uneven_batches_equals_one_large_batch(tmp_path: Path):
    small = tiny_batches((3, 5, 2, 4, 1))
    large = [(torch.cat([x for x, _ in small]), torch.cat([y for _, y in small]))]
    runs = []
    for name, batches, accumulation in (("small", small, 5), ("large", large, 1)):
        run = TinyRun(
            tmp_path / name,
            quick(accumulation=accumulation, epochs=4, optimizer="sgd", clip_norm=0.3),
            model=tiny_model(dropout=0.0),
            batches=lambda epoch, batches=batches: batches,
        )
        assert run.fit().steps == 4
        runs.append(run)
    for first, second in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-12)


def test_the_last_group_of_an_epoch_may_be_short(tmp_path: Path):
    batches = tiny_batches((3, 5, 2, 4, 1, 3))
    run, listener = (
        TinyRun(tmp_path / "run", quick(accumulation=4), batches=lambda epoch: batches),
        Listener(),
    )
    run.fit(reporter=listener)
    assert [report.units for report in listener.steps] == [14, 4, 14, 4]
    assert listener.expected_steps == len(listener.steps) == 4


def test_gradients_are_of_the_mean_over_units(tmp_path: Path):
    model = tiny_model(dropout=0.0)
    batches = tiny_batches((3, 5))
    total = sum(squared_error(model, batch).total for batch in batches)
    (total / 8).backward()  # type: ignore[union-attr]
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    result = update(
        model,
        optimizer,
        batches,
        lambda batch: squared_error(model, batch),
        arithmetic=Arithmetic.of(CPU, torch.float32),
        clip_norm=0.0,
        place=Place(1, 1, 0, 0.1),
    )
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=1e-12)
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in expected))
    assert result.gradient_norm == pytest.approx(norm, abs=1e-12)
    assert (result.count, result.unit) == (8, "sentence")


def noisy_gradients(step: int, *, variance: float = 0.5, seed: int = 3, clip_norm: float = 0.0) -> Tensor:
    model = tiny_model(dropout=0.0)
    update(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        tiny_batches((3,)),
        lambda batch: squared_error(model, batch),
        arithmetic=Arithmetic.of(CPU, torch.float32),
        clip_norm=clip_norm,
        place=Place(step, 1, 0, 0.1),
        noise=GradientNoise(variance, seed) if variance else None,
    )
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_noise_on_the_gradient_fades_and_depends_on_seed_and_update_alone():
    plain = noisy_gradients(1, variance=0.0)
    assert noisy_gradients(4).equal(noisy_gradients(4))
    assert not noisy_gradients(4).equal(noisy_gradients(5))
    assert not noisy_gradients(4).equal(noisy_gradients(4, seed=4))
    for step in (1, 100):
        drawn = torch.stack([noisy_gradients(step, seed=seed) - plain for seed in range(200)])
        assert drawn.var().item() == pytest.approx(0.5 / step**0.55, rel=0.07)
        assert abs(drawn.mean().item()) < 0.06
    clipped = noisy_gradients(1, clip_norm=1e-9)  # noise comes after clipping
    torch.testing.assert_close(clipped, noisy_gradients(1) - plain, rtol=0, atol=1e-6)


def test_clipping_bounds_the_norm_and_zero_leaves_it():
    norms = []
    for clip_norm in (0.01, 0.0):
        model = tiny_model(dropout=0.0)
        result = update(
            model,
            torch.optim.SGD(model.parameters(), lr=0.0),
            tiny_batches((3,)),
            lambda batch, model=model: squared_error(model, batch),
            arithmetic=Arithmetic.of(CPU, torch.float32),
            clip_norm=clip_norm,
            place=Place(1, 1, 0, 0.1),
        )
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        assert result.gradient_norm > 0.1
    assert norms[0] == pytest.approx(0.01, rel=1e-3)
    assert norms[1] == pytest.approx(result.gradient_norm)


def test_the_model_ends_with_its_best_weights(tmp_path: Path):
    seen: list[dict[str, torch.Tensor]] = []
    scores = iter([1.0, 3.0, 2.0, 0.0])
    run = TinyRun(tmp_path / "run", quick(epochs=4))

    def evaluate() -> dict[str, float]:
        seen.append({name: tensor.clone() for name, tensor in run.model.state_dict().items()})
        return {"score": next(scores)}

    run.changes["evaluate"] = evaluate
    result = run.fit()
    assert (result.best_step, result.metrics, result.steps) == (12, {"score": 3.0}, 24)
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in run.model.state_dict().items())
    assert not run.model.training


def test_between_equals_the_smaller_loss_is_the_better(tmp_path: Path):
    """The metric stays at 0: the first evaluation is not the best."""
    losses = iter([5.0, 4.0, 3.0, 3.0, 3.5])
    run = TinyRun(
        tmp_path / "run",
        quick(epochs=5),
        evaluate=lambda: {"score": 0.0, "loss": next(losses)},
    )
    result = run.fit()
    assert (result.best_step, result.metrics, result.reason) == (18, {"score": 0.0, "loss": 3.0}, "epochs")
    improved = [event["improved"] for event in run.events() if event["event"] == "evaluation"]
    assert improved == [True, True, True, False, False]


def test_while_the_metric_is_0_the_tiebreak_decides_and_counts_as_progress(tmp_path: Path):
    scores = iter([(0.0, 1.0, 5.0), (0.0, 3.0, 4.0), (0.0, 2.0, 3.0), (0.0, 4.0, 2.0), (0.0, 4.0, 1.0)])
    run = TinyRun(
        tmp_path / "run",
        quick(epochs=5, patience=2),
        evaluate=lambda: dict(zip(("score", "other", "loss"), next(scores), strict=True)),
        tiebreak="other",
    )
    result = run.fit()
    assert (result.reason, result.metrics["other"], result.metrics["loss"]) == ("epochs", 4.0, 1.0)


def test_a_tiebreak_says_nothing_once_the_metric_is_above_0(tmp_path: Path):
    scores = iter([(0.0, 9.0), (0.5, 1.0), (0.5, 5.0)])
    run = TinyRun(
        tmp_path / "run",
        quick(epochs=3),
        evaluate=lambda: dict(zip(("score", "other"), next(scores), strict=True)),
        tiebreak="other",
    )
    assert run.fit().metrics == {"score": 0.5, "other": 1.0}


def test_patience_goes_by_the_metric_and_not_by_the_loss(tmp_path: Path):
    losses = iter([5.0, 4.0, 3.0, 2.0])
    run = TinyRun(
        tmp_path / "run",
        quick(epochs=5, patience=2),
        evaluate=lambda: {"score": 0.0, "loss": next(losses)},
    )
    result = run.fit()
    assert (result.reason, result.best_step, result.steps) == ("patience", 18, 18)


def test_between_equals_without_a_loss_the_first_is_kept(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick(epochs=3), evaluate=lambda: {"score": 0.0})
    assert run.fit().best_step == 6


@pytest.mark.parametrize("losses", [(3.0, 4.0), (4.0, 3.0), (float("nan"), 3.0)])
def test_the_loss_of_the_best_evaluation_is_known_after_resuming(tmp_path: Path, losses: tuple[float, float]):
    values = iter([{"score": 0.0, "loss": loss} for loss in losses])
    TinyRun(tmp_path / "run", quick(epochs=1), evaluate=lambda: next(values)).fit()
    resumed = TinyRun(tmp_path / "run", quick(epochs=2), evaluate=lambda: next(values))
    assert resumed.fit(resume=True).best_step == (12 if losses == (4.0, 3.0) else 6)


def test_a_minus_sign_selects_the_smallest(tmp_path: Path):
    scores = iter([3.0, 1.0, 2.0])
    run = TinyRun(tmp_path / "run", quick(epochs=3), evaluate=lambda: {"loss": next(scores)}, select="-loss")
    assert run.fit().best_step == 12


def test_evaluation_sees_evaluation_mode_without_gradients_and_training_mode_returns(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick())
    modes: list[tuple[bool, bool]] = []

    def evaluate() -> dict[str, float]:
        modes.append((run.model.training, torch.is_grad_enabled()))
        return {"score": 1.0}

    def loss(batch: TinyBatch) -> LossSum:
        assert run.model.training and torch.is_grad_enabled()
        return squared_error(run.model, batch)

    run.changes |= {"evaluate": evaluate, "loss": loss}
    run.fit()
    assert modes == [(False, False)] * 2


def test_evaluation_sees_averaged_weights_and_training_its_own(tmp_path: Path):
    weights: dict[str, list[list[float]]] = {"evaluate": [], "loss": []}
    run = TinyRun(tmp_path / "run", quick(average="ema", average_decay=0.5))

    def note(where: str) -> None:
        weights[where].append(torch.nn.utils.parameters_to_vector(run.model.parameters()).tolist())

    def evaluate() -> dict[str, float]:
        note("evaluate")
        return {"score": 1.0}

    def loss(batch: TinyBatch) -> LossSum:
        note("loss")
        return squared_error(run.model, batch)

    run.changes |= {"evaluate": evaluate, "loss": loss}
    run.fit()
    plain = TinyRun(tmp_path / "plain", quick())
    own: list[list[float]] = []

    def plain_loss(batch: TinyBatch) -> LossSum:
        own.append(torch.nn.utils.parameters_to_vector(plain.model.parameters()).tolist())
        return squared_error(plain.model, batch)

    plain.changes["loss"] = plain_loss
    plain.fit()
    assert weights["loss"] == own
    average = torch.tensor(own[0])
    for count, step in enumerate(own[1:7], start=1):
        decay = min(0.5, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * torch.tensor(step)
    torch.testing.assert_close(torch.tensor(weights["evaluate"][0]), average, rtol=0, atol=1e-6)


def test_patience_counts_evaluations_without_improvement(tmp_path: Path):
    scores = itertools.chain([1.0, 2.0], itertools.repeat(0.0))
    run = TinyRun(tmp_path / "run", quick(epochs=50, patience=3), evaluate=lambda: {"score": next(scores)})
    result = run.fit()
    assert (result.reason, result.steps, result.best_step) == ("patience", 30, 12)


def test_max_steps_ends_in_the_middle_of_an_epoch_with_an_evaluation(tmp_path: Path):
    run, listener = TinyRun(tmp_path / "run", quick(max_steps=4)), Listener()
    result = run.fit(reporter=listener)
    assert (result.reason, result.steps, result.epochs) == ("max_steps", 4, 4 / 6)
    assert [report.step for report in listener.evaluations] == [4]
    assert listener.results == [result]


def test_max_minutes_includes_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count()
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))

    def evaluate() -> dict[str, float]:
        for _ in range(100):
            next(clock)
        return {"score": 1.0}

    run = TinyRun(tmp_path / "run", quick(epochs=50, max_minutes=5, learning_rate=1), evaluate=evaluate)
    listener = Listener()
    result = run.fit(reporter=listener)
    assert result.reason == "max_minutes"
    assert 300 <= result.seconds < 420
    assert 90 < result.steps < 110  # 200 s of training; another evaluation of 100 s is worth it after 400
    assert len(listener.evaluations) == 2
    rates = [report.learning_rate for report in listener.steps]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.3  # the cosine ends with the time, not with the 50 epochs
    assert all(300 - 110 * 2 <= report.seconds + report.left <= 300 for report in listener.steps)


def test_a_time_limit_within_an_epoch_is_evaluated_eight_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = itertools.count()
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))
    batches = tiny_batches([2] * 1000)
    run = TinyRun(tmp_path / "run", quick(epochs=1, max_minutes=10), batches=lambda epoch: batches)
    listener = Listener()
    assert run.fit(reporter=listener).reason == "max_minutes"
    assert len(listener.evaluations) == 8
    times = [0.0, *(report.seconds for report in listener.evaluations)]
    assert all(70 < later - earlier < 90 for earlier, later in itertools.pairwise(times[:-1]))


def test_the_time_left_follows_the_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(0, 5)
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))
    listener = Listener()
    TinyRun(tmp_path / "run", quick(max_steps=4)).fit(reporter=listener)
    paces = [report.seconds / report.step for report in listener.steps]
    expected = [pace * (4 - report.step) for pace, report in zip(paces, listener.steps, strict=True)]
    assert [report.left for report in listener.steps] == pytest.approx(expected)
    assert expected[0] > 0


def test_an_empty_epoch_is_bad_data(tmp_path: Path):
    with pytest.raises(DataError, match=r"epoch 1 has no batch; the training data is empty"):
        TinyRun(tmp_path / "run", quick(), batches=lambda epoch: []).fit()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path, value: float):
    run = TinyRun(tmp_path / "run", quick(accumulation=2, checkpoint_every=1))
    weights: list[torch.Tensor] = []

    def loss(batch: TinyBatch) -> LossSum:
        run.updates += 1
        weights.append(torch.nn.utils.parameters_to_vector(run.model.parameters()).clone())
        result = squared_error(run.model, batch)
        return result._replace(total=result.total * value) if run.updates == 10 else result

    run.changes["loss"] = loss
    with pytest.raises(DivergedError, match=rf"step 5, epoch 2: the loss of batch 4 of the epoch is {value}"):
        run.fit()
    after = torch.nn.utils.parameters_to_vector(run.model.parameters())
    assert torch.equal(after, weights[-1])
    newest = run.checkpoints.load_newest()
    assert newest is not None
    assert newest.step == 4
    assert torch.equal(newest.tensors["model/0.weight"], run.model.state_dict()["0.weight"])


def test_a_gradient_that_is_not_finite_stops_before_the_update(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick())
    before = torch.nn.utils.parameters_to_vector(run.model.parameters()).clone()

    def loss(batch: TinyBatch) -> LossSum:
        zero = next(run.model.parameters()).sum() * 0.0
        return LossSum(torch.sqrt(zero), 1, "sentence")  # 0, with an infinite gradient

    run.changes["loss"] = loss
    with pytest.raises(DivergedError, match=r"step 1, epoch 1: the norm of the gradient is nan"):
        run.fit()
    assert torch.equal(before, torch.nn.utils.parameters_to_vector(run.model.parameters()))


def test_weights_far_worse_than_untrained_ones_are_a_divergence(tmp_path: Path):
    losses = iter([1.0, 9.0, 1e6])
    run = TinyRun(tmp_path / "run", quick(epochs=5), evaluate=lambda: {"score": 0.0, "loss": next(losses)})
    with pytest.raises(DivergedError, match=r"step 18: the loss on dev is 1e\+06, and was about .* before"):
        run.fit()


def test_a_selecting_metric_that_is_not_finite_is_a_divergence(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick(), evaluate=lambda: {"score": math.nan})
    with pytest.raises(DivergedError, match=r"step 6: score on the held-out data is nan"):
        run.fit()
    assert run.checkpoints.steps() == []


def test_another_metric_may_be_undefined(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick(), evaluate=lambda: {"score": 1.0, "other": math.nan})
    assert math.isnan(run.fit().metrics["other"])
    assert run.events()[0]["metrics"] == {"score": 1.0, "other": None}


class NamedBatch(NamedTuple):
    words: torch.Tensor
    name: str


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_names_the_batch_and_what_to_change(tmp_path: Path, error: Exception):
    def loss(batch: NamedBatch) -> LossSum:
        raise error

    run = TinyRun(
        tmp_path / "run", quick(), loss=loss, batches=lambda epoch: [NamedBatch(torch.zeros(2, 9), "x")]
    )
    with pytest.raises(MemoryExhaustedError, match=r"\(words \[2, 9\]\); lower --batch-tokens"):
        run.fit()


def test_other_runtime_errors_are_not_taken_for_memory(tmp_path: Path):
    def loss(batch: TinyBatch) -> LossSum:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        TinyRun(tmp_path / "run", quick(), loss=loss).fit()


def test_batches_of_any_kind_are_described():
    assert describe_batch((torch.zeros(2, 3), 5)) == "0 [2, 3]"
    assert describe_batch({"a": torch.zeros(4)}) == "a [4]"
    assert describe_batch(7) == "int"


def test_events_tell_the_course_of_the_run(tmp_path: Path):
    run, listener = TinyRun(tmp_path / "run", quick(report_every=4)), Listener()
    run.fit(reporter=listener)
    events = run.events()
    assert [(event["event"], event["step"]) for event in events] == [
        ("train", 4),
        ("evaluation", 6),
        ("train", 8),
        ("train", 12),
        ("evaluation", 12),
    ]

    def mean(start: int, end: int) -> float:
        reports = listener.steps[start:end]
        return sum(report.loss * report.units for report in reports) / sum(report.units for report in reports)

    losses = [event["loss"] for event in events if event["event"] == "train"]
    assert losses == pytest.approx([mean(0, 4), mean(4, 8), mean(8, 12)], abs=1e-12)
    losses = [event["train_loss"] for event in events if event["event"] == "evaluation"]
    assert losses == pytest.approx([mean(0, 6), mean(6, 12)], abs=1e-12)
    assert events[1]["learning_rate"] == listener.steps[5].learning_rate
    assert events[1]["metrics"].keys() == {"score", "loss"}


def test_the_curve_goes_on_to_the_last_update_and_on_from_there(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick(report_every=4, max_steps=6))
    run.fit()
    trained = [event for event in run.events() if event["event"] == "train"]
    assert [event["step"] for event in trained] == [4, 6]
    longer = TinyRun(tmp_path / "run", quick(report_every=4, max_steps=10))
    longer.fit(resume=True)
    assert [event["step"] for event in longer.events() if event["event"] == "train"] == [4, 6, 8, 10]


def test_training_twice_from_one_seed_gives_the_same_bits(tmp_path: Path):
    traces = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = TinyRun(tmp_path / name, quick(), seed=seed)
        run.fit()
        traces.append(run.trace())
    assert traces[0] == traces[1]
    assert traces[0]["weights"] != traces[2]["weights"]


def test_sigterm_saves_and_ends_with_143(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick())

    def loss(batch: TinyBatch) -> LossSum:
        os.kill(os.getpid(), signal.SIGTERM)
        return squared_error(run.model, batch)

    run.changes["loss"] = loss
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRunError) as caught:
        run.fit()
    assert caught.value.exit_code == 143
    assert run.checkpoints.steps() == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_sigint_leaves_at_once(tmp_path: Path):
    program = """
import os, signal, sys
from pathlib import Path
from tests.training.tiny_run import TinyRun
from tests.training.test_loop import quick
run = TinyRun(Path(sys.argv[1]), quick())
def loss(batch):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    print("still here")
run.changes["loss"] = loss
run.fit()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert done.stdout == ""


def test_training_works_outside_the_main_thread(tmp_path: Path):
    results: list[FitResult] = []
    thread = threading.Thread(target=lambda: results.append(TinyRun(tmp_path / "run", quick()).fit()))
    thread.start()
    thread.join()
    assert results[0].steps == 12


def test_a_full_disk_stops_the_run_and_the_checkpoint_before_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tests.training.faults import Faults, disk_full, inject

    run = TinyRun(tmp_path / "run", quick())
    faults = Faults(10, disk_full, lasting=True)
    with monkeypatch.context() as patch:
        inject(patch, faults, ("fsync",))
        with pytest.raises(StorageError, match=r"No space left on device"):
            run.fit()
    newest = run.checkpoints.load_newest()
    assert newest is not None
    assert newest.step == 6
    again = TinyRun(tmp_path / "run", quick())
    assert again.fit(resume=True).steps == 12


def test_fp16_needs_a_gpu(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"precision fp16 needs a CUDA device \(this is cpu\)"):
        TinyRun(tmp_path / "run", quick(precision="fp16")).fit()


def test_bf16_computes_the_loss_in_bfloat16_and_evaluates_in_full(tmp_path: Path):
    seen: set[tuple[str, torch.dtype]] = set()
    model = tiny_model().float()
    run = TinyRun(tmp_path / "run", quick(precision="bf16"), model=model)
    inputs, targets = (tensor.float() for tensor in tiny_batches((4,))[0])

    def loss(batch: int) -> LossSum:
        outputs = model(inputs)
        seen.add(("loss", outputs.dtype))
        return LossSum(((outputs.float() - targets) ** 2).sum(), 4, "sentence")

    def evaluate() -> dict[str, float]:
        seen.add(("evaluate", model(inputs).dtype))
        return {"score": 1.0}

    run.changes |= {"loss": loss, "evaluate": evaluate, "batches": lambda epoch: [0, 0]}
    run.fit()
    assert seen == {("loss", torch.bfloat16), ("evaluate", torch.float32)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_every_line_of_the_metrics_is_json(tmp_path: Path):
    run = TinyRun(tmp_path / "run", quick(report_every=1))
    run.fit()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines]) == 14


def test_float16_overflow_leaves_the_weights_and_lowers_the_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Needs no GPU: torch scales the loss for float16 on the CPU as well, although it is of no use there."""
    monkeypatch.setattr(loop_module, "resolve_precision", lambda name, device: torch.float16)
    inputs = tiny_batches((4,))[0][0].float()
    model = tiny_model(dropout=0.0).float()
    run = TinyRun(tmp_path / "run", quick(epochs=3, checkpoint_every=1), model=model)
    weights: list[list[float]] = []

    def loss(batch: int) -> LossSum:
        weights.append(torch.nn.utils.parameters_to_vector(model.parameters()).tolist())
        outputs = model(inputs)
        assert outputs.dtype == torch.float16
        # 1e-3 x the first scale, 65536, fits into a float16; 1e3 x 65536 does not.
        return LossSum((outputs.float() * (1e3 if batch else 1e-3)).sum(), 4, "sentence")

    run.changes |= {"loss": loss, "batches": lambda epoch: [epoch == 1], "evaluate": lambda: {"score": 1.0}}
    run.fit()
    weights.append(torch.nn.utils.parameters_to_vector(model.parameters()).tolist())
    assert weights[0] != weights[1]
    assert weights[1] == weights[2]
    newest = run.checkpoints.load_newest()
    assert newest is not None
    assert newest.values["scaler"]["scale"] == 65536.0 / 2
    assert newest.values["position"]["skipped"] == 0


def test_a_process_without_a_batch_learns_of_an_overflow_and_lowers_its_scale(
    monkeypatch: pytest.MonkeyPatch,
):
    """The second of two processes in a group of one batch; the gradients of the first are made up."""
    factor = 1.0

    def add_those_of_the_first(tensors: list[Tensor]) -> None:
        sums, used, *gradients = tensors
        sums += 1.0
        used += 1.0
        for gradient in gradients:
            gradient += factor * arithmetic.scaler.get_scale()

    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "sum_in_place", add_those_of_the_first)
    arithmetic = Arithmetic(CPU, torch.float16, torch.amp.GradScaler("cpu"))
    model = tiny_model().float()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> Update:
        batch = tiny_batches((4,))
        place = Place(1, 1, 0, 0.1)
        return update(
            model, optimizer, batch, lambda batch: LossSum(Tensor(), 1, "sentence"),
            arithmetic=arithmetic, clip_norm=0.0, place=place,
        )  # fmt: skip

    before = torch.nn.utils.parameters_to_vector(model.parameters()).clone()
    assert step().done
    after = torch.nn.utils.parameters_to_vector(model.parameters()).clone()
    torch.testing.assert_close(after, before - 0.1)  # gradients of 1, without their scale
    factor = float("inf")
    assert not step().done
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), after)
    assert arithmetic.scaler.get_scale() == 65536.0 / 2


def test_float16_that_never_stops_overflowing_is_a_divergence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop_module, "resolve_precision", lambda name, device: torch.float16)
    run = TinyRun(tmp_path / "run", quick(epochs=100), model=tiny_model().float())

    def loss(batch: TinyBatch) -> LossSum:
        zero = next(run.model.parameters()).sum() * 0.0
        return LossSum(torch.sqrt(zero), 1, "sentence")

    run.changes["loss"] = loss
    with pytest.raises(DivergedError, match=r"step 51: 51 gradients in a row overflowed fp16"):
        run.fit()
