from __future__ import annotations

import itertools
import lzma
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from seqtool.lm.ngram import KneserNey, best_weight, interpolate, xz_bits

Gram = tuple[int, ...]
Stream = tuple[list[int], list[bool]]  # symbols; True where a document begins


def documents(ids: Sequence[int], starts: Sequence[bool] | None) -> list[Gram]:
    found: list[list[int]] = []
    for i, symbol in enumerate(ids):
        if i == 0 or (starts is not None and starts[i]):
            found.append([])
        found[-1].append(symbol)
    return [tuple(document) for document in found]


def counted(texts: list[Gram], k: int, order: int) -> dict[Gram, int]:
    """Occurrences in the highest order; in lower orders, distinct left neighbours, the beginning included."""
    occurrences: Counter[Gram] = Counter()
    neighbours: defaultdict[Gram, set[int | str]] = defaultdict(set)
    for text in texts:
        for i in range(len(text) - k + 1):
            occurrences[text[i : i + k]] += 1
            neighbours[text[i : i + k]].add(text[i - 1] if i else "beginning")
    return dict(occurrences) if k == order else {gram: len(left) for gram, left in neighbours.items()}


def discounts_of(counts: dict[Gram, int]) -> tuple[Fraction, Fraction, Fraction]:
    n = {i: sum(count == i for count in counts.values()) for i in (1, 2, 3, 4)}
    if all(n.values()):
        y = Fraction(n[1], n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        if min(found) > 0:
            return found
    return (Fraction(1, 2),) * 3


def distribution(model: KneserNey, context: Sequence[int]) -> NDArray[np.float64]:
    """The probability of each symbol after a context, read from the tables of a model, [V]."""
    probability = np.full(model.size, 1.0 / model.size)
    for level, length in zip(model.levels, range(len(context) + 1), strict=False):
        number = number_of(model, context[len(context) - length :])
        if number is None:
            break  # a longer context that ends in it was not seen either
        first, end = np.searchsorted(level.keys, [number * model.size, (number + 1) * model.size])
        probability *= level.weight[number]
        probability[level.keys[first:end] - number * model.size] += level.share[first:end]
    return probability


def number_of(model: KneserNey, symbols: Sequence[int]) -> int | None:
    """Number of an n-gram; None if it was not seen."""
    number = 0
    for level, symbol in zip(model.levels, symbols, strict=False):
        found = np.flatnonzero(level.keys == number * model.size + symbol)
        if not len(found):
            return None
        number = int(found[0])
    return number


def by_the_book(texts: list[Gram], size: int, order: int) -> Callable[[int, Gram], Fraction]:
    """p(w | h) from dictionaries, recursively, in fractions."""
    counts = {k: counted(texts, k, order) for k in range(1, order + 1)}
    discounts = {k: discounts_of(counts[k]) for k in counts}

    def probability(w: int, h: Gram, k: int) -> Fraction:
        if k == 0:
            return Fraction(1, size)
        lower = probability(w, h[1:], k - 1)
        followers = [count for gram, count in counts[k].items() if gram[:-1] == h]
        if not followers:
            return lower
        one, two, more = discounts[k]
        left = one * followers.count(1) + two * followers.count(2)
        left += more * sum(count >= 3 for count in followers)
        count = counts[k].get((*h, w), 0)
        taken = {0: Fraction(0), 1: one, 2: two}.get(count, more)
        return (count - taken + left * lower) / sum(followers)

    def limited(w: int, h: Gram) -> Fraction:
        h = h[max(len(h) - order + 1, 0) :]
        return probability(w, h, len(h) + 1)

    return limited


def trained(stream: Stream, size: int, order: int) -> KneserNey:
    ids, starts = stream
    return KneserNey.train(np.array(ids, np.int64), size=size, order=order, starts=np.array(starts, bool))


def scored(model: KneserNey, stream: Stream) -> np.ndarray:
    ids, starts = stream
    return model.log_probabilities(np.array(ids, np.int64), starts=np.array(starts, bool))


def expected(train: Stream, test: Stream, size: int, order: int) -> list[float]:
    probability = by_the_book(documents(*train), size, order)
    return [math.log(probability(text[i], text[:i])) for text in documents(*test) for i in range(len(text))]


@st.composite
def streams(draw: st.DrawFn, size: int) -> Stream:
    ids = draw(st.lists(st.integers(0, size - 1), max_size=40))
    starts = draw(st.lists(st.sampled_from([False, False, True]), min_size=len(ids), max_size=len(ids)))
    return ids, starts


@st.composite
def cases(draw: st.DrawFn) -> tuple[Stream, Stream, int, int]:
    size, order = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    seen = draw(st.integers(1, size))  # evaluation may contain symbols that training did not
    return draw(streams(seen)), draw(streams(size)), size, order


def zipfian(random: np.random.Generator, size: int, *shape: int) -> np.ndarray:
    return (size ** random.random(shape)).astype(np.int64) - 1


def phrases(length: int, size: int, seed: int, new_document: float = 0.02) -> Stream:
    """Frequent and rare phrases of 8 symbols with errors: all counts from 1 to 4 occur in every order."""
    random = np.random.default_rng(seed)
    inventory = zipfian(random, size, length // 20, 8)
    ids = inventory[zipfian(random, len(inventory), length // 8)].ravel()
    ids = np.where(random.random(len(ids)) < 0.15, zipfian(random, size, len(ids)), ids)
    return ids.tolist(), (random.random(len(ids)) < new_document).tolist()


@settings(max_examples=300, deadline=None)
@given(cases())
def test_probabilities_are_those_of_the_equations_in_dictionaries(case):
    train, test, size, order = case
    result = scored(trained(train, size, order), test)
    assert result == pytest.approx(expected(train, test, size, order), abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_those_of_the_equations_where_no_discount_is_a_fallback(order):
    size = 300
    train, test = phrases(2000, size, seed=0), phrases(120, size, seed=1)
    test[0][:60] = train[0][700:760]  # long contexts that were seen
    model = trained(train, size, order)
    for level in model.levels:
        assert len(set(level.discounts.tolist())) == 3
    assert scored(model, test) == pytest.approx(expected(train, test, size, order), abs=1e-12)


def test_discounts_are_those_of_the_counts_of_counts():
    # Occurrences, as 1 is the highest order: n1 = 4, n2 = 3, n3 = 2, n4 = 1.
    times = [1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 9]
    ids = np.repeat(np.arange(len(times)), times)
    (level,) = KneserNey.train(ids, size=len(times), order=1).levels
    y = 4 / (4 + 2 * 3)
    expected = [1 - 2 * y * 3 / 4, 2 - 3 * y * 2 / 3, 3 - 4 * y * 1 / 2]
    assert level.discounts == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    "times",
    [
        [2, 3, 4],  # n1 = 0
        [1, 3, 4],
        [1, 2, 4],
        [1, 2, 3],
        [1, 1, 1, 1, 2, 3, 3, 4],  # D2 = 2 - 3 * (4 / 6) * 2 / 1 < 0
        [1, 1, 1, 1, 2, 3, 4, 4],  # D3 = 3 - 4 * (4 / 6) * 2 / 1 < 0
        [1, 1, 2, 2, 3, 4, 4],  # D3 = 3 - 4 * (2 / 6) * 2 / 1 > 0: no fallback
    ],
)
def test_an_order_whose_counts_of_counts_say_nothing_discounts_one_half(times):
    ids = np.repeat(np.arange(len(times)), times)
    model = KneserNey.train(ids, size=len(times) + 1, order=1)
    fallback = model.levels[0].discounts.tolist() == [0.5, 0.5, 0.5]
    assert fallback == (times != [1, 1, 2, 2, 3, 4, 4])
    assert distribution(model, []).min() > 0


def test_a_bigram_by_hand():
    # a b a c: bigrams ab, ba, ac once each. Neighbours to the left: of a the beginning and b, of b and c
    # an a each; so counts 2, 1, 1 of total 4. All discounts are 1/2.
    model = KneserNey.train(np.array([0, 1, 0, 2]), size=4, order=2)
    unigram = np.array([1.5, 0.5, 0.5, 0]) / 4 + 1.5 / 4 / 4
    assert distribution(model, []) == pytest.approx(unigram)
    assert distribution(model, [0]) == pytest.approx(np.array([0, 0.25, 0.25, 0]) + unigram / 2)
    assert distribution(model, [1]) == pytest.approx(np.array([0.5, 0, 0, 0]) + unigram / 2)
    assert distribution(model, [2]) == pytest.approx(unigram)  # nothing ever followed it
    assert distribution(model, [3]) == pytest.approx(unigram)  # it was never seen


@settings(max_examples=100, deadline=None)
@given(cases())
def test_every_distribution_sums_to_one_and_leaves_nothing_impossible(case):
    train, _, size, order = case
    model = trained(train, size, order)
    for length in range(order + 1):  # the longest reaches further back than the model
        for context in itertools.product(range(size), repeat=length):
            found = distribution(model, context)
            assert found.shape == (size,)
            assert abs(found.sum() - 1) < 1e-12
            assert found.min() > 0


def test_distributions_sum_to_one_where_no_discount_is_a_fallback():
    size, order = 300, 4
    train, other = phrases(2000, size, seed=0), phrases(400, size, seed=1)
    model = trained(train, size, order)
    for ids in (train[0], other[0]):
        for i in range(0, 300, 3):
            found = distribution(model, ids[:i])
            assert abs(found.sum() - 1) < 1e-12
            assert found.min() > 0


@settings(max_examples=100, deadline=None)
@given(cases())
def test_log_probabilities_are_those_of_the_distributions_at_every_position(case):
    train, test, size, order = case
    model = trained(train, size, order)
    single = [
        math.log(distribution(model, text[:i])[text[i]])
        for text in documents(*test)
        for i in range(len(text))
    ]
    assert scored(model, test) == pytest.approx(single, abs=1e-12)


def test_a_document_is_scored_as_if_it_stood_alone():
    train, test = phrases(600, 12, seed=3), phrases(200, 12, seed=4, new_document=0.1)
    model = trained(train, 12, 4)
    alone = [model.log_probabilities(np.array(text)) for text in documents(*test)]
    assert len(alone) > 10
    assert np.array_equal(scored(model, test), np.concatenate(alone))


def test_the_order_of_documents_does_not_matter():
    train, test = phrases(600, 12, seed=5, new_document=0.1), phrases(100, 12, seed=6)
    texts = documents(*train)[::-1]
    ids = list(itertools.chain(*texts))
    starts = list(itertools.chain(*([True] + [False] * (len(text) - 1) for text in texts)))
    assert np.array_equal(scored(trained(train, 12, 4), test), scored(trained((ids, starts), 12, 4), test))


def test_documents_of_one_symbol_have_no_context():
    ids = np.array([0, 1, 0, 1, 0, 1])
    model = KneserNey.train(ids, size=2, order=3, starts=np.ones(6, bool))
    assert distribution(model, [0]).tolist() == distribution(model, []).tolist() == [0.5, 0.5]


def test_the_first_symbol_begins_a_document_whether_marked_or_not():
    ids = np.array([0, 1, 1, 0, 1])
    unmarked = np.array([False, False, False, True, False])
    marked = np.array([True, False, False, True, False])
    first, second = (KneserNey.train(ids, size=2, order=3, starts=starts) for starts in (unmarked, marked))
    assert np.array_equal(
        first.log_probabilities(ids, starts=unmarked), second.log_probabilities(ids, starts=marked)
    )


def test_keys_fit_whatever_the_order_and_the_vocabulary():
    # 300,000 words in order 8: a key of eight symbols would need 146 bits.
    size, order = 300_000, 8
    train, test = phrases(400, 30, seed=7), phrases(80, 30, seed=8)
    test[0][:40] = train[0][300:340]
    far = [([size - 1 - 9_973 * symbol for symbol in ids], starts) for ids, starts in (train, test)]
    model = trained(far[0], size, order)
    assert model.order == order
    assert scored(model, far[1]) == pytest.approx(expected(*far, size, order), abs=1e-12)
    assert abs(distribution(model, far[0][0][:20]).sum() - 1) < 1e-12


def test_nothing_to_learn_from_leaves_all_symbols_alike():
    model = KneserNey.train(np.array([], np.int64), size=5, order=3)
    assert model.log_probabilities(np.array([0, 4, 4])) == pytest.approx([-math.log(5)] * 3)
    assert distribution(model, [1, 2]).tolist() == [0.2] * 5
    assert model.log_probabilities(np.array([], np.int64)).shape == (0,)


def test_bytes_are_taken_as_they_are():
    text = np.frombuffer(b"the cat sat on the mat", np.uint8)
    model = KneserNey.train(text, size=256, order=4)
    wide = KneserNey.train(text.astype(np.int64), size=256, order=4)
    assert np.array_equal(model.log_probabilities(text), wide.log_probabilities(text.astype(np.int64)))


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ([0, 1], {"order": 0}, r"^size 3 and order 0: expected at least 1 each$"),
        ([], {"size": 0}, r"^size 0 and order 2: expected at least 1 each$"),
        ([0, 3], {}, r"^symbols from 0 to 3: expected 0 to 2$"),
        ([-1, 2], {}, r"^symbols from -1 to 2: expected 0 to 2$"),
        ([[0, 1]], {}, r"^symbols of shape \[1, 2\] and type int64: expected \[n\], integers$"),
        ([0.0, 1.0], {}, r"^symbols of shape \[2\] and type float64: expected \[n\], integers$"),
        (
            [0, 1],
            {"starts": np.ones(3, bool)},
            r"^starts of shape \[3\] and type bool: expected \[2\], bool$",
        ),
        (
            [0, 1],
            {"starts": np.ones(2, int)},
            r"^starts of shape \[2\] and type int64: expected \[2\], bool$",
        ),
    ],
)
def test_training_refuses_what_does_not_fit(ids, options, message):
    array = np.array(ids, None if ids else np.int64)
    with pytest.raises(ValueError, match=message):
        KneserNey.train(array, **{"size": 3, "order": 2, **options})


def test_scoring_refuses_what_does_not_fit():
    model = KneserNey.train(np.array([0, 1]), size=3, order=2)
    with pytest.raises(ValueError, match=r"^symbols from 0 to 3: expected 0 to 2$"):
        model.log_probabilities(np.array([0, 3]))
    with pytest.raises(ValueError, match=r"^starts of shape \[1\]"):
        model.log_probabilities(np.array([0, 1]), starts=np.ones(1, bool))


def test_xz_bits_are_what_the_second_text_adds():
    random = np.random.default_rng(1)
    train = random.integers(0, 256, 5000, dtype=np.uint8).tobytes()
    fresh = random.integers(0, 256, 1000, dtype=np.uint8).tobytes()
    assert xz_bits(train, fresh) == pytest.approx(8 * 1000, abs=8 * 16)
    assert xz_bits(train, train[2000:3000]) < 8 * 100  # almost nothing but references backwards
    strongest = 9 | lzma.PRESET_EXTREME
    both = [len(lzma.compress(text, preset=strongest)) for text in (train + fresh, train)]
    assert xz_bits(train, fresh) == 8 * (both[0] - both[1])
    assert xz_bits(train, b"") == 0


def test_xz_runs_at_its_strongest(monkeypatch):
    genuine, used = lzma.compress, []

    def compress(text: bytes, **options: int) -> bytes:
        used.append(options)
        return genuine(text, **options)

    monkeypatch.setattr(lzma, "compress", compress)
    xz_bits(b"seen", b"new")
    assert used == [{"preset": 9 | lzma.PRESET_EXTREME}] * 2


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-30, 0)), min_size=1), st.floats(0, 1))
def test_a_mixture_is_the_weighted_sum_of_probabilities(pairs, weight):
    first, second = np.array(pairs).T
    direct = np.log(weight * np.exp(first) + (1 - weight) * np.exp(second))
    assert interpolate(first, second, weight) == pytest.approx(direct, abs=1e-12)


def test_a_mixture_of_the_least_probabilities_does_not_underflow():
    small = interpolate(np.array([-2000.0]), np.array([-2000.0 + math.log(3)]), 0.5)
    assert small == pytest.approx([-2000 + math.log(2)], abs=1e-9)


def test_the_ends_of_a_mixture_are_the_models():
    first, second = np.array([-1.5, -0.1, -np.inf, -7.0]), np.array([-0.3, -9.0, -1.0, -np.inf])
    assert interpolate(first, second, 1.0).tolist() == first.tolist()
    assert interpolate(first, second, 0.0).tolist() == second.tolist()
    assert interpolate(np.array([-np.inf]), np.array([-np.inf]), 0.3).tolist() == [-np.inf]


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_a_mixture_refuses_a_weight_out_of_range(weight):
    with pytest.raises(ValueError, match=r"^weight .*: expected 0 to 1$"):
        interpolate(np.zeros(2), np.zeros(2), weight)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [0.01, 1.0, 8.0])
def test_the_best_weight_is_that_of_a_grid(seed, spread):
    random = np.random.default_rng(seed)
    middle = -random.exponential(2.0, 400)
    first, second = (middle + spread * random.normal(size=400) for _ in range(2))
    weight = best_weight(first, second)
    grid = np.linspace(0, 1, 1001)
    means = [interpolate(first, second, float(w)).mean() for w in grid]
    assert abs(weight - grid[int(np.argmax(means))]) <= 0.001
    assert interpolate(first, second, weight).mean() >= max(means) - 1e-15


def test_the_best_weight_is_where_a_step_of_em_stands_still():
    random = np.random.default_rng(9)
    first, second = -random.exponential(2.0, (2, 500))
    weight = best_weight(first, second)
    assert 0.1 < weight < 0.9
    responsibility = weight * np.exp(first - interpolate(first, second, weight))
    assert responsibility.mean() == pytest.approx(weight, abs=1e-12)


def test_a_model_that_is_always_better_takes_all_the_weight():
    better, worse = np.array([-1.0, -0.5, -900.0]), np.array([-1.1, -3.0, -np.inf])
    assert 1 - 1e-12 < best_weight(better, worse) < 1
    assert 0 < best_weight(worse, better) < 1e-12


def test_equal_models_share_the_weight():
    scores = np.array([-1.0, -0.3])
    assert best_weight(scores, scores) == 0.5


def test_the_best_weight_needs_possible_symbols():
    with pytest.raises(ValueError, match=r"^0 symbols, 0 with a finite log-probability: expected at least"):
        best_weight(np.array([]), np.array([]))
    for scores in (np.array([-1.0, -np.inf]), np.array([-1.0, np.nan])):
        with pytest.raises(ValueError, match=r"^2 symbols, 1 with a finite log-probability"):
            best_weight(scores, scores)


@pytest.mark.parametrize("mix", [best_weight, lambda first, second: interpolate(first, second, 0.5)])
def test_models_that_scored_different_symbols_are_refused(mix):
    with pytest.raises(ValueError, match=r"^log-probabilities of shape \[2\] and \[3\]: expected the same$"):
        mix(np.zeros(2), np.zeros(3))
