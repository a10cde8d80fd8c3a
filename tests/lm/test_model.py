"""A distribution over texts: it sums to one, depends on the past only, and its gradients are right."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtool.lm.batches import Window
from seqtool.lm.model import EMBEDDING_RANGE, LanguageNetwork, detached
from seqtool.lm.settings import LanguageModelTraining, ModelSettings, VocabularySettings
from seqtool.lm.train import StreamLoss
from seqtool.lm.vocabulary import LINE_END, START, UNKNOWN, Symbols
from seqtool.nn.losses import LossSum
from tests.lm.tiny_text import TEXT, network_of, random_ids

VARIANTS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru", "layers": 3, "residual": True},
    "tied": {"tied": True, "embedding": 5},
    "tied and narrow": {"tied": True, "embedding": 3},
    "one-hot": {"embedding": 0},
    "adaptive": {"adaptive": True},
    "cutoffs": {"adaptive": True, "cutoffs": [2, 5]},
    "a cluster of the impossible": {"adaptive": True, "cutoffs": [2, 4, 6]},
    "learned start": {"learned_start": True},
}
POSSIBLE = [1, *range(4, 9)]
every = pytest.mark.parametrize("name", VARIANTS)


def outputs_of(network: LanguageNetwork, inputs: list[list[int]]) -> Tensor:
    """Log-probabilities after each input, [B, T, V]."""
    given = torch.tensor(inputs)
    outputs, _ = network(given, network.initial(len(given)))
    return network.log_probabilities(outputs.features.flatten(0, 1)).view(*given.shape, -1)


def assert_equal(found: Any, expected: Any) -> None:
    """Equal except for rounding in float64."""
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def loss_of(network: LanguageNetwork, rows: list[list[int]]) -> Tensor:
    """Cross-entropy of rows of symbols, each after START."""
    given = torch.tensor([[START, *row] for row in rows])
    outputs, _ = network(given[:, :-1], network.initial(len(given)))
    return network.cross_entropy(outputs.features.flatten(0, 1), given[:, 1:].flatten())


# --- a distribution ---


@every
def test_probabilities_of_all_strings_of_a_length_sum_to_one(name: str) -> None:
    network = network_of(symbols=7, **VARIANTS[name])
    with torch.no_grad():
        for length in (1, 3):
            strings = list(itertools.product(range(7), repeat=length))
            scores = outputs_of(network, [[START, *string[:-1]] for string in strings])
            targets = torch.tensor(strings)[:, :, None]
            total = scores.gather(2, targets)[:, :, 0].sum(1).exp().sum()
            assert float(total) == pytest.approx(1.0, abs=1e-12)


@every
def test_impossible_symbols_have_probability_0(name: str) -> None:
    network = network_of(**VARIANTS[name])
    with torch.no_grad():
        probabilities = outputs_of(network, [[START, 4, 5, 1]]).exp()[0]
    assert torch.allclose(probabilities.sum(1), torch.ones(4).double(), atol=1e-12)
    assert (probabilities[:, POSSIBLE] > 0).all()
    assert probabilities[:, [0, 2, 3]].count_nonzero() == 0
    assert not [key for key in network.state_dict() if "impossible" in key or "mask" in key]


@every
def test_the_three_ways_to_a_probability_agree(name: str) -> None:
    network = network_of(**VARIANTS[name])
    features = torch.randn(600, network_features(network), dtype=torch.float64)
    targets = torch.from_numpy(random_ids(600)).long()
    whole = network.log_probabilities(features)
    chosen = whole.gather(1, targets[:, None])[:, 0]
    assert_equal(network.log_probabilities_of(features, targets), chosen)
    assert_equal(network.cross_entropy(features, targets), -chosen.sum())
    gradients = []
    summed = -network.log_probabilities_of(features, targets).sum()
    for loss in (network.cross_entropy(features, targets), summed):
        network.zero_grad()
        loss.backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert_equal(*gradients)


def network_features(network: LanguageNetwork) -> int:
    outputs, _ = network(torch.tensor([[START]]), network.initial(1))
    return outputs.features.shape[2]


@every
def test_of_no_symbols_the_loss_is_0(name: str) -> None:
    """The inputs of a group whose documents end before those of its neighbours."""
    network = network_of(**VARIANTS[name])
    features = torch.zeros(0, network_features(network), dtype=torch.float64, requires_grad=True)
    loss = network.cross_entropy(features, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


# --- in time ---


@every
def test_nothing_sees_the_future(name: str) -> None:
    network = network_of(**VARIANTS[name])
    before, after = outputs_of(network, [[START, 4, 5, 6, 7]]), outputs_of(network, [[START, 4, 5, 8, 7]])
    assert before[:, :3].equal(after[:, :3])
    assert not before[:, 3].equal(after[:, 3])
    assert not before[:, 4].equal(after[:, 4])


@every
def test_symbol_by_symbol_equals_the_whole_sequence(name: str) -> None:
    network = network_of(**VARIANTS[name])
    inputs = torch.tensor([[START, 4, 5, 6, 7, 8], [START, 8, 8, 1, 4, 4]])
    whole, last = network(inputs, network.initial(2))
    states, features = network.initial(2), []
    for step in range(6):
        outputs, states = network(inputs[:, step : step + 1], states)
        features.append(outputs.features)
    assert_equal(torch.cat(features, 1), whole.features)
    assert_equal(states, last)


@every
def test_rows_do_not_leak_into_each_other(name: str) -> None:
    network = network_of(**VARIANTS[name])
    together = outputs_of(network, [[START, 4, 5], [START, 8, 1]])
    for number, row in enumerate([[START, 4, 5], [START, 8, 1]]):
        assert_equal(together[number : number + 1], outputs_of(network, [row]))


# --- its gradient ---


@every
def test_the_gradient_of_the_loss_agrees_with_finite_differences(name: str) -> None:
    network = network_of(symbols=8, **{"hidden": 3, **VARIANTS[name]})
    rows = [[4, 5, 1, 7], [6, 6, 4, 5]]
    given = [(key, value) for key, value in network.named_parameters() if value.requires_grad]
    names, values = zip(*given, strict=True)

    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self) -> Tensor:
            return loss_of(self.network, rows)

    def run(*weights: Tensor) -> Tensor:
        changed = {f"network.{key}": value for key, value in zip(names, weights, strict=True)}
        found: Tensor = torch.func.functional_call(Loss(), changed, ())
        return found

    assert torch.autograd.gradcheck(run, values)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_that_can_be_trained_gets_a_gradient(name: str) -> None:
    network = network_of(**VARIANTS[name])
    loss_of(network, [[4, 5, 6, 7, 8, 1], [8, 7, 6, 5, 4, 1]]).backward()
    ends = [] if network.adaptive is None else network.adaptive.cutoffs
    clusters = [len(set(POSSIBLE).intersection(range(*edges))) for edges in itertools.pairwise(ends)]
    # A cluster with at most one possible symbol has nothing to learn.
    settled = tuple(f"adaptive.tail.{number}." for number, size in enumerate(clusters) if size < 2)
    if ends and len(set(POSSIBLE).intersection(range(ends[0]))) + sum(map(bool, clusters)) < 2:
        settled += ("adaptive.head.",)
    for key, value in network.named_parameters():
        if key.startswith(settled):
            continue
        if value.requires_grad:
            assert value.grad is not None, key
            assert value.grad.any(), key
        else:
            assert (name, key) == ("one-hot", "embedding.weight")
            assert value.equal(torch.eye(9).double())
    if network.bias is not None:
        assert network.bias.grad is not None
        assert network.bias.grad[[0, 2, 3]].count_nonzero() == 0
        assert network.bias.grad.isfinite().all()


# --- the parts ---


def test_tied_weights_are_one_tensor_and_narrow_states_go_through_a_matrix() -> None:
    same, narrow = network_of(**VARIANTS["tied"]), network_of(**VARIANTS["tied and narrow"])
    plain = network_of()
    assert (same.weight, same.narrow, narrow.weight) == (None, None, None)
    assert narrow.narrow is not None
    assert tuple(narrow.narrow.weight.shape) == (3, 5)
    for network in (same, narrow):
        weight, _ = network.projection
        assert weight is network.embedding.weight
    assert plain.projection[0] is plain.weight
    assert not {"weight", "narrow.weight"} & set(same.state_dict())
    inputs = torch.tensor([[START, 4]])
    outputs, _ = narrow(inputs, narrow.initial(1))
    torch.testing.assert_close(outputs.features, outputs.dropped @ narrow.narrow.weight.t())
    scores = outputs.features[0] @ narrow.embedding.weight.t() + narrow.bias
    scores[:, [0, 2, 3]] = -math.inf
    torch.testing.assert_close(narrow.log_probabilities(outputs.features[0]), scores.log_softmax(1))


def test_one_hot_inputs_are_columns_of_the_input_weights() -> None:
    network = network_of(embedding=0, layers=1)
    assert network.embedding.weight.requires_grad is False
    assert network.stack.cells[0].inputs == 9


def test_clusters_are_where_they_were_asked_for() -> None:
    given, usual = network_of(**VARIANTS["cutoffs"]), network_of(symbols=3000, adaptive=True)
    assert given.adaptive is not None
    assert usual.adaptive is not None
    assert given.adaptive.cutoffs == [2, 5, 9]
    assert usual.adaptive.cutoffs == [200, 600, 3000]
    assert network_of(symbols=5, adaptive=True).adaptive is not None
    with pytest.raises(ValueError, match="cutoffs"):
        network_of(symbols=9, adaptive=True, cutoffs=[9])


@pytest.mark.parametrize("cutoffs", [[2, 5], [2, 4, 6], [1, 2, 3, 4], [5]], ids=str)
def test_an_adaptive_softmax_without_the_impossible_is_renormalised_in_each_of_its_softmaxes(
    cutoffs: list[int],
) -> None:
    """By hand: the distribution over shortlist and clusters, and over each cluster's possible symbols."""
    network = network_of(adaptive=True, cutoffs=cutoffs)
    adaptive, impossible = network.adaptive, {0, 2, 3}
    assert adaptive is not None
    plain = nn.AdaptiveLogSoftmaxWithLoss(adaptive.in_features, 9, cutoffs, adaptive.div_value).double()
    plain.load_state_dict(adaptive.state_dict())  # the weights have the library's names
    features = torch.randn(4, adaptive.in_features, dtype=torch.float64)
    head, ends = plain.head(features).exp(), [*cutoffs, 9]
    expected = torch.zeros(4, 9, dtype=torch.float64)
    clusters = [[n for n in range(*edges) if n not in impossible] for edges in itertools.pairwise(ends)]
    shortlist = [n for n in range(ends[0]) if n not in impossible]
    open_ones = [cutoffs[0] + number for number, cluster in enumerate(clusters) if cluster]
    head = head / head[:, shortlist + open_ones].sum(1, keepdim=True)
    expected[:, shortlist] = head[:, shortlist]
    for number, cluster in enumerate(clusters):
        within = plain.tail[number](features).exp()[:, [n - ends[number] for n in cluster]]
        expected[:, cluster] = head[:, [cutoffs[0] + number]] * within / within.sum(1, keepdim=True)
    with torch.no_grad():
        assert_equal(network.log_probabilities(features).exp(), expected)


def test_a_learned_start_is_the_state_before_the_first_symbol_of_every_row() -> None:
    network = network_of(**VARIANTS["learned start"])
    states = network.initial(3)
    assert [[tuple(part.shape) for part in layer] for layer in states] == [[(3, 5), (3, 5)]] * 2
    for part in (part for layer in states for part in layer):
        assert part.any()
        assert part.equal(part[:1].expand(3, -1))
    assert not any(part.any() for layer in network_of().initial(3) for part in layer)
    fresh = LanguageNetwork(9, ModelSettings(learned_start=True))
    assert not any(part.any() for layer in fresh.initial(1) for part in layer)


def test_detached_states_are_the_same_without_a_past() -> None:
    network = network_of(layers=2)
    _, states = network(torch.tensor([[START, 4]]), network.initial(1))
    cut = detached(states)
    assert all(not part.requires_grad for layer in cut for part in layer)
    torch.testing.assert_close(cut, states)


def test_weights_start_small_and_biases_at_zero() -> None:
    network = LanguageNetwork(50, ModelSettings(embedding=20, hidden=30))
    weights = network.embedding.weight.detach()
    assert float(weights.abs().max()) <= EMBEDDING_RANGE
    assert float(weights.std()) == pytest.approx(EMBEDDING_RANGE / math.sqrt(3), rel=0.1)
    assert network.bias is not None
    assert not network.bias.any()


# --- dropout ---


def test_type_dropout_leaves_out_symbols_of_the_vocabulary_wherever_they_stand() -> None:
    network = network_of(symbols=2000, type_dropout=0.3).train()
    inputs = torch.arange(2000).repeat(2, 2)
    embedded = network._embedded(inputs) / network.embedding.weight[inputs]
    torch.testing.assert_close(embedded[:, :2000], embedded[:, 2000:])
    torch.testing.assert_close(embedded[0], embedded[1])
    kept = embedded[0, :2000, 0].detach()
    torch.testing.assert_close(kept[kept != 0], torch.full_like(kept[kept != 0], 1 / 0.7))
    assert float((kept == 0).double().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 2000))
    torch.testing.assert_close(network.eval()._embedded(inputs), network.embedding.weight[inputs])


def test_word_dropout_puts_the_unknown_symbol_in_place_of_single_symbols_but_for_controls() -> None:
    network = network_of(symbols=2000, word_dropout=0.3).train()
    inputs = torch.arange(2000).repeat(2, 2)
    embedded, weight = network._embedded(inputs), network.embedding.weight
    replaced = (embedded != weight[inputs]).any(2)
    assert embedded[replaced].equal(weight[UNKNOWN].expand(int(replaced.sum()), -1))
    assert not replaced[inputs <= LINE_END].any()
    assert not replaced[:, :2000].equal(replaced[:, 2000:])
    assert float(replaced.double().mean()) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 8000))
    assert network.eval()._embedded(inputs).equal(weight[inputs])


def test_noise_is_added_to_embeddings_in_training() -> None:
    network = network_of(symbols=2000, input_noise=0.3).train()
    inputs = torch.arange(2000).repeat(2, 2)
    added = (network._embedded(inputs) - network.embedding.weight[inputs]).detach()
    assert float(added.std()) == pytest.approx(0.3, rel=0.02)
    assert float(added.mean()) == pytest.approx(0.0, abs=0.01)
    assert network.eval()._embedded(inputs).equal(network.embedding.weight[inputs])


DROPOUTS = (
    "dropout", "embedding_dropout", "word_dropout", "type_dropout", "input_noise", "weight_drop",
    "recurrent_dropout",
)  # fmt: skip


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_every_dropout_acts_in_training_and_never_in_evaluation(dropout: str) -> None:
    network = network_of(**{dropout: 0.5})
    expected = outputs_of(network_of(), [[START, 4, 5, 6, 7, 8]])
    assert outputs_of(network, [[START, 4, 5, 6, 7, 8]]).equal(expected)
    network.train()
    first, second = (outputs_of(network, [[START, 4, 5, 6, 7, 8]]) for _ in range(2))
    assert not first.equal(second)


# --- penalties ---


def scalar_penalties(states: Tensor, dropped: Tensor, lengths: list[int], alpha: float, beta: float) -> float:
    """Number by number: sums over symbols of the mean over units."""
    states, dropped = states.detach(), dropped.detach()
    total, width = 0.0, states.shape[2]
    for row, length in enumerate(lengths):
        for step in range(length):
            for unit in range(width):
                total += alpha * float(dropped[row, step, unit]) ** 2 / width
                if step:
                    moved = float(states[row, step, unit]) - float(states[row, step - 1, unit])
                    total += beta * moved**2 / width
    return total


def loss_with(network: LanguageNetwork, window: Window, **penalties: float) -> LossSum:
    symbols = Symbols.build([TEXT], VocabularySettings())
    return StreamLoss(network, LanguageModelTraining(**penalties), symbols)(window)  # type: ignore[arg-type]


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.0), (0.0, 1.0), (2.0, 1.0)], ids=["AR", "TAR", "both"])
@pytest.mark.parametrize("lengths", [[4, 4], [4, 2], [1, 1]], ids=str)
def test_activation_penalties_equal_a_scalar_reimplementation(
    alpha: float, beta: float, lengths: list[int]
) -> None:
    network = network_of(dropout=0.4).train()
    inputs = torch.tensor([[START, 4, 5, 6], [START, 8, 7, 1]])[:, : max(lengths)]
    targets = torch.tensor([[4, 5, 6, 7], [8, 7, 1, 1]])[:, : max(lengths)]
    for row, length in enumerate(lengths):
        targets[row, length:] = 0
    window = Window(inputs, targets, True, 0)
    torch.manual_seed(5)
    outputs, _ = network(inputs, network.initial(2))
    torch.manual_seed(5)
    plain = loss_with(network, window)
    torch.manual_seed(5)
    found = loss_with(network, window, activation_penalty=alpha, slowness_penalty=beta)
    expected = scalar_penalties(outputs.states, outputs.dropped, lengths, alpha, beta)
    assert float((found.total - plain.total).detach()) == pytest.approx(expected, rel=1e-10)
    assert found.count == plain.count == sum(lengths)
    assert not outputs.states.equal(outputs.dropped)


def test_penalties_of_an_empty_window_are_nothing() -> None:
    window = Window(torch.tensor([[START]]), torch.tensor([[0]]), True, 0)
    found = loss_with(network_of(), window, activation_penalty=2.0, slowness_penalty=1.0)
    assert (found.total.item(), found.count) == (0.0, 0)
    found.total.backward()
