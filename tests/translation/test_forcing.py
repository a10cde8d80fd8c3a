"""Teacher forcing below 1: the schedules, the random draws, and what is fed back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqtool.nn.losses import LossSum
from seqtool.translation import forcing
from seqtool.translation.batches import Batch
from seqtool.translation.forcing import mixed_forcing_pass, reference_ratio, unroll
from seqtool.translation.model import Readout, Translator, coverage_overlap
from seqtool.translation.training_settings import TeacherForcing
from seqtool.translation.vocabulary import NEVER, START
from tests.translation.tiny_translator import (
    DECODERS,
    FORMS,
    SYMBOLS,
    assert_close,
    batch_for,
    gradients,
    tiny,
)

COURSES = ("linear", "exponential", "inverse_sigmoid")
COPYING = [name for name in FORMS if name.endswith((", copy", "positions"))]
STEPPED = [name for name in FORMS if name.endswith(("copy", "layers", "heads", "positions"))]


def forced_loss(model: Translator, batch: Batch, *, ratio: float, **weights: float) -> LossSum:
    return model.loss_of(mixed_forcing_pass(model, batch, ratio), batch, **weights)  # type: ignore[arg-type]


def schedule_of(schedule: str, **fields: float) -> TeacherForcing:
    return TeacherForcing.model_validate({"schedule": schedule, **fields})


# Schedules


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(COURSES), st.floats(0, 1), st.floats(0, 1), st.integers(1, 1000))
def test_a_schedule_goes_from_its_start_to_its_end_without_turning_back(
    schedule: str, start: float, end: float, steps: int
) -> None:
    settings = schedule_of(schedule, start=start, end=end, steps=steps)
    ratios = [reference_ratio(settings, step) for step in range(0, steps + 2, max(1, steps // 20))]
    assert abs(ratios[0] - start) <= 0.0101 * abs(start - end)
    assert all(min(start, end) - 1e-12 <= ratio <= max(start, end) + 1e-12 for ratio in ratios)
    assert all((after - before) * (end - start) >= -1e-12 for before, after in pairwise(ratios))
    for step in (steps, steps + 1, 10**9):
        assert reference_ratio(settings, step) == end
    nearly = reference_ratio(schedule_of(schedule, start=start, end=end, steps=10**6), 10**6 - 1)
    assert abs(nearly - end) <= 0.0101 * abs(start - end)


def test_schedules_have_the_forms_of_their_names() -> None:
    linear, exponential, sigmoid = (schedule_of(each, start=0.9, end=0.1, steps=100) for each in COURSES)
    assert reference_ratio(linear, 25) == pytest.approx(0.7)
    shares = [(reference_ratio(exponential, step) - 0.1) / 0.8 for step in (0, 10, 20, 30)]
    assert shares[0] == pytest.approx(1)
    assert {round(after / before, 9) for before, after in pairwise(shares)} == {
        round(0.01**0.1, 9)  # a power of a constant
    }
    assert reference_ratio(sigmoid, 50) == pytest.approx(0.5)
    shares = [(reference_ratio(sigmoid, step) - 0.1) / 0.8 for step in (10, 40, 70)]
    logits = [math.log(share / (1 - share)) for share in shares]
    assert logits[0] - logits[1] == pytest.approx(logits[1] - logits[2])  # linear inside the sigmoid
    assert logits[0] > logits[1]


@pytest.mark.parametrize("step", [0, 7, 10**9])
def test_a_constant_ratio_is_constant(step: int) -> None:
    assert reference_ratio(TeacherForcing(ratio=0.3), step) == 0.3
    assert reference_ratio(TeacherForcing(), step) == 1.0


# The extremes: always the reference, never the reference


@pytest.mark.parametrize("form", COPYING)
def test_ratio_one_is_the_plain_loss_bit_for_bit(form: str) -> None:
    model = tiny(**{**FORMS[form], "dropout": 0.3, "embedding_dropout": 0.3})
    batch = batch_for(model)
    weights = {"smoothing": 0.1, "coverage_loss": 0.5 if model.settings.coverage else 0.0}
    results = []
    for is_forced in (True, False):
        torch.manual_seed(1)
        loss = forced_loss(model, batch, ratio=1.0, **weights) if is_forced else model.loss(batch, **weights)
        results.append((loss, gradients(model, loss.total)))
    (forced, found), (plain, expected) = results
    assert forced.total.equal(plain.total) and forced[1:] == plain[1:]
    assert all(found[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize("form", STEPPED)
def test_the_loop_fed_the_reference_is_the_plain_network(form: str) -> None:
    model = tiny(**FORMS[form])
    batch = batch_for(model)
    source = model.encode(batch)
    found, expected = unroll(model, source, batch.inputs, 1.0), model.read(source, batch.inputs)
    for each, value in zip(found, expected, strict=True):
        torch.testing.assert_close(each, value, rtol=1e-10, atol=1e-10)
    total = model.cross_entropy(found, source, batch, 0.1)
    assert_close(gradients(model, total), gradients(model, model.loss(batch, smoothing=0.1).total))


def other_reference(inputs: Tensor) -> Tensor:
    """Targets with the same first symbol and different symbols after it."""
    changed = torch.randint(4, SYMBOLS, inputs.shape, generator=torch.Generator().manual_seed(5))
    assert not changed[:, 1:].equal(inputs[:, 1:])
    return torch.cat([inputs[:, :1], changed[:, 1:]], 1)


@pytest.mark.parametrize("form", COPYING)
def test_ratio_zero_never_reads_the_reference(form: str) -> None:
    model = tiny(**FORMS[form])
    batch, losses = batch_for(model), []
    for inputs in (batch.inputs, other_reference(batch.inputs)):
        torch.manual_seed(2)
        losses.append(forced_loss(model, replace(batch, inputs=inputs), ratio=0.0).total)
    assert losses[0].equal(losses[1])
    torch.manual_seed(2)
    assert not forced_loss(model, batch, ratio=0.5).total.equal(losses[0])


# Which tokens are replaced


class Fed:
    """The inputs that a translator is given step by step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Translator) -> None:
        self.ids: list[Tensor] = []
        embedder = model.embedder

        def spy(sentences: int) -> Callable[[Tensor], Tensor]:
            embed = embedder(sentences)

            def kept(ids: Tensor) -> Tensor:
                self.ids.append(ids)
                return embed(ids)

            return kept

        monkeypatch.setattr(model, "embedder", spy)

    @property
    def table(self) -> Tensor:
        """[B, T]."""
        return torch.stack(self.ids, 1)


def test_a_coin_is_tossed_for_every_token_of_every_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model, reference, drawn, ratio = tiny(), 4, 5, 0.3
    fed = Fed(monkeypatch, model)
    monkeypatch.setattr(forcing, "_drawn", lambda *_: torch.full((300,), drawn))
    batch = batch_for(model, [([7], [reference] * 20)] * 300)
    torch.manual_seed(0)
    unroll(model, model.encode(batch), batch.inputs, ratio)
    assert (fed.table[:, 0] == START).all()
    coins = (fed.table[:, 1:] == reference).double()
    assert set(fed.table[:, 1:].flatten().tolist()) == {reference, drawn}
    assert float(coins.mean()) == pytest.approx(ratio, abs=0.03)
    # One draw per batch or per sentence would make whole columns or rows equal.
    assert all(0.15 < float(share) < 0.45 for share in coins.mean(0))
    assert float(coins.mean(1).std()) == pytest.approx((ratio * (1 - ratio) / 20) ** 0.5, rel=0.2)
    after = coins[:, 1:][coins[:, :-1] == 1]
    assert float(after.mean()) == pytest.approx(ratio, abs=0.05)  # nor does a draw depend on the one before


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_is_drawn_follows_the_distribution_of_the_step(
    monkeypatch: pytest.MonkeyPatch, decoder: str
) -> None:
    """A chi-square test of the second input over many copies of one sentence."""
    model, rows = tiny(decoder=decoder, copy=True), 2000
    fed = Fed(monkeypatch, model)
    batch = batch_for(model, [([4, SYMBOLS, 4], [4])] * rows)
    torch.manual_seed(0)
    source = model.encode(batch)
    unroll(model, source, batch.inputs, 0.0)
    table = model.log_probabilities(model.read(source, batch.inputs), source)[0, 0].exp().detach()
    counts = torch.bincount(fed.table[:, 1], minlength=len(table)).double()
    assert counts[NEVER].sum() == 0
    possible = [number for number in range(len(table)) if number not in NEVER]
    counts_of_possible, expected = counts[possible], rows * table[possible] / table[possible].sum()
    distance = (counts_of_possible - expected) ** 2 / expected
    assert float(distance.sum()) < 36  # 8 degrees of freedom: 1 in 50,000
    assert counts[SYMBOLS] > 0  # copied symbols too


# No gradient through what is fed back


@pytest.mark.parametrize("form", COPYING)
def test_the_gradient_takes_what_was_fed_back_as_given(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    model = tiny(**FORMS[form])
    batch = batch_for(model)
    weight = 0.5 if model.settings.coverage else 0.0
    fed = Fed(monkeypatch, model)
    torch.manual_seed(4)
    loss = forced_loss(model, batch, ratio=0.4, smoothing=0.1, coverage_loss=weight)
    assert not fed.table.equal(batch.inputs)
    as_given = model.loss(replace(batch, inputs=fed.table), smoothing=0.1, coverage_loss=weight)
    torch.testing.assert_close(loss.total, as_given.total)
    assert loss[1:] == as_given[1:]
    assert_close(gradients(model, loss.total), gradients(model, as_given.total))


def test_the_coverage_loss_is_that_of_the_steps_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(coverage=True)
    batch = batch_for(model)
    fed = Fed(monkeypatch, model)
    results = []
    for weight in (0.0, 0.7):
        torch.manual_seed(6)
        results.append(forced_loss(model, batch, ratio=0.0, coverage_loss=weight).total)
    ids = torch.stack(fed.ids[: batch.inputs.shape[1]], 1)
    readout: Readout = model.read(model.encode(batch), ids)
    overlap = coverage_overlap(readout.weights, batch.target_mask)
    torch.testing.assert_close(results[1] - results[0], 0.7 * overlap)


def test_a_seed_repeats() -> None:
    model = tiny(copy=True, dropout=0.2)
    batch, losses = batch_for(model), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(float(forced_loss(model, batch, ratio=0.5).total.detach()))
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("form", [name for name in STEPPED if not name.endswith("positions")])
def test_what_no_output_has_is_never_fed_back(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding and start are excluded from the draws, as they are from a search."""
    model = tiny(**FORMS[form])
    with torch.no_grad():
        assert model.bias is not None
        model.bias[NEVER] = 5.0  # almost certain to be drawn
    batch, fed = batch_for(model), list[Tensor]()
    embedder = model.embedder

    def recording(sentences: int) -> Callable[[Tensor], Tensor]:
        embed = embedder(sentences)
        return lambda ids: (fed.append(ids), embed(ids))[1]

    monkeypatch.setattr(model, "embedder", recording)
    source = model.encode(batch)
    for _ in range(5):
        unroll(model, source, batch.inputs, ratio=0.0)
    later = torch.cat([ids for ids in fed if not (ids == START).all()])
    assert len(later) > 10
    assert not torch.isin(later, torch.tensor(NEVER)).any()
