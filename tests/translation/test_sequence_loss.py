"""Sequence-level training against enumeration: the objective, its gradient and its samples."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool import api
from seqtool.errors import InterruptedRunError, SettingsError
from seqtool.evaluation.text_scores import sentence_bleu, sentence_chrf
from seqtool.nn.losses import LossSum
from seqtool.translation import sequence_loss
from seqtool.translation.batches import Batch, EncodedPair, encode_pairs, pair_batch
from seqtool.translation.model import Translator
from seqtool.translation.prediction import TranslatorModel
from seqtool.translation.search import longest_output
from seqtool.translation.sequence_loss import (
    Output,
    OwnOutputs,
    SequenceLoss,
    minimum_risk,
    own_outputs,
    self_critical,
    sequence_log_probabilities,
)
from seqtool.translation.train import loss_function
from seqtool.translation.training_settings import TranslatorTraining
from seqtool.translation.vocabulary import END, PADDING, START, UNKNOWN, copies_of
from tests.listeners import Listener, StopAt
from tests.translation.tiny_pairs import (
    COPYING,
    TEXTS,
    assert_equal_weights,
    double,
    last_state,
    pairs_of,
    tables,
    tiny_data,
    tiny_settings,
    train_tiny,
    untrained,
    weights_of,
    write_pairs,
)
from tests.translation.tiny_translator import (
    FORMS,
    SYMBOLS,
    assert_close,
    batch_for,
    encoded,
    gradients,
    pairs_for,
    tiny,
)

RICH = [name for name in FORMS if name.endswith((", copy", "plain", "positions", "residual layers", "heads"))]
EACH_DECODER = [name for name in FORMS if name.endswith(("coverage, copy", "positions"))]
FORMULA = {"reward": "chrf", "samples": 3}


class Numbers:
    """A stand-in for vocabularies: the text of an output is its ids."""

    def text(self, ids: Sequence[int], extra: Any) -> str:
        assert START not in ids and END not in ids and PADDING not in ids
        return " ".join(str(number) for number in ids)


def texted(model: Translator, step: int = 0) -> Batch:
    """The usual pairs, each with its text and its number."""
    copy_end = model.settings.output == "positions"
    made = []
    for number, pair in enumerate(pairs_for(model)):
        text = Numbers().text(pair[1], ())
        made.append(encoded(pair, copy_end=copy_end)._replace(text=text, number=number))
    return pair_batch(made, step)


def without_leak(model: Translator) -> Translator:
    """Makes padding and start impossible, so that the symbols that can be drawn have all the probability."""
    with torch.no_grad():
        if model.bias is not None:
            model.bias[[PADDING, START]] = -1e4
    return model


def loss_of(model: Translator, objective: str, **settings: Any) -> SequenceLoss:
    training = TranslatorTraining.model_validate({"objective": objective, **FORMULA, **settings})

    def plain(batch: Batch) -> LossSum:
        return model.loss(batch)

    return SequenceLoss(model, Numbers(), training, seed=3, plain=plain)  # type: ignore[arg-type]


def written_out(model: Translator, pair: EncodedPair, outputs: Sequence[Output]) -> Tensor:
    """Log-probabilities of outputs of one source, each read alone, by the definition of the mixture, [N]."""
    result = []
    for output in outputs:
        batch = pair_batch([pair._replace(target=list(output))])
        source = model.encode(batch)
        readout = model.read(source, batch.inputs)
        symbols = source.symbols[0].tolist()
        logs = []
        for step, symbol in enumerate(output):
            attention, copyable = readout.weights[0, step], source.symbols[0] >= 0
            hits = torch.tensor([each == symbol for each in symbols])
            copied = attention[hits].sum() / attention[copyable].sum() if copyable.any() else 0.0
            if model.settings.output == "positions":
                logs.append(copied.log())
                continue
            scores = model.projection @ readout.features[0, step] + model.bias
            written = scores.softmax(0)[symbol] if symbol < SYMBOLS else 0.0
            if model.gate is not None and copyable.any():
                use = torch.sigmoid(readout.gate[0, step])
                written = use * written + (1 - use) * copied
            logs.append(written.log())
        result.append(torch.stack(logs).sum())
    return torch.stack(result)


def every_output(pair: EncodedPair, longest: int) -> list[Output]:
    """All possible outputs of a source up to a length; those cut at that length have no end symbol."""
    symbols = [UNKNOWN, *range(END + 1, SYMBOLS + len(pair.source.extra))]
    found: list[Output] = [
        (*each, END) for n in range(longest) for each in itertools.product(symbols, repeat=n)
    ]
    return found + list(itertools.product(symbols, repeat=longest))


# Log probabilities that can be differentiated


@pytest.mark.parametrize("form", FORMS)
def test_log_probabilities_of_targets_are_those_of_the_distributions(form: str) -> None:
    model = tiny(**FORMS[form])
    batch = batch_for(model)
    source = model.encode(batch)
    readout = model.read(source, batch.inputs)
    found = model.log_probabilities_of(readout, source, batch.target, batch.target_mask)
    table = model.log_probabilities(readout, source).gather(2, batch.target[..., None])[..., 0]
    torch.testing.assert_close(found, table.masked_fill(~batch.target_mask, 0.0), rtol=1e-10, atol=1e-10)
    assert found[~batch.target_mask].count_nonzero() == 0
    total = model.loss(batch).total
    torch.testing.assert_close(-found.sum(), total, rtol=1e-10, atol=1e-10)
    assert_close(gradients(model, -found.sum()), gradients(model, total))


@pytest.mark.parametrize("form", RICH)
def test_outputs_read_together_are_as_likely_as_each_alone(form: str) -> None:
    """For finished and cut outputs with copied symbols; gradients with different weights are equal, too."""
    model = tiny(**FORMS[form])
    batch = texted(model)
    made = [
        [tuple(pair.target), tuple(pair.target[:-1]), (*pair.target[-2::-1], END), tuple(pair.target[:1])]
        for pair in batch.pairs
    ]
    outputs = [output for row in made for output in row]
    owners = torch.arange(len(batch.pairs)).repeat_interleave(4)
    source = model.encode(batch).kept(owners)
    found = sequence_log_probabilities(model, source, outputs)
    expected = torch.cat([written_out(model, pair, row) for pair, row in zip(batch.pairs, made, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    weights = torch.linspace(-1.0, 2.0, len(outputs), dtype=torch.float64)
    assert_close(
        gradients(model, (weights * found).sum()), gradients(model, (weights * expected).sum()), 1e-9
    )


@pytest.mark.parametrize("form", [name for name in FORMS if name.endswith(("plain", ", copy", "positions"))])
def test_the_probabilities_of_all_outputs_sum_to_one(form: str) -> None:
    model = without_leak(tiny(**FORMS[form]))
    pair = texted(model).pairs[0]
    outputs = every_output(pair, 2)
    if model.settings.output == "positions":
        outputs = [each for each in outputs if set(each) <= set(pair.source.symbols)]
    batch = pair_batch([pair])
    source = model.encode(batch).kept(torch.zeros(len(outputs), dtype=torch.int64))
    found = sequence_log_probabilities(model, source, outputs)
    assert float(found.exp().sum().detach()) == pytest.approx(1.0, abs=1e-9)


# Minimum risk


def test_minimum_risk_is_the_sum_that_the_paper_has() -> None:
    source = torch.Generator().manual_seed(1)
    counts, sharpness = [3, 1, 4], 0.3
    owners = torch.tensor([row for row, count in enumerate(counts) for _ in range(count)])
    log_p = (-5 * torch.rand(8, generator=source, dtype=torch.float64)).requires_grad_()
    rewards = torch.rand(8, generator=source, dtype=torch.float64)
    expected, slopes = 0.0, []
    for row in range(len(counts)):
        p = [float(each.detach().exp()) ** sharpness for each in log_p[owners == row]]
        q = [each / sum(p) for each in p]
        risk = sum(share * (1 - float(r)) for share, r in zip(q, rewards[owners == row], strict=True))
        expected += risk
        slopes += [
            sharpness * share * (1 - float(r) - risk)
            for share, r in zip(q, rewards[owners == row], strict=True)
        ]
    found = minimum_risk(log_p, rewards, owners, sharpness)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(found, log_p)
    torch.testing.assert_close(gradient, torch.tensor(slopes, dtype=torch.float64))
    assert gradient[3] == 0  # a single candidate has nothing to be compared with


def test_minimum_risk_stays_finite_for_the_unlikeliest_outputs() -> None:
    log_p = torch.tensor([-1e6, -2e6, -3.0], requires_grad=True)
    found = minimum_risk(log_p, torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0, 0, 1]), 1.0)
    assert float(found.detach()) == pytest.approx(1.5)
    (gradient,) = torch.autograd.grad(found, log_p)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("form", EACH_DECODER)
@pytest.mark.parametrize("sharpness", [0.005, 0.5])
def test_the_loss_of_a_batch_is_the_risk_over_reference_and_samples(form: str, sharpness: float) -> None:
    """The expected loss with each candidate read alone and the sum written out."""
    model = tiny(**FORMS[form])
    batch = texted(model, step=4)
    found = loss_of(model, "mrt", sharpness=sharpness, samples=6, sample_length=3)(batch)
    own = own_outputs(model, batch, samples=6, max_length=3, seed=3, greedy=False)
    expected = torch.zeros((), dtype=torch.float64)
    for pair, drawn in zip(batch.pairs, own.drawn, strict=True):
        candidates = sorted({tuple(pair.target), *drawn})
        p = written_out(model, pair, candidates).exp() ** sharpness
        rewards = [reward_of(pair, output) for output in candidates]
        assert max(rewards) == 1.0
        risk = 1.0 - torch.tensor(rewards, dtype=torch.float64)
        expected = expected + (p / p.sum() * risk).sum()
    assert (found.count, found.unit) == (len(batch.pairs), "sentence")
    torch.testing.assert_close(found.total, expected, rtol=1e-9, atol=1e-9)
    assert_close(gradients(model, found.total), gradients(model, expected), 1e-9)


def reward_of(pair: EncodedPair, output: Output) -> float:
    text = " ".join(str(number) for number in output if number != END)
    return min(sentence_chrf(text, pair.text) / 100, 1.0)


def test_equal_samples_are_one_candidate_and_so_is_a_drawn_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny()
    batch = texted(model)
    drawn = [[tuple(pair.target), (4, END), (4, END), (4,)] for pair in batch.pairs]
    seen: list[Any] = []
    plain = sequence_log_probabilities

    def spy(network: Translator, source: Any, outputs: Sequence[Output]) -> Tensor:
        seen.extend(outputs)
        return plain(network, source, outputs)

    monkeypatch.setattr(sequence_loss, "own_outputs", lambda *_, **__: OwnOutputs(drawn, []))
    monkeypatch.setattr(sequence_loss, "sequence_log_probabilities", spy)
    loss_of(model, "mrt")(batch)
    assert seen == [each for pair in batch.pairs for each in (tuple(pair.target), (4, END), (4,))]


# Self-critical


def test_the_value_is_the_mean_risk_and_the_gradient_that_of_reinforce() -> None:
    log_p = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64, requires_grad=True)
    rewards, baselines = torch.tensor([0.9, 0.1, 0.5]), torch.tensor([0.4, 0.4, 0.7])
    shares = torch.tensor([0.75, 0.25, 1.0])
    found = self_critical(log_p, rewards, baselines, shares)
    assert float(found.detach()) == pytest.approx(0.75 * 0.1 + 0.25 * 0.9 + 0.5)
    (gradient,) = torch.autograd.grad(found, log_p)
    torch.testing.assert_close(gradient, -(shares * (rewards - baselines)).double())


@pytest.mark.parametrize("form", EACH_DECODER)
def test_the_self_critical_gradient_is_that_of_its_samples_against_greedy(form: str) -> None:
    model = tiny(**FORMS[form])
    batch = texted(model, step=4)
    found = loss_of(model, "self_critical", samples=5, sample_length=3)(batch)
    own = own_outputs(model, batch, samples=5, max_length=3, seed=3, greedy=True)
    value, surrogate, moved = 0.0, torch.zeros((), dtype=torch.float64), 0.0
    for pair, drawn, greedy in zip(batch.pairs, own.drawn, own.greedy, strict=True):
        for output in drawn:
            advantage = reward_of(pair, output) - reward_of(pair, greedy)
            value, moved = value + (1 - reward_of(pair, output)) / 5, moved + abs(advantage)
            surrogate = surrogate - advantage / 5 * written_out(model, pair, [output])[0]
    assert moved > 0
    assert float(found.total.detach()) == pytest.approx(value, rel=1e-12)
    assert (found.count, found.unit) == (len(batch.pairs), "sentence")
    assert_close(gradients(model, found.total), gradients(model, surrogate), 1e-9)


@pytest.mark.parametrize("form", ["input_feeding, gru, plain", "parallel, lstm, copy"])
def test_over_all_outputs_the_gradient_is_that_of_the_expected_reward(form: str) -> None:
    """For any baseline: the derivative of sum P(y) (1 - r(y)), also by finite differences."""
    if form not in FORMS:
        form = next(name for name in FORMS if name.startswith("parallel") and name.endswith(", copy"))
    model = without_leak(tiny(**FORMS[form]))
    pair = texted(model).pairs[1]
    outputs = every_output(pair, 2)
    batch, owners = pair_batch([pair]), torch.zeros(len(outputs), dtype=torch.int64)
    rewards = torch.tensor([reward_of(pair, output) for output in outputs], dtype=torch.float64)

    def log_p() -> Tensor:
        source = model.encode(batch).kept(owners)
        return sequence_log_probabilities(model, source, outputs)

    found = log_p()
    shares, baseline = found.detach().exp(), torch.full_like(rewards, 0.37)
    estimate = gradients(model, self_critical(found, rewards, baseline, shares))
    exact = gradients(model, (log_p().exp() * (1 - rewards)).sum())
    assert_close(estimate, exact, 1e-9)
    risk = minimum_risk(log_p(), rewards, owners, 1.0)
    assert_close(
        gradients(model, risk), exact, 1e-9
    )  # and that of minimum risk training where S is everything and alpha is 1
    direction, size = torch.randn_like(model.bias), 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            model.bias.add_(sign * size * direction)
            values.append(float((log_p().exp() * (1 - rewards)).sum()))
            model.bias.sub_(sign * size * direction)
    slope = float((estimate["bias"] * direction).sum())
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("objective", ["mrt", "self_critical"])
def test_a_share_of_the_plain_loss_is_added(objective: str) -> None:
    model = tiny(copy=True)
    batch = texted(model)
    alone, mixed = (loss_of(model, objective, mle_weight=weight)(batch) for weight in (0.0, 0.25))
    plain = model.loss(batch)
    torch.testing.assert_close(mixed.total, alone.total + 0.25 * plain.total)
    assert mixed[1:] == alone[1:]
    summed = gradients(model, alone.total + 0.25 * plain.total)
    assert_close(gradients(model, mixed.total), summed)


# Sampling


def drawn_by_pair(
    model: Translator, pairs: Sequence[EncodedPair], step: int = 0, seed: int = 1
) -> dict[int, Any]:
    own = own_outputs(model, pair_batch(pairs, step), samples=5, max_length=0, seed=seed, greedy=True)
    return {
        pair.number: (drawn, best) for pair, drawn, best in zip(pairs, own.drawn, own.greedy, strict=True)
    }


@pytest.mark.parametrize("form", RICH)
def test_draws_do_not_depend_on_the_batch(form: str) -> None:
    model = tiny(**FORMS[form])
    pairs = list(texted(model).pairs)
    expected = drawn_by_pair(model, pairs, 5)
    assert drawn_by_pair(model, pairs[::-1], 5) == expected
    alone: dict[int, Any] = {}
    for pair in pairs:
        alone |= drawn_by_pair(model, [pair], 5)
    assert alone == expected


def test_draws_are_those_of_seed_update_and_pair_and_of_nothing_else() -> None:
    model = tiny(copy=True, dropout=0.5, embedding_dropout=0.5, word_dropout=0.5)
    pairs = list(texted(model).pairs)
    expected = drawn_by_pair(model, pairs, 5)
    state = torch.get_rng_state()
    assert drawn_by_pair(model, pairs, 5) == expected
    assert torch.get_rng_state().equal(state)  # dropout's random generator was not used
    torch.manual_seed(8)
    assert drawn_by_pair(model.eval(), pairs, 5) == expected
    for other in ({"step": 6}, {"seed": 2}):
        changed = drawn_by_pair(model, pairs, **{"step": 5, **other})
        assert all(changed[number][0] != expected[number][0] for number in changed)
        assert all(changed[number][1] == expected[number][1] for number in changed)
    same = [pairs[0]._replace(number=number) for number in range(4)]
    assert len({str(each[0]) for each in drawn_by_pair(model, same, 5).values()}) == 4


@pytest.mark.parametrize("training", [True, False])
def test_drawing_leaves_the_mode_of_the_network_also_after_an_error(
    monkeypatch: pytest.MonkeyPatch, training: bool
) -> None:
    model = tiny(dropout=0.3).train(training)
    batch = texted(model)
    modes: list[bool] = []

    def failing(*_: Any, **__: Any) -> Any:
        modes.append(any(module.training for module in model.modules()))
        raise MemoryError

    own_outputs(model, batch, samples=1, max_length=0, seed=1, greedy=False)
    assert all(module.training == training for module in model.modules())
    monkeypatch.setattr(sequence_loss, "sample", failing)
    with pytest.raises(MemoryError):
        own_outputs(model, batch, samples=1, max_length=0, seed=1, greedy=False)
    assert modes == [False]
    assert all(module.training == training for module in model.modules())


def test_draws_are_of_the_weights_as_they_are() -> None:
    """What a search caches of the weights is computed again, because they change with every update."""
    model = tiny(tied="none")
    loss, batch = loss_of(model, "mrt"), texted(model)
    loss(batch)
    with torch.no_grad():
        model.projection[7] = 0.0
        model.bias[7] = 1e3
    own = own_outputs(model, batch, samples=3, max_length=4, seed=1, greedy=True)
    assert {*own.greedy, *(output for row in own.drawn for output in row)} == {(7, 7, 7, 7)}


@pytest.mark.parametrize(("given", "cut"), [(0, None), (3, 3)])
def test_outputs_are_cut_where_a_search_would_cut_them_or_where_asked(given: int, cut: int | None) -> None:
    model = tiny()
    with torch.no_grad():
        model.bias[END] = -1e4
    batch = texted(model)
    own = own_outputs(model, batch, samples=2, max_length=given, seed=1, greedy=True)
    for pair, drawn, best in zip(batch.pairs, own.drawn, own.greedy, strict=True):
        assert {len(each) for each in (*drawn, best)} == {cut or longest_output(pair.source)}


# Rewards


@pytest.mark.parametrize("reward", ["bleu", "chrf"])
def test_a_reward_is_that_of_the_text_as_the_source_spells_it(reward: str) -> None:
    """Names outside the vocabulary are copied, and then the text equals the reference."""
    model = double(untrained(model={"copy": True}, vocabulary=COPYING))
    settings = TranslatorTraining.model_validate({"objective": "mrt", "reward": reward})
    loss = SequenceLoss(model.network, model.vocabularies, settings, seed=1, plain=model.network.loss)
    pairs = encode_pairs(pairs_of(), model.vocabularies)
    size = len(model.vocabularies.target.symbols)
    assert any(number >= size for pair in pairs for number in pair.target)
    candidates = [[tuple(pair.target), tuple(pair.target[:-1]), tuple(pair.target[1:])] for pair in pairs]
    found = iter(loss._rewards(pairs, candidates))
    score = {"bleu": sentence_bleu, "chrf": sentence_chrf}[reward]
    for pair in pairs:
        assert [next(found), next(found)] == [1.0, 1.0]
        rest = " ".join(pair.text.split()[1:])
        assert next(found) == min(score(rest, pair.text) / 100, 1.0)
    assert next(found, None) is None


def test_an_output_of_no_symbols_is_worth_nothing() -> None:
    model = tiny()
    pair = texted(model).pairs[0]
    assert loss_of(model, "mrt")._rewards([pair], [[(END,), tuple(pair.target)]]) == [0.0, 1.0]


# Precision


@pytest.mark.parametrize("objective", ["mrt", "self_critical"])
@pytest.mark.parametrize("form", ["input_feeding", "parallel"])
def test_every_weight_is_learned_in_half_precision_too(objective: str, form: str) -> None:
    """Weights that autocast converted during sampling have no gradients and must not be used in training."""
    model = without_leak(tiny(decoder=form, copy=True, tied="none")).float()
    batch = texted(model)
    full = (
        gradients(model, loss_of(model, objective, sharpness=1.0)(batch).total) if objective == "mrt" else {}
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss_of(model, objective, **({"sharpness": 1.0} if full else {}))(batch)
    found.total.backward()
    assert [name for name, each in model.named_parameters() if each.grad is None] == []
    assert all(each.grad is not None and each.grad.isfinite().all() for each in model.parameters())
    if not full:
        full = gradients(model, loss_of(model, objective)(batch).total)
    missing = [n for n, each in model.named_parameters() if full[n].any() and not each.grad.any()]  # type: ignore[union-attr]
    assert missing == []


# Settings


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"reward": "chrf"}, "reward = chrf has no effect with objective = 'mle'; leave it out"),
        ({"samples": 5}, "samples = 5 has no effect with objective = 'mle'"),
        ({"sample_length": 5}, "sample_length = 5 has no effect with objective = 'mle'"),
        ({"mle_weight": 0.1}, "mle_weight = 0.1 has no effect with objective = 'mle'"),
        ({"sharpness": 0.1}, "sharpness = 0.1 has no effect with objective = 'mle'"),
        ({"objective": "self_critical", "sharpness": 0.1}, "no effect with objective = 'self_critical'"),
        (
            {"objective": "mrt", "label_smoothing": 0.2, "teacher_forcing": {"ratio": 0.5}},
            "label_smoothing, teacher_forcing has no effect with objective = 'mrt' and mle_weight = 0",
        ),
        (
            {"objective": "self_critical", "teacher_forcing": {"schedule": "linear"}},
            "teacher_forcing has no effect with objective = 'self_critical' and mle_weight = 0",
        ),
        ({"objective": "mrt", "coverage_loss": 1.0}, "coverage_loss has no effect with objective = 'mrt'"),
        ({"objective": "mtr"}, "did you mean 'mrt'?"),
        ({"objective": "mrt", "samples": 0}, "training.samples"),
        ({"objective": "mrt", "sharpness": 0.0}, "training.sharpness"),
        ({"objective": "mrt", "reward": "ter"}, "training.reward"),
    ],
    ids=str,
)
def test_settings_that_nothing_would_read_are_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        tiny_settings(model={"coverage": True}, training=training)
    assert message in str(raised.value)


def test_what_the_plain_loss_reads_goes_with_a_share_of_it_or_when_it_is_off() -> None:
    read = {"label_smoothing": 0.2, "teacher_forcing": {"ratio": 0.5}, "mle_weight": 0.1}
    assert tiny_settings(training={"objective": "mrt", **read}).training.mle_weight == 0.1
    tiny_settings(training={"objective": "mrt", "label_smoothing": 0.0, "teacher_forcing": {"ratio": 1.0}})


def test_the_shared_part_is_the_plain_loss_of_the_settings() -> None:
    model = untrained()
    training = {"objective": "mrt", "label_smoothing": 0.2, "mle_weight": 0.5}
    batch = pair_batch(encode_pairs(pairs_of(), model.vocabularies))
    mixed, alone = (
        loss_function(model, tiny_settings(training=each))(batch).total
        for each in (training, {"objective": "mrt"})
    )
    plain = model.network.loss(batch, smoothing=0.2).total
    torch.testing.assert_close(mixed, alone + 0.5 * plain)


def test_the_seed_of_a_run_is_that_of_its_draws() -> None:
    model = untrained()
    batch = pair_batch(encode_pairs(pairs_of(), model.vocabularies))
    settings = tiny_settings(training={"objective": "mrt"})
    losses = [
        float(loss_function(model, settings.model_copy(update={"seed": seed}))(batch).total.detach())
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_fresh_network_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    for options in ({}, {"resume": True}):
        with pytest.raises(SettingsError) as raised:
            train_tiny(tmp_path, TEXTS, options, training={"objective": "mrt"})
        assert str(raised.value) == (
            "training.objective = 'mrt' fine-tunes a trained model; name it with --init-from MODEL "
            "(with --resume too), or train one first with objective = 'mle'"
        )
        assert not (tmp_path / "run").exists()


# Runs

STARTED: dict[str, Any] = {"model": {"copy": True}, "vocabulary": COPYING}
TUNED: dict[str, dict[str, Any]] = {
    "mrt": {"objective": "mrt", "reward": "chrf", "sharpness": 0.05},
    "self_critical": {"objective": "self_critical", "reward": "chrf"},
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator that has half learned its ten pairs."""
    return train_tiny(tmp_path_factory.mktemp("start") / "x", training={"epochs": 9}, **STARTED).path


def expected_reward(model: TranslatorModel, samples: int = 100) -> float:
    """Mean chrF of many samples that training has not seen."""
    copies = copies_of(model.description.model)
    batch = pair_batch(encode_pairs(pairs_of(), model.vocabularies, copies=copies), step=10**6)
    own = own_outputs(model.network, batch, samples=samples, max_length=0, seed=99, greedy=False)
    return mean(
        sentence_chrf(model.vocabularies.text([n for n in output if n != END], pair.source.extra), pair.text)
        for pair, drawn in zip(batch.pairs, own.drawn, strict=True)
        for output in drawn
    )


@pytest.mark.parametrize("objective", TUNED)
def test_the_expected_reward_rises_and_the_reported_risk_falls(
    tmp_path: Path, start: Path, objective: str
) -> None:
    before = expected_reward(api.load_translator(start, device="cpu"))
    listener = Listener()
    rate = 0.01 if objective == "mrt" else 0.003
    training = {**TUNED[objective], "epochs": 15, "learning_rate": rate, "select": "chrf"}
    options = {"initial": start, "reporter": listener}
    run = train_tiny(tmp_path, TEXTS, options, training=training, **STARTED)
    assert expected_reward(run.model) > before + 4
    assert mean(listener.losses[-6:]) < mean(listener.losses[:6]) - 0.02
    assert all(0 <= loss <= 1 for loss in listener.losses)
    events = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= event["train_loss"] <= 1 for event in events if event["event"] == "evaluation")


def test_the_first_risk_is_what_the_samples_have(tmp_path: Path, start: Path) -> None:
    """The first loss of a run, before any update, is one minus the mean reward of its samples."""
    listener = Listener()
    training = {**TUNED["self_critical"], "samples": 50, "max_steps": 1, "batch_tokens": 10_000}
    train_tiny(tmp_path, TEXTS, {"initial": start, "reporter": listener}, training=training, **STARTED)
    model = api.load_translator(start, device="cpu")
    assert listener.losses[0] == pytest.approx(1 - expected_reward(model, 400) / 100, abs=0.03)


@pytest.mark.parametrize("objective", TUNED)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, objective: str) -> None:
    sections: dict[str, Any] = {
        "model": {
            "copy": True,
            "coverage": True,
            "dropout": 0.3,
            "embedding_dropout": 0.2,
            "word_dropout": 0.2,
        },
        "vocabulary": COPYING,
    }
    base = train_tiny(tmp_path / "base", **sections)
    training = {**TUNED[objective], "mle_weight": 0.01, "epochs": 2, "accumulation": 2, "checkpoint_every": 1}
    options: dict[str, Any] = {"initial": base.path}
    whole = train_tiny(tmp_path / "whole", TEXTS, options, training=training, **sections)
    for step in (2, whole.result.steps - 1):
        folder = tmp_path / f"stopped-{step}"
        with pytest.raises(InterruptedRunError):
            train_tiny(folder, TEXTS, {**options, "reporter": StopAt(step)}, training=training, **sections)
        torch.manual_seed(99)
        run = train_tiny(folder, TEXTS, {**options, "resume": True}, training=training, **sections)
        assert run.result.metrics == whole.result.metrics
        assert_equal_weights(weights_of(run), weights_of(whole))
        assert_equal_weights(last_state(folder), last_state(tmp_path / "whole"))


def test_seeds_draw_differently_and_repeat(tmp_path: Path, start: Path) -> None:
    def tuned(name: str, seed: int) -> dict[str, Tensor]:
        recipe = {**tables(write_pairs(tmp_path), **STARTED, training=TUNED["mrt"]), "seed": seed}
        recipe["training"] |= {"max_steps": 3}
        return api.train(recipe, output=tmp_path / name, initial=start).model.network.state_dict()

    first, again, other = tuned("a", 1), tuned("b", 1), tuned("c", 2)
    assert_equal_weights(first, again)
    with pytest.raises(AssertionError):
        assert_equal_weights(first, other)


@pytest.mark.parametrize(
    "sections",
    [
        {"vocabulary": {"kind": "sentencepiece", "size": 60, "sampling": 0.3}},
        {"model": {"decoder": "parallel", "attention": "none"}},
        {"vocabulary": {"kind": "byte"}, "model": {"decoder": "conditional", "cell": "lstm"}},
    ],
    ids=["pieces", "no attention", "bytes"],
)
@pytest.mark.parametrize("objective", TUNED)
def test_any_translator_can_be_tuned(tmp_path: Path, sections: dict[str, Any], objective: str) -> None:
    training = {"max_steps": 2, "batch_tokens": 200}
    base = train_tiny(tmp_path / "base", training=training, **sections)
    training = {**training, **TUNED[objective], "sample_length": 12}
    run = train_tiny(tmp_path / "tuned", TEXTS, {"initial": base.path}, training=training, **sections)
    assert run.result.steps == 2


def test_a_dry_run_times_the_objective_on_the_model_that_is_tuned(start: Path, tmp_path: Path) -> None:
    recipe = tables(write_pairs(tmp_path), training=TUNED["mrt"])
    recipe |= {"model": {}, "vocabulary": {}}
    settings, base = api.starting_from(api.resolve_settings("translate", recipe), start)
    assert settings.model == api.load_translator(start).description.model
    assert base is not None
    found = api.estimate(settings, base)
    assert found.parameters == sum(each.numel() for each in base.network.parameters())
    with pytest.raises(SettingsError, match="--init-from MODEL"):
        api.starting_from(settings, None)


def test_pairs_keep_their_numbers_and_texts_in_batches() -> None:
    settings, data = tiny_settings(), tiny_data()
    pairs = encode_pairs(data.train, untrained().vocabularies)
    assert [(pair.number, pair.text) for pair in pairs] == [(i, text) for i, (_, text) in enumerate(TEXTS)]
    batch = pair_batch(pairs[3:5], 7)
    assert batch.to(torch.device("cpu")).pairs == tuple(pairs[3:5])
    assert replace(batch, step=8).pairs == batch.pairs
    assert settings.training.objective == "mle"
