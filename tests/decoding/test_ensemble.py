"""An ensemble of table models."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from seqtool.decoding.beam import BeamOptions, beam_search
from seqtool.decoding.ensemble import EnsembleStep
from seqtool.decoding.step import State, StepResult
from tests.decoding.forced import score_sequences
from tests.decoding.toy import END, START, Sentence, ToyStep, random_sentence


def members(count: int, symbols: int = 5) -> list[list[Sentence]]:
    """Tables of three sentences for each member."""
    return [
        [random_sentence(10 * m + i, symbols=symbols, source=2 + i) for i in range(3)] for m in range(count)
    ]


def merged(sentences: list[Sentence]) -> Sentence:
    """A table with the mean of the probabilities and of the attention."""
    return Sentence(
        torch.stack([each.log_p.exp() for each in sentences]).mean(0).log(),
        torch.stack([each.attention for each in sentences]).mean(0),
    )


def test_an_ensemble_is_the_model_with_the_mean_of_the_probabilities():
    tables = members(3)
    steps = [ToyStep(each) for each in tables]
    ensemble = EnsembleStep(steps)
    single = ToyStep([merged([table[i] for table in tables]) for i in range(3)])
    limits = torch.tensor([3, 8, 6])
    options = BeamOptions(4, 3, coverage_penalty=0.2)
    found = beam_search(
        ensemble,
        ensemble.joined([each.initial() for each in steps]),
        start=START,
        end=END,
        max_lengths=limits,
        options=options,
        source_mask=single.mask,
        keep_attention=True,
    )
    expected = beam_search(
        single,
        single.initial(),
        start=START,
        end=END,
        max_lengths=limits,
        options=options,
        source_mask=single.mask,
        keep_attention=True,
    )
    for own, other in zip(chain(*found), chain(*expected), strict=True):
        assert (own.tokens, own.finished) == (other.tokens, other.finished)
        assert own.score == pytest.approx(other.score, abs=1e-5)
        assert own.attention == pytest.approx(other.attention, abs=1e-6)
    assert all(step.leaves == steps[0].leaves for step in steps) and steps[0].leaves


def test_an_ensemble_of_one_is_its_member():
    (table,) = members(1)
    step, again = ToyStep(table), ToyStep(table)
    ensemble = EnsembleStep([step])
    targets = [[2, 3], [4], [2, 2, 2]]
    state = ensemble.joined([step.initial()])
    found = score_sequences(ensemble, state, targets, start=START, end=END)
    expected = score_sequences(again, again.initial(), targets, start=START, end=END)
    assert [h.log_probability for h in found] == pytest.approx(
        [h.log_probability for h in expected], abs=1e-5
    )


def test_a_member_with_fewer_symbols_gives_the_others_no_probability():
    narrow, wide = random_sentence(1, symbols=4), random_sentence(2, symbols=6)
    steps = [ToyStep([narrow]), ToyStep([wide])]
    ensemble = EnsembleStep(steps)
    result = ensemble(torch.tensor([START]), ensemble.joined([each.initial() for each in steps]))
    padded = torch.nn.functional.pad(narrow.log_p.exp(), (0, 2))
    expected = ((padded + wide.log_p.exp()) / 2).log()[3]  # the state after `start`
    assert result.scores[0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert float(result.log_normaliser) == 0.0
    assert float(result.scores.exp().sum()) == pytest.approx(1.0, abs=1e-6)


def test_attention_is_none_where_a_member_has_none():
    class Blind(ToyStep):
        def __call__(self, last: torch.Tensor, state: State) -> StepResult:
            return super().__call__(last, state)._replace(attention=None)

    table = [random_sentence(1)]
    steps = [ToyStep(table), Blind(table)]
    ensemble = EnsembleStep(steps)
    state = ensemble.joined([each.initial() for each in steps])
    assert ensemble(torch.tensor([START]), state).attention is None
