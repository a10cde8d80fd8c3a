"""R-drop and adversarial training: the loss of two passes, in all three tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqtool.lm.batches import Window
from seqtool.lm.settings import LanguageModelTraining, VocabularySettings
from seqtool.lm.train import StreamLoss
from seqtool.lm.vocabulary import START, Symbols
from seqtool.nn.cells.chunked import PLAIN
from seqtool.nn.losses import LossSum
from seqtool.nn.regularization import InputNoise
from seqtool.tagging.batches import encode
from seqtool.tagging.train import loss_function as tagging_loss
from seqtool.training.passes import Pass, loss_of_passes
from seqtool.training.settings import TrainingSettings
from seqtool.translation.train import loss_function
from tests.lm.tiny_text import TEXT, network_of
from tests.tagging import tiny_tagger
from tests.translation import tiny_pairs, tiny_translator


class Scripted:
    """A function that returns passes with the given losses and predictions, one per call."""

    def __init__(self, *losses: float) -> None:
        self.left: Iterator[float] = iter(losses)
        self.made: list[Tensor] = []

    def __call__(self) -> Pass:
        value = torch.tensor(next(self.left), requires_grad=True)
        self.made.append(value)
        return Pass(LossSum(value, 3, "token"), value.detach())


def apart(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).abs()


def test_without_either_there_is_one_pass():
    once = Scripted(5.0)
    found = loss_of_passes(nn.Identity(), once, apart, TrainingSettings())
    assert (found.total.item(), found.count, found.unit, len(once.made)) == (5.0, 3, "token", 1)


def test_r_drop_is_half_of_the_sum_of_the_paper():
    once = Scripted(5.0, 8.0)
    found = loss_of_passes(nn.Identity(), once, apart, TrainingSettings(r_drop=4.0))
    paper = 5.0 + 8.0 + 4.0 * 3.0 / 2  # alpha times the mean of both directions, whose sum is 3
    assert (found.total.item(), found.count) == (paper / 2, 3)
    found.total.backward()
    assert [value.grad.item() for value in once.made] == [0.5, 0.5]


def test_both_at_once_are_refused():
    with pytest.raises(ValueError, match="r_drop and adversarial each make a second pass: choose one"):
        TrainingSettings(r_drop=1.0, adversarial=0.1)


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.noise = nn.Embedding(5, 3).double(), InputNoise(0.0)

    def once(self) -> Pass:
        total = self.noise(self.embedding(torch.tensor([[1, 2]]))).square().sum()
        return Pass(LossSum(total, 2, "token"), None)


def test_adversarial_training_is_the_mean_with_the_worst_inputs_nearby():
    network = Embedding()
    plain = network.once().loss.total.item()
    found = loss_of_passes(network, network.once, apart, TrainingSettings(adversarial=0.1))
    assert found.total.item() == pytest.approx(plain * (1 + 1.1**2) / 2)  # x becomes 1.1 x


def test_the_pass_whose_gradients_are_taken_twice_is_not_compiled():
    network, seen = Embedding(), []

    def once() -> Pass:
        seen.append(PLAIN.get())
        return network.once()._replace(predictions=torch.ones(1))

    loss_of_passes(network, once, apart, TrainingSettings(adversarial=0.1))
    loss_of_passes(network, once, apart, TrainingSettings(r_drop=0.1))
    assert seen == [True, False, False, False]


# In each task: a loss that is deterministic, or has dropout

Loss = Callable[[], LossSum]


def lm_loss(dropout: float, **training: Any) -> tuple[nn.Module, Loss]:
    network = network_of(dropout=dropout).train()
    symbols = Symbols.build([TEXT], VocabularySettings())
    loss = StreamLoss(network, LanguageModelTraining(**training), symbols)
    targets = torch.tensor([[4, 5, 6, 7], [8, 7, 0, 0]])
    window = Window(torch.tensor([[START, 4, 5, 6], [START, 8, 7, 1]]), targets, True, 0)
    return network, lambda: loss(window)


def tagging(output: str) -> Callable[..., tuple[nn.Module, Loss]]:
    def build(dropout: float, **training: Any) -> tuple[nn.Module, Loss]:
        shape = {"dropout": dropout, "word_dropout": 0.0, "singleton_dropout": 0.0, "output": output}
        model = tiny_tagger.double(tiny_tagger.untrained(model=shape))
        data, vocabularies = tiny_tagger.tiny_data(), model.vocabularies
        table = vocabularies.form_table(model.description.vocabulary)
        corpus = encode(data.train, vocabularies, table, with_tags=True)
        settings = tiny_tagger.tiny_settings(
            training=training, model={"dropout": 0.5}
        )  # the network has its own
        loss = tagging_loss(model, corpus, settings)
        batch = corpus.batch(list(range(len(data.train))))
        return model.network.train(), lambda: loss(batch)

    return build


def translation(**shape: Any) -> Callable[..., tuple[nn.Module, Loss]]:
    def build(dropout: float, **training: Any) -> tuple[nn.Module, Loss]:
        model = tiny_pairs.double(tiny_pairs.untrained(model={"dropout": dropout, "embedding_dropout": 0.0}))
        network = tiny_translator.tiny(dropout=dropout, **shape)
        model.network = network.train()
        training = {"label_smoothing": 0.0, **training}
        loss = loss_function(model, tiny_pairs.tiny_settings(training=training, model={"dropout": 0.5}))
        batch = tiny_translator.batch_for(network)
        return network, lambda: loss(batch)

    return build


TASKS = {
    "lm": lm_loss,
    "tagging": tagging("crf"),
    "tagging, softmax": tagging("softmax"),
    "translation": translation(),
    "translation, copy": translation(copy=True, coverage=True),
    "translation, parallel": translation(decoder="parallel"),
    "translation, positions": translation(output="positions"),
}
every_task = pytest.mark.parametrize("task", TASKS)


@every_task
def test_passes_that_agree_have_the_plain_loss(task: str):
    _, plain = TASKS[task](0.0)
    network, with_r_drop = TASKS[task](0.0, r_drop=3.0)
    expected, found = plain(), with_r_drop()
    torch.testing.assert_close(found.total, expected.total, rtol=1e-9, atol=1e-9)
    assert found[1:] == expected[1:]
    found.total.backward()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


@every_task
def test_passes_with_dropout_are_apart_and_more_so_with_a_larger_weight(task: str):
    totals = []
    for weight in (1e-9, 1.0, 2.0):
        _, loss = TASKS[task](0.5, r_drop=weight)
        torch.manual_seed(2)
        totals.append(loss().total.item())
    assert totals[1] > totals[0]
    assert totals[2] - totals[0] == pytest.approx(2 * (totals[1] - totals[0]))


@every_task
def test_inputs_that_are_moved_have_a_larger_loss(task: str):
    _, plain = TASKS[task](0.0)
    network, loss = TASKS[task](0.0, adversarial=0.01)
    expected, found = plain(), loss()
    assert found.total.item() > expected.total.item()
    assert found.total.item() == pytest.approx(expected.total.item(), rel=0.2)
    assert found[1:] == expected[1:]
    found.total.backward()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


def test_both_passes_of_a_language_model_start_from_the_same_state():
    for second in ({"r_drop": 1.0}, {"adversarial": 1e-6}):
        _, plain = lm_loss(0.0)
        _, twice = lm_loss(0.0, **second)
        for _ in range(3):
            assert twice().total.item() == pytest.approx(plain().total.item(), rel=1e-5)


@every_task
@pytest.mark.parametrize("penalty", ["activation_penalty", "slowness_penalty", "norm_penalty"])
def test_penalties_for_states_are_part_of_the_loss_in_proportion_to_their_weight(task: str, penalty: str):
    totals = [TASKS[task](0.0, **{penalty: weight})[1]().total.item() for weight in (0.0, 1.0, 2.0)]
    assert totals[1] > totals[0]
    assert totals[2] - totals[0] == pytest.approx(2 * (totals[1] - totals[0]))


@pytest.mark.parametrize("task", [name for name in TASKS if "positions" not in name])
def test_labels_are_smoothed(task: str):
    """Linear in the share, from the plain loss to the loss with uniform labels."""
    shares = (0.0, 0.25, 0.5)
    totals = [TASKS[task](0.0, label_smoothing=share)[1]().total.item() for share in shares]
    assert all(total == total and abs(total) < 1e6 for total in totals)
    assert totals[0] != totals[1]
    if "copy" not in task:  # copying mixes probabilities inside the logarithm
        assert totals[1] - totals[0] == pytest.approx(totals[2] - totals[1])


@every_task
@pytest.mark.parametrize(
    "training",
    [{"label_smoothing": 0.1}, {"r_drop": 1.0}, {"adversarial": 0.05}, {"norm_penalty": 1.0}],
    ids=str,
)
def test_everything_goes_in_half_precision(task: str, training: dict[str, Any]):
    """The precision that training uses on this machine by default."""
    if "positions" in task and "label_smoothing" in training:
        return  # refused
    network, loss = TASKS[task](0.3, **training)
    network.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss()
    found.total.backward()
    assert found.total.isfinite()
    assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)
