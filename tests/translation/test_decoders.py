"""The four decoders: equations, steps against whole sequences, coverage, several hypotheses at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.attention import AdditiveAttention, Attention, Scorer, mixed
from seqtool.nn.cell_options import LayerOptions
from seqtool.nn.deferred import Linears
from seqtool.translation.decoders import (
    DECODERS,
    Decoder,
    Memory,
    StepOutput,
    looped,
)
from seqtool.translation.layers import DecoderOptions, DecoderState, Layers, gate_width
from tests.translation import tiny_translator
from tests.translation.tiny_translator import CELLS, FORMS, tiny

WIDTH, HIDDEN, STATES, READOUT = 3, 4, 8, 6


class Case(NamedTuple):
    """The inputs of a decoder."""

    inputs: Tensor  # [B, T, E]
    states: Tensor  # [B, S, C], 0 at padding
    mask: Tensor  # [B, S]
    start: Tensor  # [B, H]


def random_case(lengths: list[int], steps: int = 4, width: int = WIDTH, seed: int = 5) -> Case:
    source = torch.Generator().manual_seed(seed)
    shapes = ((len(lengths), steps, width), (len(lengths), max(lengths), STATES), (len(lengths), HIDDEN))
    inputs, states, start = (torch.randn(shape, generator=source).double() for shape in shapes)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Case(inputs, states * mask[..., None], mask, start)


def decoder_of(form: dict[str, Any]) -> Decoder:
    return tiny(**form, embedding=WIDTH).decoder


def memory_of(decoder: Decoder, case: Case) -> Memory:
    return decoder.memory(case.states, case.mask, case.states.new_empty(0, STATES))


def started(decoder: Decoder, case: Case) -> DecoderState:
    return decoder.initial(case.start, case.mask.shape[1])


def by_steps(decoder: Decoder, case: Case) -> tuple[StepOutput, DecoderState]:
    """The same as `run`, but by one step after the other; returns the last state as well."""
    advance, state = decoder.stepper(memory_of(decoder, case)), started(decoder, case)
    outputs = []
    for inputs in case.inputs.unbind(1):
        output, state = advance(decoder.project(inputs), state)
        outputs.append(output)
    hidden, weights = (torch.stack(part, 1) for part in zip(*outputs, strict=True))
    return StepOutput(hidden, weights), state


def run(decoder: Decoder, case: Case) -> StepOutput:
    return decoder.run(case.inputs, memory_of(decoder, case), started(decoder, case))


@pytest.mark.parametrize("form", FORMS)
def test_all_steps_at_once_are_one_step_after_the_other(form: str) -> None:
    """Values, and the gradients of every parameter and of every input."""
    decoder, case = decoder_of(FORMS[form]), random_case([4, 1, 3])
    leaves = [case.inputs, case.states, case.start, *decoder.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()
    results = []
    for output in (run(decoder, case), by_steps(decoder, case)[0]):
        total = output.hidden.sin().sum() + (output.weights**2).sum()
        found = torch.autograd.grad(total, leaves, materialize_grads=True)
        results.append((*output, *found))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", [name for name in FORMS if "layers" in name])
def test_locked_dropout_between_layers_is_the_same_at_every_step(form: str) -> None:
    decoder, case = decoder_of({**FORMS[form], "dropout": 0.5}), random_case([4, 1, 3])
    assert decoder.training
    torch.manual_seed(3)
    at_once = run(decoder, case)
    torch.manual_seed(3)
    torch.testing.assert_close(by_steps(decoder, case)[0], at_once)
    torch.manual_seed(4)
    assert not torch.allclose(run(decoder, case).hidden, at_once.hidden)
    decoder.eval()
    torch.testing.assert_close(by_steps(decoder, case)[0], run(decoder, case))


@pytest.mark.parametrize("form", [name for name in FORMS if "layers" in name or "coverage" in name])
def test_nothing_sees_the_future(form: str) -> None:
    decoder, case = decoder_of(FORMS[form]), random_case([4, 1, 3])
    changed = case.inputs.clone()
    changed[:, 2] += 1
    before, after = run(decoder, case), run(decoder, case._replace(inputs=changed))
    torch.testing.assert_close(after.hidden[:, :2], before.hidden[:, :2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after.weights[:, :2], before.weights[:, :2], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(after.hidden[:, 2], before.hidden[:, 2])


@pytest.mark.parametrize("form", FORMS)
def test_hypotheses_of_a_sentence_go_their_own_ways(form: str) -> None:
    """K rows per sentence over one memory equal each row alone, also after some sentences have left."""
    decoder, case, rows = decoder_of(FORMS[form]).eval(), random_case([4, 1, 3]), 2
    tiled = random_case([1] * 6, seed=8)  # other inputs and starts for every hypothesis
    memory, state = memory_of(decoder, case), decoder.initial(tiled.start, 4)
    output, state = decoder.stepper(memory)(decoder.project(tiled.inputs[:, 0]), state)
    left = torch.tensor([2, 0])  # sentences, in another order
    chosen = torch.tensor([5, 4, 1, 0])  # their hypotheses, in another order too
    later = decoder.stepper(memory.kept(left))
    output, state = later(decoder.project(tiled.inputs[chosen, 1]), tuple(each[chosen] for each in state))
    for place, row in enumerate(chosen.tolist()):
        sentence = row // rows
        alone = Case(
            tiled.inputs[row : row + 1, :2],
            case.states[sentence : sentence + 1],
            case.mask[sentence : sentence + 1],
            tiled.start[row : row + 1],
        )
        expected, expected_state = by_steps(decoder, alone)
        torch.testing.assert_close(output.hidden[place], expected.hidden[0, 1])
        torch.testing.assert_close(output.weights[place], expected.weights[0, 1])
        torch.testing.assert_close([each[place] for each in state], [each[0] for each in expected_state])


def test_the_state_before_the_first_step() -> None:
    """Every layer starts from the given state; an LSTM's cell state, feeding and coverage start from 0."""
    decoder = decoder_of({"decoder": "input_feeding", "cell": "lstm", "coverage": True, "decoder_layers": 2})
    start = torch.randn(3, HIDDEN).double()
    zeros = torch.zeros(3, HIDDEN).double()
    state = decoder.initial(start, 5)
    expected = (start, zeros, start, zeros, zeros.new_zeros(3, WIDTH), zeros.new_zeros(3, 5))
    assert len(state) == len(expected)
    assert all(each.equal(value) for each, value in zip(state, expected, strict=True))


# Coverage


class Spy:
    """An attention scorer that records its inputs and outputs."""

    def __init__(self, attention: Attention) -> None:
        self.coverage: list[Tensor | None] = []
        self.weights: list[Tensor] = []
        self._scorer = attention.scorer

    def scorer(self, keys: Tensor, mask: Tensor, linear: Linears) -> Scorer:
        inner = self._scorer(keys, mask, linear)

        def weights(query: Tensor, coverage: Tensor | None) -> Tensor:
            self.coverage.append(coverage)
            self.weights.append(inner(query, coverage))
            return self.weights[-1]

        return weights


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["input_feeding", "conditional", "bahdanau"])
@pytest.mark.parametrize("way", ["run", "stepper"])
def test_coverage_is_the_sum_of_the_attention_before(
    monkeypatch: pytest.MonkeyPatch, kind: str, cell: str, layers: int, way: str
) -> None:
    decoder = decoder_of({"decoder": kind, "cell": cell, "coverage": True, "decoder_layers": layers})
    case, spy = random_case([4, 1, 3]), Spy(decoder.attention)
    monkeypatch.setattr(decoder.attention, "scorer", spy.scorer)
    state = by_steps(decoder, case)[1] if way == "stepper" else (run(decoder, case).weights.sum(1),)
    assert len(spy.coverage) == case.inputs.shape[1]
    total = torch.zeros(3, 1, 4).double()
    for step, (coverage, weights) in enumerate(zip(spy.coverage, spy.weights, strict=True)):
        assert coverage is not None
        assert step or coverage.count_nonzero() == 0
        torch.testing.assert_close(coverage, total)
        total = total + weights
    torch.testing.assert_close(state[-1], total[:, 0])  # the state that moves with a hypothesis


def test_without_coverage_the_attention_is_not_told_of_any(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, case = decoder_of({}), random_case([4, 1])
    spy = Spy(decoder.attention)
    monkeypatch.setattr(decoder.attention, "scorer", spy.scorer)
    run(decoder, case)
    assert spy.coverage == [None] * case.inputs.shape[1]


# The equations of the papers, for one sentence and one vector at a time

Transition = Callable[[nn.Module, Tensor, DecoderState], DecoderState]  # cell, projected input, state


def gru(cell: nn.Module, given: Tensor, state: DecoderState) -> DecoderState:
    recurrent, (_, bias) = weights_of(cell)[1], biases_of(cell)
    reset, update, candidate = given.chunk(3)
    reset_h, update_h, candidate_h = (recurrent @ state[0] + bias).chunk(3)
    reset, update = 1 / (1 + (-reset - reset_h).exp()), 1 / (1 + (-update - update_h).exp())
    return ((1 - update) * torch.tanh(candidate + reset * candidate_h) + update * state[0],)


def lstm(cell: nn.Module, given: Tensor, state: DecoderState) -> DecoderState:
    recurrent, (_, bias) = weights_of(cell)[1], biases_of(cell)
    gates = (given + recurrent @ state[0] + bias).chunk(4)
    open_in, keep, open_out = (1 / (1 + (-gates[number]).exp()) for number in (0, 1, 3))
    memory = keep * state[1] + open_in * torch.tanh(gates[2])
    return open_out * torch.tanh(memory), memory


TRANSITIONS: dict[str, Transition] = {"gru": gru, "lstm": lstm}


def weights_of(cell: nn.Module) -> list[Tensor]:
    """The parts of the gates from the input and from the state."""
    return [value for name, value in cell.named_parameters() if "weight" in name]


def biases_of(cell: nn.Module) -> list[Tensor]:
    return [value for name, value in cell.named_parameters() if "bias" in name]


class Textbook:
    """A decoder of one or more layers over one sentence [S, C], using its weights but none of its code."""

    def __init__(self, decoder: Decoder, cell: str, states: Tensor, start: Tensor) -> None:
        self.decoder, self.transition, self.source = decoder, TRANSITIONS[cell], states
        empty: DecoderState = (start,) if cell == "gru" else (start, torch.zeros_like(start))
        self.lower, self.upper = empty, [empty for _ in decoder.upper.cells]
        self.coverage = states.new_zeros(len(states))
        self.fed = states.new_zeros(decoder.sizes.output)

    def context(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """softmax(v . tanh(W q + U h + b + c u)), and the states weighted by it; updates the coverage."""
        attention = self.decoder.attention
        assert isinstance(attention, AdditiveAttention)
        scores = []
        for state, covered in zip(self.source, self.coverage, strict=True):
            units = attention.query.weight @ query + attention.key.weight @ state + attention.key.bias
            if attention.coverage is not None:
                units = units + covered * attention.coverage
            scores.append((attention.energy * torch.tanh(units)).sum())
        weights = torch.stack(scores).softmax(0)
        self.coverage = self.coverage + weights
        return weights, weights @ self.source

    def layers_above(self, hidden: Tensor) -> Tensor:
        for number, cell in enumerate(self.decoder.upper.cells):
            given = weights_of(cell)[0] @ hidden + biases_of(cell)[0]
            self.upper[number] = self.transition(cell, given, self.upper[number])
            below, hidden = hidden, self.upper[number][0]
            hidden = hidden + below if self.decoder.sizes.made_of.residual else hidden
        return hidden

    def readout(self, before: Tensor) -> Tensor:
        if self.decoder.sizes.readout == "tanh":
            return torch.tanh(before)
        return torch.stack([torch.maximum(left, right) for left, right in before.view(-1, 2)])

    def given(self, inputs: Tensor) -> Tensor:
        return weights_of(self.decoder.cell)[0] @ inputs + biases_of(self.decoder.cell)[0]

    def step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Readout and attention of a step; y is the embedding of the previous symbol."""
        raise NotImplementedError

    def value(self, name: str) -> Tensor:
        """A weight of the decoder."""
        return dict(self.decoder.named_parameters())[name]


class InputFeeding(Textbook):
    def step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        gates = self.given(inputs) + self.value("feed") @ self.fed
        self.lower = self.transition(self.decoder.cell, gates, self.lower)
        hidden = self.layers_above(self.lower[0])
        weights, context = self.context(hidden)
        before = self.value("output.weight") @ hidden + self.value("output.bias")
        self.fed = self.readout(before + self.value("context") @ context)
        return self.fed, weights


class Bahdanau(Textbook):
    def step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.transitions(inputs)
        hidden = self.layers_above(self.lower[0])
        before = self.value("output.weight") @ hidden + self.value("output.bias")
        before = before + self.value("input") @ inputs
        return self.readout(before + self.value("context") @ (weights @ self.source)), weights

    def transitions(self, inputs: Tensor) -> Tensor:
        weights, context = self.context(self.lower[0])
        gates = self.given(inputs) + self.value("attended") @ context
        self.lower = self.transition(self.decoder.cell, gates, self.lower)
        return weights


class Conditional(Bahdanau):
    def transitions(self, inputs: Tensor) -> Tensor:
        middle = self.transition(self.decoder.cell, self.given(inputs), self.lower)
        weights, context = self.context(middle[0])
        second = self.decoder.get_submodule("second")
        gates = self.value("attended") @ context + biases_of(second)[0]
        self.lower = self.transition(second, gates, middle)
        return weights


class Parallel(Textbook):
    def step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.lower = self.transition(self.decoder.cell, self.given(inputs), self.lower)
        hidden = self.layers_above(self.lower[0])
        weights, context = self.context(hidden)
        before = self.value("output.weight") @ hidden + self.value("output.bias")
        return self.readout(before + self.value("context") @ context), weights


TEXTBOOKS: dict[str, type[Textbook]] = {
    "input_feeding": InputFeeding,
    "conditional": Conditional,
    "bahdanau": Bahdanau,
    "parallel": Parallel,
}
WRITTEN_OUT = ("plain", "coverage", "layers", "residual layers", "maxout")


def test_every_decoder_has_its_equations_here() -> None:
    assert TEXTBOOKS.keys() == DECODERS.keys()
    assert set(tiny_translator.DECODERS) == DECODERS.keys()


@pytest.mark.parametrize("form", [name for name in FORMS if name.split(", ", 2)[2] in WRITTEN_OUT])
def test_a_decoder_computes_the_equations_of_its_paper(form: str) -> None:
    settings = FORMS[form]
    decoder, case = decoder_of(settings), random_case([4, 1, 3])
    memory = memory_of(decoder, case)
    output = run(decoder, case)
    features = decoder.finish(output.hidden, decoder.share(case.inputs), mixed(output.weights, memory.after))
    for sentence, length in enumerate([4, 1, 3]):
        states, start = case.states[sentence, :length], case.start[sentence]
        textbook = TEXTBOOKS[settings["decoder"]](decoder, settings["cell"], states, start)
        for step, inputs in enumerate(case.inputs[sentence]):
            expected, weights = textbook.step(inputs)
            torch.testing.assert_close(features[sentence, step], expected, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(output.weights[sentence, step, :length], weights)


# Parts


@pytest.mark.parametrize("cell", CELLS)
def test_layers_above_with_a_residual_add_their_input(cell: str) -> None:
    layers, residual = (
        Layers(
            DecoderOptions(LayerOptions(cell, residual=flag), WIDTH, HIDDEN, STATES, 2, READOUT, "tanh", 0.0)
        ).double()
        for flag in (False, True)
    )
    residual.load_state_dict(layers.state_dict())
    values = torch.randn(2, 3, HIDDEN).double()
    state = layers.initial(torch.randn(2, HIDDEN).double())
    outputs = layers(values, state)
    torch.testing.assert_close(residual(values, state), outputs + values)


def test_the_width_of_the_gates_is_that_of_the_projection() -> None:
    assert gate_width(decoder_of({"cell": "gru"}).cell) == 3 * HIDDEN
    assert gate_width(decoder_of({"cell": "lstm"}).cell) == 4 * HIDDEN


def test_a_loop_in_half_precision_keeps_its_state_in_full() -> None:
    decoder, case = decoder_of({"copy": True}).float(), random_case([4, 1, 3])
    case = Case(*(each.float() if each.is_floating_point() else each for each in case))
    exact = run(decoder, case)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        advance = decoder.stepper(memory_of(decoder, case))
        projected = decoder.project(case.inputs.transpose(0, 1))
        found = looped(advance, projected, started(decoder, case))
    assert projected.dtype == torch.bfloat16
    assert found.hidden.dtype == found.weights.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)
