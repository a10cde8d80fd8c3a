from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from seqtool.errors import DivergedError
from seqtool.lm.adaptation import CLIP_NORM, FLOOR, AdaptingReader, CachingReader, adaptable
from seqtool.lm.model import LanguageNetwork, detached
from seqtool.lm.scoring import LogProbabilities, Reader
from seqtool.lm.settings import AdaptationSettings, ModelSettings
from seqtool.lm.vocabulary import START, Ids
from seqtool.nn.cell_names import BATCH_NORMALISED
from seqtool.nn.cell_options import WITHOUT

CPU = torch.device("cpu")
SYMBOLS = 9


@pytest.fixture(autouse=True)
def fixed_weights() -> None:
    torch.manual_seed(3)


def assert_close(found: LogProbabilities, expected: LogProbabilities | list[float]) -> None:
    """Equal except for rounding in float64."""
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-10)


def network(**settings: object) -> LanguageNetwork:
    """An untrained model with weights large enough for its states to differ."""
    values = {"embedding": 6, "hidden": 7, "layers": 2, "dropout": 0.4, **settings}
    if values.get("cell") not in WITHOUT["weight_drop"]:
        values["weight_drop"] = 0.3
    found = LanguageNetwork(SYMBOLS, ModelSettings.model_validate(values), impossible=[0, START]).double()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(2.0)
    return found.eval()


def text(length: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(3, SYMBOLS, length).astype(np.int32)


def settings_of(**values: object) -> AdaptationSettings:
    return AdaptationSettings.model_validate(
        {"rate": 0.3, "decay": 0.02, "window": 8, "cache_size": 11, "cache_flatness": 0.7} | values
    )


def cuts(total: int, seed: int) -> list[int]:
    """Positions to cut a text at, some of them twice."""
    return sorted(np.random.default_rng(seed).integers(0, total + 1, 12).tolist())


def literal_scores(
    net: LanguageNetwork, documents: list[Ids], settings: AdaptationSettings
) -> LogProbabilities:
    """Dynamic evaluation as in the paper, for one window, parameter and number at a time."""
    net = copy.deepcopy(net)  # in evaluation mode; the CPU's kernels have gradients there too
    parameters = [each for each in net.parameters() if each.requires_grad]
    first = [each.detach().clone() for each in parameters]
    squares: list[list[torch.Tensor]] = []
    found = []
    for ids in documents:
        states, last = detached(net.initial(1)), START
        for start in range(0, len(ids), settings.window):
            window = ids[start : start + settings.window]
            inputs = torch.tensor([[last, *window[:-1].tolist()]])
            outputs, after = net(inputs, states)
            logits = outputs.features[0] @ net.projection[0].T + net.projection[1]
            chosen = logits.log_softmax(1)[torch.arange(len(window)), torch.tensor(window).long()]
            found.append(chosen.detach().numpy())
            net.zero_grad()
            (-chosen.sum() / settings.window).backward()
            gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
            norm = math.sqrt(sum(float((each**2).sum()) for each in gradients))
            gradients = [each * min(1.0, CLIP_NORM / norm) for each in gradients]
            squares.append([each**2 for each in gradients])
            with torch.no_grad():
                scales = [torch.stack(each).mean(0).sqrt() for each in zip(*squares, strict=True)]
                mean = torch.cat([each.flatten() for each in scales]).mean()
                for each, gradient, trained, scale in zip(parameters, gradients, first, scales, strict=True):
                    back = trained - each
                    if settings.rule == "sgd":
                        each.add_(-settings.rate * gradient + settings.decay * back)
                    else:
                        share = torch.clamp(settings.decay * scale / mean, max=1)
                        each.add_(-settings.rate * gradient / (scale + FLOOR * mean) + share * back)
            states, last = detached(after), int(window[-1])
    return np.concatenate(found)


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", "light_gru", "qrnn", "echo_state"])
@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_adapting_reader_does_what_the_paper_says(cell: str, rule: str) -> None:
    net, ids = network(cell=cell), text(75)
    settings = settings_of(rule=rule, rate=0.3 if rule == "sgd" else 0.01)
    found = AdaptingReader(net, CPU, settings).read(ids)
    assert_close(found, literal_scores(net, [ids], settings))
    assert np.abs(found - Reader(net, CPU).read(ids)).max() > 0.1


def test_no_weight_goes_further_back_than_to_where_it_was() -> None:
    net, ids, settings = network(), text(75), settings_of(rule="rms", rate=0.01, decay=0.9)
    assert_close(AdaptingReader(net, CPU, settings).read(ids), literal_scores(net, [ids], settings))


@pytest.mark.parametrize(
    "extra", [{"embedding": 0}, {"tied": True}, {"learned_start": True}, {"residual": True}]
)
def test_every_form_of_network_can_adapt(extra: dict[str, object]) -> None:
    net, ids, settings = network(**extra), text(50), settings_of()
    found = AdaptingReader(net, CPU, settings).read(ids)
    assert_close(found, literal_scores(net, [ids], settings))


def test_an_adaptive_softmax_can_adapt_and_repetition_is_learned() -> None:
    net, ids = network(adaptive=True, cutoffs=[4]), np.tile(text(6), 40)
    found = AdaptingReader(net, CPU, settings_of(decay=0.0)).read(ids)
    assert found[-60:].mean() > Reader(net, CPU).read(ids)[-60:].mean() + 0.5


@pytest.mark.parametrize("rule", ["sgd", "rms"])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("seed", [1, 2])
def test_scores_do_not_depend_on_how_reads_are_cut(rule: str, cache: bool, adapt: bool, seed: int) -> None:
    net, ids, settings = network(), text(60), settings_of(rule=rule, rate=0.05)

    def reader() -> Reader:
        inner = AdaptingReader(net, CPU, settings) if adapt else Reader(net, CPU, chunk=5 * seed)
        return CachingReader(inner, settings) if cache else inner

    whole, pieces, single = reader(), reader(), reader()
    expected = whole.read(ids)
    found = np.concatenate([pieces.read(piece) for piece in np.split(ids, cuts(len(ids), seed))])
    assert_close(found, expected)
    assert_close(np.concatenate([single.read(ids[i : i + 1]) for i in range(60)]), expected)
    assert (whole.last, len(whole.states)) == (single.last, len(single.states))


def test_adapted_weights_are_the_same_to_the_last_bit_however_reads_are_cut() -> None:
    net, ids, settings = network().float(), text(100), settings_of()
    whole, pieces = AdaptingReader(net, CPU, settings), AdaptingReader(net, CPU, settings)
    whole.read(ids)
    for piece in np.split(ids, cuts(len(ids), 5)):
        pieces.read(piece)
    for own, other in zip(whole.network.parameters(), pieces.network.parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_next_document_begins_afresh_with_the_adapted_weights() -> None:
    net, settings = network(), settings_of()
    documents = [text(21, 1), text(3, 2), text(30, 3)]  # the last windows are shorter
    reader, found = AdaptingReader(net, CPU, settings), []
    for ids in documents:
        reader.reset()
        found.append(reader.read(ids))
    assert_close(np.concatenate(found), literal_scores(net, documents, settings))


@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_forgetting_goes_back_to_the_trained_weights(rule: str) -> None:
    reader = AdaptingReader(network(), CPU, settings_of(rule=rule, rate=0.05))
    first = reader.read(text(45))
    reader.forget()
    np.testing.assert_array_equal(reader.read(text(45)), first)
    reader.reset()
    assert np.abs(reader.read(text(45)) - first).max() > 0.01


def test_the_network_is_not_changed() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    AdaptingReader(net, CPU, settings_of()).read(text(64))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_smallest_rate_is_no_adaptation() -> None:
    net, ids = network(), text(64)
    found = AdaptingReader(net, CPU, settings_of(rate=1e-300)).read(ids)
    assert_close(found, Reader(net, CPU).read(ids))


def test_full_decay_undoes_each_step_before_the_next() -> None:
    net, ids = network(), text(64)
    reader = AdaptingReader(net, CPU, settings_of(rate=1e-12, decay=0.999999999))
    reader.network.bias.data += 1.0  # type: ignore[union-attr]
    reader.network.bias.data[5] += 3.0  # type: ignore[union-attr]
    found, expected = reader.read(ids), Reader(net, CPU).read(ids)
    assert np.abs(found[:8] - expected[:8]).max() > 0.1
    np.testing.assert_allclose(found[24:], expected[24:], atol=1e-6)


def test_an_adaptable_copy_has_its_cells_and_nothing_else_in_training_mode_and_drops_nothing() -> None:
    net, ids = network(), torch.from_numpy(text(20)).long()[None]
    copied = adaptable(net)
    first, second = (copied(ids, copied.initial(1))[0].dropped for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, net(ids, net.initial(1))[0].dropped)
    assert all(cell.training for cell in copied.stack.cells)
    assert not any(module.training for module in (copied, copied.dropout, copied.stack.dropout))


@pytest.mark.parametrize("cell", sorted(BATCH_NORMALISED))
def test_an_adaptable_copy_takes_no_statistics_of_what_it_reads(cell: str) -> None:
    net, ids = network(cell=cell), torch.from_numpy(text(20)).long()[None]
    copied = adaptable(net)
    torch.testing.assert_close(
        copied(ids, copied.initial(1))[0].dropped, net(ids, net.initial(1))[0].dropped, rtol=0, atol=0
    )
    assert all(copied.state_dict()[name].equal(value) for name, value in net.state_dict().items())


def test_adaptation_works_where_the_caller_has_switched_gradients_off() -> None:
    net, ids = network(), text(40)
    expected = AdaptingReader(net, CPU, settings_of()).read(ids)
    with torch.inference_mode():
        reader = AdaptingReader(net, CPU, settings_of())
        assert_close(reader.read(ids), expected)
    with torch.no_grad():
        assert_close(AdaptingReader(net, CPU, settings_of()).read(ids), expected)


def test_a_rate_that_diverges_is_named() -> None:
    reader = AdaptingReader(network(), CPU, settings_of(decay=0.0).model_copy(update={"rate": 1e308}))
    with pytest.raises(
        DivergedError, match=r"after \d+ steps; train with a lower adaptation\.rate \(now 1e\+308\)"
    ):
        reader.read(text(200))


def literal_cache(net: LanguageNetwork, ids: Ids, settings: AdaptationSettings) -> list[float]:
    (piece,) = Reader(net, CPU).pieces(ids)
    states, alone = piece.states.numpy(), np.exp(piece.log_probabilities)
    found = [math.log(alone[0])]
    for t in range(1, len(ids)):
        above = below = 0.0
        for i in range(max(0, t - settings.cache_size), t):
            weight = math.exp(settings.cache_flatness * float(states[t] @ states[i]))
            below += weight
            above += weight * (ids[i] == ids[t])
        share = settings.cache_weight
        found.append(math.log((1 - share) * alone[t] + share * above / below))
    return found


@pytest.mark.parametrize("size", [1, 11, 1000])
@pytest.mark.parametrize("chunk", [1, 4, 13, 500])
def test_cache_equals_a_double_loop(size: int, chunk: int) -> None:
    net, ids = network(), text(70)
    settings = settings_of(cache_size=size, cache_weight=0.3)
    found = CachingReader(Reader(net, CPU, chunk=chunk), settings).read(ids)
    assert_close(found, literal_cache(net, ids, settings))


def test_cache_of_weight_0_is_the_reader_alone() -> None:
    net, ids = network(), text(70)
    expected = Reader(net, CPU).read(ids)
    np.testing.assert_array_equal(
        CachingReader(Reader(net, CPU), settings_of(cache_weight=0.0)).read(ids), expected
    )


def test_cache_is_empty_where_a_document_begins() -> None:
    net, settings = network(), settings_of(cache_weight=0.4)
    reader = CachingReader(Reader(net, CPU), settings)
    first = reader.read(text(30))
    reader.reset()
    np.testing.assert_array_equal(reader.read(text(30)), first)
    assert math.isclose(first[0], Reader(net, CPU).read(text(1))[0], abs_tol=1e-12)


def test_cache_keeps_no_more_than_its_size() -> None:
    reader = CachingReader(Reader(network(), CPU, chunk=50), settings_of())
    reader.read(text(120))
    assert reader._keys is not None
    assert (tuple(reader._keys.shape), reader._values.shape) == ((11, 7), (11,))
    assert reader._keys.untyped_storage().size() == 11 * 7 * 8


@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize("before", [0, 1, 7, 20])
def test_probabilities_of_what_may_follow_sum_to_1(adapt: bool, cache: bool, before: int) -> None:
    settings = settings_of(cache_weight=0.3)
    reader: Reader = Reader(network(), CPU)
    if adapt:
        reader = AdaptingReader(network(), CPU, settings)
    if cache:
        reader = CachingReader(reader, settings)
    reader.read(text(before))
    possible = [symbol for symbol in range(SYMBOLS) if symbol not in (0, START)]
    following = []
    for symbol in possible:
        following.append(copy.deepcopy(reader).read(np.array([symbol], np.int32))[0])
    assert math.isclose(np.exp(following).sum(), 1.0, abs_tol=1e-12)


def test_a_cache_over_adapted_states_sees_what_the_adapted_network_makes() -> None:
    net, ids, settings = network(), text(60), settings_of(cache_weight=0.3)
    pieces = list(AdaptingReader(net, CPU, settings).pieces(ids))
    states = torch.cat([piece.states for piece in pieces]).numpy()
    alone = np.concatenate([piece.log_probabilities for piece in pieces])
    found = CachingReader(AdaptingReader(net, CPU, settings), settings).read(ids)
    t = 50
    weights = np.exp(settings.cache_flatness * states[t - 11 : t] @ states[t])
    cached = weights[ids[t - 11 : t] == ids[t]].sum() / weights.sum()
    assert math.isclose(math.exp(found[t]), 0.7 * math.exp(alone[t]) + 0.3 * cached, abs_tol=1e-12)


def test_half_precision_of_the_network_leaves_the_cache_exact() -> None:
    net, ids, settings = network().float(), text(60), settings_of(cache_weight=0.3, cache_flatness=5.0)
    with torch.autocast("cpu", torch.bfloat16):
        (piece,) = Reader(net, CPU).pieces(ids)
        found = CachingReader(Reader(net, CPU), settings).read(ids)
        assert np.isfinite(AdaptingReader(net, CPU, settings).read(ids)).all()
    states, alone = piece.states.double().numpy(), np.exp(piece.log_probabilities)
    weights = np.exp(5.0 * states[39:50] @ states[50])
    cached = weights[ids[39:50] == ids[50]].sum() / weights.sum()
    assert math.isclose(math.exp(found[50]), 0.7 * alone[50] + 0.3 * cached, rel_tol=1e-5)
