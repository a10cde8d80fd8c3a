from __future__ import annotations

import pytest
import torch

from seqtool.nn.regularization import LockedDropout, drop_words


def test_a_unit_is_dropped_at_every_step_of_a_sentence_or_at_none():
    torch.manual_seed(0)
    dropped = LockedDropout(0.4)(torch.ones(50, 7, 20))
    assert dropped.equal(dropped[:, :1].expand_as(dropped))
    assert not dropped[0].equal(dropped[1])  # each sentence has a mask of its own


def test_kept_units_are_scaled_so_that_the_mean_stays():
    torch.manual_seed(0)
    dropped = LockedDropout(0.4)(torch.ones(500, 2, 200))
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.6))
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert len(kept) / dropped.numel() == pytest.approx(0.6, abs=0.01)


def test_gradients_pass_where_values_passed():
    torch.manual_seed(0)
    values = torch.ones(3, 4, 5, requires_grad=True)
    dropped = LockedDropout(0.5)(values)
    dropped.sum().backward()
    assert values.grad.equal(dropped.detach())


def test_evaluation_and_probability_zero_leave_values_as_they_are():
    values = torch.randn(2, 3, 4)
    assert LockedDropout(0.5).eval()(values) is values
    assert LockedDropout(0.0)(values) is values


@pytest.mark.parametrize("probability", [-0.1, 1.0, 1.5, float("nan")])
def test_a_probability_out_of_range_is_refused(probability: float):
    with pytest.raises(ValueError, match=f"dropout {probability} is not in"):
        LockedDropout(probability)


def test_each_word_is_dropped_with_its_own_probability():
    torch.manual_seed(0)
    words = torch.arange(2, 5).expand(4000, 3)
    dropped = drop_words(words, torch.tensor([0.0, 0.25, 1.0]).expand(4000, 3), unknown=1)
    assert ((dropped == 1) | (dropped == words)).all()
    shares = (dropped == 1).double().mean(0).tolist()
    assert shares == [0.0, pytest.approx(0.25, abs=0.03), 1.0]
