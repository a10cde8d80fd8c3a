"""Sampling in 8-bit integers: the text equals that of plain arithmetic and nearly that of fp32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.decoding.sampling import SamplingOptions, draw
from seqtool.errors import SettingsError
from seqtool.lm import sampling
from seqtool.lm.prediction import LanguageModel
from seqtool.lm.sampling import Sampler, beginning, writes_in_int8
from seqtool.lm.stepping import LSTMStepper, stepper_of
from seqtool.lm.vocabulary import UNKNOWN
from tests.lm.writers import untrained, written

NETWORKS: tuple[dict[str, Any], ...] = (
    {},
    {"layers": 1},
    {"layers": 3},
    {"tied": True},
    {"embedding": 0},
    {"learned_start": True},
)


def steps_of(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight as integers, and the scale of each row."""
    step = weight.abs().amax(1, keepdim=True) / 127
    return (weight / step).round(), step


class PlainWriter:
    """Equations 1 to 6 of an LSTM in float64, with states and weights rounded to 8 bits in every product."""

    def __init__(self, model: LanguageModel) -> None:
        self.network = model.network
        self.states = [tuple(part.double() for part in layer) for layer in model.network.initial(1)]

    @staticmethod
    def product(weight: Tensor, states: Tensor) -> Tensor:
        whole, step = steps_of(weight)
        small = (states.float().clamp(-1, 1) * 127).round()
        return (small.double() @ whole.double().t()) * (step[:, 0].double() / 127)

    def scores(self, symbol: int) -> Tensor:
        network, after = self.network, []
        values = network.embedding.weight[symbol][None].double()
        for layer, cell in enumerate(network.stack.cells):
            hidden, memory = self.states[layer]
            weights = [weight.detach() for weight in cell.kernel.parameters()]
            inputs, recurrent = (each for each in weights if each.dim() == 2)
            biases = sum(each.double() for each in weights if each.dim() == 1)
            if layer:
                gates = self.product(torch.cat([inputs, recurrent], 1), torch.cat([values, hidden], 1))
            else:
                gates = values @ inputs.double().t() + self.product(recurrent, hidden)
            i, f, g, o = (gates + biases).chunk(4, 1)
            memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
            values = o.sigmoid() * memory.tanh()
            after.append((values, memory))
        self.states = after
        weight, bias = network.projection
        if network.narrow is not None:
            weight = weight @ network.narrow.weight
        return self.product(weight, values) + bias.double()


@torch.inference_mode()
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_two_thousand_symbols_are_those_of_the_plain_arithmetic(network: dict[str, Any]) -> None:
    model = untrained(scale=1.5, **network)
    start = beginning(model)
    fast = written(model, start, 2000, seed=7, int8=True)[0]
    plain, last, found = PlainWriter(model), int(start.last), []
    zero = torch.zeros(1, dtype=torch.long)
    for step in range(2000):
        scores = plain.scores(last)
        scores[:, UNKNOWN] = -torch.inf
        last = int(draw(scores, SamplingOptions(seed=7), zero, zero, torch.full((1,), step)))
        found.append(last)
    assert fast == found
    assert len(set(found)) > 3


@torch.inference_mode()
def test_a_row_depends_on_no_other_to_the_last_bit() -> None:
    model = untrained(hidden=32)
    ids = torch.randint(4, len(model.symbols), (5, 40))
    together = stepper_of(model.network, model.network.initial(5), int8=True)
    alone = stepper_of(model.network, model.network.initial(1), int8=True)
    for place in range(40):
        several = together.step(ids[:, place])
        assert torch.equal(several[3:4], alone.step(ids[3:4, place]))


@torch.inference_mode()
def test_probabilities_are_near_those_of_fp32() -> None:
    model = untrained(hidden=64, scale=1.0)
    ids = torch.randint(4, len(model.symbols), (8, 60))
    kinds = [stepper_of(model.network, model.network.initial(8), int8=int8) for int8 in (False, True)]
    for place in range(60):
        exact, rounded = (kind.step(ids[:, place]).softmax(1).clone() for kind in kinds)
        assert not torch.equal(exact, rounded)
        torch.testing.assert_close(rounded, exact, atol=5e-3, rtol=0)


def test_a_learned_start_beyond_one_counts_as_one() -> None:
    model = untrained(learned_start=True)
    zeros = model.network.initial(1)

    def scores(hidden: float) -> Tensor:
        states = [(torch.full_like(layer[0], hidden), torch.full_like(layer[1], 2.0)) for layer in zeros]
        with torch.inference_mode():
            found = LSTMStepper(model.network, states, int8=True).step(torch.tensor([5]))
        # The given weights are not changed.
        assert all((layer[0] == hidden).all() and (layer[1] == 2).all() for layer in states)
        return found

    assert torch.equal(scores(3.0), scores(1.0))
    assert not torch.equal(scores(-3.0), scores(1.0))


def test_auto_is_int8_for_large_lstms_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained()
    monkeypatch.setattr(sampling, "multiplies_int8", lambda device: True)
    assert not writes_in_int8(model, "auto")  # small
    assert writes_in_int8(model, "int8")
    monkeypatch.setattr(sampling, "WORTH_INT8", 1)
    assert writes_in_int8(model, "auto")
    assert not writes_in_int8(model, "fp32")
    assert not writes_in_int8(untrained(cell="gru"), "auto")
    monkeypatch.setattr(sampling, "multiplies_int8", lambda device: False)
    assert not writes_in_int8(model, "auto")


@pytest.mark.parametrize(
    "network", [{"cell": "gru"}, {"residual": True, "embedding": 12}, {"adaptive": True}], ids=str
)
def test_other_networks_refuse_int8(network: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="precision int8 is for plain stacks of LSTM layers"):
        writes_in_int8(untrained(**network), "int8")


@pytest.mark.parametrize(
    "network", [{}, {"cell": "gru"}, {"residual": True, "embedding": 12}, {"adaptive": True}], ids=str
)
def test_what_was_begun_in_bf16_goes_on_in_any_precision(network: dict[str, Any]) -> None:
    model = untrained(scale=1.0, **network)
    model.precision = torch.bfloat16
    half = Sampler(model, SamplingOptions(seed=1), beginning(model, "the "))
    half.step()
    after = half.continuation()
    assert {part.dtype for layer in after.states for part in layer} == {torch.float32}
    model.precision = torch.float32
    assert len(written(model, after, 5, seed=1)[0]) == 5


def test_bf16_steps_are_made_in_bf16() -> None:
    model = untrained(hidden=64, scale=1.0)
    exact = Sampler(model, SamplingOptions(seed=1), beginning(model))._stepper
    model.precision = torch.bfloat16
    half = Sampler(model, SamplingOptions(seed=1), beginning(model))
    with torch.inference_mode():
        expected = exact.step(torch.tensor([5])).softmax(1)
        with model.autocast():
            found = half._stepper.step(torch.tensor([5])).float().softmax(1)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)
    assert len(half.step()) == 1
