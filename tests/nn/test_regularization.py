from __future__ import annotations

import pytest
import torch

from seqtool.nn.regularization import InputNoise, SequenceDropout, StatePenalties, drop_types, drop_words


def test_a_unit_is_dropped_at_every_step_of_a_sentence_or_at_none():
    torch.manual_seed(0)
    dropped = SequenceDropout(0.4)(torch.ones(50, 7, 20))
    assert dropped.equal(dropped[:, :1].expand_as(dropped))
    assert not dropped[0].equal(dropped[1])  # each sentence has a mask of its own


def test_kept_units_are_scaled_so_that_the_mean_stays():
    torch.manual_seed(0)
    dropped = SequenceDropout(0.4)(torch.ones(500, 2, 200))
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.6))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert len(kept) / dropped.numel() == pytest.approx(0.6, abs=0.01)


def test_gradients_pass_where_values_passed():
    torch.manual_seed(0)
    values = torch.ones(3, 4, 5, requires_grad=True)
    dropped = SequenceDropout(0.5)(values)
    dropped.sum().backward()
    assert values.grad.equal(dropped.detach())


def test_evaluation_and_probability_zero_leave_values_as_they_are():
    values = torch.randn(2, 3, 4)
    assert SequenceDropout(0.5).eval()(values) is values
    assert SequenceDropout(0.0)(values) is values


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5, float("nan")])
def test_a_probability_out_of_range_is_refused(probability: float):
    with pytest.raises(ValueError, match=f"dropout {probability} is not in"):
        SequenceDropout(probability)


def test_without_a_lock_each_step_has_a_mask_of_its_own():
    torch.manual_seed(0)
    dropped = SequenceDropout(0.4, locked=False)(torch.ones(50, 7, 20))
    assert not (dropped == dropped[:, :1]).all()
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("locked", [True, False])
def test_a_loop_over_time_drops_as_a_whole_sequence_does(locked: bool):
    torch.manual_seed(0)
    module, values = SequenceDropout(0.4, locked), torch.ones(50, 20)
    drop = module.by_steps(values, 50, 20)
    steps = torch.stack([drop(values) for _ in range(5)], 1)
    assert (steps == steps[:, :1]).all().item() == locked
    assert steps.mean().item() == pytest.approx(1.0, abs=0.1)
    assert module.eval().by_steps(values, 50, 20)(values) is values


def test_each_word_is_dropped_with_its_own_probability():
    torch.manual_seed(0)
    words = torch.arange(2, 5).expand(4000, 3)
    dropped = drop_words(words, torch.tensor([0.0, 0.25, 1.0]).expand(4000, 3), unknown=1)
    assert ((dropped == 1) | (dropped == words)).all()
    shares = (dropped == 1).double().mean(0).tolist()
    assert shares == [0.0, pytest.approx(0.25, abs=0.03), 1.0]


def test_a_type_is_dropped_wherever_it_stands():
    torch.manual_seed(0)
    symbols = torch.tensor([[0, 1, 2, 1], [1, 0, 3, 2]])
    kept = set()
    for _ in range(50):
        vectors = drop_types(torch.ones(2, 4, 3), symbols, 4, 0.4)
        assert vectors[0, 1].equal(vectors[1, 0])
        assert vectors[0, 1].equal(vectors[0, 3])
        kept |= set(vectors.flatten().tolist())
    assert sorted(kept) == [0.0, pytest.approx(1 / 0.6)]


def test_noise_is_added_in_training_alone():
    torch.manual_seed(0)
    noise, values = InputNoise(0.2), torch.ones(50, 40, 10)
    assert float((noise(values) - values).std()) == pytest.approx(0.2, rel=0.02)
    assert noise.eval()(values) is values
    assert InputNoise(0.0)(values) is values


def scalar_penalty(states, dropped, lengths, weights):
    """Against the definitions, value by value."""
    total, width = 0.0, states.shape[2]
    for row, length in enumerate(lengths):
        for step in range(length):
            total += weights.activation * sum(x**2 for x in dropped[row, step].tolist()) / width
            if step:
                before, after = states[row, step - 1].tolist(), states[row, step].tolist()
                moved = sum((a - b) ** 2 for a, b in zip(after, before, strict=True))
                norms = [sum(x**2 for x in each) ** 0.5 for each in (before, after)]
                total += weights.slowness * moved / width + weights.norm * (norms[1] - norms[0]) ** 2
    return total


@pytest.mark.parametrize("weights", [(2.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 3.0), (2.0, 1.0, 3.0)])
@pytest.mark.parametrize("lengths", [[4, 4], [4, 2], [1, 1]])
def test_penalties_equal_a_scalar_reimplementation(weights, lengths):
    states, dropped = torch.randn(2, 2, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    penalties = StatePenalties(*weights)
    expected = scalar_penalty(states, dropped, lengths, penalties)
    assert float(penalties(states, dropped, mask)) == pytest.approx(expected, rel=1e-12)
