"""Adversarial perturbations of embedded inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seqtool.nn.adversarial import recorded_inputs, shifted_inputs, worst_offsets
from seqtool.nn.regularization import InputNoise


class TwoInputs(nn.Module):
    """A network with two embedded inputs, as in a translator."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4).double()
        self.noise = InputNoise(0.0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        values = [self.noise(self.embedding(ids)) for ids in (first, second)]
        return (values[0].sum(1) * values[1].sum(1)).sin().sum()


IDS = (torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[1, 2], [2, 2]]))


def network() -> TwoInputs:
    torch.manual_seed(0)
    return TwoInputs()


def test_inputs_are_recorded_in_their_order_and_only_inside():
    model = network()
    with recorded_inputs(model) as found:
        model(*IDS)
    model(*IDS)
    assert len(found) == 2
    assert all(each.equal(model.embedding(ids)) for each, ids in zip(found, IDS, strict=True))


def test_offsets_are_added_in_their_order_and_only_inside():
    model, plain = network(), network()(*IDS)
    offsets = [torch.full((2, 3, 4), 0.5).double(), torch.full((2, 2, 4), -0.25).double()]
    with shifted_inputs(model, offsets):
        shifted = model(*IDS)
    first, second = (model.embedding(ids) + offset for ids, offset in zip(IDS, offsets, strict=True))
    assert shifted.equal((first.sum(1) * second.sum(1)).sin().sum())
    assert model(*IDS).equal(plain)


def test_hooks_go_when_something_fails_inside():
    model = network()
    with pytest.raises(ZeroDivisionError), recorded_inputs(model) as found:
        raise ZeroDivisionError
    model(*IDS)
    assert found == []


def test_offsets_go_along_the_gradient_with_a_share_of_the_norm_of_each_sentence():
    model = network()
    with recorded_inputs(model) as inputs:
        loss = model(*IDS)
    offsets = worst_offsets(loss, inputs, 0.1)
    for values, gradient, offset in zip(
        inputs, torch.autograd.grad(loss, inputs, retain_graph=True), offsets, strict=True
    ):
        for row in range(2):
            expected = 0.1 * values[row].norm() * gradient[row] / gradient[row].norm()
            torch.testing.assert_close(offset[row], expected.detach(), rtol=1e-5, atol=1e-7)
    loss.backward()  # the graph is still there
    assert model.embedding.weight.grad is not None


def test_no_other_change_of_that_size_raises_the_loss_as_much():
    model = network()
    with recorded_inputs(model) as inputs:
        loss = model(*IDS)
    worst = worst_offsets(loss, inputs, 1e-3)

    def raised(offsets: list[Tensor]) -> float:
        with shifted_inputs(model, offsets):
            return float((model(*IDS) - loss).detach())

    best, source = raised(worst), torch.Generator().manual_seed(1)
    assert best > 0
    for _ in range(20):
        random = [torch.randn(each.shape, generator=source).double() for each in worst]
        sizes = [each.norm(dim=(1, 2), keepdim=True) for each in worst]
        pairs = zip(random, sizes, strict=True)
        assert raised([each * size / each.norm(dim=(1, 2), keepdim=True) for each, size in pairs]) < best


def test_a_sentence_that_the_loss_does_not_depend_on_is_left_as_it_is():
    inputs = torch.ones(2, 3, 4).double().requires_grad_()
    (offsets,) = worst_offsets(inputs[0].sum(), [inputs], 0.5)
    assert offsets[0].norm().item() == pytest.approx(0.5 * 12**0.5)
    assert not offsets[1].any()


def test_small_gradients_say_as_much_as_large_ones():
    """The squares of 1e-25 underflow in float32."""
    inputs = (torch.arange(24.0).reshape(2, 3, 4) + 1).requires_grad_()
    (expected,) = worst_offsets(inputs.square().sum(), [inputs], 0.5)
    (found,) = worst_offsets(inputs.square().sum() * 1e-25, [inputs], 0.5)
    torch.testing.assert_close(found, expected)


def test_padding_is_no_part_of_the_size():
    values = torch.ones(1, 6, 4).double().requires_grad_()
    (offsets,) = worst_offsets(values[:, :2].sin().sum(), [values], 0.5)
    assert offsets.norm().item() == pytest.approx(0.5 * 8**0.5)


def test_inputs_that_nothing_learns_from_are_moved_too():
    model = network()
    model.embedding.weight.requires_grad_(False)
    with recorded_inputs(model) as inputs:
        loss = model(*IDS)
    assert all(offset.any() for offset in worst_offsets(loss, inputs, 0.1))


def test_an_input_without_a_way_to_the_loss_stays():
    first, second = (torch.ones(1, 2, 3, requires_grad=True) for _ in range(2))
    offsets = worst_offsets(first.sum(), [first, second], 0.1)
    assert offsets[0].any()
    assert not offsets[1].any()
