"""Sampling text: fast steps equal slow ones, seeds repeat, neighbours do not matter, states resume."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seqtool.decoding.sampling import SamplingOptions, draw
from seqtool.errors import DataError, ModelError, UsageError
from seqtool.lm.sampling import (
    Drawer,
    Sampler,
    beginning,
    load_continuation,
    save_continuation,
)
from seqtool.lm.search import likeliest
from seqtool.lm.stepping import HoistedStepper, LSTMStepper, stepper_of
from seqtool.lm.vocabulary import UNKNOWN
from seqtool.models.tensors import read_tensors, write_tensors
from tests.lm.writers import TEXT, untrained, written

CPU = torch.device("cpu")
DIGEST = "ab" * 32


NETWORKS: tuple[dict[str, Any], ...] = (
    {},
    {"layers": 1},
    {"layers": 3},
    {"tied": True},
    {"tied": True, "embedding": 12},
    {"embedding": 0},
    {"cell": "gru"},
    {"residual": True, "embedding": 12},
    {"adaptive": True},
    {"learned_start": True},
)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_steps_give_the_scores_of_the_whole_sequence(network: dict[str, Any], rows: int) -> None:
    model = untrained(**network)
    ids = torch.randint(4, len(model.symbols), (rows, 9))
    with torch.inference_mode():
        whole, after = model.network(ids, model.network.initial(rows))
        expected = model.network.log_probabilities(whole.features.flatten(0, 1)).view(rows, 9, -1)
        for kind in (stepper_of, HoistedStepper):
            stepper = kind(model.network, model.network.initial(rows))
            for place in range(9):
                found = stepper.step(ids[:, place]).log_softmax(1)
                torch.testing.assert_close(found, expected[:, place], atol=2e-5, rtol=1e-4)
            for own, theirs in zip(stepper.states(), after, strict=True):
                torch.testing.assert_close(own, theirs, atol=2e-5, rtol=1e-4)


def test_plain_lstms_step_in_place_and_the_states_given_are_left_alone() -> None:
    model = untrained()
    states = [tuple(torch.randn_like(part) for part in layer) for layer in model.network.initial(2)]
    before = [tuple(part.clone() for part in layer) for layer in states]
    with torch.inference_mode():
        stepper = stepper_of(model.network, states)
        stepper.step(torch.tensor([4, 5]))
    assert isinstance(stepper, LSTMStepper)
    assert isinstance(stepper_of(untrained(cell="gru").network, model.network.initial(1)), HoistedStepper)
    for own, old in zip(states, before, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(own, old, strict=True))


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.7}, {"top_k": 4}, {"top_p": 0.8}, {"min_p": 0.1}, {"typical": 0.7}],
    ids=str,
)
def test_two_thousand_fast_symbols_are_those_of_the_plain_steps(options: dict[str, Any]) -> None:
    model = untrained(scale=1.5)
    start = beginning(model, "the ")
    fast = written(model, start, 2000, seed=7, **options)
    assert fast == written(model, start, 2000, seed=7, fast=False, **options)
    assert len(set(fast[0])) > 3


@pytest.mark.parametrize("symbols", [5, 96, 97, 300])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_a_drawer_draws_as_draw_does(symbols: int, temperature: float) -> None:
    options = SamplingOptions(temperature=temperature, seed=3)
    drawer = Drawer(options, symbols, 4, CPU)
    streams = torch.arange(4)
    for step in (0, 1, 2, 255, 256, 257, 5, 600):
        scores = torch.randn(4, symbols, generator=torch.Generator().manual_seed(step)) * 3
        expected = draw(scores, options, streams, torch.zeros(4, dtype=torch.long), torch.full((4,), step))
        assert drawer(scores, step).tolist() == expected.tolist()


def test_draws_follow_the_distribution() -> None:
    """Chi-square test over one-symbol texts of many streams, at the 1e-3 level."""
    model, streams = untrained(scale=1.0), 4000
    start = beginning(model)
    found = Counter(stream[0] for stream in written(model, start.repeated(streams), 1, seed=5))
    with torch.inference_mode():
        scores = stepper_of(model.network, start.states).step(start.last).clone()
        scores[:, UNKNOWN] = -torch.inf
    expected = (scores.double().softmax(1)[0] * streams).tolist()
    possible = [i for i, mean in enumerate(expected) if mean > 0]
    assert set(found) <= set(possible)
    chi = sum((found[i] - expected[i]) ** 2 / expected[i] for i in possible)
    freedom = len(possible) - 1
    assert chi < freedom + 3.1 * math.sqrt(2 * freedom) + 7


def test_a_seed_repeats_and_another_one_does_not() -> None:
    model = untrained(scale=1.0)
    start = beginning(model)
    assert written(model, start, 60, seed=1) == written(model, start, 60, seed=1)
    assert written(model, start, 60, seed=1) != written(model, start, 60, seed=2)


def test_a_stream_is_the_same_whatever_its_neighbours() -> None:
    model = untrained()
    start = beginning(model, "the cat")
    alone = written(model, start, 200, seed=4)
    together = written(model, start.repeated(7), 200, seed=4)
    assert together[0] == alone[0]
    assert len({tuple(stream) for stream in together}) == 7


def test_temperature_zero_is_greedy_and_beam_one_is_too() -> None:
    model = untrained()
    start = beginning(model, "the")
    greedy = written(model, start, 40, temperature=0.0)[0]
    assert likeliest(model, start, length=40, beam=1) == greedy
    assert greedy == written(model, start, 40, top_k=1)[0]


def test_a_wide_beam_finds_the_likeliest_text() -> None:
    model = untrained("abc", scale=4.0)
    start = beginning(model, "ab")
    texts = torch.cartesian_prod(*[torch.arange(4, len(model.symbols))] * 3)
    inputs = torch.cat([start.last.expand(len(texts), 1), texts[:, :-1]], 1)
    with torch.inference_mode():
        outputs, _ = model.network(inputs, start.repeated(len(texts)).states)
        log_p = model.network.log_probabilities(outputs.features.flatten(0, 1)).view(*texts.shape, -1)
    totals = log_p.gather(2, texts[:, :, None])[:, :, 0].sum(1)
    assert likeliest(model, start, length=3, beam=30) == texts[totals.argmax()].tolist()


def test_a_repetition_penalty_multiplies_log_probabilities_of_what_was_written() -> None:
    model = untrained(scale=1.0)
    start = beginning(model)
    plain = written(model, start, 300, seed=2)[0]
    penalised = written(model, start, 300, seed=2, repetition_penalty=1.5)[0]
    assert plain[0] == penalised[0]
    repeats = [sum(a == b for a, b in itertools.pairwise(each)) for each in (plain, penalised)]
    assert repeats[1] <= repeats[0]
    assert len(set(penalised)) >= len(set(plain))
    with pytest.raises(UsageError, match=r"repetition penalty 0\.5"):
        Sampler(model, SamplingOptions(), start, repetition_penalty=0.5)


def test_unknown_and_impossible_symbols_are_never_written() -> None:
    model = untrained(scale=0.01)
    found = set(written(model, beginning(model).repeated(50), 60, seed=9, temperature=5.0)[0])
    assert found.isdisjoint({0, 1, 2, 3})


def test_to_save_and_load_a_state_is_to_go_on(tmp_path: Path) -> None:
    model = untrained()
    start = beginning(model, "the ")
    whole = written(model, start, 400, seed=6)[0]
    sampler = Sampler(model, SamplingOptions(seed=6), start)
    first = [sampler.step()[0] for _ in range(150)]
    save_continuation(tmp_path / "state", sampler.continuation(), DIGEST)
    after = load_continuation(tmp_path / "state", model, DIGEST)
    assert first + written(model, after, 250, seed=6)[0] == whole


@pytest.mark.parametrize("kind", ["byte", "word"])
def test_going_on_spells_as_if_nothing_had_happened(kind: str, tmp_path: Path) -> None:
    """Wherever the text was cut: within a character or within a line."""
    model = untrained("cat café 猫\nmat, 猫 café\n" * 3, kind=kind)
    start, how = beginning(model, "cat"), {"repetition_penalty": 2.5}
    sampler = Sampler(model, SamplingOptions(seed=3), start, **how)
    decoder = start.decoder(model)
    pieces = [decoder.push(sampler.step()[0]) for _ in range(40)]
    for cut in range(1, 40):
        sampler, before = Sampler(model, SamplingOptions(seed=3), start, **how), start.decoder(model)
        found = [before.push(sampler.step()[0]) for _ in range(cut)]
        save_continuation(tmp_path / "state", sampler.continuation(), DIGEST)
        after = load_continuation(tmp_path / "state", model, DIGEST)
        sampler, behind = Sampler(model, SamplingOptions(seed=3), after, **how), after.decoder(model)
        found += [behind.push(sampler.step()[0]) for _ in range(cut, 40)]
        assert found == pieces


DAMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "recent: beyond": lambda each: each + 2**40,
    "recent: below": lambda each: each - 9,
    "recent: one number": lambda each: each[0, 0],
    "recent: fractions": lambda each: each.double(),
    "recent: two rows": lambda each: each.expand(2, -1).contiguous(),
    "recent: nothing": lambda each: each[:, :0].contiguous(),
    "steps: two": lambda each: each.expand(2).contiguous(),
    "steps: below 0": lambda each: each - 5,
    "model: no bytes": lambda each: each.to(torch.int64) + 300,
    "state.0.0: not a number": lambda each: each * torch.nan,
    "state.1.1: integers": lambda each: each.to(torch.int64),
    "state.1.1: two rows": lambda each: each.expand(2, -1).contiguous(),
    "seen: too few": lambda each: each[:, 1:].contiguous(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_state_with_something_else_in_it_is_damaged(damage: str, tmp_path: Path) -> None:
    model, path = untrained(), tmp_path / "state"
    sampler = Sampler(model, SamplingOptions(), beginning(model), repetition_penalty=2.0)
    sampler.step()
    save_continuation(path, sampler.continuation(), DIGEST)
    assert load_continuation(path, model, DIGEST).steps == 1
    tensors, name = read_tensors(path), damage.split(":")[0]
    write_tensors(path, {**tensors, name: DAMAGES[damage](tensors[name])})
    with pytest.raises(ModelError, match="damaged: "):
        load_continuation(path, model, DIGEST)


def test_a_prompt_after_a_state_is_read_as_if_it_stood_in_the_text() -> None:
    model = untrained()
    at_once = beginning(model, "the cat sat")
    in_two = beginning(model, " sat", beginning(model, "the cat"))
    assert at_once.last.tolist() == in_two.last.tolist()
    for own, theirs in zip(at_once.states, in_two.states, strict=True):
        torch.testing.assert_close(own, theirs)


def test_states_of_other_models_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    model, path = untrained(), tmp_path / "state"
    with pytest.raises(UsageError, match="no such file"):
        load_continuation(path, model, DIGEST)
    save_continuation(path, beginning(model), DIGEST)
    with pytest.raises(ModelError, match="the state of another model"):
        load_continuation(path, model, "cd" * 32)
    with pytest.raises(ModelError, match="another shape"):
        load_continuation(path, untrained(hidden=13), DIGEST)
    with pytest.raises(ModelError, match="is missing"):
        load_continuation(path, untrained(layers=3), DIGEST)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match="truncated"):
        load_continuation(path, model, DIGEST)


def test_a_prompt_with_an_unseen_character_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="no symbol for the character '猫'"):
        beginning(untrained(), "a 猫")


def test_words_are_written_with_spaces_between_them_and_none_at_line_starts() -> None:
    model = untrained(kind="word")
    ids = written(model, beginning(model), 80, seed=1)[0]
    text = model.symbols.decode(ids)
    words: Sequence[str] = [word for line in text.split("\n") for word in line.split(" ") if word]
    assert set(words) <= set(TEXT.split())
    assert not any(line.startswith(" ") or line.endswith(" ") for line in text.split("\n"))


@pytest.mark.parametrize("temperature", [1e-308, 1e-310, 1e-7])
def test_the_smallest_temperatures_take_the_likeliest(temperature: float) -> None:
    drawer = Drawer(SamplingOptions(temperature=temperature), 3, 1, CPU)
    assert drawer(torch.tensor([[10.0, 25.0, 20.0]]), 0).tolist() == [1]


def test_a_model_writes_what_its_sampler_writes() -> None:
    model = untrained()
    first, second = model.sample("the ", length=40, count=2, seed=3)
    assert first.startswith("the ") and second.startswith("the ") and first != second
    assert model.sample("the ", length=40, count=2, seed=3) == [first, second]
    sampler = Sampler(model, SamplingOptions(seed=3), beginning(model, "the ").repeated(2))
    drawn = [sampler.step()[0] for _ in range(40)]
    assert first == "the " + model.symbols.decode(drawn)
    (stopped,) = model.sample("the ", length=40, seed=3, stop=[first[10:12]])
    assert stopped == first[: first.index(first[10:12], 4) + 2]
    assert len(set(model.sample(length=30, count=5, temperature=0.0))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length 0: must be 1 or more"),
        ({"count": -1}, "count -1: must be 1 or more"),
        ({"stop": "end"}, r"a single text is given, expected a list of texts; write model.sample\(stop="),
        ({"stop": [".", ""]}, "stop '': expected a text to stop after"),
    ],
    ids=str,
)
def test_what_a_model_cannot_write_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        untrained().sample("the ", **options)


def test_a_model_scores_lines_as_its_reader_does() -> None:
    model = untrained()
    lines = ["the cat sat.", "", "the dog"]
    cold = model.score(lines, cold=True)
    for line, found in zip(lines, cold, strict=True):
        expected = model.reader().read(model.symbols.encode(line + "\n"))
        assert found.text == line and found.nats == pytest.approx(-expected.sum(), abs=1e-4)
    whole = model.reader().read(model.symbols.encode("".join(f"{line}\n" for line in lines)))
    assert sum(found.nats for found in model.score(lines)) == pytest.approx(-whole.sum(), abs=1e-3)
    with pytest.raises(UsageError, match=r"a single text is given.*model\.score\(\["):
        model.score("the cat")
