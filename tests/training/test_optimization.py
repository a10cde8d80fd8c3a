from __future__ import annotations

import contextlib
import warnings
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer, lr_scheduler

from seqtool.tagging.settings import TaggerTraining
from seqtool.training.optimization import (
    AVERAGES,
    OPTIMIZERS,
    SCHEDULES,
    Averaging,
    build_optimizer,
    learning_rate,
    optimizer_state,
    restore_optimizer,
    warmup_of,
)
from seqtool.training.settings import TrainingSettings
from tests.training.tiny_run import squared_error, tiny_batches, tiny_model

TOTAL = 40


def rates_of(settings: TrainingSettings, total: int = TOTAL) -> list[float]:
    return [learning_rate(settings, step=step, total_steps=total) for step in range(total)]


def torch_rates(make: Any, rate: float = 1.0) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_tables_hold_exactly_the_choices_of_the_settings():
    fields = TrainingSettings.model_fields
    assert set(OPTIMIZERS) == set(get_args(fields["optimizer"].annotation))
    assert set(SCHEDULES) == set(get_args(fields["schedule"].annotation))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_reduces_the_loss_and_uses_the_settings(name: str):
    torch.manual_seed(0)
    model = tiny_model(dropout=0.0)
    optimizer = build_optimizer(model, TrainingSettings(optimizer=name, learning_rate=0.01))  # type: ignore[arg-type]
    batch = tiny_batches((8,))[0]
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        total = squared_error(model, batch).total / 8
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.95 * losses[0]
    assert type(optimizer).__name__.lower() == name


def test_hyperparameters_reach_the_optimizer():
    sgd = build_optimizer(tiny_model(), TrainingSettings(optimizer="sgd", momentum=0.9, weight_decay=0.1))
    assert [group["momentum"] for group in sgd.param_groups] == [0.9, 0.9]
    assert [group["weight_decay"] for group in sgd.param_groups] == [0.1, 0.0]
    adam = build_optimizer(
        tiny_model(), TrainingSettings(optimizer="adam", beta1=0.5, beta2=0.6, epsilon=1e-4)
    )
    assert adam.param_groups[0]["betas"] == (0.5, 0.6)
    assert adam.param_groups[0]["eps"] == 1e-4
    assert adam.param_groups[0]["fused"]
    rmsprop = build_optimizer(
        tiny_model(), TrainingSettings(optimizer="rmsprop", beta2=0.9, momentum=0.1, epsilon=1e-3)
    )
    assert [rmsprop.param_groups[0][key] for key in ("alpha", "momentum", "eps")] == [0.9, 0.1, 1e-3]


@pytest.mark.parametrize("decay_embeddings", [False, True])
def test_weight_decay_spares_vectors_and_embeddings(decay_embeddings: bool):
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 4), nn.LayerNorm(4))
    model[1].bias.requires_grad_(False)
    settings = TrainingSettings(weight_decay=0.1, decay_embeddings=decay_embeddings)
    groups = build_optimizer(model, settings).param_groups
    decayed = {name for group in groups if group["weight_decay"] for name in group["param_names"]}
    plain = {name for group in groups if not group["weight_decay"] for name in group["param_names"]}
    assert decayed == {"1.weight"} | ({"0.weight"} if decay_embeddings else set())
    assert plain == {"2.weight", "2.bias"} | (set() if decay_embeddings else {"0.weight"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_restored_optimizer_takes_the_same_next_step(name: str, dtype: torch.dtype):
    momentum = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    settings = TrainingSettings(optimizer=name, **momentum)  # type: ignore[arg-type]
    model = tiny_model(dropout=0.0).to(dtype)
    optimizer = build_optimizer(model, settings)

    def advance(model: nn.Module, optimizer: Optimizer) -> None:
        optimizer.zero_grad()
        inputs, targets = tiny_batches((6,))[0]
        squared_error(model, (inputs.to(dtype), targets.to(dtype))).total.backward()
        optimizer.step()

    for _ in range(3):
        advance(model, optimizer)
    tensors = {key: value.clone() for key, value in optimizer_state(optimizer).items()}
    assert tensors
    twin = tiny_model(seed=3, dropout=0.0).to(dtype)
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, settings)
    restore_optimizer(restored, tensors)
    for _ in range(2):
        advance(model, optimizer)
        advance(twin, restored)
    for first, second in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(first, second)


def test_closed_forms_equal_torchs_schedulers():
    pairs: list[tuple[dict[str, Any], Any]] = [
        ({"schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (
            {"schedule": "step", "decay_steps": 7, "decay_factor": 0.3},
            lambda o: lr_scheduler.StepLR(o, step_size=7, gamma=0.3),
        ),
        (
            {"schedule": "exponential", "decay_steps": 7, "decay_factor": 0.3},
            lambda o: lr_scheduler.ExponentialLR(o, gamma=0.3 ** (1 / 7)),
        ),
        (
            {"schedule": "cosine", "final_fraction": 0.1},
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1),
        ),
        (
            {"schedule": "linear", "final_fraction": 0.1},
            lambda o: lr_scheduler.LinearLR(o, 1.0, 0.1, total_iters=TOTAL),
        ),
        (
            # torch's phases end one update early: its step t of T + 1 is our t of T
            {"schedule": "one_cycle", "rise_fraction": 0.25},
            lambda o: lr_scheduler.OneCycleLR(
                o,
                1.0,
                total_steps=TOTAL + 1,
                pct_start=(0.25 * TOTAL + 1) / (TOTAL + 1),
                cycle_momentum=False,
            ),
        ),
    ]
    assert {"plateau", *(options["schedule"] for options, _ in pairs)} == set(SCHEDULES)
    for options, make in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own warning about optimizers without a step
            expected = torch_rates(make)
        settings = TrainingSettings(learning_rate=1, **options)
        assert rates_of(settings) == pytest.approx(expected, abs=1e-12), options


def test_plateau_cuts_multiply():
    settings = TrainingSettings(learning_rate=1, schedule="plateau", decay_factor=0.5)
    rates = [learning_rate(settings, step=5, total_steps=10, cuts=cuts) for cuts in range(3)]
    assert rates == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("schedule", sorted(set(SCHEDULES) - {"one_cycle"}))
def test_warmup_rises_to_the_full_rate_and_the_schedule_begins_there(schedule: str):
    settings = TrainingSettings(learning_rate=2, schedule=schedule, warmup_steps=4)  # type: ignore[arg-type]
    rates = rates_of(settings)
    assert rates[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    without = TrainingSettings(learning_rate=2, schedule=schedule)  # type: ignore[arg-type]
    assert rates[4:] == pytest.approx(rates_of(without, TOTAL - 4))


@pytest.mark.parametrize(("total", "expected"), [(1000, 50), (250, 50), (249, 49), (30, 6), (4, 0)])
def test_a_warmup_is_at_most_a_fifth_of_the_run(total: int, expected: int):
    settings = TrainingSettings(learning_rate=1, warmup_steps=50, schedule="constant")
    assert warmup_of(settings, total) == expected
    assert sum(rate < 1 for rate in rates_of(settings, total)) == expected


def test_one_cycle_has_no_warmup_even_where_that_is_the_default():
    settings = TaggerTraining(learning_rate=1, schedule="one_cycle")
    assert settings.warmup_steps > 0
    without = TrainingSettings(learning_rate=1, schedule="one_cycle")
    assert rates_of(settings, 1000) == rates_of(without, 1000)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "one_cycle"])
def test_a_run_limited_by_time_is_measured_by_the_clock(schedule: str):
    settings = TrainingSettings(learning_rate=1, schedule=schedule, max_minutes=5)  # type: ignore[arg-type]
    halfway = learning_rate(settings, step=3, total_steps=1000, time_share=0.5)
    assert halfway == learning_rate(settings, step=500, total_steps=1000)
    over = learning_rate(settings, step=3, total_steps=1000, time_share=1.5)
    assert over == pytest.approx(0.0, abs=1e-5)


def test_the_average_warms_up_without_bias():
    model = nn.Linear(1, 1, bias=False)
    averaging = Averaging(model, 0.9)
    expected = model.weight.item()
    for count in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(float(count))
        averaging.update(model)
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * count
    assert averaging.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)
    assert averaging.count == 199


def test_averaged_weights_are_swapped_in_and_out_bit_for_bit():
    model = tiny_model()
    averaging = Averaging(model, 0.5)
    average = {name: tensor.clone() for name, tensor in averaging.tensors.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    own = {name: tensor.clone() for name, tensor in model.named_parameters()}
    with averaging.averaged_weights(model):
        assert all(torch.equal(tensor, average[name]) for name, tensor in model.named_parameters())
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.named_parameters())
    with contextlib.suppress(ValueError), averaging.averaged_weights(model):
        raise ValueError("the evaluation failed")
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.named_parameters())


# The mean of all weights since dev last stopped improving


def drifting(averaging: Averaging, model: nn.Module, updates: int) -> list[dict[str, torch.Tensor]]:
    """The weights after each of some updates, all included in the average."""
    found = []
    for _ in range(updates):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaging.update(model)
        found.append({name: value.detach().clone() for name, value in model.named_parameters()})
    return found


def test_before_it_begins_the_mean_is_the_present_weights_bit_for_bit():
    torch.manual_seed(0)
    model = tiny_model()
    averaging = Averaging(model, None)
    for _ in range(3):
        (present,) = drifting(averaging, model, 1)
        assert all(torch.equal(averaging.tensors[name], present[name]) for name in present)
    assert averaging.count == 0


def test_once_begun_the_average_is_the_mean_of_all_weights_since_then():
    torch.manual_seed(0)
    model = tiny_model()
    averaging = Averaging(model, None)
    trace = drifting(averaging, model, 4)[-1:]  # the first are the weights at its beginning
    averaging.begin()
    for _ in range(20):
        trace += drifting(averaging, model, 1)
        averaging.begin()  # starting it again has no effect
        for name, average in averaging.tensors.items():
            expected = torch.stack([weights[name] for weights in trace]).mean(0)
            torch.testing.assert_close(average, expected, rtol=1e-12, atol=1e-12)
    assert averaging.count == 21


def test_a_moving_average_does_not_begin_anew():
    torch.manual_seed(0)
    model = tiny_model()
    averaging = Averaging(model, 0.9)
    drifting(averaging, model, 5)
    before = {name: tensor.clone() for name, tensor in averaging.tensors.items()}
    averaging.begin()
    assert averaging.count == 5
    assert all(torch.equal(averaging.tensors[name], before[name]) for name in before)


def test_every_average_of_the_settings_is_in_the_table():
    assert set(AVERAGES) == set(get_args(TrainingSettings.model_fields["average"].annotation))
    model = tiny_model()
    made = {name: make(model, TrainingSettings(average=name)) for name, make in AVERAGES.items()}  # type: ignore[arg-type]
    assert made["none"] is None
    assert made["ema"] is not None and made["ema"].decay == 0.999
    assert made["asgd"] is not None and made["asgd"].decay is None
